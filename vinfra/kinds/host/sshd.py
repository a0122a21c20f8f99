"""The SSH server: what it lets in and how, in a file of our own, which it reads before all others."""

import re
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, WithJsonSchema

from vinfra.kinds.compare import bringers, changed, created, deleted, later, refused, updated
from vinfra.kinds.host import access
from vinfra.kinds.host.files import paths
from vinfra.kinds.host.firewalls.rules import Login, login
from vinfra.kinds.host.remote import files, options
from vinfra.kinds.host.remote.files import FOLDER, MAIN, OWN
from vinfra.kinds.host.systemd import units
from vinfra.model import spec as shape
from vinfra.model.action import Action, Impact
from vinfra.model.answer import Absent, Answer, Present, Unknown
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta, FieldChange, Undo
from vinfra.model.kind import Answers, Removal, Scope, Trait
from vinfra.model.question import Exec as Ask
from vinfra.model.question import Question, ReadFile, ReadLogin
from vinfra.model.spec import field
from vinfra.model.step import Exec, Step, Write
from vinfra.model.values import Flag, Seconds, Text, Whole

NAME = "host.sshd"
SECTION = "sshd"
SHORTHAND = ""
ORDER = 48
SHARED = False
TRAITS = frozenset({Trait.SINGLE})
REMOVAL = Removal(when="what other files say counts again; logins that are open stay")

OBJECT = "host"
UNITS = ("ssh.service", "sshd.service", "ssh.socket", "sshd.socket")
TOLD = Ask(("sshd", "-T"))
LIST = Ask(("ls", "-1", "--", FOLDER))
NO_PROGRAM, NO_FILE = 127, 2


def _root(value: Any) -> Any:
    said = {"true": "yes", "false": "no", "without-password": "prohibit-password"}
    return said.get(str(value).lower(), str(value).lower())


Root = Annotated[
    Literal["yes", "no", "prohibit-password", "forced-commands-only"],
    BeforeValidator(_root),
    WithJsonSchema({"enum": ["yes", "no", "prohibit-password", "forced-commands-only", True, False]}),
]
Forwarding = Annotated[
    Literal["yes", "no", "local", "remote"],
    BeforeValidator(_root),
    WithJsonSchema({"enum": ["yes", "no", "local", "remote", True, False]}),
]


class Spec(shape.Spec):
    """What the SSH server of a host does. Only what is said here is managed; logins that are open stay as they are."""

    FOLLOWS = ("persisted", "reloaded")

    ports: tuple[Whole, ...] | None = field("All ports it listens on.", examples=([22, 2222],))
    listen_addresses: tuple[Text, ...] | None = field("All addresses it listens on.", examples=(["10.0.0.5"],))
    permit_root_login: Root | None = field("Whether root may log in, and how.", examples=("prohibit-password",))
    password_authentication: Flag | None = field("Whether a password lets in.")
    pubkey_authentication: Flag | None = field("Whether a key lets in.")
    keyboard_interactive: Flag | None = field("Whether it may ask questions, as PAM does for passwords.")
    allow_users: tuple[Text, ...] | None = field("The only users who may log in.", examples=(["root", "ops"],))
    allow_groups: tuple[Text, ...] | None = field("The only groups whose members may log in.", examples=(["ssh"],))
    deny_users: tuple[Text, ...] | None = field("Users who may not log in.")
    deny_groups: tuple[Text, ...] | None = field("Groups whose members may not log in.")
    x11_forwarding: Flag | None = field("Whether windows may be forwarded.")
    agent_forwarding: Flag | None = field("Whether a client's agent may be used from there.")
    tcp_forwarding: Forwarding | None = field("Whether connections may be forwarded; a jump host needs it.")
    max_auth_tries: Whole | None = field("Attempts in one connection.")
    max_sessions: Whole | None = field("Sessions in one connection.")
    max_startups: Text | None = field(
        "Connections that are not logged in yet: start:rate:full.", examples=("10:30:100",)
    )
    client_alive_interval: Seconds | None = field("After so long without a word a client is asked whether it lives.")
    client_alive_count_max: Whole | None = field("How many such questions may stay without answer.")
    login_grace_time: Seconds | None = field("How long a login may take.")
    banner: Text | None = field("A file that is shown before a login; `none` for nothing.")
    log_level: Text | None = field("How much it writes to the log.", examples=("VERBOSE",))
    use_dns: Flag | None = field("Whether it looks up clients' names.")
    options: dict[str, Text] | None = field(
        "Any other options of sshd_config(5), by their names.", examples=({"PermitTunnel": "no"},)
    )


def check(name: str, desired: shape.Spec | None) -> str:
    """A host has one; options are sshd's, and what is written fits on a line."""
    if name != OBJECT:
        return f"a host has one SSH server, and it is called {OBJECT}"
    if not isinstance(desired, Spec):
        return ""
    if "options" not in desired.deferred and (wrong := options.problem(desired.options or {})):
        return wrong
    if not desired.deferred and not any(value is not None for _, value in desired):
        return "say at least one thing about it"
    for key, wish in desired:
        for value in wish.values() if isinstance(wish, dict) else wish if isinstance(wish, tuple) else (wish,):
            if isinstance(value, str) and (not value.strip() or re.search(r"[\x00-\x1f]", value)):
                return f"{key}: {value!r} is nothing that fits on a line of its file"
    if any(not 1 <= port <= 65535 for port in desired.ports or () if isinstance(port, int)):
        return "ports: write numbers from 1 to 65535"
    for address in desired.listen_addresses or ():
        try:
            ip_address(address.strip("[]"))
        except ValueError:
            return f"listen_addresses: {address!r} is no address, such as 10.0.0.5 (ports have a field of their own)"
    return next(
        (f"{key}: an empty list lets nobody say what is meant; leave it out" for key, wish in desired if wish == ()), ""
    )


def identity(_name: str) -> str:
    """It is that file."""
    return f"path:{OWN}"


def references(_name: str, _desired: shape.Spec | None) -> tuple[frozenset[str], frozenset[str]]:
    """What it stands on, and who is to log in, come first."""
    return frozenset(), frozenset({"package:openssh-server", f"file:{MAIN}", "firewall:host"})


def ask(_scope: Scope, answers: Answers) -> Iterable[Question]:
    """What it does, its files, its units, and by which way we are here."""
    yield from (ReadLogin(), TOLD, LIST, ReadFile(MAIN), ReadFile(OWN))
    yield from (*units.ask(UNITS), *paths.ask([OWN]))
    if LIST in answers:
        yield from (ReadFile(name) for name in files.names(answers[LIST].text))


def read(scope: Scope, answers: Answers) -> Mapping[str, Answer]:
    """Present when our file is there. The actual values are those that count, whoever set them."""
    answer = _read(answers)
    return {item.address.name: answer for item in scope.wanted}


def _read(answers: Answers) -> Answer:
    told, own, known = answers[TOLD], answers[ReadFile(OWN)], units.read(UNITS, answers)
    if told.returncode == NO_PROGRAM:
        return Absent({"missing": True})
    lost = next((unit for unit in known.values() if isinstance(unit, Unknown)), None)
    if lost is not None:
        return lost
    texts = {path: answers[ReadFile(path)] for path in (MAIN, *files.names(answers[LIST].text), OWN)}
    for path, raw in texts.items():
        if raw.returncode not in (0, NO_FILE):
            return Unknown(f"cannot read {path}: {raw.err.strip()}")
    if not told.ok:
        return Unknown(f"sshd -T: {' '.join(told.err.split()) or f'exit status {told.returncode}'}")
    found = {name: unit for name, unit in known.items() if isinstance(unit, units.Unit)}
    there = paths.read([OWN], answers)[OWN]
    raw = answers[ReadLogin()]
    notes = {
        "missing": False,
        "told": options.effective(told.text),
        "texts": {path: raw.text for path, raw in texts.items() if raw.ok and path != OWN},
        "own": own.text if own.ok else None,
        "unit": next((name for name in UNITS[:2] if found[name].load == "loaded"), UNITS[0]),
        "socket": next((name for name in UNITS[2:] if found[name].active in units.ON), ""),
        "came": login(raw.text) if raw.ok else None,
    }
    settled = found[str(notes["unit"])].settled
    notes["older"] = isinstance(there, paths.Found) and settled is not None and settled < there.modified
    if not own.ok:
        return Absent(notes)
    actual: dict[str, Any] = {name: options.of_field(name, options.effective(told.text)) for name in options.FIELDS}
    return Present(Spec.model_construct(**actual), notes)


def diff(resource: Resource, answer: Answer, scope: Scope) -> Delta:
    """What counts, what our file says, and whether sshd has read it; that nobody else says otherwise."""
    desired = resource.desired
    if not isinstance(desired, Spec):
        return deleted(REMOVAL, REMOVAL.when) if isinstance(answer, Present) else Delta(Action.NOOP)
    assert isinstance(answer, Present | Absent)
    notes, action = answer.notes, Action.UPDATE if isinstance(answer, Present) else Action.CREATE
    if notes["missing"]:
        found = bringers(scope, "package:openssh-server", "package:ssh")
        wish = [FieldChange("persisted", None, "as declared")]
        if found:
            return later(action, f"sshd is not there yet; {found[0]} may bring it", wish)
        return refused(action, "sshd is not on this host; declare package:openssh-server", wish)
    fields = tuple(_fields(desired, notes))
    if why := _objection(desired, notes, fields):
        return refused(action, why, fields)
    return updated(fields) if action is Action.UPDATE else created(fields, impact=Impact.LIVE)


def _fields(desired: Spec, notes: Mapping[str, Any]) -> Iterable[FieldChange]:
    for name in options.FIELDS:
        wish = getattr(desired, name)
        if wish is None:
            continue
        before, after = options.of_field(name, notes["told"]), options.words(name, wish)
        if before != after:
            yield changed(Spec, name, *((before, after) if isinstance(wish, tuple) else (" ".join(before), after[0])))
    if notes["own"] != options.text(desired):
        yield FieldChange("persisted", None if notes["own"] is None else "something else", "as declared")
    elif notes["older"] and not notes["socket"]:
        yield FieldChange("reloaded", "an older file", "as it is on disk")


def _objection(desired: Spec, notes: Mapping[str, Any], fields: Sequence[FieldChange]) -> str:
    """Why it would not come out as declared, or we would not come in again."""
    if not files.includes(notes["texts"].get(MAIN, "")):
        return f"{MAIN} does not read {FOLDER}: put `Include {files.PATTERN}` at its beginning"
    if why := files.otherwise(desired, notes["texts"]):
        return why
    paths_ = {item.path for item in fields}
    if notes["socket"] and paths_ & {"ports", "listen_addresses"}:
        return f"{notes['socket']} listens here, so sshd does not choose ports and addresses; disable it first"
    return _cut_off(desired, notes["came"]) if paths_ else ""


def _cut_off(desired: Spec, came: Login | None) -> str:
    if came is None:
        return ""
    if desired.ports is not None and came.port not in desired.ports:
        return f"we are here by port {came.port}; keep it among ports until the inventory says another one"
    here = {address.strip("[]") for address in desired.listen_addresses or ()}
    if here and came.server not in here and not here & {"0.0.0.0", "::"}:  # noqa: S104  only compared
        return f"we are here by {came.server}; keep it among listen_addresses"
    return ""


def steps(change: Change, _scope: Scope) -> Sequence[Step]:
    """Looked at by sshd before it is there, and once more with all the others; then sshd reads it."""
    if not isinstance(change.desired, Spec):
        return _put(None, change.notes)
    return _put(options.text(change.desired), change.notes)


def _put(wish: str | None, notes: Mapping[str, Any]) -> list[Step]:
    unit = str(notes["unit"])
    read_again = (
        Exec(("sshd", "-t")),
        Exec(("systemctl", "reload", "--", unit)),
        Exec(("sleep", "0.5")),  # a new login must meet what it has read
    )
    if wish is None:
        calls: tuple[Exec | Write, ...] = (Exec(("rm", "-f", "--", OWN)), *read_again)
        return access.held([Step(f"remove {OWN} and have sshd read its files", calls)], unit, (OWN,))
    look = Exec(("sshd", "-t", "-f", "/dev/stdin"), stdin=wish.encode())
    calls = (look, Write(OWN, wish.encode(), "0644", "root", "root"), *read_again)
    return access.held([Step(f"write {OWN}, looked at by sshd, and have it read", calls)], unit, (OWN,))


def undo(change: Change, _scope: Scope) -> Undo:
    """The former file, or none."""
    return Undo(tuple(_put(change.notes["own"], change.notes)), early=change.delta.action is Action.CREATE)
