"""JSON Schemas of blueprints and inventories, generated from the specs, for editors and for `vinfra schema`.

Editors read YAML with its own types (`0644` is a number to them), so scalars are wider here than in a spec, and a
template is allowed wherever a value is. What the schemas cannot say, `vinfra validate` does.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from vinfra.model.action import Impact
from vinfra.model.kind import Kind, Kinds, Trait, has
from vinfra.model.rollout import Rollout
from vinfra.model.secret import SCHEMES
from vinfra.report.fact_pages import Facts, facts_schema
from vinfra.text.sections import ON, ROLLOUT
from vinfra.text.settings import Settings
from vinfra.text.site import RULES, Rule

Schema = dict[str, Any]

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_HOME = "https://vinfra.dev/schemas"
_TEMPLATE = {"description": "a template", "type": "string", "pattern": r"\{[{%]"}
_SECRET = {
    "description": f"a secret, kept out of every file and print: {', '.join(way.form for way in SCHEMES.values())}",
    "type": "object",
    "properties": {"secret": {"type": "string", "pattern": f"^({'|'.join(SCHEMES)}):."}},
    "required": ["secret"],
    "additionalProperties": False,
}
_SHARED = {"template": _TEMPLATE, "secret": _SECRET}
_TEMPLATE_REF = {"$ref": "#/$defs/template"}
_VARS = {"description": "variables, by name", "type": ["object", "null"]}
_NAMES = {"type": ["array", "null"], "items": {"type": "string"}}
# What the text of a number or of a boolean may look like when it is quoted.
_QUOTED = {
    "integer": {"type": "string", "pattern": "^[-+]?[0-9]+$"},
    "number": {"type": "string", "pattern": r"^[-+]?[0-9]+(\.[0-9]+)?$"},
    "boolean": {"enum": ["true", "false", "True", "False", "TRUE", "FALSE"]},
}


def schemas(kinds: Kinds, facts: Facts | None = None) -> dict[str, Schema]:
    """The schemas by file name; equal kinds give equal text. With facts, also that of what `vinfra facts` prints."""
    made = {
        "blueprint.schema.json": _blueprint(kinds),
        "included.schema.json": _included(kinds),
        "inventory.schema.json": _inventory(),
        "site.schema.json": _site(),
        "vars.schema.json": _titled("variables", "A file of variables for --vars and -e @FILE.", {"type": "object"}),
    }
    if facts is not None:
        properties = {"hosts": facts_schema(facts)}
        said = "What `vinfra facts --json` prints; docs/reference/facts.md says what each fact means."
        made["facts.schema.json"] = _titled("facts", said, {"type": "object", "properties": properties})
    return made


def write(kinds: Kinds, folder: Path, facts: Facts | None = None) -> list[Path]:
    """Write the schemas into a folder and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, schema in schemas(kinds, facts).items():
        path = folder / name
        path.write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        paths.append(path)
    return paths


def _titled(title: str, description: str, schema: Schema) -> Schema:
    return {"$schema": _DRAFT, "$id": f"{_HOME}/{title}", "title": title, "description": description, **schema}


def _blueprint(kinds: Kinds) -> Schema:
    owner = {"description": "the owner that marks carry", "type": "string", "pattern": "^[a-z0-9][a-z0-9._-]*$"}
    reference = {"type": "string", "pattern": "^[a-z]+:."}
    moved = _object({"from": reference, "to": reference}, required=("from", "to"))
    moved_list = {
        "description": "names that the blueprint or a fleet had before",
        "type": ["array", "null"],
        "items": moved,
    }
    label = {"type": ["string", "number", "boolean"]}
    described = {"description": "what is to be known of a run, by name: `ticket: CHG-1`"}
    labels = {**described, "type": ["object", "null"], "additionalProperties": label}
    properties = {
        "blueprint": owner,
        "labels": labels,
        **_shared_keys(),
        "moved": moved_list,
        **_top(kinds),
        "hosts": _hosts(kinds),
    }
    schema = _object(properties, required=("blueprint",))
    return _titled("blueprint", "What hosts are to hold.", {**schema, "$defs": _definitions(kinds)})


def _included(kinds: Kinds) -> Schema:
    parameters = {**_VARS, "description": "parameters and their defaults; one without a value must be given by `with`"}
    schema = _object({**_shared_keys(), "vars": parameters, **_top(kinds), "hosts": _hosts(kinds)})
    return _titled("included", "A file that blueprints include.", {**schema, "$defs": _definitions(kinds)})


def _shared_keys() -> Schema:
    pattern = {"description": "the hosts that `included` means in the file", "type": "string"}
    entry = _object({"file": {"type": "string"}, "with": _VARS, "hosts": pattern}, required=("file",))
    include = {"type": ["array", "null"], "items": {"anyOf": [{"type": "string"}, entry]}}
    return {"vars": _VARS, "include": {"description": "files to include, with their parameters", **include}}


def _top(kinds: Kinds) -> Schema:
    """The sections beside `hosts`: there an item says itself on which hosts it is."""
    sections: Schema = {}
    for kind in kinds.values():
        fields = {"$ref": f"#/$defs/{kind.NAME}.item"}
        if has(kind, Trait.TOP) or has(kind, Trait.FLEET):
            fields = {"$ref": f"#/$defs/{kind.NAME}.placed"}
        elif not has(kind, Trait.LAZY):
            continue
        described = {"description": " ".join((kind.Spec.__doc__ or "").split())}
        sections[kind.SECTION] = {**described, "type": ["object", "null"], "additionalProperties": fields}
    return sections


def _hosts(kinds: Kinds) -> Schema:
    sections: Schema = {
        kind.SECTION: {"$ref": f"#/$defs/{kind.NAME}{'.item' if has(kind, Trait.SINGLE) else ''}"}
        for kind in kinds.values()
        if not has(kind, Trait.LAZY) and not has(kind, Trait.FLEET)
    }
    sections[ROLLOUT] = {**_spec(Rollout, ROLLOUT)[0], "type": ["object", "null"]}
    return {
        "description": "host patterns (web, a:b, all:!db, web*, hv[01:40]) and what those hosts are to hold",
        "type": ["object", "null"],
        "additionalProperties": {"type": ["object", "null"], "properties": sections, "additionalProperties": False},
    }


def _definitions(kinds: Kinds) -> Schema:
    found: Schema = {**_SHARED, **_spec(Rollout, ROLLOUT)[1]}
    for kind in kinds.values():
        fields, nested = _spec(kind.Spec, kind.NAME)
        fields["properties"] |= _meta()
        if has(kind, Trait.TOP) or has(kind, Trait.FLEET):
            on = {ON: {"description": "a pattern of the hosts it is on, such as hypervisors", "type": "string"}}
            placed = {**fields, "properties": {**on, **fields["properties"]}}
            found[f"{kind.NAME}.placed"] = {**placed, "required": [ON, *fields.get("required", ())]}
        if has(kind, Trait.SINGLE) or has(kind, Trait.LAZY):
            found[f"{kind.NAME}.item"] = {"anyOf": [{"type": "null"}, {"enum": ["present", "absent"]}, fields]}
        if not any(has(kind, trait) for trait in (Trait.SINGLE, Trait.LAZY, Trait.FLEET)):
            found[kind.NAME] = _section(kind, fields)
        found |= nested
    return found


def _section(kind: Kind, fields: Schema) -> Schema:
    """A mapping of names or a list of them."""
    forms: list[Schema] = [{"type": "null"}, {"enum": ["present", "absent"]}, _TEMPLATE_REF, fields]
    if kind.SHORTHAND:
        field = fields["properties"][kind.SHORTHAND]
        scalars = [form for form in field["anyOf"] if form != {"$ref": "#/$defs/secret"}]
        forms.insert(0, {"description": f"short for `{kind.SHORTHAND}`", **field, "anyOf": scalars})
    items = {"type": "object", "additionalProperties": {"anyOf": forms}}
    listed = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}
    return {"description": fields.get("description", ""), "anyOf": [items, listed, {"type": "null"}]}


def _meta() -> Schema:
    """The keys that every item has beside its fields."""
    needs = {"description": "references that come first, such as package:nginx", **_NAMES}
    protect = {"description": "refuse to delete it", "anyOf": [{"type": "boolean"}, _QUOTED["boolean"], _TEMPLATE_REF]}
    impact = {"enum": [str(impact) for impact in Impact]}
    allow = {"description": "the impact allowed for it alone, whatever --max-impact says"}
    return {"needs": needs, "protect": protect, "allow": {**allow, "anyOf": [impact, _TEMPLATE_REF]}}


def _spec(model: type[BaseModel], prefix: str) -> tuple[Schema, Schema]:
    """A model's schema, widened, and those of the models in it under names of their own."""
    made = model.model_json_schema(ref_template=f"#/$defs/{prefix}.{{model}}")
    nested = made.pop("$defs", {})
    nested.pop("Secret", None)
    definitions = {f"{prefix}.{name}": _widened(schema) for name, schema in nested.items()}
    return _fields(_widened(made), f"{prefix}.Secret"), _renamed(definitions, f"{prefix}.Secret")


def _fields(schema: Schema, secret: str) -> Schema:
    result: Schema = _renamed(schema, secret)
    result.pop("title", None)
    return result


def _renamed(value: Any, secret: str) -> Any:
    """The tree with pydantic's idea of a secret replaced by ours."""
    if isinstance(value, dict):
        if value.get("$ref") == f"#/$defs/{secret}":
            return {**value, "$ref": "#/$defs/secret"}
        return {key: _renamed(item, secret) for key, item in value.items()}
    return [_renamed(item, secret) for item in value] if isinstance(value, list) else value


def _widened(schema: Schema) -> Schema:
    """An object's schema whose properties also take templates and quoted numbers."""
    properties = {name: _property(value) for name, value in schema.get("properties", {}).items()}
    return {**schema, "properties": properties} if properties else schema


def _property(schema: Schema) -> Schema:
    """A field: its documentation, and any of its forms or a template."""
    notes = ("description", "examples", "default")
    kept = {key: schema[key] for key in notes if schema.get(key) is not None}
    shape = {key: value for key, value in schema.items() if key not in notes and key != "title" and key[:2] != "x-"}
    forms = [_value(form) for form in shape.pop("anyOf", [])] or [_value(shape)]
    flat = [part for form in forms for part in (form["anyOf"] if set(form) == {"anyOf"} else [form])]
    return {**kept, "anyOf": [*flat, _TEMPLATE_REF]}


def _value(schema: Schema) -> Schema:
    """A value inside a field."""
    if "anyOf" in schema:
        return {**schema, "anyOf": [_value(form) for form in schema["anyOf"]]}
    kind = schema.get("type")
    if kind == "array":
        return {**schema, **{key: _inner(schema[key]) for key in ("items",) if key in schema}}
    if kind == "object":
        inner = schema.get("additionalProperties")
        wide = {"additionalProperties": _inner(inner)} if isinstance(inner, dict) and inner else {}
        return {**_widened(schema), **wide}
    if isinstance(kind, list) and "object" in kind:  # a scalar or a secret
        scalars = [name for name in kind if name != "object"]
        return {"anyOf": [{**schema, "type": scalars}, {"$ref": "#/$defs/secret"}]}
    if isinstance(kind, str) and kind in _QUOTED:
        return {"anyOf": [schema, _QUOTED[kind]]}
    return schema


def _inner(schema: Schema) -> Schema:
    return {"anyOf": [_value(schema), _TEMPLATE_REF]}


def _object(properties: Mapping[str, Any], required: tuple[str, ...] = ()) -> Schema:
    result: Schema = {"type": "object", "properties": dict(properties), "additionalProperties": False}
    return {**result, "required": list(required)} if required else result


def _inventory() -> Schema:
    made, _ = _spec(Settings, "settings")
    settings = {name: _untemplated(schema) for name, schema in made["properties"].items()}
    secret = {"anyOf": [{"$ref": "#/$defs/secret"}, {"type": "null"}]}
    for name in ("password", "sudo_password"):
        settings[name] = {**settings[name], **secret}
    jump = {"anyOf": [{"type": "string"}, _NAMES]}
    settings["jump"] = {**settings["jump"], **jump}
    ssh = {"description": "connection settings", **_object(settings), "type": ["object", "null"]}
    host = {**_object({**settings, "vars": _VARS}), "type": ["object", "null"]}
    group = _object({"hosts": _NAMES, "groups": _NAMES, "vars": _VARS, "ssh": ssh})
    properties = {
        "vars": {**_VARS, "description": "variables of all hosts"},
        "ssh": ssh,
        "hosts": {
            "description": "hosts, by name or range such as hv[01:40]",
            "type": ["object", "null"],
            "additionalProperties": host,
        },
        "groups": {
            "description": "groups of hosts",
            "type": ["object", "null"],
            "additionalProperties": {**group, "type": ["object", "null"]},
        },
    }
    schema = {**_object(properties), "$defs": {"secret": _SECRET}}
    return _titled("inventory", "The machines, their groups, and how to log in to each.", schema)


def _site() -> Schema:
    written = Rule.model_json_schema()["properties"]
    fields = {name: {key: schema[key] for key in ("description", "anyOf")} for name, schema in written.items()}
    rule = {**_object(fields), "oneOf": [{"required": [name]} for name in RULES]}
    policies = {"description": "policies, by name", "type": ["object", "null"], "additionalProperties": rule}
    return _titled("site", "What a site allows, whatever a blueprint says.", _object({"policies": policies}))


def _untemplated(schema: Schema) -> Schema:
    forms = [form for form in schema["anyOf"] if form != _TEMPLATE_REF]
    return {**schema, "anyOf": forms}
