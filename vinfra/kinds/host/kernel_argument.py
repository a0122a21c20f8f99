"""Arguments that the kernel is booted with, by the boot loader that the host has."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vinfra.kinds.compare import bringers, created, deleted, later, no_references, own_identity, refused, updated
from vinfra.kinds.host.kernel import cmdline, shared, text_of
from vinfra.model import spec as shape
from vinfra.model.action import Action
from vinfra.model.answer import Absent, Answer, Present, Unknown
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta, FieldChange, Undo
from vinfra.model.kind import Answers, Removal, Scope
from vinfra.model.question import Exec as Ask
from vinfra.model.question import Question, ReadFile
from vinfra.model.spec import field
from vinfra.model.step import Exec, Step, Write
from vinfra.model.values import Text

NAME = "host.kernel_argument"
SECTION = "kernel_arguments"
SHORTHAND = "value"
ORDER = 52
SHARED = False
REMOVAL = Removal(when="it counts until the next boot")

GRUB = Ask(("test", "-x", "/usr/sbin/update-grub"))
GRUBBY = Ask(("test", "-x", "/usr/sbin/grubby"))
SYSTEMD_BOOT = Ask(("test", "-f", "/etc/kernel/cmdline"))
UPDATE = Exec(("update-grub",))
DUE = "counts after a reboot"


class Spec(shape.Spec):
    """An argument of the kernel's command line, in a file of its own that GRUB reads (/etc/default/grub.d)."""

    FOLLOWS = ("menu",)

    value: Text = field(
        'Its value; "" for one that is only named.',
        default="",
        when="it counts after a reboot",
        examples=("on", "1G"),
    )


def check(name: str, desired: shape.Spec | None) -> str:
    """Both must be one word for the kernel, and nothing else for the shell and for GRUB, which read it in scripts."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        return "write the name of an argument, such as intel_iommu, and what stands after its = as its value"
    if isinstance(desired, Spec) and re.search(r"[^!-~]|[\"'`$\\;&|<>{}#]", desired.value):
        return (
            "a value has no spaces, quotes, and none of $ \\ ; & | < > { } #, for GRUB and a shell read it in scripts"
        )
    return ""


identity = own_identity
references = no_references


def own(name: str) -> str:
    """The file that is this argument's own."""
    return f"/etc/default/grub.d/90-vinfra-{name}.cfg"


def ask(scope: Scope, _answers: Answers) -> Iterable[Question]:
    """Which boot loader there is, its menu, each argument's file, and what the kernel was booted with."""
    yield from (GRUB, GRUBBY, SYSTEMD_BOOT, cmdline.MENU, cmdline.RUNNING)
    for item in scope.wanted:
        yield ReadFile(own(item.address.name))


def read(scope: Scope, answers: Answers) -> Mapping[str, Answer]:
    """Present when our file is there; the menu and the running kernel's line are among the notes."""
    return {item.address.name: _one(item.address.name, answers) for item in scope.wanted}


def _one(name: str, answers: Answers) -> Answer:
    file = text_of(own(name), answers.get(ReadFile(own(name))))
    menu = text_of(cmdline.MENU.path, answers.get(cmdline.MENU))
    running = text_of(cmdline.RUNNING.path, answers.get(cmdline.RUNNING))
    for part in (file, menu, running):
        if isinstance(part, Unknown):
            return part
    known = (("grub", GRUB), ("grubby", GRUBBY), ("systemd-boot", SYSTEMD_BOOT))
    loader = next((name for name, asked in known if (raw := answers.get(asked)) is not None and raw.ok), "")
    notes: dict[str, Any] = {
        "file": file,
        "loader": loader,
        "menu": cmdline.menu(str(menu or "")),
        "running": str(running or ""),
    }
    if file is None:
        return Absent(notes)
    return Present(Spec.model_construct(value=_value(name, str(file))), notes)


def _content(name: str, value: str) -> str:
    return f'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX {cmdline.word(name, value)}"\n'


def _value(name: str, text: str) -> str | None:
    """The value in our file, None when somebody wrote something else there."""
    found = re.fullmatch(r'GRUB_CMDLINE_LINUX="\$GRUB_CMDLINE_LINUX (\S+)"\n', text)
    key, _, value = found[1].partition("=") if found else ("", "", "")
    return value if key == name else None


def diff(resource: Resource, answer: Answer, scope: Scope) -> Delta:
    """Our file, and the menu that update-grub makes of it."""
    name, desired = resource.address.name, resource.desired
    if not isinstance(desired, Spec):
        return deleted(reason=REMOVAL.when) if isinstance(answer, Present) else Delta(Action.NOOP)
    notes = answer.notes if isinstance(answer, Present | Absent) else {}
    action = Action.UPDATE if isinstance(answer, Present) else Action.CREATE
    fields = _fields(name, desired, notes, answer)
    if why := shared(scope):
        return refused(action, why, fields)
    if notes.get("loader") != "grub":
        found = bringers(scope, "package:", "operation:")
        if found and not notes.get("loader"):
            return later(action, f"there is no boot loader yet; {found[0]} may bring it", fields)
        return refused(action, _stranger(str(notes.get("loader"))), fields)
    reason = "" if cmdline.given(str(notes.get("running")), name, desired.value) else DUE
    return updated(fields, reason) if action is Action.UPDATE else created(fields, reason)


def _stranger(loader: str) -> str:
    if loader == "grubby":
        return "this host's arguments are changed by grubby, which vinfra does not do yet: grubby --update-kernel=ALL"
    if loader == "systemd-boot":
        return "this host boots by /etc/kernel/cmdline, which vinfra does not change yet: add it there"
    return "no boot loader that vinfra knows is on this host; it knows GRUB with update-grub"


def _fields(name: str, desired: Spec, notes: Mapping[str, Any], answer: Answer) -> list[FieldChange]:
    found = []
    if notes.get("file") != _content(name, desired.value):
        before = answer.actual.value if isinstance(answer, Present) and isinstance(answer.actual, Spec) else None
        found.append(FieldChange("value", before, desired.value))
    if not cmdline.in_all(notes.get("menu") or (), name, desired.value):
        found.append(FieldChange("menu", None, cmdline.word(name, desired.value)))
    return found


def steps(change: Change, _scope: Scope) -> Sequence[Step]:
    """The file, then the menu. An update-grub that fails leaves the old menu, and the next plan sees that."""
    name, desired = change.address.name, change.desired
    if not isinstance(desired, Spec):
        return _made(name, None)
    return _made(name, None if change.notes.get("file") == _content(name, desired.value) else desired.value, keep=True)


def _made(name: str, value: str | None, *, keep: bool = False) -> list[Step]:
    found = []
    if value is not None:
        content = _content(name, value).encode()
        found.append(Step(f"write {own(name)}", (Write(own(name), content, "0644", "root", "root"),)))
    elif not keep:
        found.append(Step(f"remove {own(name)}", (Exec(("rm", "-f", "--", own(name))),)))
    return [*found, Step("make GRUB's menu anew", (UPDATE,))]


def undo(change: Change, _scope: Scope) -> Undo | str:
    """The former file or none, and its menu."""
    name, before = change.address.name, change.notes.get("file")
    if before is None:
        return Undo(tuple(_made(name, None)))
    write = Step(f"write {own(name)}", (Write(own(name), str(before).encode(), "0644", "root", "root"),))
    return Undo((write, Step("make GRUB's menu anew", (UPDATE,))))
