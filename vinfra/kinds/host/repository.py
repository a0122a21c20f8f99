"""Package repositories: apt's by deb822 and a key of their own, dnf's by a .repo file; only what has answered stays."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any

from vinfra.kinds.compare import compare, created, deleted, own_identity, refused, updated
from vinfra.kinds.host.files import contents
from vinfra.kinds.host.packages import apt, repositories, sources
from vinfra.model import spec as shape
from vinfra.model.action import Action
from vinfra.model.answer import Absent, Answer, Present, Unknown
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta, FieldChange, Undo
from vinfra.model.kind import Answers, Listed, Removal, Scope
from vinfra.model.question import Question, ReadFile
from vinfra.model.spec import field
from vinfra.model.step import Call, Exec, Step, Write
from vinfra.model.values import Flag, Text, Whole

NAME = "host.repository"
SECTION = "repositories"
SHORTHAND = ""
ORDER = 6
SHARED = False
REMOVAL = Removal(when="packages that came from it stay")

LARGEST = 1 << 20
NO_SUCH_FILE = 2
OURS = re.compile(r"/etc/(?:apt/sources\.list\.d|yum\.repos\.d)/vinfra-([a-z0-9_-]+)\.(?:sources|repo)")
ONE_KEY = ("key", "key_source", "key_url", "signed_by", "trusted")


class Spec(shape.Spec):
    """A repository of apt or dnf. One of key, key_source, key_url, signed_by, trusted says how packages are proved."""

    FOLLOWS = ("file",)

    uris: tuple[Text, ...] | None = field("Where it is; dnf's baseurl.", examples=(["https://apt.example.org/debian"],))
    metalink: Text | None = field("dnf: the list of its mirrors, instead of uris.")
    suites: tuple[Text, ...] | None = field(
        "apt: its suites, or a folder with a slash at its end.", examples=(["stable"],)
    )
    components: tuple[Text, ...] | None = field("apt: its components.", examples=(["main"],))
    architectures: tuple[Text, ...] | None = field("apt: only these.", examples=(["amd64"],))
    types: tuple[Text, ...] = field("apt: deb, deb-src or both.", default=("deb",))
    key: Text | None = field("The public key that its lists (dnf: packages) are signed with, as armored text.")
    key_source: Text | None = field(
        "A file beside the blueprint with that key, armored or binary.",
        compared=False,
        path=True,
        fills="key",
        examples=("keys/example.asc",),
    )
    key_url: Text | None = field(
        "Where the host itself fetches that key.", compared=False, examples=("https://apt.example.org/key.asc",)
    )
    key_sha256: Text | None = field("The sum that a fetched key must have; never fetched without.", compared=False)
    key_binary: Flag | None = field(
        "Whether a fetched key is binary; by default its address says so with .gpg at the end.", compared=False
    )
    signed_by: Text | None = field(
        "A keyring that the host has already.", examples=("/usr/share/keyrings/debian-archive-keyring.gpg",)
    )
    trusted: Flag | None = field("Take what comes from there without any signature.")
    check_metadata: Flag = field("dnf: its lists are signed too, and that is checked.", default=False)
    enabled: Flag = field("Whether it is used.", default=True)
    priority: Whole | None = field("apt: the pin of all that comes from there; dnf: its priority.", examples=(600,))
    pin: Text | None = field("apt: what the pin is on; by default the host in uris.", examples=("release o=Example",))


def check(name: str, desired: shape.Spec | None) -> str:
    """The name is part of a file's; there is one place and one proof; every word is one line."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,60}", name):
        return "write a short name: small letters, digits, - and _"
    if not isinstance(desired, Spec):
        return ""
    given = [key for key in ONE_KEY if getattr(desired, key)]
    if len(given) != 1:
        said = f"{' and '.join(given)} exclude each other" if given else "nothing says how its packages are proved"
        return f"{said}; say one of {', '.join(ONE_KEY[:-1])}, or trusted: true"
    if bool(desired.uris) == bool(desired.metalink):
        return "say where it is: uris, or a metalink for dnf"
    if desired.deferred:
        return ""
    if desired.key_url and not re.fullmatch(r"[0-9a-f]{64}", desired.key_sha256 or ""):
        return "a key that is fetched needs key_sha256, its sum: 64 digits, as `sha256sum` prints them"
    if (desired.key_sha256 or desired.key_binary is not None) and not desired.key_url:
        return "key_sha256 and key_binary belong to key_url"
    if isinstance(desired.key, str) and repositories.ARMOR not in desired.key:
        return f"write the key as armored text ({repositories.ARMOR}…); a binary one is a file: key_source"
    if desired.pin and desired.priority is None:
        return "pin needs priority"
    return repositories.words_problem(desired)


identity = own_identity


def references(_name: str, _desired: shape.Spec | None) -> tuple[frozenset[str], frozenset[str]]:
    """Packages come after it; what it needs itself (ca-certificates) stands in its `needs:`."""
    return frozenset(), frozenset()


def ask(scope: Scope, _answers: Answers) -> Iterable[Question]:
    """Every list of apt or dnf, the keys, and when apt last fetched its lists."""
    if scope.wanted:
        yield sources.LINES
        yield from apt.ask()
    for item in scope.wanted:
        yield from (ReadFile(path, LARGEST) for path in _keys(item.address.name))


def _keys(name: str) -> tuple[str, ...]:
    return repositories.apt(name).key, repositories.apt(name, armored=False).key, repositories.dnf(name).key


def read(scope: Scope, answers: Answers) -> Mapping[str, Answer]:
    """Each repository as its files have it; what they hold byte for byte is among the notes."""
    known = sources.files(answers)
    return {item.address.name: _one(item.address.name, known, scope, answers) for item in scope.wanted}


def _one(name: str, known: Mapping[str, str] | Unknown, scope: Scope, answers: Answers) -> Answer:
    if isinstance(known, Unknown):
        return known
    keys: dict[str, str] = {}
    for path in _keys(name):
        raw = answers.get(ReadFile(path, LARGEST))
        if raw is None or raw.returncode not in (0, NO_SUCH_FILE):
            return Unknown(f"cannot read {path}: {(raw.err.strip() if raw else '') or 'no reason given'}")
        if raw.ok:
            keys[path] = raw.text
    paths = _paths(name, scope, None)
    notes: dict[str, Any] = {"known": known, "keys": keys, "stamp": apt.lists_changed(answers)}
    if paths.source not in known:
        return Absent(notes)
    entries = [entry for entry in sources.entries(known) if entry.path == paths.source]
    told = sources.fields(entries[0] if entries else sources.Entry("", {}), known.get(paths.preferences, ""))
    return Present(Spec.model_construct(None, **told), notes)


def _paths(name: str, scope: Scope, desired: Spec | None) -> repositories.Paths:
    if scope.facts.get("package_manager") == "dnf":
        return repositories.dnf(name)
    if desired is not None and desired.key_url:
        binary = desired.key_url.endswith(".gpg") if desired.key_binary is None else desired.key_binary
        return repositories.apt(name, not binary)
    return repositories.apt(name, desired is None or desired.key is None or repositories.ARMOR in desired.key)


def diff(resource: Resource, answer: Answer, scope: Scope) -> Delta:
    """Field by field; then whether the file holds that and nothing else."""
    name, desired, manager = resource.address.name, resource.desired, scope.facts.get("package_manager")
    if not isinstance(desired, Spec):
        return deleted(reason=REMOVAL.when) if isinstance(answer, Present) else Delta(Action.NOOP)
    assert isinstance(answer, Present | Absent)
    action = Action.UPDATE if isinstance(answer, Present) else Action.CREATE
    actual = answer.actual if isinstance(answer, Present) else None
    paths = _paths(name, scope, desired)
    fields = list(compare(actual, desired, skip=("key", *(() if manager == "apt" else ("types", "pin")))))
    fields += _key(desired, answer.notes["keys"].get(paths.key))
    fields = [item for item in fields if actual is not None or item.after not in (False, ())]
    if reason := _objection(name, desired, manager, paths, answer.notes["known"]):
        return refused(action, reason, fields)
    if action is Action.CREATE:
        return created(fields)
    known = answer.notes["known"]
    texts = repositories.texts(name, desired, paths, bool(desired.key or desired.key_url))
    wish = {path: text for path, text in texts.items() if known.get(path, "") != text}
    if not fields and wish:
        fields.append(FieldChange("file", f"another {min(wish)}", "as vinfra writes it"))
    return updated(fields)


def _key(desired: Spec, found: str | None) -> Iterable[FieldChange]:
    """A key is told by its sum. One of our own that another proof replaced goes with the next write."""
    wish = desired.key_sha256 if desired.key_url else _sum(desired.key) if desired.key else None
    there = None if found is None else _sum(found)
    if wish and wish != there:
        yield FieldChange("key", there and f"sha256 {there[:16]}…", f"sha256 {wish[:16]}…")


def _sum(text: str) -> str:
    return sha256(contents.encoded(text)).hexdigest()


def _objection(name: str, desired: Spec, manager: object, paths: repositories.Paths, known: Mapping[str, str]) -> str:
    """What cannot be here, or would make apt warn or stop at every later run."""
    if manager not in ("apt", "dnf"):
        return f"this host has neither apt nor dnf but {manager or 'no package manager that is known'}"
    if manager == "apt" and (desired.metalink or desired.check_metadata or not desired.suites):
        return "apt needs uris and suites here; metalink and check_metadata are dnf's"
    if wrong := repositories.words_problem(desired):
        return wrong
    strange = [key for key in ("suites", "components", "architectures", "pin") if getattr(desired, key)]
    if manager == "dnf" and strange:
        return f"dnf knows no {strange[0]}; that is apt's"
    if manager == "dnf" and desired.key and repositories.ARMOR not in desired.key:
        return "rpm takes keys as armored text only (gpg --armor --export)"
    suites = desired.suites or ("",)
    where = [*(desired.uris or ()), *filter(None, [desired.metalink])]
    twice = sources.elsewhere(((uri, suite) for uri in where for suite in suites), paths.source, known)
    return f"{twice}; have it in one file only" if twice and desired.enabled else ""


def steps(change: Change, scope: Scope) -> Sequence[Step]:
    """The lists are fetched by files beside the real ones, which take their place only when it has answered."""
    name, desired = change.address.name, change.desired
    if not isinstance(desired, Spec):
        gone = [
            path for paths in (repositories.apt(name), repositories.dnf(name)) for path in repositories.all_of(paths)
        ]
        return [Step(f"remove repository {name}", (Exec(("rm", "-rf", "--", *_keys(name), *gone)),))]
    paths, calls = _paths(name, scope, desired), list[Call]()
    if desired.key_url:
        armored = "yes" if paths.key.endswith(".asc") or not paths.preferences else "no"
        calls.append(Exec(repositories.fetch(desired.key_url, paths, desired.key_sha256 or "", armored)))
    elif desired.key:
        calls.append(Write(paths.new_key, contents.encoded(desired.key), "0644", "root", "root"))
    signed = bool(desired.key or desired.key_url)
    for path, text in repositories.staged(name, desired, paths, signed).items():
        calls.append(Write(path, text.encode(), "0644", "root", "root"))
    put = repositories.put(name, paths, signed, desired.enabled, change.notes["stamp"])
    folders = Exec(("install", "-d", "-m", "0755", "--", *repositories.folders(paths)))
    said = "once it has answered" if desired.enabled else "switched off"
    step = Step(f"write {paths.source}, {said}", (folders, *calls, Exec(put, env=apt.ENVIRONMENT)), timeout=1800.0)
    return [step]


def undo(change: Change, scope: Scope) -> Undo:
    """The files as they were, byte for byte; a new one goes."""
    if not isinstance(change.actual, Spec):
        return Undo(tuple(steps(replace(change, desired=None), scope)), early=True)
    known, keys, name = change.notes["known"], change.notes["keys"], change.address.name
    paths = _paths(name, scope, None)
    former = {**keys, **{path: known[path] for path in (paths.preferences, paths.source) if path in known}}
    gone = [path for path in (*_keys(name), paths.preferences) if path and path not in former]
    calls = [Write(path, contents.encoded(text), "0644", "root", "root") for path, text in former.items()]
    return Undo((Step(f"{paths.source} as it was", (*calls, Exec(("rm", "-f", "--", *gone)))),))


def ask_all(_answers: Answers) -> Iterable[Question]:
    """Every list of apt or dnf."""
    return (sources.LINES,)


def listing(_scope: Scope, answers: Answers) -> Iterable[Listed]:
    """Those that vinfra wrote; what others wrote are files."""
    known = sources.files(answers)
    if isinstance(known, Unknown):
        return
    for entry in sources.entries(known):
        if match := OURS.fullmatch(entry.path):
            told = sources.fields(entry, known.get(repositories.apt(match[1]).preferences, ""))
            shown = {key: list(value) if isinstance(value, tuple) else value for key, value in told.items() if value}
            usual = (("types", ["deb"]), ("enabled", True))
            yield Listed(match[1], {key: value for key, value in shown.items() if (key, value) not in usual})
