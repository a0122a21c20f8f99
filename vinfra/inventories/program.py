"""Running another tool's program to learn its inventory: with a time limit, and without our secrets."""

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from vinfra import mask
from vinfra.errors import UsageError

SECONDS = 60.0
LARGEST = 64 << 20
_LINES = 6
_LOOK = 0.2  # seconds between two looks whether it still lives


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
        out, err = _said(running, time.monotonic() + seconds)
    except _Late:
        limit = f"it may take {seconds:g} s; VINFRA_INVENTORY_TIMEOUT=SECONDS gives it longer"
        raise UsageError(f"{what}: no end after {seconds:g} s, so it was stopped", limit) from None
    except _Endless:
        raise UsageError(f"{what}: {Path(argv[0]).name} printed more than {LARGEST >> 20}MiB") from None
    finally:
        _end(running)
    if running.returncode:
        ended = f"ended with status {running.returncode}"
        if running.returncode < 0:
            ended = f"was ended by signal {-running.returncode}"
        raise UsageError(f"{what}: {Path(argv[0]).name} {ended}", _last(err) or "it said nothing")
    return out


class _Late(Exception):
    pass


class _Endless(Exception):
    pass


def _said(running: subprocess.Popen[bytes], deadline: float) -> tuple[bytes, bytes]:
    """What a program prints until it ends; what it left behind may hold the pipes for as long as it likes."""
    assert running.stdout is not None
    assert running.stderr is not None
    said = {running.stdout: bytearray(), running.stderr: bytearray()}
    with selectors.DefaultSelector() as selector:
        for pipe in said:
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(min(_LOOK, max(0.0, deadline - time.monotonic())))
            for key, _ in ready:
                pipe = running.stdout if key.fileobj is running.stdout else running.stderr
                if data := os.read(key.fd, 1 << 16):
                    said[pipe] += data
                else:
                    selector.unregister(pipe)
            if sum(map(len, said.values())) > LARGEST:
                raise _Endless
            if not ready and running.poll() is not None:
                break
            if time.monotonic() >= deadline:
                raise _Late
    try:
        running.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise _Late from None
    return bytes(said[running.stdout]), bytes(said[running.stderr])


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


def _end(running: subprocess.Popen[bytes]) -> None:
    """Nothing of it goes on."""
    with suppress(OSError):
        os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    for pipe in (running.stdout, running.stderr):
        if pipe is not None:
            pipe.close()


def _last(said: bytes) -> str:
    lines = [line.rstrip() for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
    return mask.struck("\n".join(lines[-_LINES:]))
