"""Why a host should restart, as far as the words of its blueprint and its versions go."""

from types import SimpleNamespace
from typing import Any

import pytest

from vinfra.kinds.host.booting import needs
from vinfra.kinds.host.kernel import cmdline
from vinfra.model.address import Address
from vinfra.model.blueprint import Resource
from vinfra.model.kind import Scope
from vinfra.model.question import Question, Raw


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("6.1.0-9-amd64", "6.1.0-28-amd64"),
        ("6.1.0-28-amd64", "6.10.0-1-amd64"),
        ("6.12~rc1-amd64", "6.12-amd64"),
        ("5.14.0-362.8.1.el9_3.x86_64", "5.14.0-362.18.1.el9_3.x86_64"),
        ("5.15.0-91-generic", "5.15.0-101-generic"),
    ],
)
def test_versions_are_compared_as_the_distribution_does(older: str, newer: str) -> None:
    assert needs.compared(older, newer) == -1
    assert needs.compared(newer, older) == 1
    assert needs.compared(newer, newer) == 0


@pytest.mark.parametrize(
    ("kernel", "sort"),
    [
        ("6.1.0-28-amd64", "amd64"),
        ("6.1.0-28-cloud-amd64", "cloud-amd64"),
        ("6.1.0-0.deb11.13-rt-amd64", "rt-amd64"),
        ("6.12.9+bpo-amd64", "amd64"),
        ("5.15.0-91-generic", "generic"),
        ("5.14.0-362.8.1.el9_3.x86_64", ""),
    ],
)
def test_a_kernels_sort(kernel: str, sort: str) -> None:
    assert needs.flavour(kernel) == sort


def reasons(wishes: dict[str, Any], running: str, menu: str, written: int) -> list[str]:
    """What a host that came up at 1000 says; its boot loader's menu was written at `written`."""
    wish = {name: SimpleNamespace(value=value) if value != "absent" else None for name, value in wishes.items()}
    siblings = {
        f"kernel_argument:{name}": Resource(Address("host.kernel_argument", "h", name), desired)  # type: ignore[arg-type]
        for name, desired in wish.items()
    }
    facts = {"now": 2000.0, "uptime": 1000.0, "kernel": "6.1.0-28-amd64", "virtualization": "kvm"}
    answers: dict[Question, Raw] = {
        cmdline.RUNNING: Raw(0, running.encode()),
        cmdline.MENU: Raw(0, f"menuentry {{\n\tlinux\t/boot/vmlinuz {menu}\n}}\n".encode()),
        needs.LOADERS: Raw(2, f"-r--r--r-- 1 root root 8000 {written} /boot/grub/grub.cfg\n".encode()),
    }
    return list(needs.reasons(Scope("h", (), facts, siblings=siblings), answers))


def test_an_argument_that_waits_for_the_next_boot_is_a_reason() -> None:
    wishes = {"intel_iommu": "on", "quiet": "", "mitigations": "absent", "ro": "", "splash": "absent", "panic": "5"}
    menu = "root=/dev/vda1 ro quiet splash intel_iommu=on"  # nobody made one with panic=5 yet
    told = reasons(
        wishes, "BOOT_IMAGE=/boot/vmlinuz root=/dev/vda1 ro splash mitigations=off intel_iommu=off", menu, 1500
    )
    assert told == [
        "the kernel runs without intel_iommu=on",
        "the kernel runs with mitigations",
        "the kernel runs without quiet",
    ]
    assert reasons(wishes, menu, menu, 1500) == []


def test_one_that_the_boot_loader_had_and_left_out_is_none() -> None:
    assert reasons({"intel_iommu": "on"}, "ro", "ro intel_iommu=on", 900) == []
