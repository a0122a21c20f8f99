"""`vault:MOUNT/PATH#KEY`: HashiCorp Vault or OpenBao, key-value engine of version 1 or 2, by hvac.

As its own program does: VAULT_ADDR, VAULT_TOKEN (or the file named in VAULT_TOKEN_FILE, or ~/.vault-token),
VAULT_NAMESPACE, VAULT_CACERT. The certificate is always verified; plain HTTP is for this machine alone.
"""

import ipaddress
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from vinfra.errors import Unresolved
from vinfra.transport.providers import source

_SECONDS = 10


def fetch(place: str) -> source.Tree:
    """The newest version of a secret: its keys and values."""
    hvac = source.optional("hvac", "vault")
    requests = source.optional("requests", "vault")
    client = _client(hvac)
    try:
        mount, path, version = _mounted(client, hvac, place)
        if version == 2:
            told = client.secrets.kv.v2.read_secret_version(path, mount_point=mount, raise_on_deleted_version=True)
            tree: source.Tree = told["data"]["data"]
        else:
            tree = client.secrets.kv.v1.read_secret(path, mount_point=mount)["data"]
    except hvac.exceptions.InvalidPath:
        raise Unresolved(f"Vault has nothing at {place}", f"vault kv get {place}") from None
    except hvac.exceptions.Forbidden:
        raise Unresolved(f"Vault does not let this token read {place}", "vault token lookup; vault login") from None
    except hvac.exceptions.VaultError as error:
        said = "; ".join(map(str, error.errors or ())) or str(error) or type(error).__name__
        raise source.Shut(f"Vault at {client.url} refuses: {said[:300]}", "vault status") from None
    except requests.exceptions.SSLError as error:
        hint = "name the authority that signed it in VAULT_CACERT"
        raise source.Shut(f"the certificate of {client.url} cannot be verified: {_cause(error)}", hint) from None
    except requests.exceptions.RequestException as error:
        raise source.Shut(f"no answer from Vault at {client.url}: {_cause(error)}", "vault status") from None
    except (KeyError, TypeError, ValueError):
        raise Unresolved(f"Vault's answer about {place} is not a key-value secret's") from None
    return tree


def _client(hvac: Any) -> Any:
    address = os.environ.get("VAULT_ADDR", "")
    if not address:
        raise source.Shut("VAULT_ADDR does not say where Vault is", "export VAULT_ADDR=https://vault.example.net:8200")
    url = urlsplit(address)
    if url.scheme != "https" and not (url.scheme == "http" and _here(url.hostname or "")):
        raise source.Shut(f"VAULT_ADDR is {address}, where anybody on the way reads along", "write https://…")
    authority = os.environ.get("VAULT_CACERT", "")
    if authority and not Path(authority).is_file():
        raise source.Shut(f"VAULT_CACERT names no file: {authority}")
    namespace = os.environ.get("VAULT_NAMESPACE") or None
    return hvac.Client(address, token=_token(), verify=authority or True, namespace=namespace, timeout=_SECONDS)


def _token() -> str:
    if token := os.environ.get("VAULT_TOKEN"):
        return token
    named = os.environ.get("VAULT_TOKEN_FILE")
    file = Path(named or "~/.vault-token").expanduser()
    if not named and not file.exists():
        raise source.Shut("there is no token for Vault", "vault login, or name its file in VAULT_TOKEN_FILE")
    try:
        return source.line(file)
    except Unresolved as error:
        raise source.Shut(error.message, error.hint) from None


def _mounted(client: Any, hvac: Any, place: str) -> tuple[str, str, int]:
    """Where the engine of a path is mounted, the rest of the path, and the engine's version: as `vault kv` asks it."""
    try:
        told = client.adapter.get(f"/v1/sys/internal/ui/mounts/{place}")
    except hvac.exceptions.InvalidPath:  # before Vault 0.10 there was no such question, and one version
        mount, _, path = place.partition("/")
        return mount, path, 1
    found = told["data"]
    if found["type"] not in ("kv", "generic"):
        raise Unresolved(f"what is mounted at {found['path']} is {found['type']}, not key-value")
    mount = str(found["path"]).rstrip("/")
    return mount, place.removeprefix(f"{mount}/"), int((found.get("options") or {}).get("version", 1))


def _here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _cause(error: BaseException) -> str:
    """The reason at the bottom of a chain of wrapped errors."""
    inner: Any = error.args[0] if error.args else None
    inner = getattr(inner, "reason", inner)
    return str(inner if inner is not None else error).rpartition(": ")[2][:200]
