"""pyinfra's inventories. They are programs: one runs in a process of its own, and only JSON comes back from it."""

import json
import sys
from pathlib import Path
from typing import Any

from vinfra import mask
from vinfra.errors import UsageError
from vinfra.inventories import program
from vinfra.inventories.found import Entry, Found, Set, Unfit, Unmanaged
from vinfra.model.secret import Known
from vinfra.model.source import Position, Problem
from vinfra.text.pattern import ALL

_CHILD = Path(__file__).with_name("pyinfra_child.py")
_CONNECTOR = "pyinfra_connector"
_NAMES = {"address": "ssh_hostname", "port": "ssh_port", "user": "ssh_user", "key_file": "ssh_key"}
_PASSWORDS = {"password": "ssh_password", "sudo_password": "_sudo_password"}
_PASSPHRASE = "ssh_key_password"  # noqa: S105  a name
_REFUSED = ("ssh_config_file", "ssh_paramiko_connect_kwargs", "ssh_forward_agent", "_su_user", "_doas", "_doas_user")


def read(file: Path) -> Found:
    """Run the inventory, and read what it made. Raises UsageError when it fails or hangs."""
    what = f"cannot read the inventory {file}"
    if not file.is_file():
        raise UsageError(f"{what}: no such file" if not file.exists() else f"{what}: not a regular file")
    # -P: our own modules beside it, of which one is called pyinfra, are none of its business.
    printed = program.output([sys.executable, "-P", str(_CHILD), str(file.absolute())], what, program.limit())
    try:
        answer = json.loads(printed)
        found = Found(file)
        if "problem" in answer:
            place = Position(_near(answer["file"], file), int(answer["line"]), 1)
            found.problems.append(Problem(place, "", f"{answer['problem']}; it is run as pyinfra runs it"))
            return found
        _fill(found, answer["groups"])
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{what}: it ended without saying its hosts ({type(error).__name__})") from None
    return found


def _near(written: str, file: Path) -> str:
    return str(file) if written == str(file.absolute()) else written


def _fill(found: Found, groups: list[dict[str, Any]]) -> None:
    shared: dict[str, Any] = {}
    inherited: dict[str, dict[str, Any]] = {}
    own: dict[str, dict[str, Any]] = {}
    places: dict[str, Position] = {}
    for group in sorted(groups, key=lambda group: group["name"] == ALL):
        place = Position(str(found.file), group["line"], 1)
        if group["name"] == ALL:
            shared = group["data"]
        else:
            found.groups[group["name"]] = Set([_plain(name) for name, _ in group["hosts"]])
        for name, data in group["hosts"]:
            places.setdefault(name, place)
            own.setdefault(name, {}).update(data)
            if group["name"] != ALL:
                inherited.setdefault(name, {}).update(group["data"])
    everyone: list[Any] = next((group["hosts"] for group in groups if group["name"] == ALL), [])
    for name in dict.fromkeys(name for name, _ in everyone):
        data = {**shared, **inherited.get(name, {}), **own[name]}
        connector, _, rest = name.removeprefix("@").partition("/") if name.startswith("@") else ("ssh", "", name)
        if connector == "ssh" and rest != name:
            data.setdefault("ssh_hostname", rest)
        found.entries[_plain(name)] = Entry(_plain(name), {**data, _CONNECTOR: connector}, places[name])


def _plain(name: str) -> str:
    """A host's name without `@ssh/`; `@local` is this machine."""
    if name.startswith("@local"):
        return "localhost"
    return name.removeprefix("@ssh/") if name.startswith("@ssh/") else name.removeprefix("@").replace("/", ".")


def settings(name: str, variables: dict[str, Any], found: Found) -> dict[str, Any]:
    """The settings that a host's data makes; passwords are taken out of it."""
    connector = variables.pop(_CONNECTOR)
    secrets: dict[str, Any] = {}
    for key, word in _PASSWORDS.items():
        if value := variables.pop(word, None):
            mask.note(str(value))
            secrets[key] = Known(f"{word} of {name} in {found.file}", str(value))
    if variables.pop(_PASSPHRASE, None):
        raise Unfit(_PASSPHRASE, "vinfra asks for no passphrase; unlock the key with ssh-add")
    if connector not in ("ssh", "local"):
        raise Unmanaged(f"it is reached by pyinfra's connector @{connector}; vinfra knows @ssh and @local")
    for word in _REFUSED:
        if variables.get(word):
            raise Unfit(word, "vinfra has nothing like it; write what it does into ~/.ssh/config, which vinfra reads")
    sudo = variables.get("_sudo")
    made: dict[str, Any] = {**secrets, **({} if sudo is None else {"sudo": bool(sudo)})}
    if connector == "local":
        return {"connection": "local", "address": "localhost", **made}
    made |= {key: variables[word] for key, word in _NAMES.items() if variables.get(word) is not None}
    if (file := variables.get("ssh_known_hosts_file")) is not None:
        made["known_hosts"] = file
    rule = str(variables.get("ssh_strict_host_key_checking", "yes")).lower()
    if rule == "accept-new":
        made["host_key"] = "accept-new"
    elif rule not in ("yes", "ask"):
        _warn(found, "host keys are checked all the same: known_hosts decides, whatever the inventory says")
    for key in ("key_file", "known_hosts"):
        if key in made:
            made[key] = _from_here(str(made[key]), found)
    return made


def _from_here(written: str, found: Found) -> str:
    """A file as pyinfra finds it: from where it is run, else beside the inventory."""
    here = Path.cwd() / Path(written).expanduser()
    beside = found.file.parent / written
    return str(here if here.exists() or not beside.exists() else beside.absolute())


def _warn(found: Found, line: str) -> None:
    if (told := f"inventory: {line}") not in found.warnings:
        found.warnings.append(told)
