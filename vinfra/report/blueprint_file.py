"""A blueprint written from what was found: YAML that people go on with, the same each time, with what it leaves out."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import yaml

from vinfra.model.estate import Estate, Item
from vinfra.model.kind import Kinds, Lists
from vinfra.report.visible import visible
from vinfra.text.expression import has_template

WIDTH = 112


class _Raw(str):
    """Text that only looks like a template."""


class _Dumper(yaml.SafeDumper):
    """Text of several lines as a block, lists indented, nothing folded."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> Any:
        return super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    style = "|" if "\n" in value else None
    tag = "!raw" if isinstance(value, _Raw) else "tag:yaml.org,2002:str"
    return dumper.represent_scalar(tag, str(value), style=style or ('"' if tag == "!raw" else None))


_Dumper.add_representer(str, _text)
_Dumper.add_representer(_Raw, _text)
_Dumper.add_representer(type(None), lambda dumper, _: dumper.represent_scalar("tag:yaml.org,2002:null", ""))


def text(name: str, estate: Estate, items: Sequence[Item], kinds: Kinds) -> str:
    """The whole file."""
    owned = sorted({f"{item.address.reference} ({', '.join(item.owners)})" for item in estate.items if item.owners})
    silent = [kind.NAME.rpartition(".")[2] for kind in kinds.values() if not isinstance(kind, Lists)]
    head = [
        f"What was found on {visible(estate.host)}, as it is: the plan of this file is empty. Nothing of it is owned "
        f"yet: `vinfra adopt FILE '*'` takes it over, and what leaves the file then is removed.",
        "Passwords and whatever only some may read are not written here. What no field says, such as a machine's "
        f"place on its bus, stays as it is. Kinds that list nothing: {', '.join(silent)}.",
    ]
    head += [f"Left out, for it is owned already: {', '.join(map(visible, owned))}."] if owned else []
    head += [f"Not known, {noun}: {visible(reason)}" for noun, reason in sorted(estate.unread.items())]
    lines = [line for part in head for line in (*_comment(part), "#")][:-1]
    lines += [f"blueprint: {_scalar(name)}", "hosts:", f"  {_scalar(estate.host)}:"]
    body = [line for kind in kinds.values() for line in _section(kind, items)]
    return "\n".join([*lines, *(body or ["    {}"])]) + "\n"


def _section(kind: Any, items: Iterable[Item]) -> Iterator[str]:
    mine = sorted((item for item in items if item.address.kind == kind.NAME), key=lambda item: item.address.name)
    declared = [item for item in mine if item.fields is not None]
    if declared:
        yield f"    {kind.SECTION}:"
    bare = not any(item.fields or item.note for item in declared)
    for item in declared if bare else ():
        yield f"      - {_scalar(item.address.name)}"
    for item in () if bare else declared:
        yield from _comment(item.note, 6) if item.note else ()
        fields = _written(item.fields or {})
        value = fields[kind.SHORTHAND] if set(fields) == {kind.SHORTHAND} else fields
        yield from _indented(_dumped({item.address.name: None if value == {} else value}), 6)
    for item in mine:
        if item.fields is None:
            yield from _comment(f"{item.address.reference}: {item.note}", 4)


def _written(value: Any) -> Any:
    if isinstance(value, str):
        return _Raw(value) if has_template(value) else value
    if isinstance(value, Mapping):
        return {key: _written(item) for key, item in value.items()}
    return [_written(item) for item in value] if isinstance(value, list | tuple) else value


def _dumped(value: Any) -> str:
    made: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)
    return made


def _scalar(value: str) -> str:
    return _dumped([value]).removeprefix("- ").strip().removeprefix("- ")


def _indented(block: str, left: int) -> list[str]:
    return [f"{' ' * left}{line}" if line else "" for line in block.splitlines()]


def _comment(said: str, left: int = 0) -> list[str]:
    return [f"{' ' * left}# {line}" for line in textwrap.wrap(visible(said), WIDTH - left) or [""]]
