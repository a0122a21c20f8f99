"""An upload is cut, libvirt restarts or crashes, the host reboots, its disk is full."""

from collections.abc import Sequence

import pytest

from vinfra.lab import guest

from . import scenarios, trouble
from .conftest import Note
from .test_kvm import ALL, POOL, trial
from .trial import Bench, Fault, Point, Trial, kill, some, ticks


def sending(bench: Bench) -> Trial:
    """An image of 26 MB, and a volume that stands on it."""
    image = guest.image(print)
    tree = {
        "pools": {"default": {"on": bench.hosts[0].name, "path": POOL}},
        "images": {"tiny": {"file": str(image.path), "sha256": image.sha256}},
        "volumes": {"root": {"on": bench.hosts[0].name, "image": "tiny"}},
    }
    return Trial(bench, bench.reset, ("apply", scenarios.write(bench.folder, "sending", tree), "--yes"))


def cuts(bench: Bench) -> list[Point]:
    size = guest.image(print).path.stat().st_size
    return [{"sent": count} for count in (1, size // 4, size // 2, 3 * size // 4, size)]


@pytest.mark.parametrize(
    ("fault", "codes", "words"),
    [
        (kill, (-9,), "SIGKILL of the controller"),
        (trouble.hang_up, (4,), "SSH session killed on the host"),
        (trouble.restart_libvirt, (0, 4), "libvirtd restarted"),
        (trouble.kill_libvirt, (0, 4), "libvirtd killed"),
        (trouble.power_cut, (4,), "host rebooted without a word"),
    ],
    ids=["kill", "hang-up", "restart", "crash", "power-cut"],
)
def test_uploads(virtual: Bench, note: Note, fault: Fault, codes: Sequence[int], words: str) -> None:
    one = sending(virtual)
    _, want = one.reference()
    try:
        one.try_all(cuts(virtual), fault, want, codes=codes, words=virtual.hosts[0].name)
    finally:
        note(one, "KVM: an image of 26 MB sent", f"{words}, after 1 byte, a quarter, half, three quarters, all")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (trouble.hang_up, "SSH session killed on the host"),
        (trouble.restart_libvirt, "libvirtd restarted"),
        (trouble.kill_libvirt, "libvirtd killed"),
        (trouble.power_cut, "host rebooted without a word"),
    ],
    ids=["hang-up", "restart", "crash", "power-cut"],
)
def test_host(virtual: Bench, note: Note, fault: Fault, words: str) -> None:
    one = trial(virtual, "create")
    done, want = one.reference()
    points = some(ticks(done)[1:], 5 if fault is trouble.power_cut else 9)
    try:
        one.try_all(points, fault, want, codes=(0, 4), words=virtual.hosts[0].name)
    finally:
        note(one, f"KVM: {ALL}", f"{words}, at some boundaries")


def test_no_room_for_the_image(virtual: Bench, note: Note) -> None:
    one = sending(virtual)
    one.ready = trouble.small(virtual, POOL, "40m")
    done, want = one.reference()
    upload = next(number for number, (label, _) in enumerate(done.ticks) if "volume.upload" in label)
    points: list[Point] = [{"tick": upload}, {"tick": upload + 1}, *cuts(virtual)[1:4]]
    mend = trouble.freed(virtual, POOL)
    try:
        one.try_all(points, trouble.fill(POOL), want, mend=mend, codes=(0, 1), words="o space left")
    finally:
        note(one, "KVM: an image of 26 MB sent", "disk of the pool full, before and while it is sent")


def test_no_room_for_volumes(virtual: Bench, note: Note) -> None:
    one = trial(virtual, "create")
    one.ready = trouble.small(virtual, POOL, "16m")
    done, want = one.reference()
    points = [point for point in ticks(done)[8:] if "default" not in done.ticks[int(str(point["tick"]))][0]]
    mend = trouble.freed(virtual, POOL)
    try:
        one.try_all(some(points, 8), trouble.fill(POOL), want, mend=mend, codes=(0, 1), words="o space left")
    finally:
        note(one, f"KVM: {ALL}", "disk of the pool full, at some boundaries")
