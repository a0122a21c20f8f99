"""Saved plans and mark files on real hosts."""

import re
from pathlib import Path
from typing import Any

from vinfra.lab import Lab

from .conftest import Run, Ssh, blueprint, first

MARKS = "/var/lib/vinfra/marks"


def test_a_saved_plan_brings_a_service_to_a_bare_host_and_does_no_more_than_was_shown(
    vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path
) -> None:
    host, conf = first(clean_lab), "/etc/nginx/conf.d/x.conf"
    wish: dict[str, Any] = {
        "packages": ["nginx-light"],
        "files": {conf: {"content": "# x\n", "needs": ["package:nginx-light"]}},
        "services": {"nginx": {"running": True, "enabled": True, "restart_on": [f"file:{conf}"]}},
    }
    file, saved = blueprint(tmp_path, {host.name: wish}), tmp_path / "plan.json"
    assert "2 of these known only later" in vinfra("plan", file, "--out", saved, expect=2).stdout
    ssh(host, "mkdir -p /etc/nginx/conf.d; echo mine >/etc/nginx/conf.d/x.conf")
    assert f"{conf}: absent when planned, now there" in vinfra("apply", saved, "--yes", expect=3).stderr
    assert ssh(host, "cat /etc/nginx/conf.d/x.conf; command -v nginx").stdout == "mine\n"
    ssh(host, "rm -r /etc/nginx")
    assert "3 done" in vinfra("apply", saved, "--yes").stdout
    assert "nothing to do" in vinfra("plan", file).stdout
    assert ssh(host, "systemctl is-active nginx").stdout == "active\n"


def test_it_connects_to_no_host_that_it_does_not_touch(
    vinfra: Run, inventory: Path, clean_lab: Lab, ssh: Ssh, tmp_path: Path
) -> None:
    here, there = clean_lab.hosts.values()
    file = blueprint(tmp_path, {"all": {"files": {"/srv/a": {"content": "a"}}}})
    vinfra("apply", file, "--yes")
    ssh(here, "echo by hand >/srv/a")
    saved = tmp_path / "plan.json"
    machines = tmp_path / "inventory.yaml"
    text = inventory.read_text()
    for name in ("id_ed25519", "known_hosts"):
        text = text.replace(f": {name}", f": {inventory.parent / name}")
    machines.write_text(text)
    vinfra("plan", file, "--out", saved, expect=2, machines=machines)
    logins = "journalctl -u ssh --no-pager | grep -c 'Accepted publickey'"
    before = int(ssh(there, logins).stdout)
    vinfra("apply", saved, "--yes", machines=machines)
    assert int(ssh(there, logins).stdout) == before + 1  # our own
    assert ssh(here, "cat /srv/a").stdout == "a"
    ssh(here, "echo by hand >/srv/a")
    vinfra("plan", file, "--out", saved, expect=2, machines=machines)
    machines.write_text(re.sub(rf"(port:\s*){there.port}\b", r"\g<1>1", machines.read_text()))
    assert str(there.port) not in machines.read_text()
    vinfra("apply", saved, "--yes", machines=machines)  # nor does it matter how that one is reached now
    machines.write_text(re.sub(rf"(port:\s*){here.port}\b", r"\g<1>1", machines.read_text()))
    refused = vinfra("apply", saved, "--yes", machines=machines, expect=3)
    assert f"inventory: port of {here.name} is not what it was when planned" in refused.stderr


def test_what_a_row_stands_on_makes_its_plan_stale(vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path) -> None:
    host, source = first(clean_lab), tmp_path / "app.conf"
    source.write_text("one\n")
    wish = {
        "directories": {"/srv/app": {"mode": "0755"}, "/srv/other": None},
        "files": {"/srv/app/conf": {"source": "app.conf"}},
    }
    file, saved = blueprint(tmp_path, {host.name: wish}), tmp_path / "plan.json"
    vinfra("apply", file, "--yes")
    source.write_text("two\n")
    vinfra("plan", file, "--out", saved, expect=2)
    ssh(host, "chmod 0700 /srv/app; rmdir /srv/other")
    row = f"host.file:{host.name}/srv/app/conf"
    stale = f"host.directory:{host.name}/srv/app: mode was '0755' when planned, is '0700' (needed by {row})"
    assert stale in vinfra("apply", saved, "--yes", expect=3).stderr
    ssh(host, "chmod 0755 /srv/app")
    source.write_text("three\n")
    refused = vinfra("apply", saved, "--yes", expect=3)
    assert f"{source}, the source of {row}, was changed" in refused.stderr
    source.write_text("two\n")
    vinfra("apply", saved, "--yes")
    assert ssh(host, "cat /srv/app/conf; ls /srv").stdout == "two\napp\n"


def test_a_mark_file_that_is_none_costs_its_host_alone(vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path) -> None:
    here, there = clean_lab.hosts.values()
    file = blueprint(tmp_path, {"all": {"files": {"/srv/a": {"content": "a"}}}})
    ssh(here, f"mkdir -p {MARKS}/trial.jsonl")
    done = vinfra("apply", file, "--yes", expect=4)
    assert f"vinfra's marks cannot be read: {MARKS}/trial.jsonl: not a regular file" in done.stdout
    assert ssh(here, "ls /srv").stdout == ""
    assert ssh(there, "ls /srv").stdout == "a\n"


def test_a_worn_mark_file_is_rewritten_by_the_run_that_changes_its_host(
    vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path
) -> None:
    host, marks = first(clean_lab), f"{MARKS}/trial.jsonl"
    files = {f"/srv/{name}": {"content": name} for name in "abc"}
    file = blueprint(tmp_path, {host.name: {"files": files}})
    vinfra("apply", file, "--yes")
    ssh(host, f"cp {marks} /tmp/m; for i in $(seq 400); do cat /tmp/m; done >>{marks}; rm /srv/a")
    vinfra("apply", file, "--yes")
    assert ssh(host, f"wc -l <{marks}; stat -c %a {marks}; ls -A {MARKS}").stdout == "3\n600\ntrial.jsonl\n"
    assert "nothing to do" in vinfra("plan", file).stdout
    del files["/srv/b"]
    vinfra("apply", blueprint(tmp_path, {host.name: {"files": files}}), "--yes")
    assert ssh(host, "ls /srv").stdout.split() == ["a", "c"]
