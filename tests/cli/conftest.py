"""A command line in this process, and an engine that does what a test says."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vinfra.cli.main import run

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def vinfra(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command line; returns exit code, output and error output. No terminal, state in a scratch folder."""
    monkeypatch.setenv("VINFRA_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("VINFRA_INVENTORY", raising=False)
    monkeypatch.delenv("VINFRA_DEBUG", raising=False)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["vinfra", *arguments])
        monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: False, readline=lambda: ""))
        code = run(list(arguments))
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Any], list[Any]]:
    """Replaces one function of the engine by an answer or an error; returns the calls it gets."""

    def replace(name: str, answer: Any) -> list[Any]:
        calls: list[Any] = []

        def fake(*arguments: Any, **named: Any) -> Any:
            calls.append(arguments)
            if isinstance(answer, BaseException):
                raise answer
            return answer(*arguments, **named) if callable(answer) else answer

        monkeypatch.setattr(f"vinfra.engine.{name}", fake)
        return calls

    return replace
