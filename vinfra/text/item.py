"""From one declaration to what it wishes for: templates rendered, shorthands spelled out, the spec validated."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vinfra.errors import InputError
from vinfra.model.action import Impact
from vinfra.model.blueprint import Declaration
from vinfra.model.kind import Kind
from vinfra.model.source import Pointer, Problem
from vinfra.model.spec import Deferred, Spec, declared
from vinfra.model.values import Literal, Plain
from vinfra.text.complaint import Complaints, near, pathway, sort_of
from vinfra.text.expression import has_template, is_template, names_in, placed
from vinfra.text.fields import absolute, build, shape_of
from vinfra.text.first_boot import with_files
from vinfra.text.template import FACTS, Variables

META = ("needs", "protect", "allow")
PRESENT, ABSENT = "present", "absent"
_FLAGS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Item:
    """What a declaration means on every host where its variables are the same. `desired` None: absent."""

    desired: Spec | None
    needs: tuple[str, ...] = ()
    protect: bool = False
    allow: Impact = Impact.NONE
    hard: frozenset[str] = frozenset()
    soft: frozenset[str] = frozenset()


class _Wrong(Exception):
    """The item cannot be made; why has been told."""


class Maker:
    """Makes the items of one run. Files beside the blueprint are looked at once."""

    def __init__(self) -> None:
        self._files: dict[str, str] = {}

    def make(self, declaration: Declaration, kind: Kind, variables: Variables | None) -> Item | list[Problem]:
        """The item, or what is wrong with it. Without variables the value holds no template."""
        complaints = Complaints()
        try:
            item = self._item(declaration, kind, variables, complaints)
        except InputError as error:
            told = placed(error, declaration.source.position(declaration.pointer), pathway(declaration.path)).problems
            complaints.take(*(problem for problem in told if isinstance(problem, Problem)))
        except _Wrong:
            pass
        else:
            if not complaints:
                return item
        return complaints.sorted()

    def _item(self, declaration: Declaration, kind: Kind, variables: Variables | None, complaints: Complaints) -> Item:
        say = _Voice(declaration, complaints)
        value = declaration.value
        if variables is not None and (not isinstance(value, dict)) and not _waits(value, variables):
            value, variables = variables.render(value), None  # what was rendered is no template any more
        fields = _fields(value, kind, say)
        if fields is None:
            return self._checked(Item(None), declaration, kind, say)
        meta = {key: fields[key] for key in META if key in fields}
        values = {key: item for key, item in fields.items() if key not in META} if meta else fields
        if variables is not None:
            meta = variables.render(meta)
            values = _rendered(values, variables, say)
        if shape_of(kind.Spec).paths:
            values = self._paths(values, kind.Spec, say)
        values = with_files(values, kind.Spec, Path(declaration.position.file).parent, say)
        desired = build(kind.Spec, values, Path(declaration.position.file).parent, META)
        if isinstance(desired, list):
            short = kind.SHORTHAND if not isinstance(declaration.value, dict) else ""
            for fault in desired:
                pointer = fault.pointer[1:] if short and fault.pointer[:1] == (short,) else fault.pointer
                say(pointer, fault.message, key=fault.key)
            raise _Wrong
        item = Item(
            desired, _needs(meta.get("needs"), say), _flag(meta.get("protect"), say), allowance(meta.get("allow"), say)
        )
        return self._checked(item, declaration, kind, say)

    def _checked(self, item: Item, declaration: Declaration, kind: Kind, say: "_Voice") -> Item:
        """The item, with the kind's own opinion and its references."""
        if complaint := kind.check(declaration.name, item.desired):
            say((), complaint, key=True)
            raise _Wrong
        hard, soft = kind.references(declaration.name, item.desired)
        if not hard and not soft:
            return item
        return Item(item.desired, item.needs, item.protect, item.allow, hard, soft)

    def _paths(self, values: dict[str, Any], spec: type[Spec], say: "_Voice") -> dict[str, Any]:
        """Fields that name a file beside the blueprint: made absolute, and looked at."""
        found = {name: values[name] for name in shape_of(spec).paths if values.get(name) is not None}
        directory = Path(say.declaration.position.file).parent
        for name, written in found.items():
            path = found[name] = absolute(directory, written)
            if isinstance(path, str) and (complaint := self._unreadable(path)):
                say((name,), complaint)
        return {**values, **found}

    def _unreadable(self, path: str) -> str:
        known = self._files.get(path)
        if known is None:
            file = Path(path)
            known = "" if file.is_file() else f"{path} is no file" if file.exists() else f"there is no file {path}"
            self._files[path] = known
        return known


@dataclass(frozen=True, slots=True)
class _Voice:
    """Complains about parts of one declaration."""

    declaration: Declaration
    complaints: Complaints

    def __call__(self, pointer: Pointer, message: str, *, key: bool = False) -> None:
        declaration = self.declaration
        if _within(declaration.over, pointer):
            pointer = ("overrides", declaration.name, *pointer)
        if not key and declaration.source.spoilt((*declaration.pointer, *pointer)):
            return
        position = declaration.source.position((*declaration.pointer, *pointer), key=key)
        self.complaints.take(Problem(position, pathway((*declaration.path, *pointer)), message))


def _within(tree: Any, pointer: Pointer) -> bool:
    """Whether what the pointer names comes from this tree, as `merged` lays it over another."""
    for key in pointer:
        if not isinstance(tree, dict):
            break
        tree = tree.get(key)
    return bool(pointer) and tree is not None


def _fields(value: Any, kind: Kind, say: _Voice) -> dict[str, Any] | None:
    """The fields that a value means; None when the object is to be absent."""
    if value is None:
        return {}
    if isinstance(value, dict):
        return value
    word = None if type(value) is Literal or (kind.SHORTHAND and type(value) is not Plain) else value
    if word == PRESENT:
        return {}
    if word == ABSENT:
        return None
    if value in (PRESENT, ABSENT) and type(value) is str:
        say((), f"write {value} without quotes; for the text itself write {{{kind.SHORTHAND}: {value}}}")
        raise _Wrong
    if kind.SHORTHAND and isinstance(value, str):
        return {kind.SHORTHAND: value}
    if is_template(value):
        message = "facts come too late to decide this; use them inside a field"
    elif isinstance(value, str):
        message = f"{str(value)!r} is not allowed here; write present, absent or fields{near(value, (PRESENT, ABSENT))}"
    else:
        message = f"write fields, not {sort_of(value)}"
    say((), message)
    raise _Wrong


def _waits(value: Any, variables: Variables) -> bool:
    """Whether a value uses facts, directly or through a variable."""
    return FACTS in variables.reach(names_in(value))


def _rendered(values: dict[str, Any], variables: Variables, say: _Voice) -> dict[str, Any]:
    """Each field rendered, or deferred when it waits for facts; everything wrong is told before giving up."""
    result: dict[str, Any] = {}
    wrong: list[Problem] = []
    for name, value in values.items():
        if not has_template(value):
            result[name] = value
            continue
        try:
            if _waits(value, variables):
                wrong += variables.check(value)
                result[name] = Deferred(value)
            else:
                result[name] = variables.render(value)
        except InputError as error:
            wrong += [problem for problem in error.problems if isinstance(problem, Problem)]
    if wrong:
        say.complaints.take(*wrong)
        raise _Wrong
    return result


def _needs(value: Any, say: _Voice) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(map(str, value))
    say(("needs",), f"write a list of references such as package:nginx, not {sort_of(value)}")
    return ()


def _flag(value: Any, say: _Voice) -> bool:
    if value is None:
        return False
    if value not in _FLAGS:
        say(("protect",), "write true or false")
    return _FLAGS.get(value, False) if isinstance(value, str) else False


def allowance(value: Any, say: Callable[[Pointer, str], None]) -> Impact:
    """What `allow:` says; what is wrong with it is said."""
    if value is None:
        return Impact.NONE
    allowed = {str(impact): impact for impact in Impact}
    if not isinstance(value, str) or value not in allowed:
        say(("allow",), f"write one of {', '.join(allowed)}{near(str(value), allowed)}")
        return Impact.NONE
    return allowed[value]


def merged(below: Any, above: Any) -> Any:
    """Two trees as one: mappings key by key, of anything else the one above counts."""
    if isinstance(below, dict) and isinstance(above, dict):
        return {**below, **{key: merged(below.get(key), item) for key, item in above.items()}}
    return below if above is None else above


def rendered_files(desired: Spec) -> list[str]:
    """The template files that a spec names."""
    paths = shape_of(type(desired)).paths
    found = [getattr(desired, name) for name in paths if declared(type(desired), name, "rendered")]
    return [path for path in found if isinstance(path, str)]
