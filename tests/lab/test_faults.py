"""A sample of tests/faults, which has all of it (`make test-faults`)."""

from pathlib import Path

import pytest

from vinfra.lab import Lab

from ..faults import scenarios, trouble
from ..faults.look import clear
from ..faults.test_kill import trial
from ..faults.trial import Bench, Fault, Trial, kill, pauses, some, ticks


@pytest.mark.parametrize("verb", ["create", "update"])
def test_a_controller_killed_at_or_between_any_calls_is_followed_by_one_that_converges(
    lab: Lab, tmp_path: Path, verb: str
) -> None:
    with Bench(lab, tmp_path, names=(next(iter(lab.hosts)),)) as bench:
        one = trial(bench, verb)
        done, want = one.reference()
        one.try_all([*some(ticks(done)[2:], 2), *some(pauses(done)[2:], 2)], kill, want)


@pytest.mark.parametrize("fault", [kill, trouble.hang_up])
@pytest.mark.xdist_group("kvm")
def test_an_upload_that_was_cut_leaves_nothing(kvm_lab: Lab, tmp_path: Path, fault: Fault) -> None:
    with Bench(kvm_lab, tmp_path, clear) as bench:
        size = 4 << 20
        tree = {
            "pools": {"default": {"on": bench.hosts[0].name, "path": "/var/lib/libvirt/images"}},
            "images": {"small": scenarios.image(tmp_path, size)},
            "volumes": {"copied": {"on": bench.hosts[0].name, "image": "small", "clone": "copy"}},
        }
        one = Trial(bench, bench.reset, ("apply", scenarios.write(tmp_path, "sent", tree), "--yes"))
        _, want = one.reference()
        codes = (-9,) if fault is kill else (4,)
        one.try_all([{"sent": size // 2}], fault, want, codes=codes, words=bench.hosts[0].name)
        bench.reset()
