"""How to log in to a host: the keys that hosts, groups and `ssh:` share, checked and merged."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from vinfra.model.secret import Secret
from vinfra.model.source import Pointer
from vinfra.model.values import Flag, Seconds, Text, Whole
from vinfra.text.complaint import Complaints, sort_of
from vinfra.text.document import Document
from vinfra.text.expression import templates_in
from vinfra.text.fields import build
from vinfra.text.paths import beside

_KEY_LINE = re.compile(r"(ssh-|ecdsa-|sk-)[A-Za-z0-9@.-]+ [A-Za-z0-9+/]+=*( .*)?")


def _policy(value: str) -> str:
    if value in ("strict", "accept-new") or _KEY_LINE.fullmatch(value):
        return value
    raise ValueError("write strict, accept-new, or the host's public key such as ssh-ed25519 AAAA…")


def _word(value: str) -> str:
    """It goes into files of SSH's, where a space or a line break would begin something else."""
    if value and value.isprintable() and not value.startswith("-") and " " not in value:
        return value
    raise ValueError("write one word, that does not begin with a dash")


def _line(value: str) -> str:
    if value.isprintable():
        return value
    raise ValueError("a path with control characters is not supported")


def _port(value: int) -> int:
    if 0 < value < 65536:
        return value
    raise ValueError("a port is 1 to 65535")


def _one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _only_secret(value: Any) -> Any:
    if isinstance(value, str):
        raise ValueError("a password does not stand in a file; write {secret: env:NAME}")  # noqa: TRY004  what pydantic takes
    return value


Word = Annotated[Text, AfterValidator(_word)]
Line = Annotated[Text, AfterValidator(_line)]
Password = Annotated[Secret, BeforeValidator(_only_secret)]


class Settings(BaseModel):
    """Connection settings as written; None where a wider setting, or the default, holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    connection: Literal["ssh", "local"] | None = Field(None, description="ssh, or local for the machine vinfra runs on")
    address: Word | None = Field(None, description="where SSH connects; the host's name unless said otherwise")
    port: Annotated[Whole, AfterValidator(_port)] | None = Field(None, description="the SSH port; 22")
    user: Word | None = Field(None, description="who logs in; root")
    key_file: Line | None = Field(None, description="private key, relative to the inventory; else the agent's keys")
    password: Password | None = Field(None, description="login password, as a secret")
    jump: Annotated[tuple[Text, ...], BeforeValidator(_one_or_many)] | None = Field(
        None, description="hosts to pass, in order: names of the inventory, or user@address:port"
    )
    host_key: Annotated[Text, AfterValidator(_policy)] | None = Field(
        None, description="strict (known_hosts decides), accept-new, or the pinned public key"
    )
    known_hosts: Line | None = Field(None, description="a known_hosts file of its own, relative to the inventory")
    sudo: Flag | None = Field(None, description="reach root by sudo; by default unless the user is root")
    sudo_password: Password | None = Field(None, description="sudo's password, as a secret")
    connect_timeout: Seconds | None = Field(None, description="how long a login may take, such as 10s")


KEYS = tuple(Settings.model_fields)
_PATHS = ("key_file", "known_hosts")


def settings(
    value: Any, source: Document, pointer: Pointer, complaints: Complaints, extra: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The settings that a mapping makes, with paths resolved. `extra` are the keys that mean something else there."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        complaints.add(source, pointer, f"write a mapping of settings, not {sort_of(value)}")
        return {}
    written = {key: item for key, item in value.items() if key not in extra}
    for key, item in written.items():
        if next(templates_in(item), None) is not None:
            complaints.add(source, (*pointer, key), "no template is rendered here; write the value")
            return {}
    made = build(Settings, written, source.directory, extra)
    if isinstance(made, list):
        for fault in made:
            complaints.add(source, (*pointer, *fault.pointer), fault.message, key=fault.key)
        return {}
    found = {key: item for key, item in made if item is not None}
    for key in _PATHS:
        if key in found:
            found[key] = beside(source.directory.absolute(), found[key])
    return found
