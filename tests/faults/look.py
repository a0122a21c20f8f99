"""What is on a lab host, seen without vinfra: through its namespaces, by its own programs."""

import json
import re
import subprocess
from pathlib import Path

from vinfra.lab import LabHost

# What differs between two undisturbed runs as well: copies the system keeps, and what holds dates and salts.
_NOISE = re.compile(r"/etc/(\.pwd\.lock|(passwd|shadow|group|gshadow|subuid|subgid)-?|ld\.so\.cache|libvirt/.*)$")
_FILES = """
find /srv /home /etc /var/lib/libvirt/images -xdev ! -type d -printf '%p %y %m %u:%g\\n' 2>/dev/null
find /srv /home -xdev -type d -printf '%p %y %m %u:%g\\n'
find /srv /etc /home -xdev -type f -exec sha256sum {} +
getent passwd | cut -d: -f1,3-; getent group
ls -A /tmp | grep -i vinfra | sed 's/^/left in tmp: /'
find /run/vinfra -type f 2>/dev/null | grep -v 'vinfra/lease\\(.lock\\)\\?$' | sed 's/^/left in run: /'
ls -A /etc/sysctl.d; sysctl -n net.ipv4.ip_forward net.ipv4.conf.all.rp_filter
systemctl list-units --all --plain --no-legend 'vinfra*' | sed 's/^/unit: /'
for unit in beat nginx libvirtd; do systemctl show -p ActiveState -p UnitFileState $unit; done
dpkg-query -W -f '${db:Status-Abbrev} ${Package}\\n'
"""
_LIBVIRT = """
command -v virsh >/dev/null || exit 0
for pool in $(virsh pool-list --all --name); do
virsh pool-info $pool | sed -n "s/^\\(State\\|Autostart\\)/pool $pool &/p"
for file in $(virsh vol-list $pool | sed '1,2d' | cut -d' ' -f2); do
virsh vol-dumpxml --pool $pool $file | sed -n "s/.*<\\(capacity\\|format\\|path\\|backingStore\\)/volume $file &/p"
done; done
for net in $(virsh net-list --all --name); do
virsh net-info $net | sed -n "s/^\\(Active\\|Persistent\\|Autostart\\)/network $net &/p"
virsh net-dumpxml --inactive $net | sed "s/^/network $net: /"
done
for dom in $(virsh list --all --name); do
echo "domain $dom $(virsh domstate $dom)"
virsh dominfo $dom | sed -n "s/^\\(Autostart\\|Persistent\\|CPU.s.\\|Max memory\\|Used memory\\)/domain $dom &/p"
virsh dumpxml --inactive $dom | sed "s/^/domain $dom: /"
done
"""
_CHANCE = re.compile(r"<uuid>|<mac address|vinfra:guest|guest address|<target path|\bguest xmlns")


_CLEAR = """
for dom in $(virsh list --name); do virsh -q destroy $dom; done
for dom in $(virsh list --all --name); do virsh -q undefine --managed-save --nvram $dom; done
for net in $(virsh net-list --all --name | grep -vx default); do
virsh -q net-destroy $net; virsh -q net-undefine $net
done
for pool in $(virsh pool-list --all --name); do virsh -q pool-destroy $pool; virsh -q pool-undefine $pool; done
umount /var/lib/libvirt/images 2>/dev/null
rm -rf /var/lib/libvirt/images /var/lib/vinfra /run/vinfra /run/vinfra-fault* /var/log/libvirt/qemu/*
mkdir -m 711 /var/lib/libvirt/images
"""


def clear(host: LabHost) -> None:
    """Take away all that is in libvirt, and all marks."""
    inside(host, _CLEAR, check=False)


def inside(host: LabHost, command: str, stdin: str = "", check: bool = True) -> str:
    """What a command prints on a host, by no login of its."""
    enter = ["nsenter", "--target", str(host.pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--", "/bin/sh", "-s"]
    done = subprocess.run(
        enter, input=f"export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8\ncd /\n{command}\n{stdin}",
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def seen(host: LabHost) -> list[str]:
    """Every object on it, and what was left where nothing should be, as lines that two equal hosts have in common."""
    lines = [*inside(host, _FILES, check=False).splitlines(), *inside(host, _LIBVIRT, check=False).splitlines()]
    lines = [line for line in lines if not _NOISE.search(line.split(" ")[0]) and not _NOISE.search(line)]
    return sorted({*(line for line in lines if not _CHANCE.search(line)), *marks(host), *left(host)})


def marks(host: LabHost) -> list[str]:
    """What each mark says that counts, by its last line."""
    found: dict[tuple[str, str, str], dict[str, object]] = {}
    for line in inside(host, "cat /var/lib/vinfra/marks/*.jsonl 2>/dev/null", check=False).splitlines():
        mark = json.loads(line)
        key = (mark["blueprint"], mark["kind"], mark["name"])
        found[key] = {name: mark.get(name) for name in ("state", "birth", "fields", "identity", "protect")}
    kept = {key: mark for key, mark in found.items() if mark["state"] != "released"}
    return [f"mark {' '.join(key)} {json.dumps(mark, sort_keys=True)}" for key, mark in kept.items()]


def left(host: LabHost) -> list[str]:
    """Half-made files, wherever they were written, and a lease that is still held."""
    root = Path(host.upper)
    names = ("*.vinfra.*", "*.vinfra-undo", "*.part", "*.vinfra-*")
    found = {str(path.relative_to(root)) for name in names for path in root.rglob(name)}
    return [f"half-made: {name}" for name in sorted(found)] + ["the lease is still held"] * held(host)


def held(host: LabHost) -> bool:
    """Whether somebody, dead or alive, holds its lease."""
    lease, *uptime = inside(host, "cat /run/vinfra/lease /proc/uptime 2>/dev/null", check=False).splitlines()
    return bool(uptime) and float(lease.split(" ")[0]) > float(uptime[0].split(" ")[0])
