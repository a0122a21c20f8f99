"""Kernel modules: loaded now and at each boot, with their options; or kept out."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vinfra.kinds.compare import bringers, created, deleted, later, no_references, refused, updated
from vinfra.kinds.host.kernel import shared, text_of
from vinfra.model import spec as shape
from vinfra.model.action import Action, Impact
from vinfra.model.answer import Absent, Answer, Present, Unknown
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta, FieldChange, Undo
from vinfra.model.kind import Answers, Removal, Scope
from vinfra.model.question import Exec as Ask
from vinfra.model.question import Question, ReadFile
from vinfra.model.spec import field
from vinfra.model.step import Exec, Step, Write
from vinfra.model.values import Flag, Text

NAME = "host.kernel_module"
SECTION = "kernel_modules"
SHORTHAND = "loaded"
ORDER = 22
SHARED = False
REMOVAL = Removal(when="a loaded module stays until the next boot, one kept out is loaded when something asks for it")

LOADED = ReadFile("/proc/modules", limit=1 << 20)
BUILT_IN = "(builtin)"
NO_PROGRAM = 127


class Spec(shape.Spec):
    """A module of the kernel: its state now, and at boot by files of its own in modules-load.d and modprobe.d."""

    FOLLOWS = ("persisted",)

    loaded: Flag = field("Load it; false keeps it out, whatever asks for it.", default=True)
    options: Mapping[Text, Text] | None = field(
        "Its parameters.",
        when="they count when the module is loaded the next time",
        examples=({"nested": "1"},),
    )


def check(name: str, desired: shape.Spec | None) -> str:
    """The name, and what can stand in a line of modprobe.d."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        return "write the name of a module as lsmod does, such as br_netfilter"
    for key, value in (desired.options or {}).items() if isinstance(desired, Spec) else ():
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", key) or re.search(r"[\s\\\"'#]", value):
            return f"an option is NAME: VALUE without spaces and quotes, not {key!r}: {value!r}"
    return ""


def canonical(name: str) -> str:
    """As the kernel writes it: to it `-` and `_` are the same."""
    return name.replace("-", "_")


def identity(name: str) -> str:
    """Two spellings are one module."""
    return f"module:{canonical(name)}"


references = no_references


def at_boot(name: str) -> str:
    """The file that has it loaded at boot."""
    return f"/etc/modules-load.d/90-vinfra-{canonical(name)}.conf"


def settings(name: str) -> str:
    """The file with its options, or with what keeps it out."""
    # The last option counts, files are read by name, and systemd.conf has options for dummy and bonding.
    return f"/etc/modprobe.d/zz-vinfra-{canonical(name)}.conf"


def _found(name: str) -> Ask:
    return Ask(("modinfo", "-F", "filename", "--", name))


def ask(scope: Scope, _answers: Answers) -> Iterable[Question]:
    """What is loaded, both files of each module, and whether this kernel has it."""
    yield LOADED
    for item in scope.wanted:
        name = item.address.name
        yield from (ReadFile(at_boot(name)), ReadFile(settings(name)), _found(name))


def read(scope: Scope, answers: Answers) -> Mapping[str, Answer]:
    """Present when a file of ours is there; what the kernel has is among the notes."""
    return {item.address.name: _one(item.address.name, answers) for item in scope.wanted}


def _one(name: str, answers: Answers) -> Answer:
    boot = text_of(at_boot(name), answers.get(ReadFile(at_boot(name))))
    conf = text_of(settings(name), answers.get(ReadFile(settings(name))))
    modules = text_of("/proc/modules", answers.get(LOADED))
    for part in (boot, conf, modules):
        if isinstance(part, Unknown):
            return part
    lines = [line.split() for line in str(modules or "").splitlines()]
    line = next((words for words in lines if words[0] == canonical(name)), None)
    info = answers.get(_found(name))
    if info is None or info.returncode == NO_PROGRAM:
        return Unknown("there is no modinfo on this host; install kmod")
    built_in = info.ok and info.text.strip() == BUILT_IN
    notes: dict[str, Any] = {
        "boot": boot,
        "conf": conf,
        "known": info.ok or line is not None,
        "built_in": built_in,
        "loaded": built_in or line is not None,
        "uses": int(line[2]) if line and line[2].isdigit() else 0,
        "users": [user for user in line[3].split(",") if user not in ("", "-")] if line else [],
    }
    if boot is None and conf is None:
        return Absent(notes)
    return Present(Spec.model_construct(loaded=notes["loaded"], options=_options(name, conf)), notes)


def _options(name: str, conf: Any) -> dict[str, str]:
    """The options in our file."""
    lines = [line.split() for line in str(conf or "").splitlines()]
    words = [word for line in lines if line[:2] == ["options", canonical(name)] for word in line[2:]]
    return {key: value for key, _, value in (word.partition("=") for word in words)}


def _wished(name: str, desired: Spec, notes: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """What both files must hold, None for no file. Options that are not managed stay."""
    options = _options(name, notes.get("conf")) if desired.options is None else desired.options
    words = " ".join(f"{key}={value}" for key, value in sorted(options.items()))
    lines = [f"options {canonical(name)} {words}"] if words else []
    if not desired.loaded:
        # A blacklist keeps it from being loaded for a device; only this keeps everybody else from it.
        lines += [f"blacklist {canonical(name)}", f"install {canonical(name)} /bin/false"]
    return f"{canonical(name)}\n" if desired.loaded else None, "".join(f"{line}\n" for line in lines) or None


def _kept(conf: Any, boot: Any) -> str | None:
    if "install" in str(conf or "").split():
        return "kept out"
    return "loaded" if boot else None


def diff(resource: Resource, answer: Answer, scope: Scope) -> Delta:
    """The state now, the state at boot and the options, as three fields."""
    name, desired = resource.address.name, resource.desired
    if not isinstance(desired, Spec):
        return deleted(reason=REMOVAL.when) if isinstance(answer, Present) else Delta(Action.NOOP)
    notes = answer.notes if isinstance(answer, Present | Absent) else {}
    action = Action.UPDATE if isinstance(answer, Present) else Action.CREATE
    fields = _fields(name, desired, notes)
    if why := _impossible(name, desired, notes, scope):
        return refused(action, why, fields) if fields else Delta(Action.NOOP)
    if not notes.get("known") and desired.loaded:
        found = bringers(scope, "package:", "operation:")
        if found:
            return later(action, f"this kernel has no such module yet; {found[0]} may bring it", fields)
        return refused(action, f"kernel {scope.facts.get('kernel') or 'here'} has no module {name}", fields)
    counts = any(item.path == "options" for item in fields) and notes.get("loaded")
    reason = "options count when it is loaded the next time" if counts else ""
    if action is Action.UPDATE:
        return updated(fields, reason)
    now = any(item.path == "loaded" for item in fields)
    return created(fields, reason, impact=Impact.LIVE if now else Impact.NONE)


def _impossible(name: str, desired: Spec, notes: Mapping[str, Any], scope: Scope) -> str:
    if why := shared(scope):
        return why
    if notes.get("built_in") and not desired.loaded:
        return f"{name} is built into this kernel, so it is always there"
    if notes.get("built_in") and desired.options:
        key = next(iter(desired.options))
        return f"{name} is built into this kernel; declare its options as kernel_arguments, such as {name}.{key}"
    if not desired.loaded and notes.get("uses"):
        users = ", ".join(notes.get("users") or ()) or "a device, a file system or a process"
        return f"{name} cannot be unloaded while it is in use: by {users}"
    return ""


def _fields(name: str, desired: Spec, notes: Mapping[str, Any]) -> list[FieldChange]:
    found = []
    if bool(notes.get("loaded")) != desired.loaded:
        found.append(FieldChange("loaded", bool(notes.get("loaded")), desired.loaded))
    boot, conf = _wished(name, desired, notes)
    options = _options(name, notes.get("conf"))
    if desired.options is not None and dict(desired.options) != options:
        found.append(FieldChange("options", options, dict(desired.options)))
    if boot != notes.get("boot") or (conf != notes.get("conf") and not any(item.path == "options" for item in found)):
        wish = "loaded" if desired.loaded else "kept out"
        before = _kept(notes.get("conf"), notes.get("boot"))
        found.append(FieldChange("persisted", "something else" if before == wish else before, wish))
    return found


def steps(change: Change, _scope: Scope) -> Sequence[Step]:
    """Its options first, as loading takes them; then the kernel; a module that does not load is not loaded at boot."""
    name, desired, notes = change.address.name, change.desired, change.notes
    if not isinstance(desired, Spec):
        return _files(name, (None, None), (notes.get("boot"), notes.get("conf")))
    boot, conf = _wished(name, desired, notes)
    before = notes.get("boot"), notes.get("conf")
    now = [_now(name, load=desired.loaded)] if bool(notes.get("loaded")) != desired.loaded else []
    return [*_files(name, (before[0], conf), before), *now, *_files(name, (boot, conf), (before[0], conf))]


def _now(name: str, *, load: bool) -> Step:
    if load:
        return Step(f"load {name} now", (Exec(("modprobe", "--", canonical(name))),))
    # Not modprobe -r: it takes along what others may count on.
    return Step(f"unload {name} now", (Exec(("rmmod", "--", canonical(name))),))


def _files(name: str, wished: tuple[str | None, str | None], before: tuple[str | None, str | None]) -> list[Step]:
    """What makes both files from what they were to what they are to be."""
    found = []
    for path, text, old in zip((at_boot(name), settings(name)), wished, before, strict=True):
        if text is None and old is not None:
            found.append(Step(f"remove {path}", (Exec(("rm", "-f", "--", path)),)))
        elif text is not None and text != old:
            found.append(Step(f"write {path}", (Write(path, text.encode(), "0644", "root", "root"),)))
    return found


def undo(change: Change, _scope: Scope) -> Undo | str:
    """Both files as they were, and the module in or out as it was."""
    name, desired, notes = change.address.name, change.desired, change.notes
    assert isinstance(desired, Spec)
    before = notes.get("boot"), notes.get("conf")
    now = [_now(name, load=not desired.loaded)] if bool(notes.get("loaded")) != desired.loaded else []
    return Undo((*_files(name, before, _wished(name, desired, notes)), *now))
