"""A fleet over two hosts: no machine is made twice, wherever its maker was killed."""

import pytest

from . import scenarios, trouble
from .conftest import Note
from .trial import Bench, Fault, Trial, kill, some, ticks


def trial(bench: Bench, verb: str) -> Trial:
    fleet = {
        "on": "web",
        "count": 3,
        "image": "small",
        "memory": "64MiB",
        "disks": {"root": "8MiB"},
        "networks": ["dev"],
    }
    if verb == "destroy":  # what has nothing to boot hears no power button
        fleet |= {"power": "stopped", "autostart": False}
    tree = {
        "pools": {"default": {"on": "web", "path": "/var/lib/libvirt/images"}},
        "networks": {"dev": {"on": "web", "mode": "isolated"}},
        "images": {"small": scenarios.image(bench.folder)},
        "fleets": {"app": fleet},
    }
    file = scenarios.write(bench.folder, "fleet", tree)

    def ready() -> None:
        bench.reset()
        if verb == "destroy":
            bench.run("apply", file, "--yes")

    command = ("destroy", file, "--yes", "--max-impact", "data-loss") if verb == "destroy" else ("apply", file, "--yes")
    return Trial(bench, ready, command)


@pytest.mark.parametrize(
    ("verb", "count", "fault", "words"),
    [
        ("create", 8, kill, "SIGKILL of the controller"),
        ("destroy", 4, kill, "SIGKILL of the controller"),
        ("create", 2, trouble.power_cut, "one host rebooted without a word"),
    ],
    ids=["create", "destroy", "power-cut"],
)
def test_a_fleet(pair: Bench, note: Note, verb: str, count: int, fault: Fault, words: str) -> None:
    one = trial(pair, verb)
    done, want = one.reference()
    codes = (-9,) if fault is kill else (0, 4)
    try:
        one.try_all(some(ticks(done)[2:], count), fault, want, codes=codes, words=pair.hosts[0].name)
    finally:
        what = "made" if verb == "create" else "destroyed"
        note(one, f"KVM: a fleet of three machines over two hosts {what}", f"{words}, at some boundaries")


def test_one_dark_host_stops_no_other(pair: Bench) -> None:
    """Not even when the other one works longer than a lease lasts."""
    dark, bright = pair.hosts
    pair.reset()
    many = {f"/srv/{number:03}": {"content": str(number)} for number in range(600)}
    tree = {"hosts": {dark.name: {"files": {"/srv/x": {"content": "x"}}}, bright.name: {"files": many}}}
    command = ("apply", scenarios.write(pair.folder, "dark", tree), "--yes")
    running = pair.begin(command, {"pause": [1, 0], "host": dark.name})
    try:
        assert running.reached()
        trouble.black_hole(running)
        done = running.end(300)
    finally:
        running.kill()
        trouble.plugged_in(pair)()
        one = Trial(pair, pair.reset, command)
        one.wake()
    assert done.code == 4, done.said
    assert f"{bright.name}/srv/599" in done.said
    assert "1 left" in done.said, done.said
    assert one.look()[1].count("/srv/599 f 644 root:root") == 1
