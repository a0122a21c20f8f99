"""Facts of real hosts, beside what their own programs say; also as a login that is not root and may not become it."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from vinfra.kinds.host import facts
from vinfra.lab import Lab
from vinfra.transport import probe

from .conftest import ROOT, Run, Ssh, blueprint, first

SCHEMA = json.loads((ROOT / "schemas/facts.schema.json").read_text())


def facts_of(vinfra: Run, host: str, **more: Any) -> dict[str, Any]:
    document = json.loads(vinfra("facts", host, "--json", **more).stdout)
    assert [error.message for error in Draft202012Validator(SCHEMA).iter_errors(document)] == []
    (told,) = document["hosts"]
    return dict(told["facts"])


def test_facts_are_what_the_host_says_itself(vinfra: Run, clean_lab: Lab, ssh: Ssh) -> None:
    host = first(clean_lab)
    ssh(host, "touch /run/reboot-required; echo linux-image >/run/reboot-required.pkgs")
    made = "ip link add br7 type bridge; ip link add veth7 type veth peer name odd.7; ip link set veth7 master br7"
    done = ssh(host, f"{made}; ip link set veth7 mtu 1400 up")
    assert done.returncode == 0, done.stderr
    found = facts_of(vinfra, host.name)

    def said(command: str) -> str:
        done = ssh(host, command)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert found["hostname"] == said("hostname")
    assert found["cpu"]["count"] == int(said("nproc"))
    assert found["cpu"]["threads"] == int(said("grep -c ^processor /proc/cpuinfo"))
    assert found["memory"]["total"] // 1024 == int(said("awk '/^MemTotal/ {print $2}' /proc/meminfo"))
    size, kind = said("df -PkT / | awk 'END {print $3, $2}'").split()
    assert found["filesystems"]["/"]["size"] == int(size) * 1024
    assert found["filesystems"]["/"]["type"] == kind
    assert found["systemd"]["running"]
    assert found["virtualization"] == said("systemd-detect-virt")
    assert found["inside"]["container"]
    assert found["default"]["gateway"] == (said("ip -4 route show default | awk '{print $3}'") or None)
    assert found["reboot"]["required"]
    assert found["reboot"]["packages"] == ["linux-image"]
    links = found["interfaces"]
    assert (links["veth7"]["mtu"], links["veth7"]["sort"], links["veth7"]["master"]) == (1400, "veth", "br7")
    assert (links["br7"]["sort"], links["br7"]["ports"], links["odd.7"]["parent"]) == ("bridge", ["veth7"], "veth7")
    assert set(found["interfaces"]) == set(said("ls /sys/class/net").split())
    nodes = said("ls -d /sys/devices/system/node/node[0-9]*").split()
    assert len(found["numa"]) == len(nodes)
    assert set(found["disks"] or ()) <= set(said("ls /sys/class/block").split())
    assert abs(found["now"] - float(said("date +%s.%N"))) < 60
    assert found["usage"]["load"]["fifteen"] is not None
    assert 0 <= found["usage"]["cpu"]["busy"] <= 1
    assert found["usage"]["network"]["lo"]["received"] >= 0
    assert found["kvm"]["device"] is (ssh(host, "test -e /dev/kvm").returncode == 0)
    assert found["time"]["clocksource"] == said("cat /sys/devices/system/clocksource/clocksource0/current_clocksource")


def test_a_login_that_may_not_look_everywhere_gets_the_rest(
    vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path
) -> None:
    host = first(clean_lab)
    everything = facts_of(vinfra, host.name)
    machines = yaml.safe_load(clean_lab.inventory.read_text())
    folder = clean_lab.inventory.parent
    machines["ssh"] |= {key: str(folder / machines["ssh"][key]) for key in ("key_file", "known_hosts")}
    machines["hosts"][host.name] |= {"user": "ops", "sudo": False}
    inventory = tmp_path / "inventory.yaml"
    inventory.write_text(yaml.safe_dump(machines))
    assert ssh(host, "sudo -n true", user="ops").returncode != 0
    found = facts_of(vinfra, host.name, machines=inventory)
    assert set(found) == set(everything)
    for same in (
        "hostname",
        "os",
        "arch",
        "hugepages",
        "pci",
        "virtualization",
        "kvm",
        "iommu",
        "firmware",
        "kernel_arguments",
    ):
        assert found[same] == everything[same], same
    assert found["hardware"]["serial"] is None
    assert found["memory"]["total"] == everything["memory"]["total"]
    assert set(found["filesystems"]) >= {"/"}


def test_templates_and_the_terminal_have_them(vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path) -> None:
    host = first(clean_lab)
    text = "{{ facts.filesystems['/'].type }} {{ facts.usage.load.one is number }} {{ facts.kvm.device }}\n"
    file = blueprint(tmp_path, {host.name: {"files": {"/srv/facts": {"content": text}}}})
    vinfra("apply", file, "--yes")
    kind, *rest = ssh(host, "cat /srv/facts").stdout.split()
    assert kind == ssh(host, "stat -f -c %T /").stdout.strip().replace("overlayfs", "overlay")
    assert rest == ["true", "true" if ssh(host, "test -e /dev/kvm").returncode == 0 else "false"]
    assert "nothing to do" in vinfra("plan", file).stdout
    table = vinfra("facts", "all").stdout.splitlines()
    assert [line.split()[0] for line in table] == ["HOST", *clean_lab.hosts]
    assert "  memory " in vinfra("facts", host.name).stdout
    single = vinfra("facts", "all", "--fact", "facts.os.codename").stdout.splitlines()
    assert single[1].split() == [host.name, facts_of(vinfra, host.name)["os"]["codename"]]
    assert "did you mean" in vinfra("facts", "all", "--fact", "facts.cpu.modle", expect=1).stderr


@pytest.mark.parametrize("sh", ["dash", "busybox sh", "bash --posix"])
def test_the_question_reads_the_same_in_every_shell(clean_lab: Lab, ssh: Ssh, sh: str) -> None:
    """On the host itself, whose /sys is real."""
    host, nonce = first(clean_lab), "0123456789abcdef"
    questions = [facts.TREE]
    script = probe.probe_script(questions, nonce).decode().replace("then z='gzip -1'", "then z=cat")
    done = ssh(host, f"command -v {sh.split(maxsplit=1)[0]} >/dev/null || exit 77; {sh} -s", stdin=script)
    if done.returncode == 77:
        pytest.skip(f"no {sh} on this host")
    raw = probe.parse_probe(done.stdout.encode(), questions, nonce)[facts.TREE]
    found = facts.read({facts.TREE: raw})
    assert raw.returncode == 0
    assert found["memory"]["total"]
    assert found["interfaces"]
    assert found["cpu"]["threads"]
