"""TLS certificates with their keys: a pair that belongs together, is good now, and changes places at one moment."""

import re
from collections.abc import Iterable, Mapping, Sequence
from posixpath import dirname
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from vinfra.kinds.compare import created, deleted, later, own_identity, refused, updated
from vinfra.kinds.host import access
from vinfra.kinds.host.certificates import pairs, pems
from vinfra.kinds.host.files import paths
from vinfra.model import spec as shape
from vinfra.model.action import Action, Verdict
from vinfra.model.answer import Absent, Answer, Present, Unknown
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta, FieldChange, Undo
from vinfra.model.kind import Answers, Removal, Scope
from vinfra.model.question import Question, ReadFile
from vinfra.model.secret import Secret
from vinfra.model.spec import field
from vinfra.model.step import Exec, Step
from vinfra.model.values import Mode, Seconds, Text

NAME = "host.certificate"
SECTION = "certificates"
SHORTHAND = ""
ORDER = 42
SHARED = False
REMOVAL = Removal(when="what serves it goes on with what it read")

NO_SUCH_FILE = 2


def _pem(value: Any) -> Any:
    if value is None or isinstance(value, str | Secret):
        return value
    raise ValueError("write the PEM as text, or {secret: …}")


Pem = Annotated[Any, BeforeValidator(_pem), WithJsonSchema({"type": ["string", "object"]})]


class Spec(shape.Spec):
    """A certificate and its key. By default /etc/ssl/vinfra/<name>.pem and /etc/ssl/private/vinfra-<name>.key."""

    certificate: Pem = field(
        "The certificate in PEM, then those that signed it.",
        secret=True,
        examples=({"secret": "sops:tls.yaml#web.crt"},),
    )
    certificate_source: Text | None = field(
        "A file beside the blueprint with that.", compared=False, path=True, fills="certificate", examples=("web.pem",)
    )
    key: Pem = field("Its private key in PEM.", secret=True, examples=({"secret": "sops:tls.yaml#web.key"},))
    key_source: Text | None = field(
        "A file beside the blueprint with that; it must not be one that others read.",
        compared=False,
        path=True,
        fills="key",
    )
    path: Text | None = field(
        "Where the certificate goes.", identity=True, compared=False, examples=("/etc/nginx/web.pem",)
    )
    key_path: Text | None = field(
        "Where the key goes.", identity=True, compared=False, examples=("/etc/nginx/web.key",)
    )
    owner: Text | None = field("Whose both files are, by name or number; root's when new.", examples=("haproxy",))
    group: Text | None = field("Their group, by name or number; root when new.", examples=("ssl-cert",))
    mode: Mode = field("Permissions of the certificate.", default="0644")
    key_mode: Mode = field("Permissions of the key.", default="0600")
    renew_before: Seconds = field("From when on before its end a plan says so.", default=1209600.0, compared=False)


def check(name: str, desired: shape.Spec | None) -> str:
    """The name is part of a path; both parts are given; what is known already is a pair."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,100}", name):
        return "write a short name, such as web or www.example.org"
    if not isinstance(desired, Spec):
        return ""
    for part in ("certificate", "key"):
        given = [key for key in (part, f"{part}_source") if getattr(desired, key) is not None]
        if len(given) != 1:
            return f"say {part}, or {part}_source for a file beside the blueprint" + (", not both" if given else "")
    if {"path", "key_path"} & desired.deferred:
        return ""
    where = pairs.places(name, desired)
    if wrong := next(filter(None, map(paths.name_problem, where)), ""):
        return wrong
    if where[0] == where[1]:
        return "path and key_path are two files"
    if any(not isinstance(value, str) for value in (desired.certificate, desired.key)):
        return ""
    return pems.problem(desired.certificate, desired.key)


identity = own_identity


def references(name: str, desired: shape.Spec | None) -> tuple[frozenset[str], frozenset[str]]:
    """The directories above and whose it is come first."""
    above = {f"directory:{folder}" for path in pairs.places(name, desired) for folder in paths.parents(path)}
    whose = {
        f"{kind}:{who}" for kind, key in (("user", "owner"), ("group", "group")) if (who := getattr(desired, key, None))
    }
    return frozenset(), frozenset(above | whose)


def _where(item: Resource, scope: Scope) -> tuple[str, str]:
    """Its two paths; of one that left the blueprint its mark has them."""
    mark = scope.mine(item.address.name)
    return pairs.places(item.address.name, item.desired or (mark.identity if mark else None))


def _watched(scope: Scope) -> list[str]:
    return [path for item in scope.wanted for path in _where(item, scope)]


def ask(scope: Scope, _answers: Answers) -> Iterable[Question]:
    """What stands at both paths and above, and what is in it."""
    files = _watched(scope)
    yield from paths.ask([*files, *map(dirname, files)], follow=False)
    yield from (ReadFile(path) for path in files)


def read(scope: Scope, answers: Answers) -> Mapping[str, Answer]:
    """Present when one of both files is there; what each is in itself is among the notes."""
    files = _watched(scope)
    there = paths.read([*files, *map(dirname, files)], answers, follow=False)
    return {item.address.name: _one(_where(item, scope), there, answers) for item in scope.wanted}


def _one(where: tuple[str, str], there: Mapping[str, Any], answers: Answers) -> Answer:
    texts: list[str | None] = []
    notes: dict[str, Any] = {"where": where, "found": tuple(there[path] for path in where), "parents": {}}
    for path in where:
        found, raw = there[path], answers.get(ReadFile(path))
        if isinstance(found, Unknown):
            return found
        file = isinstance(found, paths.Found) and found.sort == "file"
        if file and (raw is None or raw.returncode not in (0, NO_SUCH_FILE)):
            return Unknown(f"cannot read {path}: {(raw.err.strip() if raw else '') or 'no reason given'}")
        texts.append(raw.text if raw is not None and raw.ok else None)
        notes["parents"][path] = paths.parent_note(path, dict(there))
    if all(isinstance(found, paths.Nothing) for found in notes["found"]):
        return Absent(notes)
    first = next(found for found in notes["found"] if isinstance(found, paths.Found))
    modes = [getattr(found, "mode", None) for found in notes["found"]]
    actual = Spec.model_construct(
        certificate=texts[0], key=texts[1], mode=modes[0], key_mode=modes[1], owner=first.owner, group=first.group
    )
    return Present(actual, notes)


def diff(resource: Resource, answer: Answer, scope: Scope) -> Delta:
    """The pair as a whole, told by its name and its end; then modes and owners."""
    desired = resource.desired
    if not isinstance(desired, Spec):
        return deleted(reason=REMOVAL.when) if isinstance(answer, Present) else Delta(Action.NOOP)
    assert isinstance(answer, Present | Absent)
    for value in (desired.certificate, desired.key):
        if isinstance(value, Secret):
            return Delta(Action.NOOP, verdict=Verdict.UNKNOWN, reason=f"{value} was not resolved")
    action, actual = (Action.UPDATE, answer.actual) if isinstance(answer, Present) else (Action.CREATE, None)
    if reason := pems.problem(desired.certificate, desired.key):
        return refused(action, reason)
    chain = pems.read(desired.certificate)
    assert isinstance(chain, pems.Chain)
    fields = [*_contents(desired, actual, chain), *_rest(desired, action, answer.notes)]
    written = any(item.path in WHOLE for item in fields)
    if written and (reason := _objection(resource.address.name, desired, answer, scope, chain)):
        return refused(action, reason, fields)
    for path in answer.notes["where"] if written else ():
        waits, reason = paths.unmade_parent(path, answer.notes["parents"][path], scope)
        if waits and dirname(path) not in pairs.DEFAULTS:
            return later(action, reason, fields)
        if reason and dirname(path) not in pairs.DEFAULTS:
            return refused(action, reason, fields)
    said = pems.ending(chain, _now(scope), desired.renew_before)
    if action is Action.CREATE:
        return created(fields, said)
    return updated(fields, said) if fields else Delta(Action.NOOP, notice=said)


def _now(scope: Scope) -> float | None:
    return float(scope.facts.get("now") or 0) or None


WHOLE = ("certificate", "key")


def _contents(desired: Spec, actual: shape.Spec | None, chain: pems.Chain) -> Iterable[FieldChange]:
    there = getattr(actual, "certificate", None)
    if there != desired.certificate:
        known = pems.read(there) if there else None
        yield FieldChange(
            "certificate", "no certificate" if isinstance(known, str) else known and str(known), str(chain)
        )
    if getattr(actual, "key", None) != desired.key:
        yield FieldChange("key", None, None, secret=True)


def _rest(desired: Spec, action: Action, notes: Mapping[str, Any]) -> Iterable[FieldChange]:
    if action is Action.UPDATE:
        return pairs.permissions(desired, notes["found"])
    named = ((key, getattr(desired, key)) for key in ("mode", "key_mode", "owner", "group"))
    return [FieldChange(key, None, wish) for key, wish in named if wish is not None]


def _objection(name: str, desired: Spec, answer: Present | Absent, scope: Scope, chain: pems.Chain) -> str:
    """Why this pair must not come, or not there."""
    now = _now(scope)
    if now is not None and chain.ends <= now:
        return f"the certificate ended on {pems.date(chain.ends)}; have it renewed"
    if now is not None and chain.begins > now:
        return f"the certificate is good only from {pems.date(chain.begins)} on; is the host's clock right?"
    for path, found in zip(answer.notes["where"], answer.notes["found"], strict=True):
        if isinstance(found, paths.Found) and found.sort != "file":
            return f"there is a {found.sort} at {path}; remove it first"
        if f"file:{path}" in scope.siblings:
            return f"{path} is under files too; have it in one place"
    there, key = (getattr(answer.actual, part, None) if isinstance(answer, Present) else None for part in WHOLE)
    if key == desired.key or scope.mine(name):
        return ""
    where, key_path = answer.notes["where"]
    if there and not pems.alone(there):
        return f"something else than a certificate is at {where}; move it away, or `vinfra adopt` it"
    if key:
        return f"another key is at {key_path}, and nobody could bring it back; move it away, or `vinfra adopt` it"
    return ""


def steps(change: Change, _scope: Scope) -> Sequence[Step]:
    """Both files beside the real ones, then two renames; chown and chmod where only those differ."""
    desired, where = change.desired, change.notes["where"]
    guards = access.guards(*where)
    if not isinstance(desired, Spec):
        gone = Exec(("rm", "-f", "--", *where, *pairs.fresh(where)))
        return [Step(f"remove {where[0]} and its key", (gone,), guards=guards)]
    whose = pairs.wished(desired, change.notes["found"])
    if not any(item.path in WHOLE for item in change.delta.fields):
        return [Step(f"mode and owner of {where[0]} and its key", tuple(pairs.permit(where, whose)), guards=guards)]
    calls = pairs.put(where, (desired.certificate, desired.key), whose)
    return [Step(f"write {where[0]} and its key", tuple(calls), change.delta.impact, secret=True, guards=guards)]


def undo(change: Change, _scope: Scope) -> Undo:
    """The files as they were; new ones go."""
    where, actual = change.notes["where"], change.actual
    texts = getattr(actual, "certificate", None), getattr(actual, "key", None)
    calls = (*pairs.former(where, texts, change.notes["found"]), Exec(("rm", "-f", "--", *pairs.fresh(where))))
    step = Step(f"{where[0]} and its key as they were", calls, secret=True, guards=access.guards(*where))
    return Undo((step,), early=actual is None)
