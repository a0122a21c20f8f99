"""Runs tests/cases/<kind>/*.yaml: what is wished for and what a host answered, against the row and the commands.

source: where the recorded answers come from
facts: {…}                 laid over those of a Debian 12; also in a case
answers:                   the beginning of a command line (or `read /path`, `fact name`, `login`): its output,
                           or {rc, out, err}
  stat -L: "81a4:root:root:0:0:8:1700000000.0:/etc/motd\n"
  tree: |                  what the probe's `tree` printed: names, =links, =files (model/tree.py)
  libvirt networks: |      what the probe's `libvirt networks` printed; so too for domains, pools, capabilities
  libvirt pools: {file: pools.txt}   the same, from tests/cases/libvirt/, where several kinds' cases can use it
  vgs: {file: disks/vgs.json}        the same, from another folder of tests/cases/
cases:
  the sentence that is proved:
    /etc/motd: {content: "Welcome\n"}      name: desired, as in a blueprint; several may stand here, the first counts
    answers: {…}           laid over the file's
    instead: {old: new}    replaced in every answer where it occurs (it must somewhere): what somebody changed since
    changing: [package:x]  what else changes in this plan
    siblings: {"package:x": {…}}   what else is wished for on this host, as in a blueprint, or `absent`
    made: [file:/x]        what of other kinds this blueprint created here
    marks: {name: {identity}}   of this blueprint; `foreign` of another one; `adopted`: of what it only found;
                           `claimed`: of what a run that was killed was at
    a secret is a reference as in a blueprint, whose value is its own name; NOBODY's is not to be had
    expect: update ok live      or `invalid`: what `check` complains of, with `reason` a part of it
    fields: {content: "Hello\n -> Welcome\n"}
    reason: a part of it; of a noop, what is noticed
    steps: [a part of each call]   or a list of parts, all in that one call
      - network.define dev <network>   to libvirt: verb, [pool/]name, number, XML without white space between elements
    undo: [a part of each call]   what takes it back, `early` before them if that goes first; or why nothing does
    covers: delete         what the case stands for when the expectation does not say it
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from vinfra.errors import Unresolved
from vinfra.kinds.registry import KINDS
from vinfra.model.action import Action, Impact, Verdict
from vinfra.model.address import Address
from vinfra.model.answer import Absent, Later, Present, Unknown
from vinfra.model.blueprint import Resource
from vinfra.model.change import Change, Delta
from vinfra.model.kind import Reversible, Scope, Trait, has
from vinfra.model.mark import Birth, Mark, State
from vinfra.model.question import Exec, PyinfraFact, Question, Raw, ReadFile, ReadLibvirt, ReadLogin, ReadTree
from vinfra.model.secret import Secret
from vinfra.model.spec import declared
from vinfra.model.step import AwaitGuest, Call, Reboot, Shell, Verb, Virt, Write
from vinfra.model.step import Exec as Run
from vinfra.model.values import Plain
from vinfra.stages.render import Sources, render
from vinfra.text.fields import with_secrets

CASES = Path(__file__).parents[1] / "cases"
KEYWORDS = {
    "answers",
    "changing",
    "marks",
    "foreign",
    "claimed",
    "adopted",
    "facts",
    "instead",
    "siblings",
    "made",
    "expect",
    "fields",
    "reason",
    "steps",
    "undo",
    "covers",
}
DEBIAN: dict[str, Any] = {
    "os": {"id": "debian", "version": "12", "family": "debian", "pretty": "Debian GNU/Linux 12 (bookworm)"},
    "systemd": {"running": True, "state": "running"},
    "package_manager": "apt",
}
NO_PROGRAM = Raw(127, b"", "no such program")


class Loader(yaml.BaseLoader):
    """Scalars as the blueprint's loader gives them: those without quotes as Plain, unconverted."""


Loader.add_constructor(
    "tag:yaml.org,2002:str", lambda _, node: Plain(node.value) if node.style is None else str(node.value)
)


def typed(value: Any) -> Any:
    """Facts as hosts give them: flags and numbers are no text."""
    if isinstance(value, dict):
        return {str(key): typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [typed(item) for item in value]
    return yaml.safe_load(value) if isinstance(value, Plain) else value


def found() -> Iterator[Any]:
    for file in sorted(CASES.glob("*/*.yaml")):
        document = yaml.load(file.read_text("utf-8"), Loader)
        assert document.get("source"), f"{file}: say where its answers come from"
        for title, case in document["cases"].items():
            both = {**document.get("answers", {}), **(case.get("answers") or {})}
            both = {key: recorded(told) for key, told in both.items()}
            both = edited(both, case.get("instead") or {}) if "instead" in case else both
            facts = typed({**document.get("facts", {}), **(case.get("facts") or {})})
            wishes = {name: case[name] for name in case if name not in KEYWORDS}
            whole = {**case, "answers": both, "facts": facts, "kind": file.parent.name, "wishes": wishes}
            yield pytest.param(whole, id=f"{file.parent.name}/{file.stem}: {title}")


def recorded(told: Any) -> Any:
    known = isinstance(told, dict) and "file" in told
    folder = "" if known and "/" in told["file"] else "libvirt"
    return (CASES / folder / told["file"]).read_bytes().decode() if known else told


def edited(answers: dict[str, Any], instead: dict[str, str]) -> dict[str, Any]:
    for old, new in instead.items():
        assert any(old in told for told in answers.values() if isinstance(told, str)), f"{old!r} is in no answer"
        answers = {key: told.replace(old, new) if isinstance(told, str) else told for key, told in answers.items()}
    return answers


FOUND = list(found())
NOUNS = {name.rpartition(".")[2]: name for name in KINDS}


def resource(kind: str, name: str, wish: Any) -> Resource:
    module = KINDS[kind]
    address = Address(kind, "h", name)
    if wish == "absent":
        return Resource(address, None)
    value = wish if isinstance(wish, dict) else {module.SHORTHAND: wish} if wish else {}
    referring = with_secrets(value, Path(), (), [])
    known = Resource(address, module.Spec.model_validate(referring))
    return render((known,), {}, Sources(lambda _: "", revealed))[0][0] if referring != value else known


def revealed(secret: Secret) -> str:
    """What a reference stands for in these cases: its own name; nobody has what NOBODY has."""
    if secret.reference == "env:NOBODY":
        raise Unresolved("NOBODY is not set")
    return secret.reference.partition(":")[2]


def scope_of(case: dict[str, Any], facts: dict[str, Any]) -> Scope:
    wanted = tuple(resource(case["kind"], name, wish) for name, wish in case["wishes"].items())
    marks: dict[str, tuple[Mark, ...]] = {}
    births = {"marks": ("b", Birth.CREATED), "adopted": ("b", Birth.FOUND), "foreign": ("another", Birth.CREATED)}
    births |= {"claimed": births["marks"]}
    for key, (owner, birth) in births.items():
        state = State.CLAIMED if key == "claimed" else State.OWNED
        for name, identity in (case.get(key) or {}).items():
            mark = Mark(owner, case["kind"], name, state, birth, identity=identity or {})
            marks[name] = (*marks.get(name, ()), mark)
    others = {
        ref: resource(NOUNS[ref.partition(":")[0]], ref.partition(":")[2], wish)
        for ref, wish in (case.get("siblings") or {}).items()
    }
    siblings = {**{item.address.reference: item for item in wanted}, **others}
    changing, made = (frozenset(map(str, case.get(key) or ())) for key in ("changing", "made"))
    return Scope("h", wanted, facts, marks, siblings, changing, made=made, owner="b")


def words(question: Question) -> str:
    if isinstance(question, Exec):
        return shlex.join(question.argv)
    if isinstance(question, ReadFile):
        return f"read {question.path}"
    if isinstance(question, ReadLibvirt):
        return f"libvirt {question.sort}"
    if isinstance(question, ReadLogin):
        return "login"
    if isinstance(question, ReadTree):
        return "tree"
    assert isinstance(question, PyinfraFact)
    return f"fact {question.name}"


def answered(question: Question, answers: dict[str, Any]) -> Raw:
    text = words(question)
    keys = [key for key in answers if text.startswith(key)]
    if not keys:
        return NO_PROGRAM
    told = answers[max(keys, key=len)]
    if isinstance(told, str):
        return Raw(0, told.encode("utf-8", "surrogateescape"))
    return Raw(int(told.get("rc", 0)), told.get("out", "").encode(), told.get("err", ""))


def look(case: dict[str, Any]) -> tuple[Scope, Any]:
    """As discovery does: ask until nothing new is asked; facts are there from the second round on."""
    kind, answers = KINDS[case["kind"]], dict[Question, Raw]()
    facts: dict[str, Any] = {}
    for _ in range(8):
        scope = scope_of(case, facts)
        new = [question for question in kind.ask(scope, answers) if question not in answers]
        if facts and not new:
            return scope, kind.read(scope, answers)
        answers |= {question: answered(question, case["answers"]) for question in new}
        facts = {**DEBIAN, **case["facts"]}
    raise AssertionError("still asking after 8 rounds")


def shown(call: Call) -> str:
    if isinstance(call, Run):
        return shlex.join(call.argv) + (f" <<< {call.stdin.decode()}" if call.stdin else "")
    if isinstance(call, Write):
        return f"write {call.path} {call.mode} {call.owner}:{call.group} {call.content.decode()}"
    if isinstance(call, Virt):
        return virt(call)
    if isinstance(call, AwaitGuest):
        known = f"{call.network} {call.address} {'finished' * call.finished}"
        return f"await {call.name} {call.login.name} {known}".rstrip()
    if isinstance(call, Reboot):
        return f"reboot {call.boot} {call.seconds:g}s"
    assert isinstance(call, Shell)
    return call.text


def virt(call: Virt) -> str:
    number = str(call.number) if call.number or call.verb.endswith("autostart") else ""
    given = (
        str(call.verb),
        f"{call.pool}/{call.name}" if call.pool else call.name,
        number,
        f"{call.seconds:g}s" if call.seconds else "",
        call.source,
        call.sha256,
        call.domain,
        re.sub(r">\s+<", "><", call.xml).strip(),
        call.content.decode("utf-8", "replace"),
    )
    return " ".join(filter(None, given))


def delta_of(case: dict[str, Any]) -> tuple[Delta, list[str]]:
    delta, change, scope = change_of(case)
    if change is None:
        return delta, []
    steps = KINDS[case["kind"]].steps(change, scope)
    assert all("\n" not in step.summary for step in steps)
    tells = [step for step in steps if any(getattr(call, "verb", None) is Verb.SECRET_SET for call in step.calls)]
    assert all(step.secret for step in tells)
    assert max((step.impact for step in steps), default=delta.impact) <= max(delta.impact, steps[0].impact)
    return delta, [shown(call) for step in steps for call in step.calls]


def undo_of(case: dict[str, Any]) -> list[str] | str:
    """The calls that take a change back, after `early` if that comes first; or why nothing does."""
    _, change, scope = change_of(case)
    kind = KINDS[case["kind"]]
    assert change is not None
    assert isinstance(kind, Reversible)
    way = kind.undo(change, scope)
    if isinstance(way, str):
        return way
    assert all("\n" not in step.summary for step in way.steps)
    secret = any(item.secret for item in change.delta.fields) and not way.early
    assert all(step.secret for step in way.steps) or not secret
    return [*(["early"] if way.early else []), *(shown(call) for step in way.steps for call in step.calls)]


def change_of(case: dict[str, Any]) -> tuple[Delta, Change | None, Scope]:
    scope, answers = look(case)
    wish, kind = scope.wanted[0], KINDS[case["kind"]]
    assert not kind.check(wish.address.name, wish.desired)
    answer = answers[wish.address.name]
    if isinstance(answer, Later):
        return Delta(Action.CREATE, verdict=Verdict.LATER, reason=answer.reason), None, scope
    if isinstance(answer, Unknown):
        return Delta(Action.NOOP, verdict=Verdict.UNKNOWN, reason=answer.reason), None, scope
    delta = kind.diff(wish, answer, scope)
    if delta.action is Action.NOOP or delta.verdict is not Verdict.OK:
        return delta, None, scope
    assert isinstance(answer, Present | Absent)
    actual = answer.actual if isinstance(answer, Present) else None
    return delta, Change(wish.address, delta, wish.desired, actual, notes=dict(answer.notes)), scope


@pytest.mark.parametrize("case", FOUND)
def test_case(case: dict[str, Any]) -> None:
    if case["expect"] == "invalid":
        name, wish = next(iter(case["wishes"].items()))
        said = KINDS[case["kind"]].check(name, resource(case["kind"], name, wish).desired)
        assert said
        assert case.get("reason", "") in said
        return
    delta, calls = delta_of(case)
    said = f"{delta.action.name} {delta.verdict.name} {delta.impact}".lower()
    assert said.startswith(case["expect"]), f"{said}: {delta.reason}"
    assert case.get("reason", "") in (delta.reason or delta.notice)
    as_declared(KINDS[case["kind"]].Spec, delta)
    if "fields" in case:
        changes = {item.path: f"{worded(item.before)} -> {worded(item.after)}" for item in delta.fields}
        assert changes == dict(case["fields"] or {})
    if "steps" in case:
        assert len(calls) == len(case["steps"]), calls
        assert all(within(parts, call) for parts, call in zip(case["steps"], calls, strict=True)), calls


def as_declared(spec: Any, delta: Delta) -> None:
    """What a row costs is what its fields are declared to cost at most, and whatever costs more than live says why."""
    if delta.verdict not in (Verdict.OK, Verdict.LATER):
        return
    assert delta.impact <= Impact.LIVE or delta.reason
    for item in delta.fields:
        name = item.path.partition(".")[0]
        assert item.impact <= Impact.LIVE or item.why
        if name in spec.model_fields:
            assert item.impact <= declared(spec, name, "impact"), f"{name} is declared to cost less"
            assert not declared(spec, name, "refused") or delta.action is Action.CREATE


REVERSIBLE = [item for item in FOUND if isinstance(KINDS[item.values[0]["kind"]], Reversible)]


@pytest.mark.parametrize("case", REVERSIBLE)
def test_what_is_done_has_a_way_back_or_says_why_not(case: dict[str, Any]) -> None:
    if case["expect"] == "invalid":
        return
    delta, change, _ = change_of(case)
    if change is None or delta.action not in (Action.CREATE, Action.UPDATE):
        assert "undo" not in case
        return
    told = undo_of(case)
    assert told or case["kind"] == "kvm.guest"
    if isinstance(told, str):
        assert str(case.get("undo", "")) in told
    elif "undo" in case:
        assert len(told) == len(case["undo"]), told
        assert all(within(parts, call) for parts, call in zip(case["undo"], told, strict=True)), told


def within(parts: str | list[str], call: str) -> bool:
    return all(part in call for part in ([parts] if isinstance(parts, str) else parts))


def worded(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def covered(case: dict[str, Any]) -> str:
    if "covers" in case:
        return str(case["covers"])
    action, _, rest = case["expect"].partition(" ")
    verdict = rest.partition(" ")[0]
    return "unknown" if verdict == "unknown" else "update" if action == "replace" else str(action)


# A fleet has no object of its own: tests/stages/test_fleet.py has it.
OBJECTS = [name for name, kind in KINDS.items() if not has(kind, Trait.FLEET)]


@pytest.mark.parametrize("kind", OBJECTS)
def test_every_kind_is_covered(kind: str) -> None:
    mine = [param.values[0] for param in FOUND if param.values[0]["kind"] == kind]
    assert {covered(case) for case in mine} >= {"create", "noop", "update", "delete", "unknown"}


@pytest.mark.parametrize("kind", OBJECTS)
def test_every_field_is_exercised(kind: str) -> None:
    mine = [param.values[0] for param in FOUND if param.values[0]["kind"] == kind]
    specs = [resource(kind, name, wish).desired for case in mine for name, wish in case["wishes"].items()]
    used = {name for spec in specs if spec is not None for name in spec.model_fields_set}
    # expand and place turn these into content before a kind sees them; tests/stages has them.
    elsewhere = {"source", "template"} if kind == "host.file" else set()
    assert set(KINDS[kind].Spec.model_fields) - elsewhere <= used
