"""nftables: a table of our own, `inet vinfra`, a file that holds it, and a unit that loads the file at boot.

The table only hooks what comes in, and a restart of nftables.service, which empties everything, loads it again.
"""

import json
from collections.abc import Iterable, Mapping, Sequence

from vinfra.kinds.host.firewalls.nft_words import listed, objects, plain, worded
from vinfra.kinds.host.firewalls.rules import Line, span
from vinfra.kinds.host.firewalls.state import State
from vinfra.kinds.host.systemd import units
from vinfra.model.answer import Unknown
from vinfra.model.kind import Answers
from vinfra.model.question import Exec as Ask
from vinfra.model.question import Question, ReadFile
from vinfra.model.step import Exec, Step, Write

TABLE = ("inet", "vinfra")
FOLDER = "/etc/vinfra"
FILE = f"{FOLDER}/firewall.nft"
NAME = "vinfra-firewall.service"
UNIT = f"/etc/systemd/system/{NAME}"
FORMER = "/run/vinfra/firewall.json"  # what ran before, for the way back; gone at the next boot
LIST = Ask(("nft", "-j", "list", "table", *TABLE))
NO_PROGRAM, NO_FILE = 127, 2

HEAD = """\
#!/usr/sbin/nft -f
# vinfra's own table: others' tables are left alone. What is changed here is changed back.
table inet vinfra
delete table inet vinfra
"""
SERVICE = f"""\
# vinfra's own: it loads the firewall's table at boot, and again when nftables.service has emptied everything.
[Unit]
Description=Firewall rules of vinfra
DefaultDependencies=no
Wants=network-pre.target
Before=network-pre.target
After=nftables.service
PartOf=nftables.service
ReloadPropagatedFrom=nftables.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/nft -f {FILE}
ExecReload=/usr/sbin/nft -f {FILE}
ExecStop=-/usr/sbin/nft delete table {" ".join(TABLE)}

[Install]
WantedBy=sysinit.target nftables.service
"""
ACTIONS = {"allow": "accept", "drop": "drop", "reject": "reject with icmpx admin-prohibited"}
KEPT = (
    "ct state vmap { established : accept, related : accept }",
    'iifname "lo" accept',
    "icmpv6 type { nd-neighbor-advert, nd-neighbor-solicit, nd-redirect, nd-router-advert, nd-router-solicit } accept",
    "udp sport 67 udp dport 68 accept",
    "ip6 saddr fe80::/10 udp sport 547 udp dport 546 accept",
    # A hypervisor serves addresses and names to its own machines.
    'iifname "virbr*" tcp dport 53 accept',
    'iifname "virbr*" udp dport { 53, 67, 547 } accept',
)
CHAIN = "type filter hook input priority 0"


def ask(_answers: Answers) -> Iterable[Question]:
    """What runs, and what is loaded at boot."""
    return (LIST, ReadFile(FILE), ReadFile(UNIT))


def read(answers: Answers, known: Mapping[str, units.Unit | Unknown]) -> State | Unknown:
    """What of ours is there."""
    table, file, unit = answers[LIST], answers[ReadFile(FILE)], answers[ReadFile(UNIT)]
    for path, raw in ((FILE, file), (UNIT, unit)):
        if raw.returncode not in (0, NO_FILE):
            return Unknown(f"cannot read {path}: {raw.err.strip()}")
    if not table.ok and table.returncode != NO_PROGRAM and "No such file" not in table.err:
        return Unknown(f"nft: {' '.join(table.err.split()) or f'exit status {table.returncode}'}")
    service = known.get(NAME)
    former = {"ruleset": table.text if table.ok else None, "file": file.text if file.ok else None}
    incoming, rules = _running(table.text) if table.ok else (None, ())
    return State(
        incoming=incoming,
        rules=rules,
        persisted=(file.text if file.ok else "") + (unit.text if unit.ok else "") if file.ok or unit.ok else None,
        enabled=isinstance(service, units.Unit) and service.file_state == "enabled" and service.active == "active",
        missing="nft is not on this host" if table.returncode == NO_PROGRAM else "",
        brings=("package:nftables",),
        ours=table.ok or file.ok or unit.ok,
        former={**former, "unit": unit.text if unit.ok else None},
    )


def wish(incoming: str, wanted: Sequence[Line], _former: Mapping[str, str | None]) -> State | str:
    """What is to be there."""
    rules = tuple(map(_rule, wanted))
    end = (ACTIONS["reject"],) if incoming == "reject" else ()
    policy = "accept" if incoming == "allow" else "drop"
    body = "".join(f"\t\t{line}\n" for line in (*KEPT, *map(_commented, rules, wanted), *end))
    text = f"{HEAD}table inet vinfra {{\n\tchain input {{\n\t\t{CHAIN}; policy {policy};\n{body}\t}}\n}}\n"
    return State(incoming, rules, text + SERVICE, enabled=True, former={"file": text})


def _rule(line: Line) -> str:
    said = [f'iifname "{line.interface}"'] if line.interface else []
    said += _from(line)
    if line.protocol == "icmp":
        said.append("meta l4proto { icmp, ipv6-icmp }")
    elif line.ports:
        said.append(f"{line.protocol} dport {listed([span(item) for item in line.ports])}")
    elif line.protocol:
        said.append(f"meta l4proto {line.protocol}")
    return " ".join((*said, ACTIONS[line.action]))


def _from(line: Line) -> list[str]:
    if not line.family:
        return []
    if not line.networks:
        return [f"meta nfproto ipv{line.family}"]
    return [f"{'ip' if line.family == '4' else 'ip6'} saddr {listed(line.networks)}"]


def _commented(rule: str, line: Line) -> str:
    return f'{rule} comment "{line.comment}"' if line.comment else rule


def _running(text: str) -> tuple[str, tuple[str, ...]]:
    """What runs in our table, in the words of `wish`. What nobody wished for is told as it is."""
    chain, found, policy = "", list[str](), ""
    for item in objects(text):
        sort, told = next(iter(item.items()))
        if sort == "chain" and told.get("name") == "input":
            policy = str(told.get("policy", ""))
            chain = f"type {told.get('type')} hook {told.get('hook')} priority {told.get('prio')}"
        elif sort == "rule" and told.get("chain") == "input":
            found.append(" ".join(map(worded, told.get("expr", ()))))
        elif sort not in ("metainfo", "table"):
            found.append(f"{sort} {json.dumps(plain(told), sort_keys=True)}")
    missing = [f"not there: {line}" for line in KEPT if line not in found]
    rules = [line for line in found if line not in KEPT]
    incoming = {"accept": "allow", "drop": "drop"}.get(policy, policy)
    if incoming == "drop" and rules and rules[-1] == ACTIONS["reject"]:
        incoming = "reject"
        rules.pop()
    return incoming, (*missing, *([] if chain == CHAIN else [chain or "no chain input"]), *rules)


def put(wanted: State, found: State, changed: set[str]) -> Sequence[Step]:
    """Checked, then replaced in one transaction; at boot only once a new login has shown that it lets us in."""
    text = wanted.former["file"] or ""
    steps = []
    if changed & {"incoming", "rules", "persisted"}:
        steps.append(_load(text, found))
    if changed & {"persisted", "enabled"}:
        calls = (
            Write(UNIT, SERVICE.encode(), "0644", "root", "root"),
            Exec(("systemctl", "daemon-reload")),
            Exec(("systemctl", "enable", "--", NAME)),
            Exec(("systemctl", "reload-or-restart", "--", NAME)),
        )
        steps.append(Step(f"load {FILE} at boot", calls))
    return steps


def _load(text: str, found: State) -> Step:
    """Replace the table. The way back loads the former file, then what really ran, should that have been another."""
    ruleset = _reload(found.former.get("ruleset") or "")
    former = (Write(FORMER, ruleset, "0600", "root", "root"),) if ruleset else ()
    calls = (
        Exec(("nft", "-c", "-f", "-"), stdin=text.encode()),
        *former,
        Exec(("install", "-d", "-m", "0755", "--", FOLDER)),
        Write(FILE, text.encode(), "0644", "root", "root"),
        Exec(("nft", "-f", FILE)),
    )
    return Step(f"load {FILE}, checked first, in place of what is loaded", calls, guards=(FILE,), again=_again(found))


def _again(found: State) -> tuple[tuple[str, ...], ...]:
    if found.incoming is None:
        return (("nft", "delete", "table", *TABLE),)
    return (("nft", "-f", FILE), ("nft", "-j", "-f", FORMER))


def _reload(text: str) -> bytes:
    """What ran, as something that nft loads in place of what is there then."""
    table = {"table": {"family": TABLE[0], "name": TABLE[1]}}
    there = [item for item in objects(text) if "metainfo" not in item and "table" not in item]
    if not text:
        return b""
    calls = [{"add": table}, {"delete": table}, {"add": table}]
    calls += [{"add": {sort: plain(told) for sort, told in item.items()}} for item in there]
    return json.dumps({"nftables": calls}).encode()


def remove(_found: State) -> Sequence[Step]:
    """The unit stops, which takes the table away, and everything of ours goes."""
    calls = (
        Exec(("systemctl", "disable", "--now", "--", NAME), ok=(0, 1, 5)),
        Exec(("nft", "delete", "table", *TABLE), ok=(0, 1, NO_PROGRAM)),
        Exec(("rm", "-f", "--", UNIT, FILE, FORMER)),
        Exec(("systemctl", "daemon-reload")),
        Exec(("rmdir", "--", FOLDER), ok=(0, 1)),
    )
    return [Step("take the table inet vinfra away, now and at boot", calls)]


def restore(found: State) -> Sequence[Step]:
    """What was there before a change: the file, the unit and what ran."""
    if not found.ours:
        return remove(found)
    steps: list[Step] = []
    for path in (FILE, UNIT):
        text = found.former.get("file" if path == FILE else "unit")
        call = Exec(("rm", "-f", "--", path)) if text is None else Write(path, text.encode(), "0644", "root", "root")
        steps.append(Step(f"{path} as it was", (call,), guards=(FILE,)))
    verb = "enable" if found.enabled else "disable"
    calls = (Exec(("systemctl", "daemon-reload")), Exec(("systemctl", verb, "--", NAME), ok=(0, 1)))
    steps.append(Step(f"{NAME} as it was", calls))
    ruleset = _reload(found.former.get("ruleset") or "")
    gone = Exec(("nft", "delete", "table", *TABLE), ok=(0, 1))
    load = Exec(("nft", "-j", "-f", "-"), stdin=ruleset) if ruleset else gone
    return [*steps, Step("load what ran before", (load,), again=(("nft", "-f", FILE),))]
