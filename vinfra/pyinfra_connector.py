"""vinfra's inventories in pyinfra: `pyinfra @vinfra/site.yaml exec -- uptime`.

pyinfra finds this by the entry point group `pyinfra.connectors`. The inventory is asked of a process of its own, so
that vinfra's threads and what pyinfra does to its process never meet.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from pyinfra.api.exceptions import InventoryError
from pyinfra.connectors.base import BaseConnector

_SECONDS = 600
_UNSAFE = "__ansible_unsafe"


class VinfraInventoryConnector(BaseConnector):
    """Hosts of a vinfra inventory, and the virtual machines that answered vinfra. pyinfra's own SSH does the rest.

    `@vinfra` takes the inventory that VINFRA_INVENTORY names; `@vinfra/ansible:hosts` says whose a file is.
    """

    handles_execution = False

    @staticmethod
    def make_names_data(name: str | None = None) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        """Each host with what pyinfra's SSH connector takes, and its groups."""
        told = dict(_told(name or ""))
        meta = told.pop("_meta")
        groups: dict[str, list[str]] = {}
        for group, content in told.items():
            for host in content.get("hosts", ()):
                groups.setdefault(host, []).append(group)
        for host, values in meta["hostvars"].items():
            if values.get("ansible_connection") == "local":
                sys.stderr.write(f"vinfra: {host} is this machine; pyinfra calls that @local, and it is left out\n")
                continue
            yield host, _data(host, values, meta["vinfra"]["ssh_config"]), ["@vinfra", *groups.get(host, ())]


@lru_cache
def _told(name: str) -> dict[str, Any]:
    """What `vinfra inventory` says; pyinfra asks twice."""
    argv = [sys.executable, "-m", "vinfra", "inventory", "--list", *(["-i", name] if name else [])]
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InventoryError(f"vinfra inventory: {error}") from error
    if done.returncode:
        raise InventoryError(f"vinfra inventory ended with status {done.returncode}")
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def _data(host: str, values: dict[str, Any], config: str) -> dict[str, Any]:
    """A host's data. Its name leads to all else in the ssh_config, the way through other hosts too."""
    own = {name: _plain(value) for name, value in values.items() if not name.startswith("ansible_")}
    accept = "accept-new" in values.get("ansible_ssh_common_args", "")
    data = {
        **own,
        "ssh_hostname": host,
        "ssh_config_file": config,
        "ssh_user": values["ansible_user"],
        "ssh_port": values["ansible_port"],
        "ssh_strict_host_key_checking": "accept-new" if accept else "yes",
    }
    if key := values.get("ansible_ssh_private_key_file"):
        data["ssh_key"] = key
    if values.get("ansible_become"):
        data["_sudo"] = True
    return data


def _plain(value: Any) -> Any:
    """A value without Ansible's word for text that is no template; pyinfra has no templates in data."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return value[_UNSAFE] if set(value) == {_UNSAFE} else {key: _plain(item) for key, item in value.items()}
    return value
