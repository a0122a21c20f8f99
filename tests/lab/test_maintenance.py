"""Maintenance of real hosts: packages of a repository in a folder, restarts where they are due, a host at a time."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from vinfra.lab import Lab, LabHost

from .conftest import ROOT, Run, Ssh, blueprint

# `deb NAME VERSION [CONTROL LINES] [POSTINST]` makes a package with a configuration file, `index` a repository of all.
REPOSITORY = """\
set -e
deb() {
d=/root/build/$1; rm -rf $d; mkdir -p $d/DEBIAN $d/etc /repo
{ printf 'Package: %s\\nVersion: %s\\nArchitecture: all\\n' "$1" "$2"
printf 'Maintainer: a <a@b>\\nDescription: x\\n%b' "$3"; } >$d/DEBIAN/control
echo "version $2" >$d/etc/$1.conf; echo /etc/$1.conf >$d/DEBIAN/conffiles
[ -z "$4" ] || { printf '#!/bin/sh\\n%s\\n' "$4" >$d/DEBIAN/postinst; chmod 755 $d/DEBIAN/postinst; }
dpkg-deb -b $d /repo/$1_$2.deb >/dev/null
}
index() {
cd /repo; : >Packages.new
for f in *.deb; do
dpkg-deb -f $f >>Packages.new
sum=$(sha256sum <$f | cut -d' ' -f1)
printf 'Filename: ./%s\\nSize: %s\\nSHA256: %s\\n\\n' $f $(stat -c %s $f) $sum >>Packages.new
done
mv Packages.new Packages
}
"""
OLD = """\
deb tiny 1.0; deb held 1.0; deb tiny-lib 1.0; deb rest 1.0; index
echo 'deb [trusted=yes] file:/repo ./' >/etc/apt/sources.list
apt-get update -qq; apt-get install -y -qq tiny held rest >/dev/null; apt-mark hold held >/dev/null
echo mine >>/etc/tiny.conf
"""
NEW = "deb tiny 2.0 'Depends: tiny-lib\\n'; deb held 2.0; index\n"
VERSIONS = "dpkg-query -W -f '${Package} ${Version} ${db:Status-Status}\\n' tiny held tiny-lib"


def behind(ssh: Ssh, host: LabHost, more: str = NEW) -> None:
    """A host with an older tiny, a configuration file that somebody changed, and another package that is held."""
    done = ssh(host, "sh", stdin=REPOSITORY + OLD + more)
    assert done.returncode == 0, done.stdout + done.stderr


def boot_of(ssh: Ssh, host: LabHost) -> str:
    return ssh(host, "cut -d' ' -f22 /proc/1/stat").stdout


def maintained(vinfra: Run, *arguments: str, expect: int = 0) -> dict[str, Any]:
    done = vinfra("maintain", *arguments, "--yes", "--json", expect=expect)
    return dict(json.loads(done.stdout))


def test_hosts_are_patched_and_restarted_one_at_a_time(vinfra: Run, clean_lab: Lab, ssh: Ssh) -> None:
    one, two = clean_lab.hosts.values()
    for host in (one, two):
        behind(ssh, host)
    ssh(two, "touch /run/reboot-required")
    before = [boot_of(ssh, host) for host in (one, two)]
    shown = vinfra("maintain", "web", "--patch", "--max-age", "1s", "--plan-only", expect=2).stdout
    assert "in 2 batches of 1; gate ssh" in shown
    assert "are fetched first; by them 2 are due; none removed" in shown
    assert ssh(one, VERSIONS).stdout == "held 1.0 installed\ntiny 1.0 installed\n"
    told = maintained(vinfra, "web", "--patch", "--max-age", "1s")
    ended = {change["address"]: change["status"] for change in told["outcomes"]}
    assert ended == {
        f"host.upgrade:{one.name}/host": "done",
        f"host.reboot:{one.name}/host": "already",
        f"host.upgrade:{two.name}/host": "done",
        f"host.reboot:{two.name}/host": "done",
    }
    for host in (one, two):
        assert ssh(host, VERSIONS).stdout == "held 1.0 installed\ntiny 2.0 installed\ntiny-lib 1.0 installed\n"
        assert ssh(host, "cat /etc/tiny.conf").stdout == "version 1.0\nmine\n"
        assert "tiny-lib" in ssh(host, "apt-mark showauto").stdout
        assert ssh(host, "ls /var/lib/vinfra").stdout == ""  # it owns nothing, so it leaves nothing
    after = [boot_of(ssh, host) for host in (one, two)]
    assert after[0] == before[0]
    assert after[1] != before[1]
    assert vinfra("maintain", "web", "--patch", "--yes").returncode == 0
    vinfra("maintain", "web", "--patch", "--plan-only")


def test_a_host_that_is_not_well_stops_the_rest_until_it_is(vinfra: Run, clean_lab: Lab, ssh: Ssh) -> None:
    one, two = clean_lab.hosts.values()
    for host in (one, two):
        behind(ssh, host)
    asked = ("web", "--patch", "--max-age", "1s", "--health", "ssh", "--health", "command:test -e /srv/well")
    told = maintained(vinfra, *asked, expect=1)
    assert told["reason"] == "stopped"
    assert "tiny 2.0" in ssh(one, VERSIONS).stdout
    assert "tiny 1.0" in ssh(two, VERSIONS).stdout
    # Again: nothing goes on while the first one is not well.
    told = maintained(vinfra, *asked[:2], *asked[4:], expect=1)
    assert "tiny 1.0" in ssh(two, VERSIONS).stdout
    for host in (one, two):
        ssh(host, "touch /srv/well")
    maintained(vinfra, *asked[:2], *asked[4:])
    assert "tiny 2.0" in ssh(two, VERSIONS).stdout


def test_a_controller_that_is_killed_is_gone_on_from(
    vinfra: Run, clean_host: LabHost, lab: Lab, ssh: Ssh, tmp_path: Path
) -> None:
    host = clean_host
    slow = "echo one >>/srv/ran; sleep 4; touch /run/reboot-required"
    behind(ssh, host, f"deb tiny 2.0 '' '{slow}'; index; apt-get update -qq\n")
    environment = {**os.environ, "VINFRA_INVENTORY": str(lab.inventory), "VINFRA_STATE": str(tmp_path / "state")}
    command = [sys.executable, "-m", "vinfra", "maintain", host.name, "--patch", "--yes"]
    before = boot_of(ssh, host)
    with subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + 60
        while not ssh(host, "cat /srv/ran").stdout:
            assert time.monotonic() < until
        process.send_signal(signal.SIGKILL)
    vinfra("maintain", host.name, "--patch", "--yes")
    assert "tiny 2.0 installed" in ssh(host, VERSIONS).stdout
    assert ssh(host, "cat /srv/ran").stdout == "one\n"  # apt ended its work without us, and it was not done again
    vinfra("maintain", host.name, "--patch", "--yes")
    assert boot_of(ssh, host) != before
    vinfra("maintain", host.name, "--patch", "--plan-only")


@pytest.mark.slow
def test_what_dpkg_left_half_done_is_ended(vinfra: Run, clean_host: LabHost, ssh: Ssh, tmp_path: Path) -> None:
    behind(
        ssh, clean_host, "deb tiny 2.0; index; apt-get update -qq; dpkg --force-confold --unpack /repo/tiny_2.0.deb\n"
    )
    assert "tiny 2.0 unpacked" in ssh(clean_host, VERSIONS).stdout
    file = blueprint(tmp_path, {clean_host.name: {"upgrade": {}}})
    assert "unfinished [tiny] → configured" in vinfra("plan", file, expect=2).stdout
    vinfra("apply", file, "--yes")
    assert "tiny 2.0 installed" in ssh(clean_host, VERSIONS).stdout
    vinfra("plan", file)
    # And where dpkg was killed in the middle of a write of its own:
    ssh(clean_host, "sh", stdin=f"{REPOSITORY}deb tiny 3.0; index; echo x >/var/lib/dpkg/updates/0001")
    ssh(clean_host, "printf 'Package: tiny\\nStatus: install ok installed\\nVersion: 2.0\\nArchitecture: all\\n'"
        "'Maintainer: a <a@b>\\nDescription: x\\n' >/var/lib/dpkg/updates/0001; apt-get update -qq")  # fmt: skip
    assert "dpkg was interrupted" in vinfra("plan", file, expect=2).stdout
    vinfra("apply", file, "--yes")
    assert "tiny 3.0 installed" in ssh(clean_host, VERSIONS).stdout
    vinfra("plan", file)


def test_lists_that_cannot_be_fetched_do_not_pass_for_new(
    vinfra: Run, clean_host: LabHost, ssh: Ssh, tmp_path: Path
) -> None:
    behind(ssh, clean_host)
    ssh(clean_host, "mv /repo /gone")
    file = blueprint(tmp_path, {clean_host.name: {"upgrade": {"max_age": "1ms"}}})
    done = vinfra("apply", file, "--yes", expect=1)
    assert "update the package lists" in done.stdout
    assert "/repo" in done.stdout


def test_no_more_is_done_than_was_shown(vinfra: Run, clean_host: LabHost, ssh: Ssh, tmp_path: Path) -> None:
    """Somebody fetches newer lists between the plan and the first step."""
    behind(ssh, clean_host, NEW + "apt-get update -qq\n")
    # A file comes first: it is written by a step, and that lets another version into the lists.
    fetch = f"{REPOSITORY}deb tiny 2.1; deb rest 2.0; index; apt-get update -qq"
    ssh(clean_host, "cat >/srv/fetch", stdin=fetch)
    unit = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh /srv/fetch\n"
    ssh(clean_host, "cat >/etc/systemd/system/fetch.service; systemctl daemon-reload", stdin=unit)
    file = blueprint(tmp_path, {clean_host.name: {"services": {"fetch": {"running": True}}, "upgrade": {}}})
    done = vinfra("apply", file, "--yes", expect=1)
    assert "apt would do more now than was planned; plan again: rest 2.0 tiny 2.1" in done.stdout
    assert "tiny 1.0" in ssh(clean_host, VERSIONS).stdout
    vinfra("apply", file, "--yes")
    assert "tiny 2.1" in ssh(clean_host, VERSIONS).stdout


@pytest.mark.slow
@pytest.mark.parametrize("way", ["removes", "breaks"])
def test_what_goes_wrong_with_a_package_is_told(
    way: str, vinfra: Run, clean_host: LabHost, ssh: Ssh, tmp_path: Path
) -> None:
    file = blueprint(tmp_path, {clean_host.name: {"upgrade": {}}})
    if way == "removes":  # it stays behind, and only with leave it goes
        behind(ssh, clean_host, "deb tiny 2.0 'Conflicts: rest\\n'; index; apt-get update -qq\n")
        vinfra("plan", file)
        file = blueprint(tmp_path, {clean_host.name: {"upgrade": {"allow_removals": "true"}}})
        assert "removed [rest] → absent" in vinfra("plan", file, expect=2).stdout
        vinfra("apply", file, "--yes")
        assert "tiny 2.0" in ssh(clean_host, VERSIONS).stdout
    else:
        unit = 'printf "[Service]\\nExecStart=/bin/false\\n" >/etc/systemd/system/frail.service; '
        start = "systemctl daemon-reload; systemctl start frail; sleep 1; true"
        behind(ssh, clean_host, f"deb tiny 2.0 '' '{unit}{start}'; index; apt-get update -qq\n")
        done = vinfra("apply", file, "--yes", expect=1)
        assert "these units failed, which had not: frail.service" in done.stdout
    vinfra("plan", file)
