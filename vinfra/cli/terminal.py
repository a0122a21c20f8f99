"""A far terminal on this one: keys go there, what it says comes here, until it ends or the escape key is typed."""

import os
import select
import signal
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vinfra.transport.session import Terminal

ESCAPE = b"\x1d"  # Ctrl-], as virsh console and telnet have it


def interactive() -> bool:
    """Whether somebody sits at this end."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def size() -> tuple[int, int]:
    """Columns and rows of this terminal."""
    columns, rows = os.get_terminal_size(sys.stdout.fileno()) if sys.stdout.isatty() else (80, 24)
    return columns, rows


def talk(terminal: "Terminal", escape: bytes = b"") -> int:
    """Relay until the far side ends, and give its exit status; or until `escape` is typed, which is 0."""
    wake, woken = os.pipe()
    copies = (
        threading.Thread(target=_copy, args=(terminal.read, sys.stdout.fileno(), lambda: os.write(woken, b"."))),
        threading.Thread(target=_copy, args=(terminal.read_errors, sys.stderr.fileno(), lambda: None)),
    )
    with _raw(lambda: terminal.resize(*size())):
        for copy in copies:
            copy.start()
        try:
            return terminal.status() if _type(terminal, wake, escape) else 0
        finally:
            terminal.close()
            for copy in copies:
                copy.join(5)
            os.close(wake)
            os.close(woken)


def _copy(read: Callable[[], bytes], out: int, ended: Callable[[], object]) -> None:
    try:
        while data := read():
            while data:
                data = data[os.write(out, data) :]
    except OSError:
        pass  # who read our output has gone
    finally:
        ended()


def _type(terminal: "Terminal", wake: int, escape: bytes) -> bool:
    """Send what is typed; True when the far side is at its end, False when `escape` was typed."""
    listened = [sys.stdin.fileno(), wake]
    while True:
        ready, _, _ = select.select(listened, [], [])
        if wake in ready:
            return True
        data = os.read(sys.stdin.fileno(), 4096)
        if escape and escape in data:
            terminal.write(data[: data.index(escape)])
            return False
        if data:
            terminal.write(data)
        elif escape:
            return False  # a console never ends by itself
        else:
            terminal.finish()
            listened = [wake]


@contextmanager
def _raw(resized: Callable[[], None]) -> Iterator[None]:
    """This terminal passes every key on, and tells when its size changes."""
    if not sys.stdin.isatty():
        yield
        return
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    handler = signal.signal(signal.SIGWINCH, lambda *_: resized())
    tty.setraw(keyboard)
    try:
        yield
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
        signal.signal(signal.SIGWINCH, handler)
