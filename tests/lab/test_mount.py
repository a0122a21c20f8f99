"""Mounts on real systemd hosts that share this machine's kernel: tmpfs, folders, and /etc/fstab line by line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vinfra.lab import Lab, LabHost

from .conftest import Run, Ssh, Written, blueprint, changes, first

OTHERS = "# somebody's\n\ttmpfs   /var/theirs  tmpfs  size=1m,noauto 0 0\n#LABEL=x /old ext4\n"
TMP = {"source": "tmpfs", "options": ["size=4m", "nodev"]}


def fstab(ssh: Ssh, host: LabHost) -> str:
    return ssh(host, "cat /etc/fstab").stdout


@pytest.fixture
def host(clean_lab: Lab, ssh: Ssh) -> LabHost:
    found = first(clean_lab)
    ssh(found, "mkdir -p /var/theirs; cat >/etc/fstab", stdin=OTHERS)
    return found


Only = Callable[..., Path]


@pytest.fixture
def only(host: LabHost, tmp_path: Path) -> Only:
    """A blueprint of nothing but these mounts under /srv."""

    def made(**mounts: Any) -> Path:
        return blueprint(tmp_path, {host.name: {"mounts": {f"/srv/{name}": wish for name, wish in mounts.items()}}})

    return made


def test_it_is_mounted_now_and_at_boot_and_others_lines_stay(vinfra: Run, host: LabHost, ssh: Ssh, only: Only) -> None:
    file = only(fast=TMP, view={"source": "/usr/share", "options": ["bind", "ro"]})
    vinfra("apply", file, "--yes")
    assert "nothing to do" in vinfra("plan", file).stdout
    ours = "# vinfra: mount /srv/fast\ntmpfs /srv/fast tmpfs size=4m,nodev,nofail 0 0\n"
    ours += "# vinfra: mount /srv/view\n/usr/share /srv/view none bind,ro,nofail 0 0\n"
    assert fstab(ssh, host) == OTHERS + ours
    assert ssh(host, "findmnt -n -o FSTYPE,OPTIONS /srv/fast").stdout.startswith("tmpfs  rw,nodev,relatime,size=4096k")
    assert ssh(host, "touch /srv/view/x").returncode == 1
    assert "/srv/fast" in ssh(host, "systemctl show -p Where srv-fast.mount").stdout  # systemd has read the table
    ssh(host, "umount /srv/fast; umount /srv/view; mount -a")
    assert "nothing to do" in vinfra("plan", file).stdout


@pytest.mark.slow
def test_the_same_on_trixie(vinfra: Run, trixie_lab: Lab, trixie_host: LabHost, ssh: Ssh, tmp_path: Path) -> None:
    """Its mount(8) asks the kernel by other calls, which reset no flag by themselves."""

    def made(*options: str) -> Path:
        fast, view = {**TMP, "options": ["size=4m", *options]}, {"source": "/usr/share", "options": ["bind", "ro"]}
        return blueprint(tmp_path, {trixie_host.name: {"mounts": {"/srv/fast": fast, "/srv/view": view}}})

    for options, shown in ((("nodev", "noexec"), "rw,nodev,noexec"), (("nosuid",), "rw,nosuid,relatime")):
        vinfra("apply", made(*options), "--yes", machines=trixie_lab.inventory)
        assert "nothing to do" in vinfra("plan", made(*options), machines=trixie_lab.inventory).stdout
        assert ssh(trixie_host, "findmnt -n -o OPTIONS /srv/fast", of=trixie_lab).stdout.startswith(shown)


def test_a_table_without_a_last_line_break_keeps_its_bytes(vinfra: Run, host: LabHost, ssh: Ssh, only: Only) -> None:
    bare = OTHERS + "# the end"
    ssh(host, "chmod 640 /etc/fstab; cat >/etc/fstab", stdin=bare)
    vinfra("apply", only(fast=TMP), "--yes")
    assert fstab(ssh, host).startswith(f"{bare}\n# vinfra")
    ssh(host, "cat >/etc/fstab", stdin="# vinfra: mount /srv/fast\ntmpfs /srv/fast tmpfs size=4m 0 0\n" + bare)
    vinfra("apply", only(), "--yes")
    assert fstab(ssh, host) == bare
    assert ssh(host, "stat -c %a /etc/fstab; ls -A /etc | grep -c fstab").stdout == "640\n1\n"
    assert ssh(host, "findmnt /srv/fast").returncode == 1


def test_options_change_while_it_is_in_use(vinfra: Run, host: LabHost, ssh: Ssh, only: Only) -> None:
    vinfra("apply", only(fast=TMP), "--yes")
    ssh(host, "echo kept >/srv/fast/x; cd /srv/fast && (setsid sleep 300 >/dev/null 2>&1 &)")
    file = only(fast={**TMP, "options": ["size=8m", "noexec"]})
    row = changes(vinfra("plan", file, "--json", expect=2))[0]
    assert (row["action"], row["impact"]) == ("update", "live")
    vinfra("apply", file, "--yes")
    shown = ssh(host, "findmnt -n -o OPTIONS /srv/fast; cat /srv/fast/x").stdout
    assert "noexec" in shown
    assert "nodev" not in shown
    assert "size=8192k" in shown
    assert shown.endswith("kept\n")
    ssh(host, "mount -o remount,exec /srv/fast")
    assert [field["path"] for field in changes(vinfra("drift", file, "--json", expect=2))[0]["fields"]] == ["options"]
    vinfra("apply", file, "--yes")
    assert "nothing to do" in vinfra("plan", file).stdout


def test_a_folder_that_is_not_empty_is_not_hidden(vinfra: Run, host: LabHost, ssh: Ssh, only: Only) -> None:
    ssh(host, "mkdir -p /srv/fast; echo precious >/srv/fast/data")
    done = vinfra("apply", only(fast=TMP), "--yes", expect=3)
    assert "/srv/fast is not empty: data would be hidden; move it away, or say cover: true" in done.stdout + done.stderr
    assert ssh(host, "cat /srv/fast/data").stdout == "precious\n"
    assert fstab(ssh, host) == OTHERS
    vinfra("apply", only(fast={**TMP, "cover": True}), "--yes")
    assert ssh(host, "ls /srv/fast").stdout == ""
    vinfra("apply", only(), "--yes")
    assert ssh(host, "cat /srv/fast/data").stdout == "precious\n"


def test_what_is_in_use_stays_and_who_uses_it_is_named(vinfra: Run, host: LabHost, ssh: Ssh, only: Only) -> None:
    vinfra("apply", only(fast=TMP), "--yes")
    ssh(host, "cd /srv/fast && (setsid sleep 314 >/dev/null 2>&1 &)")
    done = vinfra("apply", only(), "--yes", expect=1)
    assert "in use by sleep, process" in done.stdout + done.stderr
    assert ssh(host, "findmnt /srv/fast").returncode == 0
    assert "/srv/fast" in fstab(ssh, host)
    ssh(host, "kill $(pidof sleep)")
    vinfra("apply", only(), "--yes")
    assert fstab(ssh, host) == OTHERS


def test_what_somebody_else_mounted_there_is_refused(vinfra: Run, host: LabHost, ssh: Ssh, only: Only) -> None:
    ssh(host, "mkdir -p /srv/view && mount --bind /etc /srv/view")
    done = vinfra("apply", only(view={"source": "/usr", "options": ["bind"]}), "--yes", expect=3)
    assert "is mounted there, and this blueprint did not do it" in done.stdout + done.stderr


def test_symbolic_links_are_seen_through(vinfra: Run, host: LabHost, ssh: Ssh, only: Only) -> None:
    ssh(host, "mkdir -p /opt/real. /opt/place && ln -sfn /opt/real. /opt/link && ln -sfn /opt/place /srv/link")
    file = only(view={"source": "/opt/link", "options": ["bind"]})
    vinfra("apply", file, "--yes")
    assert "nothing to do" in vinfra("plan", file).stdout
    done = vinfra("plan", only(link=TMP), expect=2)
    assert "/srv/link leads to /opt/place by a symbolic link; name that" in done.stdout
    ssh(host, "umount /srv/view; rm -f /srv/link /opt/link")


def test_what_cannot_be_mounted_fails_and_has_no_line(vinfra: Run, host: LabHost, ssh: Ssh, only: Only) -> None:
    """mount(8) itself says nothing about it, for the line says nofail; a foreign line that is wrong changes nothing."""
    ssh(host, "cat >>/etc/fstab", stdin="nonsense\n/dev/x /srv/x\n/dev/y /srv/y ext9 defaults \u00b2 1 2 3\n")
    before = fstab(ssh, host)
    done = vinfra("apply", only(b={"source": "/srv/nosuch", "options": ["bind"]}), "--yes", expect=1)
    assert "/srv/nosuch" in done.stdout + done.stderr
    assert fstab(ssh, host) == before


def test_files_in_a_mount_come_after_it(vinfra: Run, host: LabHost, ssh: Ssh, tmp_path: Path) -> None:
    held: dict[str, Any] = {"directories": {"/srv/fast": {"mode": "0750"}, "/srv/fast/in": None}}
    held |= {"files": {"/srv/fast/in/x": {"content": "x"}}, "mounts": {"/srv/fast": TMP}}
    file = blueprint(tmp_path, {host.name: held})
    vinfra("apply", file, "--yes")
    assert "nothing to do" in vinfra("plan", file).stdout
    assert ssh(host, "stat -c %a /srv/fast; umount /srv/fast; ls -A /srv/fast").stdout == "750\n"


# Ends with the shell that runs it, once: as if the host had lost its power there.
DEADLY = """\
#!/bin/sh
case "$*" in *daemon-reload|*/etc/fstab|*" /srv/fast"|*--verify*) ;; *) exec {path} "$@";; esac
case {program}:$1 in findmnt:-*n*) exec {path} "$@";; esac
rm -f "$0"
kill -9 $PPID
"""


@pytest.mark.parametrize(
    "program", ["mount", *(pytest.param(name, marks=pytest.mark.slow) for name in ("findmnt", "mv", "systemctl"))]
)
def test_what_is_cut_off_is_done_by_the_next_run(
    vinfra: Run, host: LabHost, ssh: Ssh, only: Only, program: str
) -> None:
    path = ssh(host, f"command -v {program}").stdout.strip()
    place = f"/usr/local/sbin/{program}"
    ssh(host, f"cat >{place}; chmod 755 {place}", stdin=DEADLY.format(program=program, path=path))
    vinfra("apply", only(fast=TMP), "--yes", expect=1)
    assert ssh(host, f"test -e {place}").returncode == 1
    vinfra("apply", only(fast=TMP), "--yes")
    assert "nothing to do" in vinfra("plan", only(fast=TMP)).stdout
    assert fstab(ssh, host).count("/srv/fast tmpfs") == 1
    assert ssh(host, "ls -A /etc | grep -c fstab; findmnt -n /srv/fast | wc -l").stdout == "1\n1\n"
    vinfra("apply", only(), "--yes")
    assert fstab(ssh, host) == OTHERS


def test_reading_disks_writes_nothing(vinfra: Run, host: LabHost, written: Written, tmp_path: Path) -> None:
    wishes: dict[str, Any] = {
        "volume_groups": {"vg0": {"devices": ["/dev/nosuch"]}},
        "logical_volumes": {"vg0/x": "1GiB", "vg0/y": "absent"},
        "filesystems": {"/dev/vg0/x": "ext4", "/dev/nosuch2": "xfs"},
        "swap": {"/swapfile": "1GiB", "/dev/nosuch3": None},
        "mounts": {"/srv/x": {"source": "/dev/vg0/x"}, "/srv/u": {"source": "UUID=1234"}, "/srv/t": "tmpfs"},
    }
    before = written(host)
    done = vinfra("plan", blueprint(tmp_path, {host.name: wishes}), "--json", expect=2)
    assert {row["verdict"] for row in changes(done)} <= {"ok", "refused", "later"}, done.stdout
    assert written(host) == before
