"""NetBox's answers, by pynetbox: every page of what was asked for, over a verified connection, within a time."""

import importlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from vinfra import mask
from vinfra.errors import UsageError

_PAGE = 500
_SAID = 300
_PARTS = {"devices": ("dcim", "devices"), "virtual_machines": ("virtualization", "virtual_machines")}
# What is taken of an object; the rest is not kept either.
_TAKEN = (
    *("id", "name", "site", "location", "rack", "position", "role", "platform", "cluster", "tenant", "status", "tags"),
    *("primary_ip", "serial", "asset_tag"),
)
_LABELS = ("slug", "value", "name", "address")


class Silent(UsageError):
    """NetBox does not answer, or says that it is broken: what it said before may serve."""


def ask(url: str, token: str, asked: Mapping[str, Mapping[str, Any]], ca: str, seconds: float) -> list[dict[str, Any]]:
    """The objects of each kind that its filters let through, reduced to what is taken of them.

    Raises Silent when there is no answer, UsageError when the answer is of no use.
    """
    pynetbox, requests = _library("pynetbox"), _library("requests")
    if ca and not Path(ca).is_file():
        raise UsageError(f"the authority's file {ca} is not there", "correct `ca`")
    api = pynetbox.api(url, token=token)
    api.http_session = _session(requests, url, ca, seconds)
    found: list[dict[str, Any]] = []
    try:
        for kind, filters in asked.items():
            part, endpoint = _PARTS[kind]
            records = getattr(getattr(api, part), endpoint)
            every = records.filter(limit=_PAGE, **filters) if filters else records.all(limit=_PAGE)
            found += [_reduced(dict(record), kind) for record in every]
    except pynetbox.RequestError as error:
        raise _refused(url, error) from None
    except pynetbox.ContentError:
        raise UsageError(f"what answers at {url} is no NetBox: it sends no JSON", "correct `url`") from None
    except requests.exceptions.SSLError as error:
        hint = "name the authority that signed it with `ca`"
        raise UsageError(f"the certificate of {url} cannot be verified: {_cause(error)}", hint) from None
    except requests.exceptions.InvalidSchema as error:
        raise UsageError(f"{url} leads elsewhere: {error}", "write the URL that NetBox itself has") from None
    except requests.exceptions.JSONDecodeError:
        raise UsageError(f"what answers at {url} is no NetBox: it sends no JSON", "correct `url`") from None
    except requests.exceptions.RequestException as error:
        raise Silent(f"no answer from NetBox at {url}: {_cause(error)}", "is it up?") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        told = f"what answers at {url} is no NetBox of a kind that is known here ({type(error).__name__})"
        raise UsageError(mask.struck(told), "correct `url` and `filters`") from None
    return found


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UsageError(f"an inventory from NetBox needs {name}", "pip install 'vinfra[netbox]'") from None


def _session(requests: Any, url: str, ca: str, seconds: float) -> Any:
    """A session that speaks to this server alone: no proxy, no netrc, no way from https to http."""
    session = requests.Session()
    session.trust_env = False
    session.verify = ca or True
    session.request = partial(session.request, timeout=seconds)
    scheme, _, rest = url.partition("://")
    adapter = requests.adapters.HTTPAdapter()
    session.adapters.clear()
    session.mount(f"{scheme}://{rest.partition('/')[0]}/", adapter)
    return session


def _reduced(record: dict[str, Any], kind: str) -> dict[str, Any]:
    reduced = {name: _labels(record[name]) for name in _TAKEN if record.get(name) is not None}
    if fields := record.get("custom_fields"):
        reduced["custom_fields"] = fields
    return {"kind": kind.removesuffix("s").replace("_", "-"), **reduced}


def _labels(value: Any) -> Any:
    """Of another object only what it is called."""
    if isinstance(value, list):
        return [_labels(item) for item in value]
    if isinstance(value, dict) and any(label in value for label in _LABELS):
        return {label: value[label] for label in _LABELS if label in value}
    return value


def _refused(url: str, error: Any) -> UsageError:
    status = error.req.status_code
    said = mask.struck(" ".join(str(error.error).split()))[:_SAID]
    if status in (401, 403):
        return UsageError(f"NetBox at {url} does not let this token read ({status}): {said}", "look at its permissions")
    if status >= 500:
        return Silent(f"NetBox at {url} is broken ({status}): {said}", "look at its log")
    return UsageError(f"NetBox at {url} refuses the question ({status}): {said}", "correct `url` and `filters`")


def _cause(error: BaseException) -> str:
    while error.__context__ is not None or error.__cause__ is not None:
        deeper = error.__cause__ or error.__context__
        if deeper is None or not str(deeper):
            break
        error = deeper
    return mask.struck(str(error))[:_SAID]
