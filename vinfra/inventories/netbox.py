"""NetBox as an inventory: a small file says where it is and what to take; devices and virtual machines become hosts.

    inventory: netbox
    netbox: {url: https://netbox.example.net, token: {secret: env:NETBOX_TOKEN}, filters: {status: active}}

The field names are those of NetBox 4's REST API. What it answered is kept, so that work goes on while it is down.
"""

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from vinfra.errors import UsageError
from vinfra.inventories import netbox_api, netbox_copy
from vinfra.inventories.ansible_values import Reveal
from vinfra.inventories.found import NAME, Entry, Found, Set, Settled, Unmanaged
from vinfra.model.source import Problem
from vinfra.model.values import Literal as Fixed
from vinfra.model.values import Plain, Seconds, Text
from vinfra.text.complaint import Complaints, sort_of
from vinfra.text.document import Document
from vinfra.text.fields import build
from vinfra.text.names import known_keys, variables
from vinfra.text.paths import beside
from vinfra.text.settings import Password, settings

KEYS = ("inventory", "netbox", "ssh", "vars")
By = Literal["site", "location", "role", "rack", "platform", "cluster", "tenant", "status", "tags"]
_FIELDS = ("site", "location", "role", "rack", "platform", "cluster", "tenant")
_SINGULAR = {"tags": "tag"}


def _url(value: str) -> str:
    url = urlsplit(value)
    if url.scheme == "https" and url.hostname and not (url.username or url.password):
        return value.rstrip("/")
    if url.scheme == "http" and here(url.hostname or ""):
        return value.rstrip("/")
    if url.scheme == "http":
        raise ValueError("anybody on the way reads the token along; write https://…")
    raise ValueError("write https://NETBOX, without a user in it")


def here(name: str) -> bool:
    """Whether a name is this machine's own, which nobody listens to."""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _filters(value: Any) -> Any:
    if value is None or value is False or str(value) in ("false", "False"):
        return None
    if not isinstance(value, dict):
        raise ValueError(f"write a mapping of NetBox's own filters, or false, not {sort_of(value)}")  # noqa: TRY004
    return {
        str(name): [str(item) for item in words] if isinstance(words, list) else str(words)
        for name, words in value.items()
    }


Filters = Annotated[dict[str, str | list[str]] | None, BeforeValidator(_filters)]


class Wanted(BaseModel):
    """The mapping under `netbox`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: Annotated[Text, AfterValidator(_url)] = Field(description="where NetBox is; https, or http on this machine")
    token: Password = Field(description="an API token that may read, as a secret")
    ca: Text | None = Field(None, description="the authority that signed its certificate, a file beside this one")
    filters: Filters = Field({}, description="NetBox's own filters, for devices and virtual machines alike")
    devices: Filters = Field({}, description="further filters of devices; false: none of them")
    virtual_machines: Filters = Field({}, description="further filters of virtual machines; false: none of them")
    groups_by: tuple[By, ...] = Field(("site", "role", "rack", "tags"), description="what makes groups: site_ams1")
    max_age: Seconds = Field(300.0, description="how long an answer is used again without asking; 5m")
    timeout: Seconds = Field(30.0, description="how long an answer may take; 30s")


@dataclass(frozen=True, slots=True)
class Keeping:
    """Where answers are kept, and whether one that is kept may be used at all."""

    folder: Path
    refresh: bool = False


def read(document: Document, reveal: Reveal, keeping: Keeping) -> Found:
    """Ask NetBox, or take what it said lately. Raises UsageError when it cannot be had, Unresolved without a token."""
    file = Path(document.file)
    found = Found(file)
    complaints = Complaints()
    complaints.take(*document.problems)
    tree = document.tree or {}
    known_keys(tree, KEYS, document, (), complaints)
    wanted = _wanted(tree.get("netbox"), document, complaints)
    ssh = settings(tree.get("ssh"), document, ("ssh",), complaints)
    shared = variables(tree.get("vars"), document, ("vars",), complaints)
    found.problems += complaints.sorted()
    if wanted is None or found.problems:
        return found
    objects, warning = _objects(wanted, document, reveal, keeping)
    if warning:
        found.warnings.append(f"inventory: {warning}")
    for item in objects:
        _take(item, found, wanted, {"ssh": ssh, "vars": shared})
    return found


def _wanted(value: Any, document: Document, complaints: Complaints) -> Wanted | None:
    if not isinstance(value, dict):
        complaints.add(document, ("netbox",), f"write a mapping with url and token, not {sort_of(value)}")
        return None
    made = build(Wanted, dict(value), document.directory)
    if isinstance(made, list):
        for fault in made:
            complaints.add(document, ("netbox", *fault.pointer), fault.message, key=fault.key)
        return None
    return made


def _objects(wanted: Wanted, document: Document, reveal: Reveal, keeping: Keeping) -> tuple[list[Any], str]:
    """NetBox's objects, and what is to be said about their age."""
    asked = {
        kind: {**(wanted.filters or {}), **filters}
        for kind, filters in (("devices", wanted.devices), ("virtual_machines", wanted.virtual_machines))
        if filters is not None
    }
    kept = netbox_copy.Copy(keeping.folder, wanted.url, asked)
    if not keeping.refresh and (objects := kept.young(wanted.max_age)) is not None:
        return objects, ""
    ca = beside(document.directory.absolute(), wanted.ca) if wanted.ca else ""
    try:
        objects = netbox_api.ask(wanted.url, reveal(wanted.token), asked, ca, wanted.timeout)
    except netbox_api.Silent as silent:
        old = kept.old()
        if old is None:
            raise
        return old.objects, f"{silent.message}; these are the hosts it told {old.age} ago"
    return objects, kept.keep(objects)


def _take(item: Any, found: Found, wanted: Wanted, own: Mapping[str, Any]) -> None:
    """One device or virtual machine as a host. Raises UsageError when it has not the shape of one."""
    if not isinstance(item, dict) or "id" not in item:
        raise UsageError(f"{wanted.url} answered with something that is no device and no virtual machine")
    name = item.get("name") or f"{item['kind']}-{item['id']}"
    if name in found.entries:
        message = f"NetBox has two of this name; let `filters` leave one out: {wanted.url}"
        found.problems.append(Problem(found.position(), str(name), message))
        return
    words = {field: _slug(item.get(field)) for field in _FIELDS}
    words["status"] = _slug(item.get("status"))
    tags = [slug for tag in item.get("tags") or () if (slug := _slug(tag))]
    told: dict[str, Any] = {field: word for field, word in words.items() if word}
    if words["location"] or words["site"]:
        told["zone"] = words["location"] or words["site"]
    if item.get("position") is not None:
        told["position"] = item["position"]
    told["tags"] = tags
    told["netbox"] = {
        "id": item["id"],
        "kind": item["kind"],
        **{key: item[key] for key in ("serial", "asset_tag", "custom_fields") if item.get(key)},
    }
    told = {key: _fixed(value) for key, value in told.items()}
    told["_address"] = _address(item)
    told["_named"] = bool(item.get("name"))
    told["_ssh"] = own["ssh"]
    found.entries[str(name)] = Entry(str(name), {**told, **own["vars"]}, found.position())
    for group in _groups({**words, "tags": tags}, wanted.groups_by):
        found.groups.setdefault(group, Set()).hosts.append(str(name))


def _fixed(value: Any) -> Any:
    """Words of whoever may write in NetBox: never a template."""
    if isinstance(value, dict):
        return {key: _fixed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_fixed(item) for item in value]
    return Fixed(value) if isinstance(value, str) else value


def _groups(words: Mapping[str, Any], by: tuple[str, ...]) -> Iterator[str]:
    for field in by:
        value = words.get(field)
        for word in value if isinstance(value, list) else [value] if value else ():
            yield f"{_SINGULAR.get(field, field)}_{word}"


def _slug(value: Any) -> str:
    """What an object is called in groups: its slug, a choice's value, else its name, made fit for ours."""
    if isinstance(value, dict):
        value = value.get("slug") or value.get("value") or value.get("name") or ""
    text = "".join(
        letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "-" for letter in str(value)
    )
    return text.strip("-").lower() if value else ""


def _address(item: Mapping[str, Any]) -> str:
    primary = item.get("primary_ip")
    address = primary.get("address") if isinstance(primary, dict) else primary
    return str(address or "").partition("/")[0]


def hosts_settings(name: str, variables: dict[str, Any], found: Found) -> dict[str, Any]:
    """The settings of a host: where NetBox says it is, and how the file says to log in."""
    address, named, ssh = (variables.pop(key) for key in ("_address", "_named", "_ssh"))
    if not named:
        raise Unmanaged("it has no name in NetBox")
    if not address:
        raise Unmanaged("it has no primary IP in NetBox")
    if not NAME.fullmatch(name):
        raise Unmanaged("its name in NetBox is no host's: letters, digits, dot, _ and -, a letter or digit first")
    written = {key: Settled(value) for key, value in ssh.items() if not (key == "jump" and name in value)}
    return {**written, "address": Plain(address)}
