"""Jinja2 inside values: sandboxed, strict, and true to the text.

A value that is exactly one expression yielding a mapping or a list stays one; everything else becomes text. Numbers and
booleans from unquoted scalars calculate as such and print as they were written. Text without `{{`, `{%` or `{#` is
never touched.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2 import StrictUndefined, TemplateSyntaxError, UndefinedError, meta, nodes
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing

from vinfra.errors import InputError
from vinfra.model.source import NOWHERE, Position, Problem
from vinfra.model.values import Literal, Plain
from vinfra.text.complaint import near

MARK = re.compile(r"\{[{%#]")
_WHOLE = re.compile(r"-?(0|[1-9][0-9]*)")
_FRACTION = re.compile(r"-?(0|[1-9][0-9]*)\.[0-9]+([eE][-+]?[0-9]+)?")
_FLAGS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


class Templated(str):
    """The text of a template that knows where it was written, for what goes wrong when it is used elsewhere."""

    __slots__ = ("path", "position")
    position: Position
    path: str

    def __new__(cls, text: str, position: Position, path: str) -> "Templated":
        """The text, with its place."""
        self = super().__new__(cls, text)
        self.position, self.path = position, path
        return self


class _AsWritten:
    """A number that prints as its source and equals its source text."""

    source: str

    def __str__(self) -> str:
        return self.source

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        return self.source == other if isinstance(other, str) else bool(super().__eq__(other))

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return super().__hash__()


class _Whole(_AsWritten, int):
    """`8080`, or `True` where it is not spelled as Jinja prints it."""


class _Fraction(_AsWritten, float):
    """`1.10`."""


def typed(text: str) -> Any:
    """What an unquoted scalar is inside an expression: a number, a boolean, or text."""
    number: _Whole | _Fraction
    if text in _FLAGS:
        if text.islower():
            return _FLAGS[text]
        number = _Whole(_FLAGS[text])
    elif _WHOLE.fullmatch(text) and len(text) < 1000:
        number = _Whole(text)
    elif _FRACTION.fullmatch(text):
        number = _Fraction(text)
    else:
        return text
    number.source = text
    return number


class _Missing(StrictUndefined):
    """An undefined name, in our words."""

    @property
    def _undefined_message(self) -> str:
        if self._undefined_hint:
            return self._undefined_hint
        if self._undefined_obj is missing:
            return f"unknown variable {self._undefined_name!r}"
        known = self._undefined_obj if isinstance(self._undefined_obj, dict) else ()
        return f"nothing is called {self._undefined_name!r} there{near(str(self._undefined_name), map(str, known))}"


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox; a key of a mapping comes before a method of the same name, so that `a.items` is what was written."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, dict) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)


def _printed(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        raise fault("the expression has no value (null)")
    if is_secret(value):
        raise fault("a secret cannot stand inside text; give it a field of its own")
    return value


def _environment() -> _Environment:
    environment = _Environment(
        undefined=_Missing, keep_trailing_newline=True, finalize=_printed, trim_blocks=True, lstrip_blocks=True
    )
    del environment.globals["lipsum"]
    # Jinja's own is for HTML: it escapes <, > and '.
    environment.filters["tojson"] = lambda value, indent=None: json.dumps(value, indent=indent, ensure_ascii=False)
    return environment


_ENVIRONMENT = _environment()
BUILTINS = frozenset(_ENVIRONMENT.globals)


@dataclass(frozen=True, slots=True)
class Compiled:
    """A template ready to run. `names` are the variables it uses, `spared` those it also handles when undefined.

    `lines` says where a file's template first uses each.
    """

    names: frozenset[str]
    spared: frozenset[str]
    run: Callable[[Mapping[str, Any]], Any]
    lines: Mapping[str, int]


def fault(message: str, position: Position = NOWHERE, path: str = "") -> InputError:
    """One problem, to raise; who knows the place adds it with `placed`."""
    return InputError([Problem(position, path, message)])


def placed(error: InputError, position: Position, path: str) -> InputError:
    """The same error with a place for each problem that has none, or that has only a line."""
    return InputError(
        Problem(
            Position(position.file, *(problem.position[1:] if problem.position.line else position[1:])),
            path,
            problem.message,
        )
        if isinstance(problem, Problem) and not problem.position.file
        else problem
        for problem in error.problems
    )


def is_secret(value: Any) -> bool:
    """Whether a value has the shape of a secret: `{secret: env:NAME}`."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("secret"), str)


def is_template(value: Any) -> bool:
    """Whether a scalar is a template."""
    return isinstance(value, str) and "{" in value and type(value) is not Literal and MARK.search(value) is not None


def has_template(value: Any) -> bool:
    """Whether there is a template anywhere in a tree."""
    if isinstance(value, str):
        return "{" in value and is_template(value)
    if isinstance(value, dict):
        return any(map(has_template, value.values()))
    return isinstance(value, list) and any(map(has_template, value))


def templates_in(value: Any) -> Iterator[str]:
    """Every template in a tree."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from templates_in(item)
    elif is_template(value):
        yield value


def names_in(value: Any) -> frozenset[str]:
    """The variables that a tree's templates use. A template that cannot be read is told where it is rendered."""
    names: set[str] = set()
    for text in templates_in(value):
        try:
            names |= compiled(text).names
        except InputError:
            continue
    return frozenset(names)


# Jinja turns every carriage return into a line feed while it reads a template; this stands in for it meanwhile.
_RETURN = "\ue00d"


def _without_returns(text: str) -> str:
    return text.replace("%}\r\n", "%}\n").replace("#}\r\n", "#}\n").replace("\r", _RETURN)


def _with_returns(run: Callable[[Mapping[str, Any]], Any]) -> Callable[[Mapping[str, Any]], Any]:
    def restored(variables: Mapping[str, Any]) -> Any:
        value = run(variables)
        return value.replace(_RETURN, "\r") if isinstance(value, str) else value

    return restored


@lru_cache(maxsize=65536)
def compiled(text: str, *, prose: bool = False) -> Compiled:
    """Compile a template once. `prose` is a file's text, never an object. Raises InputError for a syntax error."""
    try:
        tree = _ENVIRONMENT.parse(_without_returns(str(text)))
        names, spared = frozenset(meta.find_undeclared_variables(tree)), _spared(tree)
        run = _ENVIRONMENT.from_string(tree).render if prose else _runner(tree)
        run = _with_returns(run) if "\r" in text else run
        used = list(tree.find_all(nodes.Name)) if prose else []
        return Compiled(names, spared, run, {node.name: node.lineno for node in reversed(used)})
    except (TemplateSyntaxError, RecursionError) as error:
        said = error.message if isinstance(error, TemplateSyntaxError) else "nested too deeply"
        if prose:
            line = error.lineno if isinstance(error, TemplateSyntaxError) else 1
            raise fault(f"not a valid template: {said}", Position("", line, 1)) from None
        raise fault(f"not a valid template: {said}; to keep the text as it is, write !raw before it") from None
    except Exception as error:  # Jinja evaluates constants while it compiles
        raise fault(f"the template fails: {(str(error).splitlines() or [type(error).__name__])[0]}") from None


def _runner(tree: nodes.Template) -> Callable[[Mapping[str, Any]], Any]:
    only = tree.body[0].nodes if len(tree.body) == 1 and isinstance(tree.body[0], nodes.Output) else []
    if len(only) != 1 or isinstance(only[0], nodes.TemplateData):
        return _ENVIRONMENT.from_string(tree).render
    body: list[nodes.Node] = [nodes.Assign(nodes.Name("result", "store"), only[0], lineno=1)]
    template = _ENVIRONMENT.from_string(nodes.Template(body, lineno=1))

    def value(variables: Mapping[str, Any]) -> Any:
        context = template.new_context(dict(variables))
        for _ in template.root_render_func(context):
            pass
        return context.vars["result"]

    return value


def _spared(tree: nodes.Template) -> frozenset[str]:
    """Names that stand under `default` or `is defined`."""
    found: set[str] = set()
    for node in tree.find_all((nodes.Filter, nodes.Test)):
        if node.name in ("default", "d", "defined", "undefined"):
            inner = node.node
            while isinstance(inner, nodes.Getattr | nodes.Getitem):
                inner = inner.node
            if isinstance(inner, nodes.Name):
                found.add(inner.name)
    return frozenset(found)


def evaluate(text: str, variables: Mapping[str, Any], known: Mapping[str, Any], *, prose: bool = False) -> Any:
    """A template's value, as Python sees it. `known` is what a misspelt name may have meant."""
    template = compiled(text, prose=prose)
    try:
        value = template.run(variables)
        if isinstance(value, _Missing):
            str(value)  # raises, and says what is missing
    except InputError as error:
        raise placed(error, _line(error, prose), "") from None
    except Exception as error:  # the template is a program of the user's: it may raise anything
        raise fault(_failure(error, template, known), _line(error, prose)) from None
    return value


def _failure(error: Exception, template: Compiled, known: Mapping[str, Any]) -> str:
    if isinstance(error, UndefinedError):
        return _undefined(str(error), template, known)
    if isinstance(error, SecurityError):
        return f"not allowed in a template: {error}"
    return f"the template fails: {(str(error).splitlines() or [type(error).__name__])[0]}"


def _line(error: Exception, prose: bool) -> Position:
    """The line of a file's template that raised: Jinja rewrites its tracebacks to tell."""
    frame, line = error.__traceback__, 0
    while prose and frame:
        if frame.tb_frame.f_code.co_filename == "<template>":
            line = frame.tb_lineno
        frame = frame.tb_next
    return Position("", line, 1) if line else NOWHERE


def _undefined(message: str, template: Compiled, known: Mapping[str, Any]) -> str:
    for name in template.names:
        if message == f"unknown variable {name!r}":
            return message + near(name, known)
    return message


def as_tree(value: Any) -> Any:
    """What an expression yielded, as a file would hold it: mappings and lists of text and None."""
    if value is None or isinstance(value, Literal):
        return value
    if isinstance(value, bool):
        return Plain("true" if value else "false")
    if isinstance(value, Mapping):
        return {str(key): as_tree(item) for key, item in value.items()}
    if isinstance(value, str):
        return value if type(value) is Plain else str(value)
    if isinstance(value, int | float):
        return Plain(value)
    if isinstance(value, _Missing):
        raise fault(value._undefined_message)
    try:
        return [as_tree(item) for item in value]
    except TypeError:
        raise fault(f"the expression yields {type(value).__name__}; write one that yields text") from None
