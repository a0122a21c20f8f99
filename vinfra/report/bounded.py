"""Files of this controller as they may really be: a pipe must not hang us, and a huge one must not fill the memory."""

import os
import stat
from pathlib import Path


def read(file: Path, largest: int) -> bytes:
    """All of a regular file. Raises OSError, and ValueError when it is something else or larger than so many bytes."""
    number = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise ValueError("it is no regular file")
        with os.fdopen(number, "rb", closefd=False) as stream:
            data = stream.read(largest + 1)
    finally:
        os.close(number)
    if len(data) > largest:
        raise ValueError(f"it is larger than {largest >> 20}MiB")
    return data
