"""Guests that run guests: the parameter `nested` of KVM's module, now and at the next boot."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vinfra.kinds.host.facts.virtualization import MODULES, PARAMETERS, nests
from vinfra.model.answer import Unknown
from vinfra.model.kind import Answers
from vinfra.model.question import ReadFile
from vinfra.model.step import Exec, Step, Write

OPTIONS = ReadFile("/etc/modprobe.d/vinfra-kvm.conf", limit=4096)
NO_SUCH_FILE = 2
_PARAMETERS = {name: ReadFile(f"{folder}/nested", limit=64) for name, folder in PARAMETERS.items()}


@dataclass(frozen=True, slots=True)
class Module:
    """KVM's module for this CPU ("" when there is none). `nests` is None while it is not loaded.

    `options` is the text of our file for it, "" when there is none.
    """

    name: str
    nests: bool | None
    options: str

    def differs(self, wish: bool) -> bool:
        """Whether it is not so now, or will not be at the next boot. What the kernel does by itself needs no file."""
        boots_otherwise = self.options != _text(self.name, wish) and (self.options or self.nests is None)
        return bool(boots_otherwise) or self.nests not in (wish, None)


def ask() -> Iterable[ReadFile]:
    """The parameter of either module, and our file."""
    return (*_PARAMETERS.values(), OPTIONS)


def read(answers: Answers, flag: str) -> Module | Unknown:
    """The module that is loaded, or else the one that the CPU's flag asks for."""
    for question in ask():
        raw = answers.get(question)
        if raw is None or raw.returncode not in (0, NO_SUCH_FILE):
            return Unknown(f"cannot read {question.path}: {(raw.err.strip() if raw else '') or 'no reason given'}")
    loaded = next((name for name, question in _PARAMETERS.items() if answers[question].ok), "")
    nesting = nests(answers[_PARAMETERS[loaded]].text) if loaded else None
    options = answers[OPTIONS]
    return Module(loaded or MODULES.get(flag, ""), nesting, options.text if options.ok else "")


def _text(module: str, nested: bool) -> str:
    return f"options {module} nested={int(nested)}\n"


def steps(module: Module, wish: bool) -> Sequence[Step]:
    """The file for the next boot; the module anew if it runs otherwise. One that is not loaded yet reads the file."""
    calls: tuple[Write | Exec, ...] = (Write(OPTIONS.path, _text(module.name, wish).encode(), "0644", "root", "root"),)
    said = f"set nested={int(wish)} for {module.name}"
    if module.nests not in (wish, None):
        calls = (*calls, Exec(("modprobe", "-r", module.name)), Exec(("modprobe", module.name)))
        said += " and load it anew"
    return [Step(said, calls)]
