"""Mode, owner and group of what has a path: how they differ, and the step that sets them."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from vinfra.kinds import compare
from vinfra.model.change import Change, FieldChange
from vinfra.model.step import Exec, Step


class Permissions(Protocol):
    """A spec with the three of them."""

    @property
    def mode(self) -> str | None: ...

    @property
    def owner(self) -> str | None: ...

    @property
    def group(self) -> str | None: ...


def differs(name: str, number: str, wish: str | None) -> bool:
    """Whether an owner or group, given by name or by number, is another one than found."""
    return wish is not None and wish != (number if wish.isdigit() else name)


def differences(actual: Permissions, desired: Permissions, notes: Mapping[str, Any]) -> Iterable[FieldChange]:
    """The fields that differ; `notes` hold the numbers of owner and group."""
    if desired.mode is not None and desired.mode != actual.mode:
        yield FieldChange("mode", actual.mode, desired.mode)
    if differs(actual.owner or "", notes["uid"], desired.owner):
        yield FieldChange("owner", actual.owner, desired.owner)
    if differs(actual.group or "", notes["gid"], desired.group):
        yield FieldChange("group", actual.group, desired.group)


def owners(desired: Permissions) -> set[str]:
    """References to whom it is to belong to."""
    named = {"user": desired.owner, "group": desired.group}
    return {f"{sort}:{name}" for sort, name in named.items() if name}


def fresh(desired: Permissions, default_mode: str) -> Iterable[FieldChange]:
    """The fields of what is to come."""
    yield FieldChange("mode", None, desired.mode or default_mode)
    for key in ("owner", "group"):
        if (wish := getattr(desired, key)) is not None:
            yield FieldChange(key, None, wish)


def calls(name: str, desired: Permissions, changed: set[str]) -> list[Exec]:
    """chown before chmod, for chown clears the set-user-ID bit."""
    found = [Exec(("chown", "--", _who(desired), name))] if changed & {"owner", "group"} else []
    if desired.mode and (found or "mode" in changed):
        found.append(Exec(("chmod", "--", desired.mode, name)))
    return found


def step(name: str, desired: Permissions, changed: set[str]) -> Step:
    """Set those that differ."""
    said = [f"mode {desired.mode}"] if "mode" in changed else []
    said += [f"owner {_who(desired)}"] if changed & {"owner", "group"} else []
    return Step(f"{name}: {', '.join(said)}", tuple(calls(name, desired, changed)))


def _who(desired: Permissions) -> str:
    return f"{desired.owner or ''}:{desired.group}" if desired.group else desired.owner or ""


def former(change: Change) -> Change:
    """A change's opposite (compare.former); whoever has no name on the host is known by number."""
    back = compare.former(change)
    if back.desired is None:
        return back
    numbers = {"owner": change.notes["uid"], "group": change.notes["gid"]}
    nameless = {key: number for key, number in numbers.items() if getattr(back.desired, key) in ("UNKNOWN", None)}
    return replace(back, desired=back.desired.model_copy(update=nameless))
