"""What kinds list on a host, from recorded answers: what can be declared, what can only be told of, whose it is."""

from pathlib import Path
from typing import Any

import pytest

from vinfra.kinds.host import cron, repository, timer
from vinfra.kinds.host import listing as host
from vinfra.kinds.host.packages import sources
from vinfra.kinds.host.schedules import timerunits
from vinfra.kinds.kvm import pool
from vinfra.kinds.kvm.domains.board import FIELDS
from vinfra.kinds.kvm.reading import listing as kvm
from vinfra.kinds.kvm.reading import virsh
from vinfra.kinds.kvm.volumes import pools
from vinfra.kinds.registry import KINDS
from vinfra.model.kind import Listed, Lists, Scope
from vinfra.model.mark import Birth, Mark, State
from vinfra.model.question import Question, Raw, ReadFile

CASES = Path(__file__).parents[1] / "cases" / "libvirt"
NOBODY = Scope("h", ())
GONE = Raw(2, b"", "No such file or directory")
NO_PROGRAM = Raw(127, b"", "no virsh here")


def said(text: str) -> Raw:
    return Raw(0, text.encode())


def recorded(name: str) -> Raw:
    return Raw(0, (CASES / name).read_bytes())


def names(found: Any) -> list[str]:
    return [item.name for item in found]


def test_groups_that_somebody_made_are_listed() -> None:
    groups = "root:x:0:\nsudo:x:27:ops\nops:x:1000:\ncrew:x:2100:ops,ada\nplain:x:2101:\nnogroup:x:65534:\n"
    users = (
        "root:x:0:0:root:/root:/bin/bash\nops:x:1000:1000::/home/ops:/bin/bash\nada:x:1001:2100::/home/ada:/bin/sh\n"
    )
    found = [*host.groups(NOBODY, {host.GROUPS: said(groups), host.USERS: said(users)})]
    assert {item.name: item.fields for item in found} == {
        "crew": {"gid": 2100, "members": ["ops", "ada"]},
        "plain": {"gid": 2101},
    }
    assert [item.note for item in host.groups(NOBODY, {host.GROUPS: Raw(1, b"", "no"), host.USERS: said("")})] == ["no"]


def test_these_kinds_list() -> None:
    listing = {name for name, kind in KINDS.items() if isinstance(kind, Lists)}
    assert listing == {
        *("host.volume_group", "host.logical_volume", "host.filesystem", "host.swap", "host.mount"),
        *("host.repository", "host.cron", "host.timer"),
        *("host.package", "host.group", "host.user", "host.file", "host.sysctl", "host.service"),
        *("kvm.network", "kvm.pool", "kvm.volume", "kvm.domain"),
    }


def test_packages_are_those_that_were_asked_for() -> None:
    answers: dict[Question, Raw] = {
        host.PACKAGES: said(
            "base-files\trequired\tyes\tadmin\tinstalled\nnginx\toptional\tno\thttpd\tinstalled\n"
            "nginx-common\toptional\tno\thttpd\tinstalled\nlibc6:amd64\toptional\tno\tlibs\tinstalled\n"
            "gone\toptional\tno\tnet\tconfig-files\nqemu-utils\toptional\tno\totherosfs\tinstalled\nodd line\n"
        ),
        host.AUTOMATIC: said("Package: nginx-common\nArchitecture: amd64\nAuto-Installed: 1\n"),
    }
    role = Mark("lab", "host.package", "kvm", State.OWNED, Birth.CREATED, identity={"role": "kvm"})
    scope = Scope("h", (), {"os": {"family": "debian"}}, marks={"package:kvm": (role,)})
    assert list(host.packages(scope, answers)) == [Listed("nginx", {}), Listed("qemu-utils", {}, owner="lab")]
    answers[host.PACKAGES] = NO_PROGRAM
    assert list(host.packages(NOBODY, answers)) == []


def test_people_are_listed_with_their_keys_and_without_their_password() -> None:
    passwd = "root:x:0:0::/root:/bin/sh\neve:x:1000:1000:Eve:/home/eve:/bin/bash\nnobody:x:65534:1::/:/bin/false\nodd\n"
    key = ReadFile("/home/eve/.ssh/authorized_keys")
    answers: dict[Question, Raw] = {host.USERS: said(passwd), host.GROUPS: said("eve:x:1000:\nadm:x:4:eve,x\n")}
    assert list(host.ask_users(answers)) == [host.USERS, host.GROUPS, key]
    answers[key] = said("# none\nssh-ed25519 AAAA eve\n")
    (eve,) = host.users(NOBODY, answers)
    assert eve.fields == {
        **{"uid": 1000, "group": "eve", "shell": "/bin/bash", "home": "/home/eve", "comment": "Eve"},
        **{"groups": ["adm"], "authorized_keys": ["ssh-ed25519 AAAA eve"]},
    }
    answers[host.USERS] = Raw(1, b"", "broken")
    assert list(host.users(NOBODY, answers)) == [Listed("", note="broken")]


def test_files_are_those_that_no_package_brought() -> None:
    listing = "/etc:\npasswd\ncron.d/\n\n/etc/cron.d:\nbrought\nhand\nsub/\n\n/etc/sudoers.d:\nsecret\nblob\n"
    answers: dict[Question, Raw] = {
        host.ENTRIES: Raw(2, listing.encode(), "ls: cannot access '/etc/udev/rules.d': No such file or directory"),
        host.CONFFILES: said(" /etc/cron.d/brought 0123\n /etc/x 1 obsolete\n"),
    }
    stats, *reads = list(host.ask_files(answers))[2:]
    assert reads == [ReadFile(f"/etc/{name}") for name in ("cron.d/hand", "sudoers.d/blob", "sudoers.d/secret")]
    lines = ("81a4:root:root:0:0:5:1.0:/etc/cron.d/hand", "8124:bob:adm:1:4:5:1.0:/etc/sudoers.d/blob")
    answers[stats] = said("\n".join((*lines, "8120:root:root:0:0:6:1.0:/etc/sudoers.d/secret")))
    answers |= dict(zip(reads, (said("{{ x }}\n"), Raw(0, b"\xff"), said("canary")), strict=True))
    hand, blob, secret = host.files(NOBODY, answers)
    assert hand == Listed("/etc/cron.d/hand", {"content": "{{ x }}\n"})
    assert blob.fields is None
    assert "no text" in blob.note
    assert secret.fields is None
    assert "not everybody may read it (mode 0440)" in secret.note
    answers[host.CONFFILES] = NO_PROGRAM
    assert list(host.files(NOBODY, answers)) == []


def test_services_are_those_that_somebody_wrote_or_turned() -> None:
    shape = "Id={}\nUnitFileState={}\nUnitFilePreset={}\nActiveState={}\nFragmentPath={}\nType={}\n"
    units = [
        ("ssh.service", "enabled", "enabled", "active", "/lib/systemd/system/ssh.service", "notify"),
        ("hand.service", "enabled", "enabled", "active", "/etc/systemd/system/hand.service", "simple"),
        ("off.timer", "disabled", "enabled", "inactive", "/lib/systemd/system/off.timer", ""),
        ("once.service", "enabled", "disabled", "inactive", "/lib/systemd/system/once.service", "oneshot"),
        ("never.service", "masked", "enabled", "inactive", "/dev/null", "simple"),
    ]
    answers: dict[Question, Raw] = {host.UNITS: said("\n".join(shape.format(*unit) for unit in units))}
    assert {item.name: item.fields for item in host.services(NOBODY, answers)} == {
        "hand": {"enabled": True, "running": True},
        "never": {"masked": True},
        "off.timer": {"enabled": False, "running": False},
        "once": {"enabled": True},
    }


def test_domains_are_listed_with_what_a_blueprint_can_say_of_them() -> None:
    answers: dict[Question, Raw] = {virsh.DOMAINS: recorded("virt-install.txt"), virsh.POOLS: NO_PROGRAM}
    (legacy,) = kvm.domains(NOBODY, answers)
    assert (legacy.name, legacy.owner) == ("legacy", "")
    assert legacy.fields is not None
    assert {name: legacy.fields[name] for name in ("cpu", "cpu_max", "memory", "memory_max")} == {
        "cpu": 2,
        "cpu_max": 4,
        "memory": "256MiB",
        "memory_max": "512MiB",
    }
    assert legacy.fields["cpu_model"] == "qemu64"
    assert legacy.fields["networks"] == [{"network": "dev", "mac": "52:54:00:a1:b8:51"}]
    assert "disks" not in legacy.fields
    assert "its disks are not all volumes" in legacy.note


@pytest.mark.parametrize("listing", [kvm.networks, kvm.pools, kvm.volumes, kvm.domains])
def test_a_host_without_libvirt_has_none_and_one_that_does_not_answer_is_not_known(listing: Any) -> None:
    questions = (virsh.NETWORKS, virsh.POOLS, virsh.DOMAINS)
    assert list(listing(NOBODY, dict.fromkeys(questions, NO_PROGRAM))) == []
    (line,) = listing(NOBODY, dict.fromkeys(questions, Raw(1, b"", "error: Connection refused")))
    assert line == Listed("", note="libvirt's daemon does not run")


@pytest.mark.parametrize(("size", "written"), [(0, "0B"), (1000, "1000B"), (1 << 20, "1MiB"), (5 << 30, "5GiB")])
def test_sizes_are_written_without_a_rest(size: int, written: str) -> None:
    assert kvm.exact(size) == written


def test_repositories_jobs_and_timers_are_those_that_vinfra_wrote() -> None:
    """As they were written, so that a blueprint made of them changes nothing."""
    lines = "Types: deb\nURIs: https://apt.example.org/\nSuites: stable\nComponents: main contrib\nSigned-By: /k.gpg\n"
    path = "/etc/apt/sources.list.d/vinfra-example.sources"
    other = lines.replace("apt.example", "other.example")
    answers: dict[Question, Raw] = {
        sources.LINES: said(
            "".join(f"{path}:{line}\n" for line in lines.splitlines())
            + "".join(f"/etc/apt/sources.list.d/other.sources:{line}\n" for line in other.splitlines())
            + "/etc/apt/preferences.d/vinfra-example.pref:Package: *\n"
            + "/etc/apt/preferences.d/vinfra-example.pref:Pin-Priority: 600\n"
        ),
    }
    place = {"uris": ["https://apt.example.org/"], "suites": ["stable"], "components": ["main", "contrib"]}
    assert list(repository.ask_all({})) == list(answers)
    assert list(repository.listing(NOBODY, answers)) == [
        Listed("example", {**place, "signed_by": "/k.gpg", "priority": 600})
    ]

    answers = {cron.FILES: said("e2scrub_all\nvinfra-tidy\n")}
    answers[ReadFile("/etc/cron.d/vinfra-tidy")] = said('PATH="/opt/bin"\n@daily ops tidy \\%x\n')
    assert list(cron.ask_all(answers)) == list(answers)
    job = {"schedule": "@daily", "command": "tidy %x", "user": "ops", "env": {"PATH": "/opt/bin"}}
    assert list(cron.listing(NOBODY, answers)) == [Listed("tidy", job)]

    wish = {"run": ("/bin/sh", "-c", 'a "b" 5% $c \\'), "on_boot": 90.0, "interval": 3600.0, "user": "ops"}
    answers = {timer.FILES: said("getty.target.wants\nvinfra-tick.service\nvinfra-tick.timer\n")}
    for name, text in zip(timerunits.files("tick"), timerunits.texts("tick", wish), strict=True):
        answers[ReadFile(name)] = said(text)
    assert list(timer.ask_all(answers)) == list(answers)
    shown = {"run": list(wish["run"]), "on_boot": "90s", "interval": "3600s", "user": "ops"}  # type: ignore[call-overload]
    assert list(timer.listing(NOBODY, answers)) == [Listed("tick", shown)]


@pytest.mark.parametrize("release", ["12", "13"])
def test_a_machines_board_is_listed_as_it_would_be_declared(release: str) -> None:
    found = {item.name: item for item in kvm.domains(NOBODY, {virsh.DOMAINS: recorded(f"board-{release}.txt")})}
    board = {
        "topology": {"sockets": 1, "cores": 2, "threads": 2},
        "cpu_features": {"sse4.2": "disable", "avx": "optional"},
        "numa": [{"cpus": "0-1", "memory": "64MiB"}, {"cpus": "2-3", "memory": "64MiB", "nodes": "0"}],
        "pinning": {"cpus": {"0": "0", "1": "0-1"}, "emulator": "0-1", "nodes": "0"},
        "tpm": "tpm-crb",
        "video": "virtio",
        "watchdog": {"model": "i6300esb", "action": "reset"},
        "balloon": False,
    }
    devices = {"devices": {"pci": ["0000:03:00.0"], "usb": ["1d6b:0002"]}, "hugepages": "2MiB"}
    secure = {"firmware": "efi", "secure_boot": True, "tpm": "tpm-tis"}
    wanted = {
        "board-01": board,
        "dev-01": devices,
        "sec-01": secure,
        "efi-01": {"firmware": "efi"},
    }
    for name, fields in wanted.items():
        listed = found[name].fields or {}
        assert {key: value for key, value in listed.items() if key in FIELDS} == fields
        desired = KINDS["kvm.domain"].Spec.model_validate(listed)
        assert not KINDS["kvm.domain"].check(name, desired)


def test_what_no_field_says_of_a_board_is_told() -> None:
    xml = recorded("board-12.txt").text
    for old, new in (
        ("mode='strict' nodeset='0'/>\n    <memnode", "mode='interleave' nodeset='0'/>\n    <memnode"),
        ("<page size='2048' unit='KiB'/>", "<page size='64' unit='KiB'/>"),
        ("<model type='virtio' heads='1' primary='yes'/>", "<model type='gop'/>"),
    ):
        assert old in xml
        xml = xml.replace(old, new)
    found = {item.name: item for item in kvm.domains(NOBODY, {virsh.DOMAINS: said(xml)})}
    assert "no field says its pinning, which stays as it is" in found["board-01"].note
    assert "no field says its video, which stays as it is" in found["board-01"].note
    assert "no field says its hugepages, which stays as it is" in found["dev-01"].note
    assert not {"pinning", "video"} & {*(found["board-01"].fields or {})}


def defined(*xmls: str) -> Raw:
    """What virsh says of pools that are defined and do not run."""
    uuids = [f"00000000-0000-4000-8000-{number:012}" for number in range(len(xmls))]
    said = "virsh > pool-list --all --autostart --uuid\nvirsh > pool-list --all --transient --uuid\n"
    return Raw(
        0,
        "".join(
            [said, *(f"virsh > pool-dumpxml --inactive {u}\n{x}\n" for u, x in zip(uuids, xmls, strict=True))]
        ).encode(),
    )


def test_pools_are_listed_by_what_makes_their_type() -> None:
    shapes: dict[str, dict[str, Any]] = {
        "a": {"path": "/srv/a"},
        "b": {"type": "logical", "volume_group": "vg0"},
        "c": {"type": "netfs", "path": "/srv/c", "host": "nas", "export": "/export/c", "format": "nfs"},
        "d": {"type": "iscsi", "host": "san", "target": "iqn.2003-01.org.example:store"},
        "e": {"type": "rbd", "monitors": ["mon1:6789"], "ceph_pool": "vms"},
    }
    xmls = [pools.xml(name, pool.Spec.model_validate(fields)) for name, fields in shapes.items()]
    login = "<source><auth type='chap' username='u'><secret uuid='x'/></auth></source>"
    odd = ("<pool type='zfs'><name>y</name></pool>", f"<pool type='iscsi'><name>z</name>{login}</pool>")
    found = {item.name: item for item in kvm.pools(NOBODY, {virsh.POOLS: defined(*xmls, *odd)})}
    assert {name: found[name].fields for name in shapes} == {
        name: {**fields, "autostart": False} for name, fields in shapes.items()
    }
    assert (found["y"].fields, found["z"].fields) == (None, None)
    assert "type zfs cannot be declared" in found["y"].note
    assert "u logs in there, and with what cannot be read" in found["z"].note


def test_volumes_of_a_group_are_listed_and_encrypted_ones_told_of() -> None:
    """The group's as libvirt has it in tests/cases/kvm.volume/logical.yaml."""
    pool_xml = "<pool type='logical'><name>vg</name><target><path>/dev/vg0</path></target></pool>"
    lock = "<encryption format='luks'/>"
    volumes = [
        f"<volume><name>{name}</name><capacity>4194304</capacity><target><path>/dev/vg0/{name}</path>{more}</target></volume>"
        for name, more in (("data", ""), ("safe", lock))
    ]
    uuid = "00000000-0000-4000-8000-000000000000"
    told = defined(pool_xml).text + f"virsh > pool-dumpxml {uuid}\n{pool_xml}\n"
    told += "".join(f"virsh > vol-dumpxml\n{xml}\n" for xml in volumes)
    data, safe = kvm.volumes(NOBODY, {virsh.POOLS: said(told)})
    assert (data.name, data.fields) == ("data", {"size": "4MiB", "format": "raw", "pool": "vg"})
    assert safe.fields is None
    assert "is encrypted with a passphrase that cannot be read" in safe.note
