"""The same where libvirt does the work, and libvirt itself fails."""

import pytest

from . import scenarios
from .conftest import Note
from .trial import Bench, Done, Point, Trial, kill, pauses, said, ticks

VERBS = ("create", "update", "destroy")
POOL = "/var/lib/libvirt/images"
ALL = "network, pool, image, volumes, seed, domain"


def trial(bench: Bench, verb: str) -> Trial:
    name, image = bench.hosts[0].name, scenarios.image(bench.folder)
    # A machine with nothing to boot hears no power button, so each point would wait two minutes.
    more = {} if verb == "create" else {"power": "stopped", "autostart": False}
    old = scenarios.write(bench.folder, "old", scenarios.hypervisor(name, image, **more))
    tree = scenarios.hypervisor(name, image, cpu=2, **more)
    tree["volumes"]["empty"]["size"] = "6MiB"
    tree["networks"]["dev"]["stp"] = True
    tree["domains"]["m1"]["cloud_init"]["user_data"] = {"hostname": "m2"}
    new = scenarios.write(bench.folder, "new", tree)

    def ready() -> None:
        bench.reset()
        if verb != "create":
            bench.run("apply", old, "--yes")

    apply, destroy = ("apply", new if verb == "update" else old, "--yes"), ("destroy", old, "--yes")
    return Trial(bench, ready, (*destroy, "--max-impact", "data-loss") if verb == "destroy" else apply)


def all_points(done: Done) -> list[Point]:
    """At every boundary, and between any two calls of a script."""
    return [*ticks(done), *pauses(done)]


@pytest.mark.parametrize("verb", [pytest.param(verb, marks=pytest.mark.xdist_group(f"kvm-{verb}")) for verb in VERBS])
def test_sigkill(virtual: Bench, note: Note, verb: str) -> None:
    one = trial(virtual, verb)
    done, want = one.reference()
    try:
        one.try_all(all_points(done), kill, want)
    finally:
        words = {"create": ALL, "update": "network, volume, seed, domain changed", "destroy": f"{ALL} destroyed"}
        note(one, f"KVM: {words[verb]}", f"SIGKILL of the controller, {said(all_points)}")
