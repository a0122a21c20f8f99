"""How an error is told: a few lines on stderr, a JSON document when one was asked for, and a log for a bug."""

import errno
import os
import sys
from contextlib import suppress

from vinfra import __version__, mask
from vinfra.errors import ExitCode, InputError, StepFailed, UsageError, VinfraError


def tell(error: VinfraError, arguments: list[str]) -> int:
    """Print the error, and return the exit code it stands for."""
    from vinfra.report.visible import visible

    if "--json" in arguments:
        from vinfra.report.as_json import dumps, error_document

        print(dumps(error_document(error, _command(arguments), error.exit_code)), flush=True)
        return int(error.exit_code)
    if isinstance(error, InputError):
        lines = [visible(problem) for problem in error.problems]
        count = len(lines)
        lines.append(f"vinfra: {count} problem{'s' * (count != 1)}; nothing was connected to or touched")
    else:
        first, *rest = error.message.split("\n")
        said = error.stderr.splitlines()[-8:] if isinstance(error, StepFailed) else []
        lines = [f"vinfra: {visible(first)}", *map(visible, rest), *(f"  {visible(line)}" for line in said)]
        lines += [f"  {visible(line)}" for line in error.hint.splitlines()]
    if sys.stdout is not None:
        sys.stdout.flush()
    sys.stderr.write("\n".join(lines) + "\n")
    return int(error.exit_code)


def usage(error: Exception) -> UsageError:
    """A wrong command line, as one of our errors."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "vinfra"
    format_message = getattr(error, "format_message", error.__str__)
    return UsageError(str(format_message()).replace("Value error, ", ""), f"{path} --help tells what there is")


def bug(error: Exception, arguments: list[str]) -> int:
    """Something that must not happen: a short message and a file to send in."""
    import tempfile
    import traceback

    if os.environ.get("VINFRA_DEBUG") == "1":
        sys.stderr.write(mask.struck("".join(traceback.format_exception(error))))
        return int(ExitCode.FAILED)
    text = mask.struck("".join(traceback.format_exception(error)))
    with tempfile.NamedTemporaryFile(
        "w", prefix="vinfra-bug-", suffix=".log", delete=False, encoding="utf-8", errors="backslashreplace"
    ) as log:
        log.write(f"vinfra {__version__}, python {sys.version}\ncommand: {_command(arguments)}\n\n{text}")
    told = VinfraError(
        mask.struck(f"this is a bug in vinfra: {type(error).__name__}: {error}"),
        f"the details are in {log.name}; look through them for secrets, then send them in. VINFRA_DEBUG=1 shows them",
    )
    return tell(told, arguments)


def unwritable(error: OSError, arguments: list[str]) -> int:
    """Standard output cannot be written (a full disk), or something else of the system failed that nobody foresaw."""
    if error.filename is not None or error.errno not in (errno.ENOSPC, errno.EBADF, errno.EIO):
        return bug(error, arguments)
    with suppress(OSError):
        sys.stderr.write(f"vinfra: the output cannot be written: {error.strerror}\n")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return int(ExitCode.FAILED)


def broken_pipe() -> int:
    """The reader of our output went away, as `head` does: no word of it, also not when the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return int(ExitCode.FAILED)


def _command(arguments: list[str]) -> str:
    return next((word for word in arguments if not word.startswith("-")), "")
