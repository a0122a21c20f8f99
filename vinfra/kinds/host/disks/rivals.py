"""Two objects of one plan that want the same device, by whichever of its names: neither gets it."""

from collections.abc import Iterator

from vinfra.kinds.host.disks import devices, names
from vinfra.model.kind import Answers, Scope
from vinfra.model.question import Exec


def _wanted(scope: Scope) -> Iterator[tuple[str, str]]:
    """Every object of the host that is to have a device for itself, with the device's name."""
    for reference, item in scope.siblings.items():
        noun, _, name = reference.partition(":")
        if item.desired is None:
            continue
        if noun in ("filesystem", "swap") and name.startswith("/dev/"):
            yield reference, name
        elif noun == "volume_group":
            told = getattr(item.desired, "devices", ())
            yield from ((reference, one) for one in (told if isinstance(told, tuple) else ()))


def ask(scope: Scope) -> Iterator[Exec]:
    """Which devices they are."""
    yield from devices.ask_numbers(name for _, name in _wanted(scope))


def of(reference: str, name: str, scope: Scope, answers: Answers) -> str:
    """Why an object does not get a device of this name; "" when nobody else wants it."""
    known = list(_wanted(scope))
    numbers = devices.numbers((one for _, one in known), answers)
    own = numbers.get(name)
    for other, one in known:
        same = names.canonical(one) == names.canonical(name)
        if other != reference and (same or (isinstance(own, str) and ":" in own and numbers[one] == own)):
            also = "" if one == name else f", as {one}"
            return f"{name} is wanted by {other} too{also}; a device holds one thing"
    return ""
