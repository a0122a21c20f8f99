"""Running another tool's program to learn its inventory: with a time limit, and without our secrets."""

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from vinfra import mask
from vinfra.errors import UsageError

SECONDS = 60.0
LARGEST = 64 << 20
_LINES = 6


def output(argv: Sequence[str], what: str, seconds: float, directory: Path | None = None, **extra: str) -> bytes:
    """What a program prints. Raises UsageError when it cannot be run, fails, hangs or prints without end.

    It runs in a group of processes of its own, so that what it started ends with it.
    """
    try:
        running = subprocess.Popen(
            [*argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=directory,
            env={**mask.environment(), **extra},
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise UsageError(f"{what}: cannot run {argv[0]}: {getattr(error, 'strerror', None) or error}") from None
    try:
        out, err = running.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        _kill(running)
        limit = f"it may take {seconds:g} s; VINFRA_INVENTORY_TIMEOUT=SECONDS gives it longer"
        raise UsageError(f"{what}: no end after {seconds:g} s, so it was stopped", limit) from None
    except BaseException:
        _kill(running)
        raise
    told = _last(err)
    if running.returncode:
        ended = f"ended with status {running.returncode}"
        if running.returncode < 0:
            ended = f"was ended by signal {-running.returncode}"
        raise UsageError(f"{what}: {Path(argv[0]).name} {ended}", told or "it said nothing")
    if len(out) > LARGEST:
        raise UsageError(f"{what}: {Path(argv[0]).name} printed more than {LARGEST >> 20}MiB")
    return out


def limit() -> float:
    """How long a program may take."""
    named = os.environ.get("VINFRA_INVENTORY_TIMEOUT", "")
    try:
        seconds = float(named) if named else SECONDS
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 86_400:
        raise UsageError(f"VINFRA_INVENTORY_TIMEOUT={named}: write seconds, such as 120")
    return seconds


def _kill(running: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(running.pid, signal.SIGKILL)
    except OSError:
        running.kill()
    running.communicate()


def _last(said: bytes) -> str:
    lines = [line.rstrip() for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
    return mask.struck("\n".join(lines[-_LINES:]))
