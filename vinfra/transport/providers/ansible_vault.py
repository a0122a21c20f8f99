"""`ansible-vault:PATH#KEY`: files that `ansible-vault` encrypted, whole or as `!vault` values, in format 1.1 or 1.2.

The password is in the file named in VINFRA_VAULT_PASSWORD_FILE or ANSIBLE_VAULT_PASSWORD_FILE; one that can be executed
is run, and its output is the password, as with Ansible.
https://docs.ansible.com/ansible/latest/vault_guide/vault_using_encrypted_content.html tells the format.
"""

import hmac
import os
import subprocess
from binascii import Error as NoHex
from binascii import unhexlify
from hashlib import pbkdf2_hmac, sha256
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from vinfra import mask
from vinfra.errors import Unresolved
from vinfra.transport.providers import source

VARIABLES = ("VINFRA_VAULT_PASSWORD_FILE", "ANSIBLE_VAULT_PASSWORD_FILE")
HEADER = "$ANSIBLE_VAULT;"
_ROUNDS, _SECONDS = 10_000, 60


def fetch(path: str) -> source.Tree:
    """A whole file's plain text, or a YAML file's tree with its `!vault` values still sealed."""
    written = source.text(source.content(Path(path), private=False), path)
    if written.startswith(HEADER):
        return opened(written, path)
    if HEADER not in written:
        raise Unresolved(f"nothing in {path} was encrypted by ansible-vault", f"ansible-vault encrypt {path}")
    tree: source.Tree = parsed(written, path)
    return tree


def value(found: Any, key: str, path: str) -> Any:
    """What is under a key of what `fetch` gave; `!vault` values are opened, and others are no secrets."""
    if isinstance(found, str):
        return source.pick(parsed(found, path), key) if key else found
    if not key:
        raise Unresolved(f"{path} holds several values", f"name one: ansible-vault:{path}#KEY")
    picked = source.pick(found, key)
    if not isinstance(picked, str) or not picked.startswith(HEADER):
        raise Unresolved(f"{key!r} is not encrypted there", "ansible-vault encrypt_string makes it so")
    return opened(picked, path)


def parsed(text: str, path: str) -> Any:
    """YAML with every scalar as it is written, whatever its tag. An error shows nothing of the text."""
    try:
        return yaml.load(text, yaml.BaseLoader)  # noqa: S506  makes text, lists and mappings only
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise Unresolved(f"what is in {path} is no YAML{line}, so it has no keys") from None
    except yaml.YAMLError:
        raise Unresolved(f"what is in {path} is no YAML, so it has no keys") from None


def opened(sealed: str, path: str) -> str:
    """The plain text of one vault: header, then salt, checksum and ciphertext, each in hexadecimal, all of it again."""
    header, *lines = sealed.split()
    if header.split(";")[1:3] not in (["1.1", "AES256"], ["1.2", "AES256"]):
        raise Unresolved(f"{path} is of a vault format that is not known: {header[:40]}", "formats 1.1 and 1.2 are")
    file, password = _password()
    try:
        salt, checksum, ciphertext = map(unhexlify, unhexlify("".join(lines)).split(b"\n", 2))
    except (NoHex, ValueError):
        raise Unresolved(f"{path} is not a whole vault") from None
    keys = pbkdf2_hmac("sha256", password, salt, _ROUNDS, 80)
    if not hmac.compare_digest(hmac.digest(keys[32:64], ciphertext, sha256), checksum):
        raise Unresolved(f"the password in {file} does not open {path}", "or the file was changed since")
    plain = Cipher(algorithms.AES(keys[:32]), modes.CTR(keys[64:])).decryptor().update(ciphertext)
    padding = PKCS7(128).unpadder()
    return source.text(padding.update(plain) + padding.finalize(), path)


def _password() -> tuple[Path, bytes]:
    named = next((os.environ[name] for name in VARIABLES if os.environ.get(name)), None)
    if named is None:
        raise source.Shut("no file is named that holds the vault's password", f"export {VARIABLES[0]}=…")
    file = Path(named).expanduser()
    try:
        password = _run(file) if os.access(file, os.X_OK) and file.is_file() else source.line(file)
    except Unresolved as error:
        raise source.Shut(error.message, error.hint) from None
    if not password:
        raise source.Shut(f"the vault's password in {file} is empty")
    return file, password.encode()


def _run(file: Path) -> str:
    try:
        done = subprocess.run(
            [str(file)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
            env=mask.environment(),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unresolved(f"{file}, which tells the vault's password, cannot be run: {error}") from None
    if done.returncode:
        raise Unresolved(f"{file}, which tells the vault's password, ended with status {done.returncode}")
    return source.text(done.stdout, str(file)).strip()
