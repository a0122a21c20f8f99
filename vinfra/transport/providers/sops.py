"""`sops:PATH#KEY`: a file encrypted with SOPS, decrypted by its own program, which knows where its keys are.

`sops --decrypt --output-type json FILE` writes to a pipe that we read: nothing decrypted touches a disk.
"""

import json
import shutil
import subprocess
from pathlib import Path

from vinfra import mask
from vinfra.errors import Unresolved
from vinfra.transport.providers import source

_SECONDS = 60  # cloud key services take their time


def fetch(path: str) -> source.Tree:
    """The decrypted file as a tree; one of binary content has the key `data` alone."""
    program = shutil.which("sops")
    if program is None:
        hint = "https://getsops.io/docs/ tells where to get it"
        raise source.Shut("the program sops is not on the PATH", hint)
    if not Path(path).is_file():
        raise Unresolved(f"there is no file {path}")
    command = [program, "--decrypt", "--output-type", "json", path]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
            env=mask.environment(),
        )
    except subprocess.TimeoutExpired:
        raise Unresolved(f"sops did not open {path} in {_SECONDS} s", "does it ask for a passphrase?") from None
    except OSError as error:
        raise source.Shut(f"cannot run {program}: {error.strerror}") from None
    if done.returncode:
        said = " ".join(done.stderr.decode("utf-8", "replace").split())[:400]
        raise Unresolved(f"sops does not open {path}: {said or f'exit status {done.returncode}'}")
    try:
        tree: source.Tree = json.loads(done.stdout, parse_int=str, parse_float=str)  # as they are written
    except ValueError:
        raise Unresolved(f"sops did not answer with JSON about {path}") from None
    return tree
