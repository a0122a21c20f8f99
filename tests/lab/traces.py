"""Looking for a word everywhere: in files, in the arguments and the environments of all processes.

As a program it watches /proc: needles come on standard input, a line each, then `go`; when its input ends it tells, as
JSON, where it saw which, and how often it looked.
"""

import base64
import gzip
import json
import os
import select
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

LARGEST = 64 << 20
EVERY = 0.005


@lru_cache
def forms(word: str) -> frozenset[bytes]:
    """A word of letters and digits in the ways it may be written down; quoting and escaping leave it as it is."""
    plain = word.encode()
    shifted = (base64.b64encode(b"x" * pad + plain)[(0, 2, 3)[pad] : -4] for pad in range(3))
    return frozenset({plain, plain.hex().encode(), plain.hex().upper().encode(), word.encode("utf-16-le"), *shifted})


def seen(data: bytes, words: Iterable[str]) -> set[str]:
    """Which words are in the data, packed or not."""
    if data[:2] == b"\x1f\x8b":
        with suppress(OSError, EOFError):
            data += gzip.decompress(data)
    return {word for word in words if any(form in data for form in forms(word))}


def files(folders: Iterable[Path], since: float, words: Iterable[str]) -> Iterator[tuple[Path, os.stat_result, str]]:
    """The files that changed since, and hold or are called one of the words."""
    for folder in folders:
        for root, _, names in os.walk(folder):
            for name in names:
                path = Path(root, name)
                with suppress(OSError):
                    status = path.lstat()
                    if not stat.S_ISREG(status.st_mode) or status.st_ctime < since or status.st_size > LARGEST:
                        continue
                    found = seen(path.read_bytes() + name.encode("utf-8", "surrogateescape"), words)
                    yield from ((path, status, word) for word in found)


def _watch() -> None:
    words = iter(sys.stdin.readline, "go\n")
    needles = {form: word.strip() for word in words for form in forms(word.strip())}
    with suppress(OSError):
        os.nice(-15)  # or a busy machine would keep us from looking
    print("ready", flush=True)
    old: set[str] = set()
    hits: dict[tuple[str, str, str], int] = {}
    looks, number, own = 0, 0, str(os.getpid())
    while not select.select([sys.stdin], [], [], 0)[0]:
        began = time.monotonic()
        pids = {name for name in os.listdir("/proc") if name.isdigit()} - {own}  # noqa: PTH208  speed is all
        number += 1
        # All processes now and then, as one may become another program; those that are new at every look.
        for pid in pids if number % 10 == 0 else pids - old:
            _look(pid, needles, hits)
        old = pids if number % 3 == 0 else old & pids  # a new one is looked at three times at least
        looks += 1
        time.sleep(max(0.0, EVERY - (time.monotonic() - began)))
    print(json.dumps({"looks": looks, "hits": [[*where, count] for where, count in hits.items()]}))


def _look(pid: str, needles: dict[bytes, str], hits: dict[tuple[str, str, str], int]) -> None:
    with suppress(OSError):
        told = {}
        for name in ("cmdline", "environ"):
            number = os.open(f"/proc/{pid}/{name}", os.O_RDONLY)
            try:
                told[name] = os.read(number, 1 << 18)
            finally:
                os.close(number)
        for name, data in told.items():
            for form, word in needles.items():
                if form in data:
                    command = told["cmdline"].replace(b"\0", b" ").decode(errors="replace")[:200]
                    hits[name, word, command] = hits.get((name, word, command), 0) + 1


if __name__ == "__main__":
    _watch()
