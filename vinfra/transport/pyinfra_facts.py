"""pyinfra's own facts as questions: their command, rendered by pyinfra, and nothing else of its engine."""

import importlib
from typing import Any

from vinfra.model.question import REFUSED_FACTS, PyinfraFact, QuestionRefused


def command_text(question: PyinfraFact) -> str:
    """The shell text of a fact; it ends with 127 when the program that the fact needs is not there."""
    fact = fact_class(question.name)()
    arguments = dict(question.arguments)
    try:
        command = _evaluated(fact.command, arguments)
        needed = _evaluated(fact.requires_command, arguments)
    except Exception as error:
        raise QuestionRefused(f"pyinfra cannot render {question.name}: {error}") from error
    guard = f"command -v {needed} >/dev/null 2>&1 || exit 127\n" if needed else ""
    return f"{guard}{_text(command)}"


def fact_class(name: str) -> Any:
    """pyinfra's class for `module.Class`; its `process` turns lines of output into the fact. Raises QuestionRefused."""
    module, _, attribute = name.partition(".")
    if name in REFUSED_FACTS:
        raise QuestionRefused(f"pyinfra's fact {name} may do more than read")
    if not (module.isidentifier() and attribute.isidentifier()):
        raise QuestionRefused(f"{name} is not the name of a pyinfra fact; write module.Class, such as server.Which")
    try:
        found = getattr(importlib.import_module(f"pyinfra.facts.{module}"), attribute, None)
    except ImportError as error:
        raise QuestionRefused(f"pyinfra has no facts called {module}") from error
    found = getattr(found, "fact", found)  # a short fact is a view on another one
    base = importlib.import_module("pyinfra.api").FactBase
    inside = isinstance(found, type) and issubclass(found, base) and found.__module__ == f"pyinfra.facts.{module}"
    if not inside or not hasattr(found, "command"):
        raise QuestionRefused(f"pyinfra has no fact {name}")
    return found


def _evaluated(attribute: Any, arguments: dict[str, object]) -> Any:
    return attribute(**arguments) if callable(attribute) else attribute


def _text(command: Any) -> str:
    unmasked = getattr(command, "get_raw_value", None)
    return str(unmasked() if unmasked else command)
