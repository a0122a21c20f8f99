"""Fields that hold secrets: what is said of them, now, later, and once they are secret no more."""

import pytest
from pydantic import ValidationError

from vinfra.kinds.host import file, operation, user
from vinfra.kinds.registry import KINDS
from vinfra.model.action import Action, Verdict
from vinfra.model.address import Address
from vinfra.model.answer import Answer, Later, Present
from vinfra.model.blueprint import Resource
from vinfra.model.change import FieldChange, Undo
from vinfra.model.discovery import HostState
from vinfra.model.mark import Birth, Mark, State
from vinfra.model.secret import Secret
from vinfra.model.source import Position
from vinfra.model.spec import Deferred, Spec, declared
from vinfra.stages.diff import diff
from vinfra.stages.render import Sources, render
from vinfra.text.fields import shape_of

ADDRESS = Address("host.file", "a", "/srv/x")


def content(desired: file.Spec, answer: Answer, *marks: Mark, needs: tuple[Address, ...] = ()) -> FieldChange:
    """What the row says of the content."""
    resource = Resource(ADDRESS, desired, Position("b.yaml", 1, 1), needs=frozenset(needs))
    known = {(mark.blueprint, mark.kind, mark.name): mark for mark in marks}
    state = HostState("a", "mine", resources=(resource,), answers={ADDRESS: answer}, marks=known)
    (row,) = diff(state, KINDS, "mine", coming=needs)
    return next(field for field in row.delta.fields if field.path == "content")


def there(text: str) -> Present:
    actual = file.Spec.model_construct(content=text, mode="0600", owner="root", group="root")
    return Present(actual, {"sort": "file", "uid": "0", "gid": "0", "size": len(text)})


def mark(*fields: str) -> Mark:
    return Mark("mine", "host.file", "/srv/x", State.OWNED, Birth.CREATED, fields=fields)


def test_what_was_secret_is_not_shown_when_the_blueprint_has_plain_text_now() -> None:
    plain = file.Spec(content="known to all")
    assert content(plain, there("hunter2"), mark("content", "secret")) == FieldChange(
        "content", None, None, secret=True
    )
    assert content(plain, there("old"), mark("content")) == FieldChange("content", "old", "known to all")


@pytest.mark.parametrize("wish", [{"content": Secret("env:X")}, {"content": "hunter2", "secret": True}])
def test_a_secret_that_is_known_later_is_an_open_bound(wish: dict[str, object]) -> None:
    guest = Address("kvm.guest", "", "web-01")
    change = content(file.Spec(**wish), Later("not up", "guest:web-01"), needs=(guest,))
    assert (change.before, change.after, change.secret) == (None, None, True)


def rendered(address: Address, desired: Spec, value: str, **facts: object) -> tuple[tuple[Resource, ...], str]:
    sources = Sources(lambda _: "", lambda _: value)
    found, left_out = render((Resource(address, desired, Position("b.yaml", 1, 1)),), facts, sources)
    return found, left_out[address].reason if left_out else ""


def test_a_hash_that_is_several_lines_makes_no_other_user() -> None:
    """chpasswd reads a line for each user: a secret must not bring one of its own."""
    address, desired = Address("host.user", "a", "deploy"), user.Spec(password_hash=Secret("env:X"))
    _, why = rendered(address, desired, "$6$salt$hunter2\nroot:$6$mine")
    assert "a hash holds no colon and no line break" in why
    assert "hunter2" not in why
    (resource,), why = rendered(address, desired, "$6$salt$hunter2")
    assert resource.desired.password_hash == "$6$salt$hunter2"  # type: ignore[union-attr]


def test_an_error_of_a_spec_quotes_no_value() -> None:
    with pytest.raises(ValidationError) as refused:
        user.Spec(password_hash="hunter2:x", uid="hunter3")
    assert "hunter" not in str(refused.value)


def test_a_spec_shows_no_secret() -> None:
    shown = repr(user.Spec(password_hash="$6$salt$hunter2", uid="1007"))
    assert "hunter2" not in shown
    assert "uid=1007" in shown


def test_a_field_that_may_hold_a_secret_is_one_that_is_not_shown() -> None:
    """What else takes any value: a file's content, by its flag; arguments, refused; what makes no row of its own."""
    fields = {(name, key) for name, kind in KINDS.items() for key in shape_of(kind.Spec).secrets}
    shown = {(name, key) for name, key in fields if not declared(KINDS[name].Spec, key, "secret")}
    parts = {("kvm.domain", "cloud_init"), *(("kvm.fleet", key) for key in ("cloud_init", "for_each", "overrides"))}
    assert shown - parts == {("host.file", "content"), ("host.operation", "arguments")}


def test_no_secret_becomes_an_argument_by_way_of_facts() -> None:
    address = Address("host.operation", "a", "x")
    arguments = Deferred({"path": "/x", "line": {"secret": "env:X_{{ facts.os.id }}"}})
    desired = operation.Spec(operation="files.line", arguments=arguments)
    assert "a secret cannot be an argument" in rendered(address, desired, "hunter2", os={"id": "debian"})[1]


def test_a_secret_that_was_not_resolved_is_unknown() -> None:
    answers = {ADDRESS: there("x")}
    resource = Resource(ADDRESS, file.Spec(content=Secret("env:X")), Position("b.yaml", 1, 1))
    (row,) = diff(HostState("a", "mine", resources=(resource,), answers=answers), KINDS, "mine")
    assert (row.delta.action, row.delta.verdict) == (Action.NOOP, Verdict.UNKNOWN)


def test_what_a_secret_file_held_is_as_secret_on_its_way_back() -> None:
    desired, known = file.Spec.model_validate({"content": "plain"}), mark("content", "secret")
    state = HostState(
        "a",
        "mine",
        resources=(Resource(ADDRESS, desired),),
        answers={ADDRESS: there("former")},
        marks={("mine", "host.file", "/srv/x"): known},
    )
    (row,) = diff(state, KINDS, "mine")
    way = file.undo(row, state.scopes(KINDS)["host.file"])
    assert isinstance(way, Undo)
    assert [step.secret for step in way.steps] == [True]
