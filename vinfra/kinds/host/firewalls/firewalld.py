"""firewalld: a policy of our own, asked before all zones. Zones, and what they allow, are left alone.

It is for ANY zone: one for the default zone alone is not asked about interfaces that nobody has put into a zone (seen
with firewalld 1.3). So it would be asked about libvirt's bridges as well, and rules of firewalld know no interfaces.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from vinfra.kinds.host.firewalls.rules import Line, span
from vinfra.kinds.host.firewalls.state import State
from vinfra.kinds.host.systemd import units
from vinfra.model.answer import Unknown
from vinfra.model.kind import Answers
from vinfra.model.question import Exec as Ask
from vinfra.model.question import Question, ReadFile
from vinfra.model.step import Exec, Step, Write

POLICY = "/etc/firewalld/policies/vinfra.xml"
INFO = Ask(("firewall-cmd", "--info-policy=vinfra"))
NOW, BOOT = Ask(("firewall-cmd", "--list-all-zones")), Ask(("firewall-cmd", "--permanent", "--list-all-zones"))
NO_PROGRAM, NO_FILE, NOT_RUNNING = 127, 2, 252
RELOAD = ("firewall-cmd", "--reload")
RELOADS = "firewalld reads its files again"

TARGETS = {"allow": "ACCEPT", "drop": "DROP", "reject": "REJECT"}
ACTIONS = {"allow": "accept", "drop": "drop", "reject": "reject"}
NEIGHBOURS = ("neighbour-advertisement", "neighbour-solicitation", "redirect", "router-advertisement")
# What a daemon puts there at run time stays over a reload (interfaces), or is nobody's rule.
FLEETING = ("interfaces", "ingress-zones", "egress-zones", "icmp-block-inversion")


def ask(_answers: Answers) -> Iterable[Question]:
    """Our policy as it runs and as it is loaded; and whether a reload would lose something of others."""
    return (INFO, ReadFile(POLICY), NOW, BOOT)


def read(answers: Answers, known: Mapping[str, units.Unit | Unknown]) -> State | Unknown:
    """What of ours is there."""
    info, file, unit = answers[INFO], answers[ReadFile(POLICY)], known["firewalld.service"]
    if isinstance(unit, Unknown):
        return unit
    if file.returncode not in (0, NO_FILE):
        return Unknown(f"cannot read {POLICY}: {file.err.strip()}")
    runs = unit.active in units.ON
    if runs and not info.ok and "INVALID_POLICY" not in info.err + info.text:
        return Unknown(f"firewall-cmd: {' '.join(info.err.split()) or f'exit status {info.returncode}'}")
    incoming, rules = _running(info.text) if info.ok else (None, ())
    missing, brings = "", ("package:firewalld", "service:firewalld")
    if unit.load == "not-found":
        missing = "firewalld is not on this host"
    elif not runs:
        missing = "firewalld does not run"
    return State(
        incoming=incoming,
        rules=rules,
        persisted=file.text if file.ok else None,
        missing=missing,
        brings=brings,
        ours=file.ok or incoming is not None,
        hinders=_lost(answers[NOW].text, answers[BOOT].text) if runs else "",
        former={
            "file": file.text if file.ok else None,
            "libvirt": "known" if runs and "libvirt" in _zones(answers[NOW].text) else None,
        },
    )


def wish(incoming: str, wanted: Sequence[Line], former: Mapping[str, str | None]) -> State | str:
    """What is to be there."""
    if former.get("libvirt"):
        return "its policy would keep libvirt's machines from getting addresses and names: say backend: nftables"
    named = next((line for line in wanted if line.interface), None)
    if named is not None:
        return f"firewalld ties interfaces to zones: leave interface {named.interface} out, or say backend: nftables"
    found = [one for line in wanted for one in _rules(line)]
    kept = [_rule(f'family="ipv6" icmp-type name="{name}"', "accept") for name in NEIGHBOURS]
    kept += [
        _rule('family="ipv4" port port="68" protocol="udp"', "accept"),
        _rule('family="ipv6" port port="546" protocol="udp"', "accept"),
    ]
    rules = tuple(f'rule priority="{number}" {one}'.replace("  ", " ") for number, one in enumerate([*kept, *found], 1))
    return State(incoming, rules, _xml(incoming, rules))


def _rule(about: str, action: str) -> str:
    return f"{about} {action}".strip()


def _rules(line: Line) -> Iterable[str]:
    """A rule for each network and each range of ports."""
    families = [f"ipv{line.family}"] if line.family else [""]
    if line.protocol == "icmp":
        families = [f"ipv{line.family}"] if line.family else ["ipv4", "ipv6"]
    for family in families:
        if line.protocol == "icmp":
            about = [f'protocol value="{"icmp" if family == "ipv4" else "ipv6-icmp"}"']
        elif line.ports:
            about = [f'port port="{span(item)}" protocol="{line.protocol}"' for item in line.ports]
        else:
            about = [f'protocol value="{line.protocol}"'] if line.protocol else [""]
        for network in line.networks or ("",):
            for one in about:
                said = (
                    f'family="{family}"' if family else "",
                    f'source address="{network}"' if network else "",
                    one,
                )
                yield _rule(" ".join(filter(None, said)), ACTIONS[line.action])


def _xml(incoming: str, rules: Iterable[str]) -> str:
    body = "".join(f"  {_element(rule)}\n" for rule in rules)
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'<policy priority="-1" target="{TARGETS[incoming]}">\n'
        "  <short>vinfra</short>\n"
        "  <description>vinfra's own policy; what is changed here is changed back.</description>\n"
        f'  <ingress-zone name="ANY"/>\n  <egress-zone name="HOST"/>\n{body}</policy>\n'
    )


def _element(rule: str) -> str:
    """A rule's own words as an element: `rule priority="1" port port="22" protocol="tcp" accept`."""
    attributes, inner, tag, own = "", "", "", ""
    for word in rule.split()[1:]:
        if "=" not in word:
            inner += f"<{tag}{own}/>" if tag else ""
            tag, own = word, ""
        elif tag:
            own += f" {word}"
        else:
            attributes += f" {word}"
    return f"<rule{attributes}>{inner}<{tag}{own}/></rule>"


def _running(text: str) -> tuple[str, tuple[str, ...]]:
    """What runs: target and zone, then the rich rules; all else that somebody put into our policy is told as it is."""
    told = _told(text)
    target = {value: key for key, value in TARGETS.items()}.get(told.get("target", ""), told.get("target", ""))
    rules = tuple(line.strip() for line in told.get("rich rules", "").splitlines() if line.strip())
    usual = {"priority": "-1", "ingress-zones": "ANY", "egress-zones": "HOST", "masquerade": "no"}
    own = ("target", "rich rules")
    more = [f"{key}: {value}" for key, value in told.items() if key not in own and value != usual.get(key, "")]
    return target, (*more, *rules)


def _told(text: str) -> dict[str, str]:
    """`key: value` lines; those of rich rules stand below, further in."""
    found: dict[str, str] = {}
    key = ""
    for line in text.splitlines():
        name = re.match(r"  ([a-z-]+(?: rules)?): ?(.*)$", line)
        if name:
            key = name[1]
            found[key] = name[2].strip()
        elif line.startswith("\t") and key:
            found[key] += f"\n{line.strip()}"
    return found


def _lost(now: str, boot: str) -> str:
    """That a zone has something which the next reload would take away, in a sentence; "" for none."""
    there = _zones(boot)
    zone = next((name for name, told in _zones(now).items() if name in there and told != there[name]), "")
    way = "run firewall-cmd --runtime-to-permanent, or --reload"
    return f"zone {zone} was changed only until the next reload; {way}" if zone else ""


def _zones(text: str) -> dict[str, dict[str, str]]:
    blocks = (block for block in text.split("\n\n") if block.strip())
    found = {block.strip("\n").splitlines()[0].split()[0]: _told(block) for block in blocks}
    return {
        name: {key: _sorted(value) for key, value in told.items() if key not in FLEETING}
        for name, told in found.items()
    }


def _sorted(value: str) -> str:
    return "\n".join(sorted(value.splitlines())) if "\n" in value else " ".join(sorted(value.split()))


def put(wanted: State, found: State, changed: set[str]) -> Sequence[Step]:
    """The file, looked at by firewalld, then read by it."""
    if not changed & {"incoming", "rules", "persisted"}:
        return []
    calls = (
        Write(POLICY, (wanted.persisted or "").encode(), "0644", "root", "root"),
        Exec(("firewall-cmd", "--check-config")),
        Exec(RELOAD),
    )
    return [Step(f"write {POLICY} and have firewalld read it", calls, guards=(POLICY,), again=(RELOAD,))]


def remove(found: State) -> Sequence[Step]:
    """Our policy goes."""
    calls = (Exec(("rm", "-f", "--", POLICY)), *(() if found.missing else (Exec(RELOAD),)))
    again = () if found.missing else (RELOAD,)
    return [Step("take the policy vinfra out of firewalld", calls, guards=(POLICY,), again=again)]


def restore(found: State) -> Sequence[Step]:
    """The policy as it was, if there was one."""
    text = found.former.get("file")
    if text is None:
        return remove(found)
    calls = (Write(POLICY, text.encode(), "0644", "root", "root"), Exec(RELOAD))
    return [Step("firewalld's policy vinfra as it was", calls, guards=(POLICY,), again=(RELOAD,))]
