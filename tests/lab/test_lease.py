"""Leases on real hosts: one run at a time, a dead one's lease ends, and whoever lost it stops before its next step."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vinfra.lab import Lab
from vinfra.model.lease import SECONDS

from .conftest import ROOT, Run, Ssh, blueprint, first


@contextmanager
def applying(file: Path, lab: Lab, state: Path, until: str = "[2/") -> Iterator[subprocess.Popen[str]]:
    """A run that has come so far; it is killed at the end, if it still is."""
    environment = {**os.environ, "VINFRA_INVENTORY": str(lab.inventory), "VINFRA_STATE": str(state)}
    command = [sys.executable, "-m", "vinfra", "apply", str(file), "--yes"]
    with subprocess.Popen(
        command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(until):
                break
        try:
            yield process
        finally:
            process.kill()


def many(tmp_path: Path, host: str, name: str, count: int = 400) -> Path:
    files = {f"/srv/{name}/{number:03}": {"content": str(number)} for number in range(count)}
    return blueprint(tmp_path, {host: {"files": files}}, name)


def lease(ssh: Ssh, lab: Lab) -> list[str]:
    return ssh(first(lab), "cat /run/vinfra/lease").stdout.split(" ", 2)


def test_a_run_says_who_is_at_work_and_goes_on_when_it_is_dead(
    vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path
) -> None:
    host = first(clean_lab)
    ssh(host, "mkdir -p /srv/one /srv/two")
    one, two = many(tmp_path, host.name, "one"), many(tmp_path, host.name, "two", 2)
    with applying(one, clean_lab, tmp_path / "state") as process:
        holder = json.loads(lease(ssh, clean_lab)[2])
        assert holder["pid"] == process.pid
        assert vinfra("plan", two, expect=2).stdout  # reading needs no lease
        process.send_signal(signal.SIGKILL)
        process.wait()
        # A process of this machine that is no more is seen at once.
        started = time.monotonic()
        vinfra("apply", two, "--yes")
        assert time.monotonic() - started < SECONDS / 2
    vinfra("apply", one, "--yes")
    vinfra("plan", one)
    vinfra("plan", two)
    assert lease(ssh, clean_lab)[0] == "0"


def test_a_dead_controllers_lease_ends_by_itself(vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path) -> None:
    host = first(clean_lab)
    file = many(tmp_path, host.name, "one", 2)
    foreign = json.dumps({"run": "r9", "who": "alice@elsewhere", "machine": "other", "pid": 7, "birth": "x/1"})
    write = "mkdir -p /srv/one /run/vinfra; read -r up _ </proc/uptime; { echo -n $((${up%.*} + 12)) abc1 ''; cat; }"
    ssh(host, f"{write} > /run/vinfra/lease", stdin=foreign)
    started = time.monotonic()
    vinfra("apply", file, "--yes")
    assert 8 < time.monotonic() - started < SECONDS
    vinfra("plan", file)


def test_a_living_controller_is_named_and_nothing_is_touched(
    vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path
) -> None:
    host = first(clean_lab)
    file = many(tmp_path, host.name, "one", 2)
    foreign = json.dumps({"run": "r9", "who": "alice@elsewhere", "machine": "other", "pid": 7, "birth": "x/1"})
    write = "read -r up _ </proc/uptime; { echo -n $((${up%.*} + 25)) abc1 ''; cat /root/holder; } > /run/vinfra/lease"
    ssh(host, "mkdir -p /run/vinfra; cat > /root/holder", stdin=foreign)
    ssh(host, f"( for n in $(seq 60); do {write}; sleep 1; done ) >/dev/null 2>&1 & echo $! > /root/keeper")
    refused = vinfra("apply", file, "--yes", expect=3)
    assert f"{host.name}: alice@elsewhere, run r9, process 7 is at work there" in refused.stderr
    assert ssh(host, "ls /srv").stdout == ""
    ssh(host, "kill $(cat /root/keeper); rm -f /run/vinfra/lease")


def test_a_controller_that_lost_its_lease_stops_before_its_next_step(
    vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path
) -> None:
    host = first(clean_lab)
    ssh(host, "mkdir -p /srv/one")
    file = many(tmp_path, host.name, "one")
    with applying(file, clean_lab, tmp_path / "state") as process:
        taken = "read -r up _ </proc/uptime; echo $((${up%.*} + 25)) abc1 {} > /run/vinfra/lease; ls /srv/one | wc -l"
        before = int(ssh(host, taken).stdout)
        assert process.stdout is not None
        told = process.stdout.read()
        assert process.wait() == 4, told
    assert "the lease on it is not ours any more" in told
    after = int(ssh(host, "ls /srv/one | wc -l").stdout)
    assert before <= after <= before + 1 < 400
    ssh(host, "rm /run/vinfra/lease")
    vinfra("apply", file, "--yes")
    vinfra("plan", file)
