"""A machine that boots and answers, killed while it is waited for and while it is changed."""

import pytest

from vinfra.lab import guest

from . import scenarios
from .conftest import Note
from .test_kvm import POOL
from .trial import Bench, Point, Trial, kill, said, ticks


def test_machine(virtual: Bench, note: Note) -> None:
    """A machine that boots and answers, then its memory live and its CPUs by a restart."""
    one = machine(virtual)
    done, want = one.reference()
    start = next(number for number, (label, _) in enumerate(done.ticks) if "domain.start" in label)
    points: list[Point] = [{"tick": number} for number in range(start, len(done.ticks))]
    try:
        one.try_all(points, kill, want)
    finally:
        note(one, "KVM: a machine that boots, until it answers by SSH", "SIGKILL of the controller, from its start on")


def machine(bench: Bench, **more: object) -> Trial:
    image, name = guest.image(print), bench.hosts[0].name
    access = {"user": "root", "key_file": str(bench.lab.key_file)}
    domain = {"on": name, "image": "tiny", "memory": "128MiB", "networks": ["dev"], "access": access, **more}
    tree = {
        "pools": {"default": {"on": name, "path": POOL}},
        "networks": {"dev": {"on": name, "mode": "nat", "cidr": "10.10.0.0/24"}},
        "images": {"tiny": {"file": str(image.path), "sha256": image.sha256}},
        "domains": {"m1": domain},
    }
    file = scenarios.write(bench.folder, f"machine-{len(more)}", tree)
    return Trial(bench, bench.reset, ("apply", file, "--yes"))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"memory": "112MiB"}, "memory of a running machine, live"),
        ({"cpu": 2}, "CPUs of a running machine, by a restart"),
    ],
    ids=["live", "restart"],
)
def test_machine_changed(virtual: Bench, note: Note, more: dict[str, object], words: str) -> None:
    """Back and forth, so that each point is a change."""
    plain, other = machine(virtual), machine(virtual, **more)
    plain.reference()
    back, forth = (*plain.command, "--supersede"), (*other.command, "--supersede")
    done, want = Trial(virtual, lambda: None, forth).reference()
    one = Trial(virtual, lambda: virtual.run(*back) and None, forth)
    try:
        one.try_all(ticks(done), kill, want)
    finally:
        note(one, f"KVM: {words}", f"SIGKILL of the controller, {said(ticks)}")
