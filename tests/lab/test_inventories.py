"""Inventories of other tools against real hosts, and ours in real Ansible and real pyinfra."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vinfra.lab import Lab

from .conftest import ROOT, Run, Ssh, blueprint

TOOLS = Path(os.environ.get("VINFRA_CACHE", ROOT / ".cache")) / "tools/bin"
#: Where its Python is, so that Ansible does not look for it on each host.
ANSIBLE = {
    "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
    "ANSIBLE_NOCOLOR": "1",
    "ANSIBLE_SSH_ARGS": "-o ControlMaster=no",
}


def call(*command: object, told: bool = False, **environment: str) -> str:
    """What a program prints, with `told` on stderr too; it must end well."""
    done = subprocess.run(
        [*map(str, command)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout + (done.stderr if told else "")


def script(folder: Path, inventory: Path) -> Path:
    """The two lines of the documentation."""
    file = folder / "site"
    file.write_text(f'#!/bin/sh\nexec {sys.executable} -m vinfra inventory -i {inventory} "$@"\n')
    file.chmod(0o755)
    return file


def ini(lab: Lab, folder: Path, common: str = "") -> Path:
    """An Ansible inventory of the lab's hosts."""
    lines = ["[web]"]
    lines += [f"{host.name} ansible_host=127.0.0.1 ansible_port={host.port}" for host in lab.hosts.values()]
    lines += ["[web:vars]", "ansible_user=root", f"ansible_ssh_private_key_file={lab.key_file}", "greeting=hello"]
    lines += [f"ansible_ssh_common_args=-o UserKnownHostsFile={lab.known_hosts} {common}", ""]
    file = folder / "hosts.ini"
    file.write_text("\n".join(lines))
    return file


def through(lab: Lab, folder: Path) -> Path:
    """An inventory of ours whose second host is behind the first, with its host key pinned."""
    first, second = lab.hosts.values()
    key = next(line for line in lab.known_hosts.read_text().splitlines() if f":{second.port} " in line)
    pinned = " ".join(key.split()[1:3])
    file = folder / "site.yaml"
    file.write_text(
        f"ssh: {{user: root, key_file: {lab.key_file}}}\n"
        "vars: {site: ams, workers: 4, token: {secret: env:TOKEN}}\n"
        "hosts:\n"
        f"  {first.name}: {{address: 127.0.0.1, port: {first.port}, known_hosts: {lab.known_hosts}}}\n"
        f"  {second.name}: {{address: {second.address}, jump: [{first.name}], host_key: {pinned}}}\n"
        f"groups: {{web: {{hosts: [{first.name}, {second.name}]}}}}\n"
    )
    return file


@pytest.mark.parametrize("reader", ["", str(TOOLS / "ansible-inventory")], ids=["own", "program"])
def test_ansibles_inventory_leads_to_the_hosts(lab: Lab, vinfra: Run, tmp_path: Path, reader: str) -> None:
    os.environ["VINFRA_ANSIBLE_INVENTORY"] = reader
    try:
        file = ini(lab, tmp_path)
        found = json.loads(vinfra("status", "web", "--json", machines=file).stdout)
        assert {host["host"]: host["error"] for host in found["hosts"]} == dict.fromkeys(lab.hosts, "")
    finally:
        del os.environ["VINFRA_ANSIBLE_INVENTORY"]


def test_its_passwords_log_in_and_are_shown_nowhere(clean_lab: Lab, vinfra: Run, tmp_path: Path) -> None:
    lab = clean_lab
    file = ini(lab, tmp_path)
    passwords = f"ansible_user=ops\nansible_password={lab.password}\nansible_become=true\n"
    passwords += f"ansible_become_password={lab.password}"
    file.write_text(file.read_text().replace("ansible_user=root", passwords))
    key = next(line for line in file.read_text().splitlines() if "private_key_file" in line)
    file.write_text(file.read_text().replace(key, ""))
    made = blueprint(tmp_path, {"web": {"files": {"/etc/motd": {"content": "{{ greeting }}\n"}}}})
    said = [
        vinfra("plan", made, "--json", "--out", tmp_path / "saved", machines=file, expect=2),
        vinfra("apply", tmp_path / "saved", "--yes", machines=file),
        vinfra("plan", made, machines=file),
        vinfra("inventory", machines=file),
        vinfra("inventory", "--list", machines=file),
        vinfra("inventory", "--json", machines=file),
    ]
    assert "nothing to do" in said[2].stdout
    assert "its login password is a secret and is not handed on" in said[4].stderr
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and path != file]
    assert len(kept) > 3
    told = [*(done.stdout + done.stderr for done in said), *(path.read_text(errors="replace") for path in kept)]
    assert not [text for text in told if lab.password in text]


def test_its_host_keys_are_checked_whatever_it_says(lab: Lab, vinfra: Run, tmp_path: Path) -> None:
    file = ini(lab, tmp_path)
    file.write_text(file.read_text().replace(str(lab.known_hosts), "/dev/null -o StrictHostKeyChecking=no"))
    done = vinfra("status", "web", "--json", machines=file, expect=4)
    assert "host keys are checked all the same" in done.stderr
    assert all("host key" in host["error"] for host in json.loads(done.stdout)["hosts"])


def test_a_saved_plan_reads_ansibles_inventory_again(clean_lab: Lab, vinfra: Run, tmp_path: Path) -> None:
    inventory, host = ini(clean_lab, tmp_path), next(iter(clean_lab.hosts))
    machines = Path(f"ansible:{inventory}")
    file = blueprint(tmp_path, {host: {"files": {"/etc/motd": {"content": "{{ greeting }} of {{ host.name }}\n"}}}})
    vinfra("plan", file, "--out", tmp_path / "saved", machines=machines, expect=2)
    assert json.loads((tmp_path / "saved").read_text())["inputs"]["inventory"] == f"ansible:{inventory}"

    inventory.write_text(inventory.read_text().replace("greeting=hello", "greeting=hi"))
    refused = vinfra("apply", tmp_path / "saved", "--yes", machines=machines, expect=3).stderr
    assert f"inventory: variable greeting of {host} is not what it was when planned" in refused

    inventory.write_text(inventory.read_text().replace("greeting=hi", "greeting=hello"))
    vinfra("apply", tmp_path / "saved", "--yes", machines=machines)
    assert "nothing to do" in vinfra("plan", file, machines=machines).stdout


def test_pyinfras_inventory_leads_to_the_hosts(lab: Lab, vinfra: Run, tmp_path: Path) -> None:
    hosts = [(host.name, {"ssh_hostname": "127.0.0.1", "ssh_port": host.port}) for host in lab.hosts.values()]
    shared = {"ssh_user": "root", "ssh_key": str(lab.key_file), "ssh_known_hosts_file": str(lab.known_hosts)}
    file = tmp_path / "inventory.py"
    file.write_text(f"print('noise')\nweb = ({hosts!r}, {shared!r})\n")
    found = json.loads(vinfra("status", "web", "--json", machines=file).stdout)["hosts"]
    assert {host["host"]: host["error"] for host in found} == dict.fromkeys(lab.hosts, "")


def test_ansible_takes_vinfra_for_its_inventory(clean_lab: Lab, ssh: Ssh, tmp_path: Path) -> None:
    lab = clean_lab
    first, second = lab.hosts
    for host in lab.hosts.values():  # Ansible's modules want more of Python than is there
        done = ssh(host, "apt-get update -qq && apt-get install -y -qq --no-install-recommends python3", of=lab)
        assert done.returncode == 0, done.stdout + done.stderr
    inventory = script(tmp_path, through(lab, tmp_path))
    where = {"VINFRA_STATE": str(tmp_path / "state"), **ANSIBLE}
    told: dict[str, Any] = json.loads(call(TOOLS / "ansible-inventory", "-i", inventory, "--list", **where))
    assert sorted(told["web"]["hosts"]) == sorted(lab.hosts)
    hostvars = told["_meta"]["hostvars"][second]
    assert (hostvars["site"], hostvars["workers"]) == ("ams", 4)
    assert "token" not in hostvars
    assert f"ProxyJump={first}" in hostvars["ansible_ssh_common_args"]
    pong = call(TOOLS / "ansible", "-i", inventory, "web", "-m", "ping", **where)
    assert pong.count('"ping": "pong"') == 2, pong
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "state").rglob("*") if path.is_file()} == {0o600}


def test_ansible_is_refused_by_a_host_with_another_key(lab: Lab, tmp_path: Path) -> None:
    file = through(lab, tmp_path)
    text = file.read_text()
    other = next(line for line in lab.known_hosts.read_text().splitlines()).split()[2]
    file.write_text(text.replace(text.rpartition("ssh-ed25519 ")[2].split("}")[0], other))
    inventory = script(tmp_path, file)
    where = {"VINFRA_STATE": str(tmp_path / "state"), **ANSIBLE}
    done = subprocess.run(
        [TOOLS / "ansible", "-i", inventory, list(lab.hosts)[1], "-m", "ping"],
        env={**os.environ, **where},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode != 0
    assert "HOST IDENTIFICATION HAS CHANGED" in done.stdout + done.stderr


def test_pyinfra_takes_vinfra_for_a_connector(lab: Lab, tmp_path: Path) -> None:
    file = through(lab, tmp_path)
    where = {"VINFRA_STATE": str(tmp_path / "state"), "HOME": str(tmp_path)}
    pyinfra = Path(sys.executable).with_name("pyinfra")
    said = call(pyinfra, "-y", f"@vinfra/{file}", "exec", "--", "hostname", told=True, **where)
    assert all(f"[{name}] {name}" in said for name in lab.hosts), said
