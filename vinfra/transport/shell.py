"""What every generated script shares: how it starts, how text and bytes are put into it, how its answers are marked.

Scripts are POSIX sh for dash, bash and busybox, and reach the host on the standard input of `sh -s`. Each is one
`{ … }` group, so that a shell runs nothing of a script whose end was lost on the way.
"""

import re
import secrets
import shlex
from collections.abc import Iterable

# The host's own PATH goes last, for systems that keep their programs elsewhere.
PREAMBLE = """\
LC_ALL=C LANG=C
PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:$PATH"
export LC_ALL LANG PATH
unset CDPATH ENV BASH_ENV
"""

_CHUNK = 16384
# All that printf or the shell might take for something else, a leading dash (an option to some) included.
_SPECIAL = re.compile(rb"\A-|[^\n\t\x20-\x24\x26\x28-\x5b\x5d-\x7e]")


def new_nonce() -> str:
    """A word that occurs nowhere else, to tell our output from a noisy login shell's."""
    return secrets.token_hex(12)


def words(argv: Iterable[str]) -> str:
    """An argument vector as shell words, each quoted where it must be."""
    return shlex.join(argv)


def raw(text: str) -> bytes:
    """A script's bytes; file names that are not UTF-8 come back as the bytes they were."""
    return text.encode("utf-8", "surrogateescape")


def emit(content: bytes) -> str:
    """Shell commands that write exactly these bytes.

    `printf` is part of the shell, so that nothing of the content shows in a process list or lands in a temporary file,
    as a here-document's does in some shells.
    """
    chunks = (content[start : start + _CHUNK] for start in range(0, len(content), _CHUNK))
    return "\n".join(f"printf '{_SPECIAL.sub(_octal, chunk).decode('ascii')}' || exit" for chunk in chunks) or ":"


def _octal(found: re.Match[bytes]) -> bytes:
    return b"%%" if found[0] == b"%" else b"\\%03o" % found[0][0]
