"""What a kind and its fields mean, told from what their spec declares."""

import difflib
import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vinfra.errors import UsageError
from vinfra.model.kind import Kind, Kinds, Trait, has
from vinfra.model.spec import Spec, declared
from vinfra.report import wording
from vinfra.text.sections import ON


@dataclass(frozen=True, slots=True)
class FieldDoc:
    """What there is to say of a field."""

    name: str
    type: str
    default: str
    impact: str
    doc: str
    example: str
    remarks: tuple[str, ...]
    required: bool
    why: str = ""
    when: str = ""


def explain(kinds: Kinds, wanted: str = "", width: int | None = None) -> str:
    """A kind or one of its fields, in lines of at most `width`; all kinds when nothing is asked."""
    if not wanted:
        rows: list[tuple[str, ...]] = [(n, f"{kind.SECTION}:", _first_line(kind)) for n, kind in kinds.items()]
        head = ["Kinds, their section in a blueprint, and what they are. `vinfra explain KIND` tells more.", ""]
        return "\n".join([*head, *_aligned(rows, width)])
    kind, field = _find(kinds, wanted)
    docs = field_docs(kind.Spec)
    if field:
        return _explained(kind, next(doc for doc in docs if doc.name == field))
    short = f" A bare value means `{kind.SHORTHAND}`." if kind.SHORTHAND else ""
    head = [f"{kind.NAME}: {kind_doc(kind)}", f"{standing(kind)}{short}"]
    rows = [(doc.name, doc.type, doc.impact, doc.doc) for doc in docs]
    text = [line for part in head for line in _filled(part, width)]
    return "\n".join([*text, "", *_aligned(rows, width), "", "Example:", *_indented(example(kind))])


def _filled(text: str, width: int | None) -> list[str]:
    return textwrap.wrap(text, width) if width else [text]


def _aligned(rows: Sequence[tuple[str, ...]], width: int | None) -> list[str]:
    """Rows in columns, the last one wrapped within itself."""
    columns = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:-1]]
    left = 2 + sum(columns) + 2 * len(columns)
    lines = []
    for row in rows:
        head = "  " + "".join(f"{cell:<{size}}  " for cell, size in zip(row[:-1], columns, strict=True))
        first, *rest = _filled(row[-1], max(24, width - left) if width else None) or [""]
        lines += [(head + first).rstrip(), *(" " * left + line for line in rest)]
    return lines


def example(kind: Kind) -> str:
    """A piece of blueprint with every field that is a property of the object and has an example."""
    given = {
        doc.name: doc.example
        for doc in field_docs(kind.Spec)
        if doc.example and (doc.required or declared(kind.Spec, doc.name, "compared"))
    }
    body = [f"{key}: {value}" for key, value in given.items()]
    if has(kind, Trait.LAZY):
        above, below = [f"{kind.SECTION}:", "  NAME:"], 4
    elif has(kind, Trait.TOP) or has(kind, Trait.FLEET):
        above, below = [f"{kind.SECTION}:", "  NAME:", f"    {ON}: web"], 4
    elif has(kind, Trait.SINGLE):
        above, below = ["hosts:", "  web:", f"    {kind.SECTION}:"], 6
    else:
        above, below = ["hosts:", "  web:", f"    {kind.SECTION}:", "      NAME:"], 8
    return "\n".join([*above, *(" " * below + line for line in body)])


def field_docs(spec: type[Spec]) -> list[FieldDoc]:
    """Every field of a spec, in its order."""
    schema = spec.model_json_schema()
    return [_field_doc(spec, name, schema) for name in spec.model_fields]


def _field_doc(spec: type[Spec], name: str, schema: Mapping[str, Any]) -> FieldDoc:
    info = spec.model_fields[name]
    unit = wording.type_unit(spec, name)
    own = schema["properties"].get(info.alias or name, {})
    remarks = {
        "secret": "never shown",
        "additive": "names what must be among the actual items; others stay",
    }
    said = [words for key, words in remarks.items() if declared(spec, name, key)]
    if not declared(spec, name, "compared"):
        said.append("steers how the object is made; not compared")
    default = "" if info.is_required() or info.default is None else wording.spell(info.default, unit)
    sample = json.dumps(info.examples[0], ensure_ascii=False) if info.examples else ""
    costs = (str(declared(spec, name, "why")), str(declared(spec, name, "when")))
    impact = str(declared(spec, name, "impact")) if declared(spec, name, "compared") else "-"
    words = {"bytes": "size", "seconds": "duration"}.get(unit) or type_words(own, schema.get("$defs", {}))
    return FieldDoc(
        name, words, default, impact, info.description or "", sample, tuple(said), info.is_required(), *costs
    )


def type_words(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """A JSON schema's type in the words of a blueprint's author."""
    return " or ".join(word for word in dict.fromkeys(_types(schema, definitions)) if word != "null") or "any"


def _types(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Iterator[str]:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        words = {"secret": "secret", "template": "text"}
        yield words[name] if name in words else type_words(definitions.get(name, {}), definitions)
    for part in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        yield from _types(part, definitions)
    if values := schema.get("enum", [schema["const"]] if "const" in schema else ()):
        flags = {str(value).lower() for value in values} == {"true", "false"}
        yield "flag" if flags else " | ".join(map(str, values))
        return
    found = schema.get("type", ())
    names = [found] if isinstance(found, str) else list(found)
    for name in names:
        # Whatever is text may be written as a bare number or flag; no need to say so each time.
        if "string" in names and name in ("number", "integer", "boolean"):
            continue
        yield _word(name, schema, definitions)


def _word(name: str, schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    if name == "array":
        return f"list of {type_words(schema.get('items', {}), definitions)}"
    if name == "object" and isinstance(inner := schema.get("additionalProperties"), dict) and "properties" not in inner:
        return f"mapping to {type_words(inner, definitions)}"
    if name == "string" and "[-+]?[0-9]" in schema.get("pattern", ""):
        return "whole number"
    return {"string": "text", "integer": "whole number", "boolean": "flag", "object": "mapping"}.get(name, name)


def _find(kinds: Kinds, wanted: str) -> tuple[Kind, str]:
    names: dict[str, tuple[Kind, str]] = {}
    for kind in kinds.values():
        for title in (kind.SECTION, kind.NAME.rpartition(".")[2], kind.NAME):
            names[title] = (kind, "")
            names.update({f"{title}.{field}": (kind, field) for field in kind.Spec.model_fields})
    if wanted not in names:
        near = difflib.get_close_matches(wanted, names, n=3)
        hint = f"did you mean {', '.join(near)}?" if near else "vinfra explain lists the kinds"
        raise UsageError(f"no such kind or field: {wanted}", hint)
    return names[wanted]


def _explained(kind: Kind, doc: FieldDoc) -> str:
    lines = [f"{kind.NAME}.{doc.name}: {doc.doc}", "", f"  type      {doc.type}"]
    lines.append("  required  yes" if doc.required else f"  default   {doc.default or 'not managed'}")
    lines.append(f"  impact    {doc.impact}" + (f": {doc.why}" if doc.why else ""))
    lines += [f"  depends   {doc.when}"] if doc.when else []
    lines += [f"  example   {doc.name}: {doc.example}"] if doc.example else []
    return "\n".join([*lines, *(f"  note      {remark}" for remark in doc.remarks)])


def standing(kind: Kind) -> str:
    """Where a kind's section stands in a blueprint."""
    section = f"Section `{kind.SECTION}`"
    if has(kind, Trait.FLEET):
        return f"{section} at the top of a blueprint; each says `{ON}: PATTERN`, the hosts it may use."
    if has(kind, Trait.LAZY):
        return f"{section} at the top of a blueprint; made on each host where something needs it."
    if has(kind, Trait.TOP):
        return f"{section} of hosts, or at the top of a blueprint, where each says `{ON}: PATTERN`."
    if has(kind, Trait.SINGLE):
        return f"{section} of hosts, which holds the fields themselves."
    return f"{section} of hosts."


def kind_doc(kind: Kind) -> str:
    """What a kind is, in one line."""
    return " ".join((kind.Spec.__doc__ or kind.__doc__ or "").split())


def _first_line(kind: Kind) -> str:
    return (kind.__doc__ or kind.Spec.__doc__ or "").strip().partition("\n")[0]


def _indented(text: str) -> list[str]:
    return [f"  {line}" for line in text.splitlines()]
