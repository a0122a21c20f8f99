"""The whole machine's image: a Debian server with what an operator may have on one, booted once and frozen."""

import hashlib
import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from vinfra.errors import VinfraError
from vinfra.lab import emulator, folders, mmdebstrap, prerequisites, rootfs, seed, sources, whole
from vinfra.lab.emulator import Tools
from vinfra.lab.whole import Frozen, Whole

PACKAGES = (
    *("linux-image-cloud-amd64", "initramfs-tools", "zstd", "grub-pc", "systemd-sysv", "dbus", "udev", "kmod"),
    *("procps", "psmisc", "openssh-server", "sudo", "python3-minimal", "netbase", "curl", "ca-certificates", "less"),
    *("lvm2", "xfsprogs", "e2fsprogs", "parted", "fdisk", "cron", "chrony"),
    *("ifupdown", "ifenslave", "bridge-utils", "vlan", "isc-dhcp-client", "netplan.io", "network-manager"),
    *("iproute2", "iptables", "nftables", "firewalld", "ufw", "iputils-ping", "tcpdump", "ethtool", "netcat-openbsd"),
)
Progress = Callable[[str], None]

_FILES = Path(__file__).with_name("whole")
_EXCLUDED = ("doc", "man", "locale", "info")
#: Before the first package is set up: a small initrd, and no question which disk GRUB is to go on.
_FIRST = (
    'mkdir -p "$1/etc/initramfs-tools/conf.d"',
    'printf "MODULES=list\\nCOMPRESS=zstd\\n" >"$1/etc/initramfs-tools/conf.d/lab"',
    'printf "virtio_pci\\nvirtio_blk\\next4\\n" >"$1/etc/initramfs-tools/modules"',
    'echo "grub-pc grub-pc/install_devices_empty boolean true" | chroot "$1" debconf-set-selections',
)
#: Everything must have started. GRUB's own settings make its menu from here on, as on any Debian. And what a first
#: login would have to read from the disk each time is read once.
_SETTLE = """
systemctl is-system-running --wait || { systemctl list-units --failed; exit 1; }
update-grub && sync
{ sudo -V; python3 -c 'import json, subprocess'; dpkg-query -W; ip address; findmnt; lvs; nft list ruleset; } >/dev/null
"""


def debian(suite: str = "bookworm", progress: Progress = lambda line: None) -> Frozen:
    """A frozen machine of a Debian suite, from the cache or built and booted now."""
    tools = emulator.tools(progress)
    found = sources.debian(suite)
    files = [file.read_text() for file in sorted(_FILES.iterdir())]
    machine = (tools.version, whole.hardware(Path()), whole.NEIGHBOURS, whole.PEER, whole.OUTSIDE)
    digest = hashlib.sha256(repr((PACKAGES, found, files, _FIRST, _SETTLE, machine)).encode()).hexdigest()[:12]
    folder = folders.cache() / "guest" / f"debian-{suite}-{digest}"
    with folders.locked(folder.with_suffix(".lock")):
        existing = _read(folder)
        if existing and time.time() - existing.memory.stat().st_mtime < rootfs.MAX_AGE:
            return existing
        prerequisites.check()
        progress(f"building a Debian {suite} machine and booting it (once; about two minutes)")
        try:
            return _build(folder, suite, found, tools, progress)
        except VinfraError as error:
            if existing is None:
                raise
            progress(f"kept the older machine: {error.message}")
            return existing


def _read(folder: Path) -> Frozen | None:
    try:
        record = json.loads((folder / "machine.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return Frozen(folder, record["suite"], tuple(record["archives"]))


def _build(folder: Path, suite: str, found: tuple[sources.Source, ...], tools: Tools, progress: Progress) -> Frozen:
    archives = tuple(sorted({source.uri for source in found}))
    options = ["--variant=minbase", "--skip=cleanup/apt/lists,cleanup/reproducible", "--dpkgopt=force-unsafe-io"]
    options += [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _EXCLUDED]
    options += [f"--essential-hook={'; '.join(_FIRST)}"]
    options += [f'--customize-hook=sh {_FILES / "customise.sh"} "$1"']
    with mmdebstrap.workplace() as work:
        tree, made = work / "tree", work / "made"
        made.mkdir(mode=0o700)
        mmdebstrap.run(suite, tree, found, PACKAGES, progress, *options)
        rootfs.point_to_mirror(tree, found, archives)
        frozen = Frozen(made, suite, archives)
        _plant(tree, frozen)
        progress("making the disk")
        arguments = ["bash", str(_FILES / "disk.sh"), str(tools.folder), str(tree), str(frozen.disk)]
        run = subprocess.run(arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if run.returncode:
            raise VinfraError("the machine's disk could not be made", "\n  ".join(run.stderr.splitlines()[-8:]))
        progress("booting it")
        try:
            _first_boot(tools, frozen, work)
        except VinfraError as error:
            # An emulated kernel that changes its own code while another of its CPUs runs it may trip over that.
            if "Kernel panic" not in error.hint:
                raise
            progress("its kernel panicked: booting it again")
            _first_boot(tools, frozen, work)
        (made / "machine.json").write_text(json.dumps({"suite": suite, "archives": archives}) + "\n")
        progress("storing it in the cache")
        draft = folder.with_name(f".{folder.name}.{os.getpid()}")
        shutil.rmtree(draft, ignore_errors=True)
        subprocess.run(["/bin/cp", "-a", "--", str(made), str(draft)], check=True)
    if folder.exists():
        # A machine that runs still has its files open.
        shutil.rmtree(folder)
    draft.rename(folder)
    _forget(folder, suite)
    return Frozen(folder, suite, archives)


def _forget(folder: Path, suite: str) -> None:
    """Remove images of other recipes that nobody has built for long: each takes most of a gigabyte."""
    for old in folder.parent.glob(f"debian-{suite}-*/memory"):
        if old.parent != folder and time.time() - old.stat().st_mtime > 2 * rootfs.MAX_AGE:
            shutil.rmtree(old.parent, ignore_errors=True)


def _plant(tree: Path, frozen: Frozen) -> None:
    """Give the machine its keys and passwords."""
    public = seed.new_key(frozen.key_file, "vinfra lab")
    host_key = seed.new_key(tree / "etc/ssh/ssh_host_ed25519_key", "root@guest")
    (frozen.folder / "host_key.pub").write_text(host_key + "\n")
    password = secrets.token_urlsafe(12)
    frozen.password_file.write_text(password + "\n")
    frozen.password_file.chmod(0o600)
    (tree / "etc/shadow").write_text(seed.shadow(tree, password))
    for home, owner in (("root", 0), ("home/ops", seed.OPS)):
        keys = tree / home / ".ssh/authorized_keys"
        keys.write_text(f"{public}\n")
        keys.chmod(0o600)
        os.chown(keys, owner, owner)


def _first_boot(tools: Tools, frozen: Frozen, work: Path) -> None:
    """Boot from the disk, settle, and save the memory; the disk takes in what the boot wrote."""
    machine = Whole(tools, frozen, folders.cache() / "packages")
    try:
        machine.boot()
        deadline = time.monotonic() + 600
        while not machine.answers():
            if time.monotonic() > deadline or not machine.emulator or not machine.emulator.running:
                raise VinfraError("the machine does not boot", machine.log[-2000:])
            time.sleep(0.3)
        known = work / "known_hosts"
        known.write_text(f"[127.0.0.1]:{machine.port} {frozen.host_key}\n")
        login = ["ssh", "-F", "none", "-p", str(machine.port), "-i", str(frozen.key_file), "-o", "BatchMode=yes"]
        login += ["-o", "IdentitiesOnly=yes", "-o", f"UserKnownHostsFile={known}", "root@127.0.0.1", _SETTLE]
        run = subprocess.run(login, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, check=False)
        if run.returncode:
            raise VinfraError("the machine does not come up as it should", run.stdout + run.stderr)
        machine.console("true", 60)
        machine.freeze(frozen.memory)
        _settle(tools, machine, frozen)
    finally:
        machine.close()


def _settle(tools: Tools, machine: Whole, frozen: Frozen) -> None:
    """Make one disk of the image and what the boot wrote on top of it."""
    flat = frozen.disk.with_suffix(".flat")
    tools.run("usr/bin/qemu-img", "convert", "-O", "qcow2", str(machine.overlay("vda")), str(flat))
    flat.replace(frozen.disk)
