"""ufw: rules of our own among those of others, told apart by their comment. What it does by default is everybody's."""

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vinfra.kinds.host.firewalls.rules import Line, joined, span
from vinfra.kinds.host.firewalls.state import State
from vinfra.kinds.host.systemd import units
from vinfra.model.answer import Unknown
from vinfra.model.kind import Answers
from vinfra.model.question import Exec as Ask
from vinfra.model.question import Question, ReadFile
from vinfra.model.step import Exec, Step, Write

CONFIGURATION, DEFAULTS = "/etc/ufw/ufw.conf", "/etc/default/ufw"
RULES = {"v4": "/etc/ufw/user.rules", "v6": "/etc/ufw/user6.rules"}
LIMIT = 1 << 20
FILES = (CONFIGURATION, DEFAULTS, *RULES.values())
RUNNING = {"v4": Ask(("iptables-save", "-t", "filter")), "v6": Ask(("ip6tables-save", "-t", "filter"))}
CHAINS = {"v4": "ufw-user-input", "v6": "ufw6-user-input"}
ANY = {"v4": "0.0.0.0/0", "v6": "::/0"}
TAG = "vinfra"
MOST = 15  # ports in one rule; a range counts twice (ufw(8))
NO_FILE = 2
AT_ONCE = 30  # commands, of 0.3 s each: more would not end before the host takes them back

POLICIES = {"ACCEPT": "allow", "DROP": "drop", "REJECT": "reject"}
VERBS = {"allow": "allow", "drop": "deny", "reject": "reject"}


@dataclass(frozen=True, slots=True)
class Tuple:
    """One rule as ufw keeps it: action, protocol, ports, to, from where; `lines` are what the kernel gets of it."""

    family: str
    words: tuple[str, ...]
    comment: str = ""
    lines: tuple[frozenset[tuple[str, ...]], ...] = ()

    @property
    def ours(self) -> bool:
        return self.comment == TAG or self.comment.startswith(f"{TAG}: ")

    def __str__(self) -> str:
        action, protocol, ports, _, _, source, way = self.words
        said = [action, *([] if protocol == ports == "any" else [f"{ports}/{protocol}"]), f"from {source}"]
        return " ".join([*said, *([f"on {way[3:]}"] if way != "in" else [])])


def ask(answers: Answers) -> Iterable[Question]:
    """Its files; what really runs only where ufw does, for asking may load a module of the kernel."""
    yield from (ReadFile(path, LIMIT) for path in FILES)
    if runs(answers):
        yield from RUNNING.values()


def runs(answers: Answers) -> bool:
    """Whether ufw is enabled here."""
    raw = answers.get(ReadFile(CONFIGURATION, LIMIT))
    return raw is not None and raw.ok and bool(re.search(r"^ENABLED=[\"']?yes", raw.text, re.MULTILINE))


def read(answers: Answers, known: Mapping[str, units.Unit | Unknown]) -> State | Unknown:
    """What of ours is there. A rule runs when the kernel has it."""
    unit = known["ufw.service"]
    if isinstance(unit, Unknown):
        return unit
    for path in FILES:
        if answers[ReadFile(path, LIMIT)].returncode not in (0, NO_FILE):
            return Unknown(f"cannot read {path}: {answers[ReadFile(path, LIMIT)].err.strip()}")
    texts = {path: raw.text if (raw := answers[ReadFile(path, LIMIT)]).ok else None for path in FILES}
    on = runs(answers)
    if on and not all(question in answers and answers[question].ok for question in RUNNING.values()):
        return Unknown("iptables-save: ufw is enabled, and what runs cannot be read")
    live = {family: _live(answers[question].text, CHAINS[family]) for family, question in RUNNING.items()} if on else {}
    there = [one for one in tuples(texts) if one.ours]
    policy = re.search(r"^DEFAULT_INPUT_POLICY=\"?([A-Z]+)", texts[DEFAULTS] or "", re.MULTILINE)
    six = "no" if re.search(r"^IPV6=[\"']?no", texts[DEFAULTS] or "", re.MULTILINE) else "yes"
    return State(
        incoming=_policy(answers[RUNNING["v4"]].text) if on else None,
        rules=tuple(str(one) for one in there if on and all(line in live[one.family] for line in one.lines)),
        persisted=_kept(POLICIES.get(policy[1], "") if policy else "", there),
        enabled=on,
        missing="ufw is not on this host" if unit.load == "not-found" else "",
        brings=("package:ufw",),
        ours=bool(there),
        former={**texts, "six": six},
    )


def _kept(incoming: str, there: Iterable[Tuple]) -> str:
    """What ufw's files say, as far as it is ours or declared."""
    return "\n".join((incoming, *(" ".join((one.family, *one.words, one.comment)) for one in there)))


def _own(persisted: str | None) -> list[Tuple]:
    """The rules in what `_kept` made."""
    rows = [line.split(" ", 8) for line in (persisted or "").splitlines()[1:]]
    return [Tuple(row[0], tuple(row[1:8]), row[8]) for row in rows]


def tuples(texts: Mapping[str, str | None]) -> list[Tuple]:
    """The rules for what comes in, of all owners, in their order."""
    found: list[Tuple] = []
    for family, path in RULES.items():
        for block in re.split(r"^### tuple ### ", texts.get(path) or "", flags=re.MULTILINE)[1:]:
            head, *rest = block.partition("\n###")[0].splitlines()
            words = head.split()
            comment = next((word[8:] for word in words if word.startswith("comment=")), "")
            plain = tuple(word for word in words if not word.startswith("comment="))
            if len(plain) == 7 and plain[6].split("_")[0] == "in":
                lines = tuple(_attributes(line) for line in rest if line.startswith("-A "))
                found.append(Tuple(family, plain, _text(comment), lines))
    return found


def _text(digits: str) -> str:
    try:
        return bytes.fromhex(digits).decode("utf-8", "replace")
    except ValueError:
        return ""


def _live(text: str, chain: str) -> list[frozenset[tuple[str, ...]]]:
    return [_attributes(line) for line in text.splitlines() if line.startswith(f"-A {chain} ")]


def _attributes(line: str) -> frozenset[tuple[str, ...]]:
    """A rule of iptables whatever order its options stand in, without what is so anyway."""
    words = shlex.split(line)[2:]
    pairs = [(words[number], *words[number + 1 : number + 2]) for number in range(0, len(words), 2)]
    return frozenset(
        (key, *(value.removesuffix("/32").removesuffix("/128") for value in values))
        for key, *values in pairs
        if key != "-m" and not (key == "--reject-with" and values[:1] != ["tcp-reset"])
    )


def _policy(text: str) -> str:
    if re.search(r"^:INPUT ACCEPT", text, re.MULTILINE):
        return "allow"
    return "reject" if re.search(r"^-A ufw-reject-input -j REJECT", text, re.MULTILINE) else "drop"


def others(answers: Answers) -> tuple[Line, ...]:
    """What those rules let in or keep out that are not ours."""
    texts = {path: answers[ReadFile(path, LIMIT)].text for path in RULES.values()}
    return tuple(_line(one) for one in tuples(texts) if not one.ours)


def _line(one: Tuple) -> Line:
    action, protocol, ports, _, _, source, way = one.words
    return Line(
        action={"allow": "allow", "limit": "allow", "deny": "drop"}.get(action, action),
        protocol="" if protocol == "any" else protocol,
        ports=() if ports == "any" else joined(port.replace(":", "-") for port in ports.split(",")),
        family=one.family[1:],
        networks=() if source == ANY[one.family] else (source,),
        interface=way[3:],
    )


def wish(incoming: str, wanted: Sequence[Line], former: Mapping[str, str | None]) -> State | str:
    """What is to be there. A rule that somebody else made and that says the same will do."""
    for line in wanted:
        if line.protocol == "icmp":
            return "ufw has no rules for icmp (it lets ping in anyway); leave them out, or say backend: nftables"
        if line.interface.endswith("*"):
            return f"ufw has no patterns for interfaces: write {line.interface} out, or say backend: nftables"
        if sum(1 if first == last else 2 for first, last in line.ports) > MOST:
            return f"ufw takes at most {MOST} ports in one rule, a range counting twice: split it into several"
    families = ("v4",) if former.get("six") == "no" else tuple(ANY)
    foreign = {(one.family, one.words) for one in tuples(former) if not one.ours}
    found = dict.fromkeys(one for family in families for line in wanted for one in _tuples(line, family))
    mine = [one for one in found if (one.family, one.words) not in foreign]
    return State(incoming, tuple(map(str, mine)), _kept(incoming, mine), enabled=True)


def _tuples(line: Line, family: str) -> Iterable[Tuple]:
    if line.family not in ("", family[1:]):
        return
    for network in line.networks or (ANY[family],):
        ports = ",".join(span(item, ":") for item in line.ports) or "any"
        way = f"in_{line.interface}" if line.interface else "in"
        words = (VERBS[line.action], line.protocol or "any", ports, ANY[family], "any", network, way)
        yield Tuple(family, words, f"{TAG}: {line.comment}" if line.comment else TAG)


def put(wanted: State, found: State, changed: set[str]) -> Sequence[Step]:
    """What is missing comes last, then what is too much goes; all of ours anew where that would not be their order."""
    wish, there = _own(wanted.persisted), _own(found.persisted)
    stays = [one for family in ANY for one in _staying(family, wish, there)]
    calls = []
    for one in (one for one in wish if one not in stays):
        calls += [Exec(_command(one, "delete"))] if one in there else []
        calls.append(Exec(_command(one)))
    calls += [Exec(_command(one, "delete")) for one in there if one not in wish]
    if "incoming" in changed or _first(wanted) != _first(found):
        calls.append(Exec(("ufw", "default", VERBS[wanted.incoming or "drop"], "incoming")))
    calls.append(Exec(("ufw", "reload") if found.enabled else ("ufw", "--force", "enable")))
    parts = [tuple(calls[number : number + AT_ONCE]) for number in range(0, len(calls), AT_ONCE)]
    said = f"{len(wish)} rule{'' if len(wish) == 1 else 's'} of ours in ufw, {wanted.incoming} what else comes in"
    return [
        Step(f"{said}, part {number}" if parts[1:] else said, part, guards=FILES, again=_again(found))
        for number, part in enumerate(parts, 1)
    ]


def _staying(family: str, wish: Iterable[Tuple], there: Iterable[Tuple]) -> list[Tuple]:
    """Those that can stay where they are: all that are wished for, or none if the others would not come after them."""
    wanted = [one for one in wish if one.family == family]
    stays = [one for one in there if one in wanted]
    return stays if [*stays, *(one for one in wanted if one not in stays)] == wanted else []


def _first(state: State) -> str:
    return (state.persisted or "").partition("\n")[0]


def _again(found: State) -> tuple[tuple[str, ...], ...]:
    return (("ufw", "reload"),) if found.enabled else (("ufw", "--force", "disable"),)


def _command(one: Tuple, *verb: str) -> tuple[str, ...]:
    action, protocol, ports, _, _, source, way = one.words
    return (
        *("ufw", *(("--force", *verb) if verb else ()), action, "in", *(("on", way[3:]) if way != "in" else ())),
        *(("proto", protocol) if protocol != "any" else ()),
        *("from", source, "to", "any", *(("port", ports) if ports != "any" else ())),
        *(() if verb else ("comment", one.comment)),
    )


def remove(found: State) -> Sequence[Step]:
    """Our rules go; others' rules, and what becomes of all else, stay."""
    calls = [Exec(_command(one, "delete")) for one in _own(found.persisted)]
    calls += [Exec(("ufw", "reload"))] if found.enabled else []
    return [Step("take our rules out of ufw", tuple(calls), guards=FILES, again=_again(found))]


def restore(found: State) -> Sequence[Step]:
    """Its files as they were."""
    texts = {path: found.former.get(path) for path in FILES}
    calls = [Write(path, text.encode("utf-8", "surrogateescape")) for path, text in texts.items() if text is not None]
    again = tuple(Exec(command) for command in _again(found))
    return [Step("ufw's files as they were", (*calls, *again), guards=FILES, again=_again(found))]
