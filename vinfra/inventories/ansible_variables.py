"""Ansible's connection variables as settings of ours."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from vinfra import mask
from vinfra.inventories import ssh_arguments
from vinfra.inventories.found import Found, Unfit, Unmanaged
from vinfra.model.secret import Known, Secret
from vinfra.model.values import Literal

# What each of our settings is called there, the newest name first: it wins.
_NAMES: Mapping[str, tuple[str, ...]] = {
    "address": ("ansible_host", "ansible_ssh_host"),
    "port": ("ansible_port", "ansible_ssh_port"),
    "user": ("ansible_user", "ansible_ssh_user"),
    "key_file": ("ansible_private_key_file", "ansible_ssh_private_key_file"),
}
_PASSWORDS: Mapping[str, tuple[str, ...]] = {
    "password": ("ansible_password", "ansible_ssh_password", "ansible_ssh_pass"),
    "sudo_password": ("ansible_become_password", "ansible_become_pass", "ansible_sudo_pass"),
}
_PASSPHRASE = ("ansible_ssh_private_key_passphrase", "ansible_private_key_passphrase")
_ARGUMENTS = ("ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args")
_BY_SSH = ("ssh", "smart", "paramiko", "paramiko_ssh", "ansible.builtin.ssh", "ansible.builtin.paramiko_ssh")
_LOCAL = ("local", "ansible.builtin.local")
_TRUE = ("true", "yes", "on", "1", "y", "t")
_FALSE = ("false", "no", "off", "0", "n", "f")


def settings(name: str, variables: dict[str, Any], found: Found) -> dict[str, Any]:
    """The settings that a host's variables make; passwords are taken out of the variables."""
    secrets = {key: _password(name, key, variables, found) for key in _PASSWORDS}
    if any(variables.pop(word, None) for word in _PASSPHRASE):
        raise Unfit(_PASSPHRASE[0], "vinfra asks for no passphrase; unlock the key with ssh-add")
    connection = str(_first(variables, ("ansible_connection",)) or "ssh")
    if connection in _LOCAL:
        return {"connection": "local", "address": "localhost", **_become(variables), **_given(secrets)}
    if connection not in _BY_SSH:
        raise Unmanaged(f"ansible_connection: {connection}; vinfra logs in by SSH, or works on this machine (local)")
    if str(variables.get("ansible_shell_type", "sh")) in ("powershell", "cmd"):
        raise Unmanaged("it is a Windows host, and vinfra manages Linux")
    made: dict[str, Any] = {}
    for word in _ARGUMENTS:
        if (value := variables.get(word)) not in (None, ""):
            made |= ssh_arguments.settings(str(value), word, partial(_warn, name, found))
    for key, names in _NAMES.items():
        if (value := _first(variables, names)) is not None:
            made[key] = value
    if (seconds := _first(variables, ("ansible_timeout", "ansible_ssh_timeout"))) is not None:
        made["connect_timeout"] = f"{seconds}s"
    for word in ("ansible_host_key_checking", "ansible_ssh_host_key_checking"):
        if word in variables and not _flag(variables[word], word):
            _warn(name, found, f"host keys are checked all the same: known_hosts decides, whatever {word} says")
    if isinstance(made.get("key_file"), str):
        made["key_file"] = _key_file(made["key_file"], found)
    return {**made, **_become(variables), **_given(secrets)}


def _given(secrets: Mapping[str, Secret | None]) -> dict[str, Any]:
    return {key: secret for key, secret in secrets.items() if secret is not None}


def _first(variables: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((variables[name] for name in names if variables.get(name) is not None), None)


def _password(name: str, key: str, variables: dict[str, Any], found: Found) -> Secret | None:
    """A password as a secret: a vault's reference, or the text that stands there, which is shown nowhere."""
    values = {word: variables.pop(word) for word in _PASSWORDS[key] if word in variables}
    word, value = next(((word, value) for word, value in values.items() if value not in (None, "")), ("", None))
    if value is None or isinstance(value, Secret):
        return value
    text = str(value)
    mask.note(text)
    if "{{" in text and not isinstance(value, Literal):
        raise Unfit(word, "vinfra renders no template of Ansible's into a password; write the value, or a !vault one")
    return Known(f"{word} of {name} in {found.file}", text)


def _become(variables: Mapping[str, Any]) -> dict[str, Any]:
    """How root is reached."""
    method = str(_first(variables, ("ansible_become_method",)) or "sudo").rpartition(".")[2]
    become = _first(variables, ("ansible_become", "ansible_sudo"))
    wanted = None if become is None else _flag(become, "ansible_become")
    if wanted is False:
        return {"sudo": False}
    if method != "sudo":
        raise Unfit("ansible_become_method", f"{method}: vinfra becomes root by sudo only")
    user = str(_first(variables, ("ansible_become_user",)) or "root")
    if wanted and user != "root":
        raise Unfit("ansible_become_user", f"{user}: vinfra becomes root and nobody else")
    return {} if wanted is None else {"sudo": True}


def _flag(value: Any, word: str) -> bool:
    text = str(value).strip().lower()
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise Unfit(word, f"{value!r} is neither true nor false; vinfra renders no template here")


def _key_file(written: str, found: Found) -> str:
    """A key's file: from where vinfra is run, as with Ansible, else beside the inventory."""
    path = Path(written)
    if "{{" in written or written.startswith("~") or path.is_absolute():
        return written
    here = Path.cwd() / path
    folder = found.file if found.file.is_dir() else found.file.parent
    return str(here if here.exists() or not (folder / path).exists() else (folder / path).absolute())


def _warn(name: str, found: Found, line: str) -> None:
    told = f"inventory: {line}"
    if told not in found.warnings:
        found.warnings.append(told)
