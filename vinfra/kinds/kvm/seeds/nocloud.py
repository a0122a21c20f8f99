"""What cloud-init's NoCloud data source reads: an ISO image called cidata with user-data, meta-data and network-config.

https://docs.cloud-init.io/en/latest/reference/datasources/nocloud.html. Imported are a writer of YAML and one of ISO
images; both work in memory only.
"""

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import yaml

from vinfra.kinds.kvm.seeds.cloud_config import HEADER
from vinfra.model.values import Plain

LABEL = "cidata"
SECTOR = 2048
_DESCRIPTORS, _LAST_DESCRIPTOR = 16, 255
_DAY = bytes((70, 1, 1, 0, 0, 0, 0))  # 1970-01-01, as directories write it


class _Dumper(yaml.SafeDumper):
    """YAML as an author writes it: what stood without quotes goes out as it stood, and nothing is an alias."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _plain(dumper: yaml.SafeDumper, text: Plain) -> yaml.Node:
    tag = dumper.resolve(yaml.ScalarNode, str(text), (True, False))  # type: ignore[no-untyped-call]
    return dumper.represent_scalar(tag, str(text))


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(Plain, _plain)
_Dumper.add_multi_representer(str, _text)
_Dumper.add_multi_representer(tuple, lambda dumper, items: dumper.represent_list(list(items)))


def as_yaml(value: Any) -> str:
    """The value as YAML 1.1, which is what cloud-init reads; no line is folded."""
    return yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True, width=1 << 30
    )


def told(given: Any) -> str:
    """Data of an author: text as it is, a mapping as #cloud-config."""
    return given if isinstance(given, str) else f"{HEADER}\n{as_yaml(given)}"


def user_data(given: Any, user: str | None, public_key: str | None) -> str:
    """The author's data, with a login merged in. Raises ValueError, which shows nothing of it, where that cannot be."""
    if bool(user) != bool(public_key):
        raise ValueError("user and public_key go together")
    if isinstance(given, str):
        if not user or not public_key:
            return given
        given = _parsed(given)
    config = dict(given or {})
    if user and public_key:
        config = _with_login(config, user, public_key)
    return told(config)


def _parsed(text: str) -> dict[str, Any]:
    if not text.startswith(HEADER):
        raise ValueError(f"user and public_key go into a mapping, or into text that begins with {HEADER}")
    try:
        config = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = f" in its line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ValueError(f"user_data is no YAML: {error.problem}{line}") from None
    if not isinstance(config, dict | None):
        raise ValueError("user_data: write a mapping")  # noqa: TRY004  pydantic takes ValueError for its own
    return config or {}


def _with_login(config: dict[str, Any], user: str, public_key: str) -> dict[str, Any]:
    """A list of users takes the place of the distribution's, which has the one called default: that stays.

    A user whom the author describes only gets the key, another one may do all with sudo. Keys of root are of no use
    while disable_root, the default of most images, has it say that one should log in as somebody else.
    """
    users = config.get("users", ["default"]) or []
    if not isinstance(users, list):
        raise ValueError("user_data: write users as a list")  # noqa: TRY004
    mine = next((item for item in users if isinstance(item, dict) and item.get("name") == user), None)
    if mine is None:
        rights = {} if user == "root" else {"sudo": "ALL=(ALL) NOPASSWD:ALL"}
        users = [*users, {"name": user, **rights, "ssh_authorized_keys": [public_key]}]
    else:
        keys = mine.get("ssh_authorized_keys") or []
        keys = [keys] if isinstance(keys, str) else list(keys)
        told = {**mine, "ssh_authorized_keys": keys if public_key in keys else [*keys, public_key]}
        users = [told if item is mine else item for item in users]
    if user != "root":
        return {**config, "users": users}
    if str(config.get("disable_root", False)).lower() not in ("false", "no", "off", "0"):
        raise ValueError("user_data: disable_root keeps the user root out; leave it away")
    return {**config, "disable_root": False, "users": users}


def files(
    instance: str, hostname: str, data: Mapping[str, str], network_config: Mapping[str, Any] | None
) -> dict[str, bytes]:
    """The files by name. With another instance cloud-init takes the machine for a new one, and does all of it again."""
    found = {"meta-data": as_yaml({"instance-id": instance, "local-hostname": hostname}), **data}
    if network_config is not None:
        found["network-config"] = as_yaml(dict(network_config))
    return {name: text.encode("utf-8", "surrogateescape") for name, text in found.items()}


def image(content: Mapping[str, bytes]) -> bytes:
    """An ISO 9660 image of these files, with Joliet and Rock Ridge; only root may read them. The same make the same."""
    from pycdlib import PyCdlib

    iso = PyCdlib()
    iso.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident=LABEL)
    for name, data in content.items():
        short = f"/{name.upper().replace('-', '_')}.;1"
        iso.add_fp(BytesIO(data), len(data), short, rr_name=name, joliet_path=f"/{name}", file_mode=0o100400)
    written = BytesIO()
    iso.write_fp(written)
    iso.close()
    return _undated(bytearray(written.getvalue()))


def _undated(iso: bytearray) -> bytes:
    """Without the time of its making: that of each volume descriptor, and of each entry of its root directory."""
    at = _DESCRIPTORS * SECTOR
    while iso[at] != _LAST_DESCRIPTOR:
        iso[at + 813 : at + 881] = (b"0" * 16 + b"\0") * 4  # made, changed, expires, holds from: not said
        iso[at + 174 : at + 181] = _DAY
        entry = int.from_bytes(iso[at + 158 : at + 162], "little") * SECTOR
        end = entry + int.from_bytes(iso[at + 166 : at + 170], "little")
        while entry < end and iso[entry]:
            iso[entry + 18 : entry + 25] = _DAY
            stamps = iso.find(b"TF", entry + 33, entry + iso[entry])  # Rock Ridge: 5 bytes, then 7 for each stamp
            if stamps > 0:
                count = (iso[stamps + 2] - 5) // len(_DAY)
                iso[stamps + 5 : stamps + 5 + count * len(_DAY)] = _DAY * count
            entry += iso[entry]
        at += SECTOR
    return bytes(iso)
