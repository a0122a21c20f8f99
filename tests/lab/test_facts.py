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
from .guest import Guest

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


MADE = """set -e
pvcreate -qq /dev/vdb; vgcreate -qq vg-0 /dev/vdb; lvcreate -qq -Wn -n data -L 64M vg-0
mkfs.ext4 -q -L facts /dev/vg-0/data
mkdir -p '/srv/with space'; mount /dev/vg-0/data '/srv/with space'
modprobe 8021q; modprobe bonding max_bonds=0; modprobe bridge
ip link add bond7 type bond mode active-backup
ip link set eth1 down; ip link set eth1 master bond7; ip link set bond7 up
ip link add link bond7 name bond7.7 type vlan id 7; ip link add br7 type bridge; ip link set bond7.7 master br7
echo 8 >/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages
udevadm settle"""
# Where a program that reads could write; not where the journal notes that somebody logged in.
WRITTEN = (
    "find /run /etc /var/lib /var/cache -xdev -newer /root/before -type f ! -path '/run/log/*' ! -path '/run/systemd/*'"
)


def test_a_whole_machine_tells_what_a_container_has_not(guest: Guest, guest_vinfra: Run) -> None:
    guest.run(MADE)
    product = guest.run("cat /sys/class/dmi/id/product_name").strip()
    guest.run("touch /root/before; sleep 1")
    found = facts_of(guest_vinfra, "guest")
    others = "-path '/var/lib/chrony/*' -o -path '/run/vinfra/*' -o -name utmp -o -name 'motd*' -o -name lastlog"
    assert guest.run(f"{WRITTEN} ! \\( {others} \\)") == ""
    assert found["volume_groups"]["vg-0"]["volumes"] == {"data": 64 << 20}
    assert found["volume_groups"]["vg-0"]["free"] == int(guest.run("vgs --noheadings --units b --nosuffix -o vg_free"))
    assert found["disks"]["vdb"]["filesystem"] == "LVM2_member"
    assert found["disks"]["vdb"]["mountpoints"] == ["/srv/with space"]
    assert found["disks"]["vdb"]["transport"] == "virtio"
    assert "/" in found["disks"]["vda"]["mountpoints"]
    assert found["disks"]["vda"]["partitions"]
    mounted = found["filesystems"]["/srv/with space"]
    assert (mounted["type"], mounted["device"]) == ("ext4", "/dev/mapper/vg--0-data")
    assert 0 < mounted["available"] <= mounted["size"] < 64 << 20
    links = found["interfaces"]
    assert (links["bond7"]["sort"], links["bond7"]["mode"], links["bond7"]["ports"]) == (
        "bond",
        "active-backup",
        ["eth1"],
    )
    assert [links["bond7.7"][key] for key in ("sort", "vlan", "parent", "master")] == ["vlan", 7, "bond7", "br7"]
    assert (links["br7"]["ports"], links["eth1"]["master"]) == (["bond7.7"], "bond7")
    assert (links["eth0"]["sort"], links["eth0"]["driver"]) == ("physical", "virtio_net")
    assert found["pci"][links["eth0"]["pci"]]["sort"] == "network"
    assert found["default"] == {"interface": "eth0", "gateway": "10.77.0.1"}
    assert set(found["numa"]) == {"0", "1"}
    assert found["numa"]["0"]["hugepages"]["2MiB"] == {"total": 8, "free": 8}
    assert found["hugepages"]["2MiB"]["total"] == 8
    assert found["numa"]["0"]["distances"] == {"0": 10, "1": 20}
    assert found["hardware"]["vendor"] == "QEMU"
    assert found["hardware"]["product"] == product
    assert found["firmware"]["mode"] == "bios"
    assert found["inside"] == {"container": None, "machine": found["virtualization"], "hypervisor": True}
    assert found["kernel_arguments"]["net.ifnames"] == "0"
    assert {"8021q", "bonding", "bridge"} <= set(found["kernel_modules"])
    assert found["kernels"] == [found["kernel"]]
    assert found["reboot"] == {"required": False, "kernel": None, "packages": None}
    assert found["time"]["service"] == "chrony"
    assert found["usage"]["disks"]["vda"]["read"] > 0
