"""Our inventory as other tools read it: Ansible's JSON, and the files of SSH's that it refers to.

No secret is handed on: a password is left out, and told. What decides about host keys is handed on whole.
"""

import os
import re
import secrets
import shlex
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from vinfra.errors import InputError, UsageError
from vinfra.model.inventory import Host, Inventory
from vinfra.model.values import Plain
from vinfra.text.expression import is_secret, typed
from vinfra.text.template import Variables

CONFIG = "ssh_config"
UNSAFE = "__ansible_unsafe"  # as ansible-inventory itself writes text that is never a template
_KEYS = "known_hosts.d"
_MARKS = re.compile(r"\{[{%#]")


class Way(NamedTuple):
    """How a host is really reached, ssh_config heard: address, port, who logs in, and the hops before it."""

    address: str
    port: int
    user: str
    via: tuple[str, ...] = ()


class Handed(NamedTuple):
    """Ansible's JSON, the files that it refers to by their names in the folder, and what is to be said about it."""

    body: dict[str, Any]
    files: dict[str, str]
    warnings: list[str]


def handed_on(
    inventory: Inventory,
    ways: Mapping[str, Way],
    shown: frozenset[str],
    groups: Mapping[str, Iterable[str]],
    folder: Path,
) -> Handed:
    """The hosts that are to be `shown` and have a way; the files have the others too, for they may be on the way.

    `groups` are those of the machines; `folder` is where the files will be.
    """
    warnings: list[str] = []
    hostvars: dict[str, dict[str, Any]] = {}
    files: dict[str, str] = {}
    for name, way in ways.items():
        host = inventory.hosts[name]
        if _pinned(host):
            files[f"{_KEYS}/{name}"] = f"{_in_known_hosts(way)} {host.host_key}\n"
        if name not in shown:
            continue
        hostvars[name] = {**_variables(host, warnings), **_connection(host, way, folder, warnings)}
    files[CONFIG] = _config(inventory, ways, folder)
    named = {name: [*hosts] for name, hosts in (*inventory.groups.items(), *groups.items())}
    body: dict[str, Any] = {
        name: {"hosts": [host for host in hosts if host in hostvars]} for name, hosts in named.items() if name != "all"
    }
    grouped = {host for content in body.values() for host in content["hosts"]}
    body["ungrouped"] = {"hosts": [name for name in hostvars if name not in grouped]}
    body["all"] = {"children": sorted(body)}
    body["_meta"] = {"hostvars": hostvars, "vinfra": {"ssh_config": str(folder / CONFIG)}}
    return Handed(body, files, warnings)


def _pinned(host: Host) -> bool:
    return host.host_key not in ("strict", "accept-new")


def _in_known_hosts(way: Way) -> str:
    return way.address if way.port == 22 else f"[{way.address}]:{way.port}"


def _known_hosts(host: Host, folder: Path) -> str:
    """The file that has the host's key; "" for the user's own."""
    return str(folder / _KEYS / host.name) if _pinned(host) else host.known_hosts or ""


def _connection(host: Host, way: Way, folder: Path, warnings: list[str]) -> dict[str, Any]:
    for what, secret in (("login password", host.password), ("sudo password", host.sudo_password)):
        if secret is not None:
            warnings.append(f"{host.name}: its {what} is a secret and is not handed on")
    become = {"ansible_become": way.user != "root" if host.sudo is None else host.sudo}
    if host.connection == "local":
        return {"ansible_connection": "local", **({} if host.sudo is None else become)}
    found: dict[str, Any] = {"ansible_host": way.address, "ansible_port": way.port, "ansible_user": way.user, **become}
    if host.key_file:
        found["ansible_ssh_private_key_file"] = str(Path(host.key_file).expanduser())
    words = ["-F", str(folder / CONFIG), "-o", f"ProxyJump={','.join(way.via)}"] if way.via else []
    if file := _known_hosts(host, folder):
        words += ["-o", f"UserKnownHostsFile={file}"]
    if host.host_key == "accept-new":
        words += ["-o", "StrictHostKeyChecking=accept-new"]
    elif words:
        words += ["-o", "StrictHostKeyChecking=yes"]
    if words:
        found["ansible_ssh_common_args"] = shlex.join(words)
    return found


def _variables(host: Host, warnings: list[str]) -> dict[str, Any]:
    """A host's variables as values; those that hold a secret, or cannot be rendered here, are left out and told."""
    scope = Variables(host.variables)
    found: dict[str, Any] = {}
    for name, raw in host.variables.items():
        try:
            found[name] = _value(scope.render(raw))
        except _SecretWithin:
            warnings.append(f"{host.name}: the variable {name} holds a secret and is not handed on")
        except InputError as error:
            warnings.append(f"{host.name}: the variable {name} is not handed on: {error.problems[0]}")
    return found


class _SecretWithin(Exception):
    pass


def _value(tree: Any) -> Any:
    if is_secret(tree):
        raise _SecretWithin
    if isinstance(tree, dict):
        return {key: _value(item) for key, item in tree.items()}
    if isinstance(tree, list):
        return [_value(item) for item in tree]
    value = typed(tree) if isinstance(tree, Plain) else tree
    if isinstance(value, bool) or value is None:
        return value
    for sort in (int, float):
        if isinstance(value, sort):
            return sort(value)
    # What is left of braces after our templates are done is text, and Ansible would take it for a template of its own.
    return {UNSAFE: str(value)} if _MARKS.search(str(value)) else str(value)


def _config(inventory: Inventory, ways: Mapping[str, Way], folder: Path) -> str:
    """An ssh_config in which every host has its name; jump hosts are found by it."""
    lines = ["# Written by `vinfra inventory`; it is written anew each time."]
    addresses: dict[str, list[str]] = {}
    for name, way in ways.items():
        host = inventory.hosts[name]
        if host.connection == "local":
            continue
        keys = [f"IdentityFile {_quoted(str(Path(host.key_file).expanduser()))}"] if host.key_file else []
        if file := _known_hosts(host, folder):
            keys.append(f"UserKnownHostsFile {_quoted(file)}")
        keys.append(f"StrictHostKeyChecking {'accept-new' if host.host_key == 'accept-new' else 'yes'}")
        block = [f"HostName {way.address}", f"Port {way.port}", f"User {way.user}", *keys]
        block += [f"ProxyJump {','.join(way.via)}"] if way.via else []
        lines += ["", f"Host {name}", *(f"  {line}" for line in block)]
        if not way.via:
            addresses.setdefault(way.address, keys)
    for address, keys in addresses.items():
        if address not in ways:
            lines += ["", f"Host {address}", *(f"  {line}" for line in keys)]
    return "\n".join([*lines, "", "Match all", "  Include ~/.ssh/config", ""])


def _quoted(path: str) -> str:
    return f'"{path}"' if re.search(r"\s", path) else path


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write the files, each at once, 0600. Raises UsageError."""
    for name, text in files.items():
        file = folder / name
        temporary = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(text)
            temporary.replace(file)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            raise UsageError(
                f"{file}: cannot be written: {error.strerror}", "VINFRA_STATE names another folder"
            ) from None
