"""Whose things are whose on real hosts: adopt, import, unmanaged, owners, moved, retire, and marks that got lost."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from vinfra.lab import Lab, LabHost

from .conftest import Run, Ssh, Written, blueprint, changes, first

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE1qJ0X3p0Jm0o0X3p0Jm0o0X3p0Jm0o0X3p0Jm0o0X eve@desk"
BY_HAND = f"""set -e
useradd -m -s /bin/bash -c 'Eve Hand' -G adm eve
echo 'eve:$6$canary$hash' | chpasswd -e
install -d -m 700 -o eve /home/eve/.ssh
echo '{KEY}' >/home/eve/.ssh/authorized_keys
echo 'fs.inotify.max_user_instances = 1024' >/etc/sysctl.d/60-hand.conf
printf 'echo "{{{{ no template }}}}"\\n' >/etc/profile.d/hand.sh
echo 'canary ALL = ALL' >/etc/sudoers.d/hand && chmod 440 /etc/sudoers.d/hand
printf '[Service]\\nExecStart=/bin/sleep infinity\\n[Install]\\nWantedBy=multi-user.target\\n' \
  >/etc/systemd/system/hand.service
systemctl -q daemon-reload && systemctl -q enable --now hand
"""
MACHINE = """set -e
virsh -q pool-define-as own dir --target /srv/own && virsh -q pool-build own && virsh -q pool-start own
virsh -q vol-create-as own byhand.qcow2 64M --format qcow2 && virsh -q vol-create-as own odd.img 1M --format raw
cat >/run/net.xml <<X
<network><name>own</name><forward mode='nat'/><bridge name='virbr77' stp='on' delay='0'/>
<ip address='10.199.7.1' prefix='24'><dhcp><range start='10.199.7.50' end='10.199.7.90'/></dhcp></ip></network>
X
virsh -q net-define /run/net.xml && virsh -q net-start own && virsh -q net-autostart own
cat >/run/dom.xml <<X
<domain type='qemu'><name>byhand</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
<os><type machine='q35'>hvm</type></os><features><acpi/></features><devices>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/srv/own/byhand.qcow2'/>
<target dev='vda' bus='virtio'/></disk><interface type='network'><source network='own'/><model type='virtio'/>
</interface></devices></domain>
X
virsh -q define /run/dom.xml && virsh -q start byhand
"""
AWAY = """virsh destroy byhand; virsh undefine byhand; virsh net-destroy own; virsh net-undefine own
virsh pool-destroy own; virsh pool-undefine own; rm -rf /srv/own /var/lib/vinfra"""
DEFINITION = "virsh dumpxml --inactive byhand | sed '/<metadata>/,/<\\/metadata>/d'; cat /run/libvirt/qemu/byhand.pid"


def marks(vinfra: Run, *arguments: str, **given: Any) -> dict[str, dict[str, Any]]:
    """The marks on all hosts, by kind and name."""
    hosts = json.loads(vinfra("owners", "--json", *arguments, **given).stdout)["hosts"]
    return {f"{mark['kind'].partition('.')[2]}:{mark['name']}": mark for host in hosts for mark in host["marks"]}


def test_what_somebody_made_by_hand_is_imported_and_its_plan_is_empty(
    vinfra: Run, clean_lab: Lab, ssh: Ssh, written: Written, tmp_path: Path
) -> None:
    host = first(clean_lab)
    assert ssh(host, BY_HAND).returncode == 0
    before = written(host)
    file = tmp_path / "found.yaml"
    vinfra("import", host.name, "--write", file)
    text = file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    assert "canary" not in text
    found = yaml.load(text.replace("!raw", ""), yaml.BaseLoader)["hosts"][host.name]
    assert found["users"]["eve"]["authorized_keys"] == [KEY]
    assert "/etc/sysctl.d/60-hand.conf" in found["files"]
    assert found["services"] == {"hand": {"enabled": "true", "running": "true"}}
    assert "nothing to do" in vinfra("plan", file).stdout
    assert vinfra("import", host.name).stdout.rstrip() == text.rstrip()
    assert "not written over" in vinfra("import", host.name, "--write", file, expect=1).stderr
    assert file.read_text() == text
    vinfra("owners", host.name)
    assert written(host) == before


def test_unmanaged_is_what_nobody_owns(vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path) -> None:
    host = first(clean_lab)
    before = set(unmanaged(vinfra, host))
    assert ssh(host, BY_HAND).returncode == 0
    assert set(unmanaged(vinfra, host)) - before == {
        "user eve",
        "service hand",
        *(f"file /etc/{name}" for name in ("profile.d/hand.sh", "sudoers.d/hand", "sysctl.d/60-hand.conf")),
        "file /etc/systemd/system/hand.service",
    }
    file = tmp_path / "found.yaml"
    vinfra("import", host.name, "--write", file)
    vinfra("adopt", file, "user:eve", "file:/etc/*", "service:hand", "--yes")
    assert set(unmanaged(vinfra, host)) - before == {"file /etc/sudoers.d/hand"}
    vinfra("plan", file)


def unmanaged(vinfra: Run, host: LabHost) -> list[str]:
    told = json.loads(vinfra("unmanaged", host.name, "--json", expect=2).stdout)["hosts"][0]
    return [f"{item['kind'].partition('.')[2]} {item['name']}" for item in told["unmanaged"]]


def test_what_is_adopted_goes_when_it_leaves_the_blueprint(
    vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path
) -> None:
    host = first(clean_lab)
    ssh(host, "echo by hand >/srv/a; echo by hand >/srv/b")
    files = {"/srv/a": {"content": "declared"}, "/srv/b": {"content": "by hand\n"}, "/srv/none": {"content": "x"}}
    file = blueprint(tmp_path, {host.name: {"files": files, "packages": ["sudo"]}})
    told = vinfra("adopt", file, "file:/srv/a", "file:/srv/b", "package:sudo", "--yes").stdout
    assert "differs in content" in told
    assert "never removed" in told
    assert ssh(host, "cat /srv/a").stdout == "by hand\n"
    assert "nothing to do" in vinfra("adopt", file, "file:/srv/*", "--yes").stdout
    assert "it is not there" in vinfra("adopt", file, "file:/srv/none", "--yes", expect=3).stdout
    assert "did you mean file:/srv/a" in vinfra("adopt", file, "file:/srv/aa", "--yes", expect=1).stderr
    other = blueprint(tmp_path, {host.name: {"files": {"/srv/a": {"content": "other"}}}}, "other")
    assert "owned by blueprint trial" in vinfra("adopt", other, "file:/srv/a", "--yes", expect=3).stdout
    known = marks(vinfra)
    assert known["file:/srv/a"]["birth"] == "adopted"
    assert known["package:sudo"]["birth"] == "found"
    assert known["file:/srv/a"]["who"]
    vinfra("apply", file, "--yes")
    assert ssh(host, "cat /srv/a").stdout == "declared"
    rows = changes(vinfra("plan", blueprint(tmp_path, {host.name: {}}), "--json", expect=2))
    assert {row["name"] for row in rows} == set(files)
    assert (
        "left the blueprint; adopted by trial, run " in next(row for row in rows if row["name"] == "/srv/b")["reason"]
    )
    vinfra("apply", blueprint(tmp_path, {host.name: {}}), "--yes")
    assert ssh(host, "ls /srv; command -v sudo").stdout == "/usr/bin/sudo\n"


def test_a_guard_outlives_its_block_until_it_is_declared_again_without(
    vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path
) -> None:
    host = first(clean_lab)
    guarded = {"/srv/kept": {"content": "x", "protect": True}, "/srv/goes": {"content": "x"}}
    vinfra("apply", blueprint(tmp_path, {host.name: {"files": guarded}}), "--yes")
    bare = {host.name: {"files": {"/srv/new": {"content": "x"}}}}
    plan = vinfra("plan", blueprint(tmp_path, bare), expect=2).stdout
    assert (
        "refused, protected (declared again with `protect: false` it is not); left the blueprint; made by trial, run "
        in plan
    )
    assert "1 create, 1 delete; 1 refused" in plan
    vinfra("apply", blueprint(tmp_path, bare), "--yes", expect=3)
    assert ssh(host, "ls /srv").stdout.split() == ["goes", "kept"]
    vinfra("apply", blueprint(tmp_path, bare), "--yes", "--skip-refused", expect=3)
    assert ssh(host, "ls /srv").stdout.split() == ["kept", "new"]
    released = {"/srv/kept": {"content": "x", "protect": False}, "/srv/new": {"content": "x"}}
    assert (
        "no longer protected" in vinfra("apply", blueprint(tmp_path, {host.name: {"files": released}}), "--yes").stdout
    )
    vinfra("apply", blueprint(tmp_path, bare), "--yes")
    assert ssh(host, "ls /srv").stdout.split() == ["new"]


def test_a_blueprint_that_has_another_name_keeps_what_it_made(
    vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path
) -> None:
    host = first(clean_lab)
    files = {name: {"content": "x"} for name in ("/srv/a", "/srv/b", "/srv/gone")}
    vinfra("apply", blueprint(tmp_path, {host.name: {"files": files}}, "old"), "--yes")
    del files["/srv/gone"]
    moved = [{"from": "blueprint:old", "to": "blueprint:new"}]
    new = blueprint(tmp_path, {host.name: {"files": {**files, "/srv/b": {"content": "y"}}}}, "new", moved=moved)
    rows = {row["name"]: row["action"] for row in changes(vinfra("plan", new, "--json", expect=2))}
    assert rows == {"/srv/a": "move", "/srv/b": "update", "/srv/gone": "delete"}
    vinfra("apply", new, "--yes")
    assert {mark["blueprint"] for mark in marks(vinfra).values()} == {"new"}
    assert set(marks(vinfra)) == {"file:/srv/a", "file:/srv/b"}
    vinfra("plan", new)
    without = blueprint(tmp_path, {host.name: {"files": {**files, "/srv/b": {"content": "y"}}}}, "new")
    vinfra("plan", without)
    vinfra("destroy", without, "--yes")
    assert ssh(host, "ls /srv").stdout == ""


def test_what_left_a_blueprint_is_found_on_hosts_that_it_names_no_more(
    vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path
) -> None:
    one, two = clean_lab.hosts.values()
    files = {"files": {"/srv/x": {"content": "x"}}}
    vinfra("apply", blueprint(tmp_path, {one.name: files, two.name: files}), "--yes")
    file = blueprint(tmp_path, {one.name: files})
    assert "nothing to do" in vinfra("plan", file).stdout
    rows = changes(vinfra("plan", file, "--all-hosts", "--json", expect=2))
    assert [(row["action"], row["host"]) for row in rows] == [("delete", two.name)]
    vinfra("apply", file, "--all-hosts", "--yes")
    assert ssh(two, "ls /srv").stdout == ""
    vinfra("plan", file, "--all-hosts")


def test_a_host_that_is_retired_is_nobodys_and_keeps_what_is_on_it(
    vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path
) -> None:
    host = first(clean_lab)
    vinfra("apply", blueprint(tmp_path, {host.name: {"files": {"/srv/x": {"content": "x"}}}}), "--yes")
    assert "nobody to answer" in vinfra("retire", host.name, expect=1).stderr
    assert "Released 1 mark" in vinfra("retire", host.name, "--yes").stdout
    assert marks(vinfra) == {}
    assert ssh(host, "ls /srv").stdout == "x\n"
    never = vinfra("retire", "never-was", "--yes", expect=1).stderr
    assert "not in the inventory, and no journal here knows it" in never


@pytest.mark.xdist_group("kvm")
def test_a_machine_made_by_hand_is_imported_adopted_and_goes_on_running(
    vinfra: Run, kvm_lab: Lab, kvm_host: LabHost, ssh: Ssh, tmp_path: Path
) -> None:
    def on(command: str) -> str:
        return ssh(kvm_host, command, of=kvm_lab).stdout

    def run(*arguments: object, **given: Any) -> Any:
        return vinfra(*arguments, machines=kvm_lab.inventory, **given)

    try:
        assert ssh(kvm_host, MACHINE, of=kvm_lab).returncode == 0
        file = tmp_path / "found.yaml"
        run("import", kvm_host.name, "--write", file)
        found = yaml.load(file.read_text().replace("!raw", ""), yaml.BaseLoader)["hosts"][kvm_host.name]
        assert set(found) >= {"networks", "pools", "volumes", "domains"}
        run("plan", file)
        before = on(DEFINITION)
        nouns = ("domain:byhand", "network:own", "pool:own", "volume:byhand")
        run("adopt", file, *nouns, "--yes")
        assert on(DEFINITION) == before
        assert set(marks(run)) == set(nouns)
        run("plan", file)
        theirs = {
            kvm_host.name: {"domains": {"byhand": {"memory": "64MiB"}}, "networks": {"own": {"mode": "isolated"}}}
        }
        told = run("adopt", blueprint(tmp_path, theirs, "theirs"), "*", "--yes", expect=3).stdout
        assert told.count(f"owned by blueprint {kvm_host.name}") == 2
        refused = run("apply", tmp_path / "theirs.yaml", "--yes", expect=3).stdout
        assert f"blueprint {kvm_host.name} has it" in refused
        assert f"made by blueprint {kvm_host.name}" in refused
        assert "byhand" in run("retire", kvm_host.name, "--yes", expect=3).stderr
        on("rm -r /var/lib/vinfra")  # its marks are gone, and what it says of itself is not
        bare = blueprint(tmp_path, {kvm_host.name: {"domains": {"byhand": {"memory": "64MiB"}}}}, kvm_host.name)
        assert (
            "byhand of this blueprint has no mark there any more; nothing is pruned"
            in run("plan", bare, expect=2).stdout
        )
        run("adopt", file, *nouns, "--yes")
        run("plan", file)
        gone = run("plan", blueprint(tmp_path, {kvm_host.name: {}}, kvm_host.name), expect=2).stdout
        assert "2 delete, 1 delete with data-loss" in gone
        assert f"left the blueprint; adopted by {kvm_host.name}" in gone
        assert on(DEFINITION) == before
        dark = tmp_path / "dark.yaml"
        dark.write_text(f"hosts: {{{kvm_host.name}: {{address: 127.0.0.1, port: 1}}}}")
        told = vinfra("retire", kvm_host.name, "--yes", expect=4, machines=dark).stdout
        assert "Last known there, by the journals of this controller: byhand." in told
        assert "still holds byhand" in run("retire", kvm_host.name, "--leave-machines", "--yes").stdout
        assert marks(run) == {}
        run("adopt", file, *nouns, "--yes")
        assert on(DEFINITION) == before
        run("destroy", file, "--yes", "--max-impact", "data-loss")
        assert "byhand" not in on("virsh list --all --name; virsh vol-list own")
        assert "own" in on("virsh pool-list --name")
    finally:
        on(AWAY)
