"""Benches to make faults on. They run only when asked for (`-m faults`): all of it takes half an hour."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vinfra import lab as lab_module
from vinfra.lab import Lab

from ..lab.conftest import KVM_PACKAGES, run_ssh
from .look import clear
from .page import Row, write
from .trial import Bench, Trial


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    mine = [item for item in items if item.path.is_relative_to(here)]
    for item in mine:
        item.add_marker(pytest.mark.faults)
        item.add_marker(pytest.mark.timeout(1800))
        if os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="the lab makes namespaces and mounts: needs root"))
    if "faults" not in config.option.markexpr:
        config.hook.pytest_deselected(items=mine)
        items[:] = [item for item in items if item not in mine]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    page = os.environ.get("VINFRA_FAULTS_PAGE")
    rows = [Row(*json.loads(str(value))) for name, value in report.user_properties if name == "fault"]
    if page and rows and report.when == "call" and "PYTEST_XDIST_WORKER" not in os.environ:
        write(Path(page), rows)


@pytest.fixture
def note(record_property: "pytest.RecordProperty") -> "Note":
    return Note(record_property)


class Note:
    """Puts what became of a trial into the table, also when it failed."""

    def __init__(self, record: "pytest.RecordProperty") -> None:
        self._record = record

    def __call__(self, trial: Trial, scenario: str, fault: str) -> None:
        row = (scenario, fault, trial.tried, len(trial.problems), round(trial.waited, 1), trial.first)
        self._record("fault", json.dumps(row))


def _with_libvirt(lab: Lab) -> None:
    install = f"apt-get update -qq && apt-get install -y -qq --no-install-recommends {KVM_PACKAGES}"
    for host in lab.hosts.values():
        done = run_ssh(lab, host, f"export DEBIAN_FRONTEND=noninteractive; {install}")
        assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def bench(name: str, count: int, folder: Path, *, virtual: bool) -> Iterator[Bench]:
    try:
        lab = lab_module.up(name, count, progress=print)
        if virtual:
            _with_libvirt(lab)
        with Bench(lab, folder, clear if virtual else None) as made:
            yield made
    finally:
        lab_module.down(name)


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One bare host, made as new for each point (half a second)."""
    with bench(f"p{os.getpid()}", 1, tmp_path_factory.mktemp("plain"), virtual=False) as made:
        yield made


@pytest.fixture(scope="session")
def virtual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One host with libvirt and QEMU, cleared for each point (about a second)."""
    with bench(f"v{os.getpid()}", 1, tmp_path_factory.mktemp("virtual"), virtual=True) as made:
        yield made


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Two of them."""
    with bench(f"w{os.getpid()}", 2, tmp_path_factory.mktemp("pair"), virtual=True) as made:
        yield made
