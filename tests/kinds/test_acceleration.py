"""The script that finds out whether KVM works, with a QEMU that ends as it is told; and the guest it starts."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from vinfra.kinds.kvm import hypervisor
from vinfra.kinds.kvm.hypervisors import acceleration
from vinfra.kinds.kvm.hypervisors.acceleration import ACCELERATOR, GUEST, SCRIPT
from vinfra.kinds.registry import KINDS
from vinfra.model.question import Raw
from vinfra.model.spec import Deferred

# Ends as the file named after the accelerator says: an exit status, or `hang`.
QEMU = """#!/bin/sh
[ "$1" != --version ] || { echo 'QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)'; exit; }
for last; do :; done
cmp -s "$last" "$HERE/guest" || { echo 'not the guest' >&2; exit 1; }
how=$(cat "$HERE/$2") || { echo "$0: -accel $2: failed to initialize $2: No such device" >&2; exit 1; }
[ "$how" != hang ] || exec sleep 30
exit "$how"
"""
MODPROBE = """#!/bin/sh
[ -e "$HERE/module" ] || { echo "modprobe: ERROR: could not insert '$1': Operation not supported" >&2; exit 1; }
"""
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def prove(wish: str, device: bool = True, qemu: bool = True, **ends: str) -> subprocess.CompletedProcess[str]:
        here, programs = tmp_path, tmp_path / "bin"
        programs.mkdir(exist_ok=True)
        for name, text in {"qemu-system-x86_64": QEMU, "modprobe": MODPROBE}.items():
            if qemu or name == "modprobe":
                (programs / name).write_text(text)
                (programs / name).chmod(0o755)
        (here / "guest").write_bytes(GUEST)
        for accelerator, end in ends.items():
            (here / accelerator).write_text(end)
        (here / "accelerator").write_text("accelerator=kvm\nof=another kernel\n")
        if device:
            (here / "device").touch()
        words = [wish, str(here / "accelerator"), "1", "1", str(here / "device")]
        environment = {**os.environ, "PATH": f"{programs}:/usr/bin:/bin", "HERE": str(here), "TMPDIR": str(here)}
        command = ["sh", "-s", "--", *words]
        return subprocess.run(command, input=SCRIPT, capture_output=True, text=True, env=environment, check=False)

    return prove


def noted(folder: Path) -> dict[str, str]:
    file = folder / "accelerator"
    if not file.exists():
        return {}
    assert file.stat().st_mode & 0o777 == 0o644
    found = acceleration.proof({ACCELERATOR: Raw(0, file.read_bytes())})
    assert isinstance(found, dict)
    return found


def test_kvm_that_runs_the_guest_is_noted(run: Run, tmp_path: Path) -> None:
    assert run("required", kvm="43").returncode == 0
    found = noted(tmp_path)
    assert found.keys() == {"accelerator", "wish", "kernel", "qemu", "flags", "device", "milliseconds", "why"}
    assert (found["accelerator"], found["wish"], found["qemu"]) == ("kvm", "required", "7.2.22")
    assert (found["kernel"], found["device"]) == (os.uname().release, "yes")
    left = {file.name for file in tmp_path.iterdir()}
    assert left == {"bin", "guest", "kvm", "device", "accelerator"}, "scratch files stay"


@pytest.mark.parametrize(
    ("end", "why"),
    [("hang", "did not count to 67108864 within 1 s"), ("0", "ended with status 0"), ("1", "ended with status 1")],
)
def test_preferred_falls_back_to_what_was_seen_to_work(run: Run, tmp_path: Path, end: str, why: str) -> None:
    assert run("preferred", kvm=end, tcg="43").returncode == 0
    assert noted(tmp_path)["accelerator"] == "tcg"
    assert why in noted(tmp_path)["why"]


@pytest.mark.parametrize("end", ["hang", "1"])
def test_required_fails_and_nothing_counts_as_proved_any_more(run: Run, tmp_path: Path, end: str) -> None:
    ended = run("required", kvm=end, tcg="43")
    assert ended.returncode == 1
    assert "KVM does not work here" in ended.stderr
    assert not noted(tmp_path)


def test_off_does_not_touch_kvm(run: Run, tmp_path: Path) -> None:
    assert run("off", tcg="43").returncode == 0
    assert (noted(tmp_path)["accelerator"], noted(tmp_path)["why"]) == ("tcg", "")


def test_what_qemu_says_is_told(run: Run, tmp_path: Path) -> None:
    assert "failed to initialize kvm: No such device" in run("required").stderr


def test_without_any_guest_that_runs_it_fails(run: Run, tmp_path: Path) -> None:
    ended = run("preferred", tcg="hang")
    assert (ended.returncode, noted(tmp_path)) == (1, {})
    assert "no guest runs here" in ended.stderr


def test_without_a_device_the_module_is_asked_for_first(run: Run, tmp_path: Path) -> None:
    ended = run("required", device=False, kvm="43")
    assert ended.returncode == 1
    assert f"there is no {tmp_path}/device" in ended.stderr


@pytest.mark.skipif(Path("/usr/libexec/qemu-kvm").exists(), reason="this machine has a QEMU")
def test_without_qemu_it_says_so(run: Run) -> None:
    assert "no QEMU on this host" in run("preferred", qemu=False).stderr


def test_the_guest_is_a_multiboot_kernel() -> None:
    words = [int.from_bytes(GUEST[at : at + 4], "little") for at in range(0, 32, 4)]
    magic, flags, checksum, header, load, end, clear, entry = words
    assert (magic, flags, (magic + flags + checksum) % 2**32) == (0x1BADB002, 1 << 16, 0)
    assert (header, end, clear, entry) == (load, load + len(GUEST), load + len(GUEST), load + 32)


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (Raw(0, b"accelerator=kvm\nwish=required\n"), "kvm"),
        (Raw(0, b"accelerator=tcg\n"), "tcg"),
        (Raw(0, b"accelerator=xen\n"), ""),
        (Raw(2, b""), ""),
        (Raw(1, b"", "Permission denied"), ""),
        (None, ""),
    ],
)
def test_what_guests_are_to_run_with(raw: Raw | None, found: str) -> None:
    assert acceleration.accelerator({} if raw is None else {ACCELERATOR: raw}) == found


def test_a_hypervisor_brings_its_packages_and_its_users() -> None:
    desired = hypervisor.Spec.model_validate({"kind": "kvm", "users": ["ops"]})
    parts = {(part.kind, part.name): part.fields for part in hypervisor.parts("kvm", desired)}
    assert parts["host.package", "kvm"] == {"role": "kvm"}
    assert parts["host.package", "kvm-curl"] == {"role": "curl"}
    assert parts["host.user", "ops"] == {"groups": ("libvirt", "kvm")}
    for (kind, name), fields in parts.items():
        assert not KINDS[kind].check(name, KINDS[kind].Spec.model_validate(fields))
    hard, _ = hypervisor.references("kvm", desired)
    assert hard == {"package:kvm", "package:kvm-curl"}, "what it needs is declared with it"


def test_users_are_known_before_a_host_is_asked() -> None:
    desired = hypervisor.Spec.model_validate({"kind": "kvm", "users": Deferred("{{ facts.x }}")})
    assert "users" in hypervisor.check("kvm", desired)


def test_on_other_machines_nothing_is_proved_and_the_note_says_so(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "uname").write_text('#!/bin/sh\n[ "$1" = -m ] && echo riscv64 || echo 6.1.0\n')
    (tmp_path / "bin" / "uname").chmod(0o755)
    (tmp_path / "bin" / "qemu-system-riscv64").write_text(QEMU)
    (tmp_path / "bin" / "qemu-system-riscv64").chmod(0o755)
    assert run("preferred").returncode == 0
    assert noted(tmp_path)["accelerator"] == "kvm"
    assert noted(tmp_path)["why"] == "not checked: there is no such guest for riscv64"
