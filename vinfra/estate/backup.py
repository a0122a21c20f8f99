"""A machine's backup: all its disks as of one moment, its definition and its marks, in a folder on the controller.

While it runs libvirt writes its disks into files beside them, which then come through the host's login and go; of a
machine that is down its volumes are copied instead. Until the folder is whole it is called `.part`.
"""

import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from vinfra import __version__
from vinfra.errors import RefusedError, StepFailed, UsageError
from vinfra.kinds.kvm.domains import copied
from vinfra.kinds.kvm.domains.parts import spelled
from vinfra.kinds.kvm.reading import ownership
from vinfra.kinds.kvm.reading.virsh import DOMAINS, POOLS, Found, element, failure, found
from vinfra.kinds.kvm.volumes import storage
from vinfra.model.backup import DEFINITION, MANIFEST, NVRAM, Backup, SavedDisk
from vinfra.model.claim import now
from vinfra.model.kind import Answers
from vinfra.model.machine import Machine
from vinfra.model.mark import Mark, parse
from vinfra.model.question import ReadFile, ReadMarks
from vinfra.model.step import BACKUP, Call, Step, Verb, Virt
from vinfra.model.transport import Writer
from vinfra.transport.leases import Leases, holder
from vinfra.transport.reach import Connections

# A disk may hold terabytes. The connection itself notices within half a minute that the other side is gone.
LONG = 7 * 86400.0
NVRAM_LIMIT = 64 << 20
FOLDERS = ("dir", "fs", "netfs")
# What a backup writes into its folder.
_OWN = re.compile(rf"{re.escape(DEFINITION)}|{re.escape(MANIFEST)}|{re.escape(NVRAM)}|[a-z]+\.(qcow2|raw)")
PARTS = ("kvm.domain", "kvm.guest", "kvm.volume", "kvm.seed")

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Source:
    """A disk to be saved: its volume and pool, how much room its copy takes at most; "" for what needs no `copy`."""

    disk: copied.Disk
    pool: str
    volume: storage.Volume
    room: int
    copy: str

    @property
    def file(self) -> str:
        return f"{self.disk.target}.{'raw' if not self.copy else 'qcow2'}"


def backup(connections: Connections, machine: Machine, folder: Path, tell: Tell) -> Backup:
    """Save a machine into a folder that is not there yet. Raises RefusedError before anything was touched, StepFailed.

    The host's lease is held to its end, and nothing of it stays on the host.
    """
    with Leases(connections, holder("backup")) as leases, whole(folder) as part:
        writer = leases.claim(machine.host)
        domain, sources, answers = _looked(writer, machine)
        have = shutil.disk_usage(part).free
        need = sum(source.room for source in sources)
        if need > have:
            raise RefusedError(f"{folder.parent} has {spelled(have)} left, and the backup takes up to {spelled(need)}")
        how, disks = _saved(writer, domain, sources, part, tell)
        made = _described(writer, domain, machine, how, disks, answers, part)
        _write(part / MANIFEST, made.text().encode())
    return made


@contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """A folder to be filled, which gets its name when that came to its end. What a killed run left is taken away.

    Raises UsageError when it is there already, RefusedError while another run fills it.
    """
    part = folder.with_name(f"{folder.name}.part")
    if folder.exists():
        raise UsageError(f"{folder} is there already", "a backup gets a folder of its own: name another one")
    try:
        part.mkdir(mode=0o700, exist_ok=True)
        handle = os.open(part, os.O_RDONLY)
    except OSError as error:
        raise UsageError(f"{part}: {error.strerror}", "the folder above must be there, and be writable") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RefusedError(f"{part} is being filled by another run") from None
        try:
            _emptied(part)
        except OSError as error:
            raise UsageError(f"{error.filename}: {error.strerror}", f"remove {part}, and run it again") from None
        try:
            yield part
            os.fsync(handle)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        part.rename(folder)
    finally:
        os.close(handle)


def _emptied(part: Path) -> None:
    """Only of what a backup writes: a folder that happens to be called like that is somebody's."""
    there = list(part.iterdir())
    if strange := [item.name for item in there if not _OWN.fullmatch(item.name)]:
        raise UsageError(f"{part} holds {min(strange)}, which is of no backup", "give the backup another name")
    for item in there:
        item.unlink()


def run(writer: Writer, summary: str, *calls: Call, secret: bool = False) -> str:
    """One step, and what it told. Raises StepFailed."""
    result = writer.run(Step(summary, calls, timeout=120.0, secret=secret))
    if result.returncode:
        raise StepFailed(f"{summary}: {result.err or f'exit status {result.returncode}'}", result.returncode)
    return result.out


def cleaned(writer: Writer, pools: Sequence[str]) -> None:
    """Delete what backups and restores that were killed left in these pools; whoever has the lease is the only one."""
    looks = [Virt(Verb.POOL_REFRESH, pool) for pool in dict.fromkeys(pools)]
    if looks:
        run(writer, "look into the pools", *looks)
    there = storage.volumes(writer.ask((POOLS,)))
    left = [(file, pool) for pool in dict.fromkeys(pools) for file in there.get(pool, {}) if file.startswith(BACKUP)]
    if left:
        run(writer, "delete what a backup left", *(Virt(Verb.VOLUME_DELETE, file, pool) for file, pool in left))


def _looked(writer: Writer, machine: Machine) -> tuple[Found, list[Source], Answers]:
    """The machine as it is now that nobody else changes it, and what there is to save, on a host that is clean."""
    answers = writer.ask((DOMAINS, POOLS))
    domain = found(answers, DOMAINS).get(machine.name)
    if domain is None:
        raw = answers.get(DOMAINS)
        why = failure(raw) if raw is None or not raw.ok else "it is not there any more"
        raise RefusedError(f"{machine.name} on {machine.host}: {why}")
    if not domain.persistent:
        raise RefusedError(f"{machine.name} is transient: libvirt forgets it when it stops", "define it first")
    sources = list(_sources(domain, answers))
    run(writer, "end a backup that was killed", Virt(Verb.DOMAIN_BACKUP, domain.name))
    cleaned(writer, [source.pool for source in sources])
    answers = writer.ask((DOMAINS, POOLS, ReadMarks()))
    sources = list(_sources(domain, answers))
    for pool in dict.fromkeys(source.pool for source in sources if source.copy):
        need = sum(source.room for source in sources if source.pool == pool and source.copy)
        free = int(element(found(answers, POOLS)[pool].live).findtext("available", "0"))
        if need > free:
            raise RefusedError(
                f"pool {pool} on {machine.host} has {spelled(free)} left, and the backup takes up to {spelled(need)} "
                "there on its way"
            )
    return found(answers, DOMAINS)[machine.name], sources, answers


def _sources(domain: Found, answers: Answers) -> Iterator[Source]:
    """Each disk as a volume. Raises RefusedError for one that cannot be saved: a backup holds all of a machine."""
    pools = found(answers, POOLS)
    known = {one.path: (pool, one) for pool, files in storage.volumes(answers).items() for one in files.values()}
    xml = domain.live or domain.persistent
    for disk in copied.disks(xml):
        said = f"{domain.name}: its disk {disk.target}"
        if disk.path not in known:
            where = disk.path or "something that is no file"
            raise RefusedError(
                f"{said} is {where}, which is in no pool that runs", "`virsh pool-refresh`, or a pool for it"
            )
        if disk.encrypted:
            raise RefusedError(f"{said} is encrypted, and its backup would not be", "save it from within the machine")
        pool, volume = known[disk.path]
        sort = element(pools[pool].definition).get("type", "")
        if sort not in FOLDERS:
            raise RefusedError(f"{said} is in {pool}, a pool of type {sort}: only those in folders can be saved")
        room, below = volume.allocation, volume.backing
        while below in known:
            room, below = room + known[below][1].allocation, known[below][1].backing
        room = volume.capacity if below else min(room, volume.capacity)
        copy = "" if disk.readonly else f"{BACKUP}{domain.name}-{disk.target}.qcow2"
        yield Source(disk, pool, volume, room + room // 64 + (1 << 20), copy)


def _saved(
    writer: Writer, domain: Found, sources: Sequence[Source], part: Path, tell: Tell
) -> tuple[str, list[SavedDisk]]:
    """All disks as of one moment, then file by file; the copies on the host go, whatever happens."""
    copies = [source for source in sources if source.copy]
    disks = []
    try:
        how = _copied(writer, domain, copies, tell)
        for source in sources:
            tell(f"{source.file}: {spelled(source.volume.capacity)}, from {source.volume.path}")
            file = part / source.file
            call = Virt(
                Verb.VOLUME_DOWNLOAD, source.copy or source.volume.file, source.pool, source=str(file), seconds=LONG
            )
            digest, size = run(writer, f"fetch {source.file}", call).split()
            disks.append(_disk(source, digest, int(size)))
            if source.copy:
                run(writer, f"delete {source.copy}", Virt(Verb.VOLUME_DELETE, source.copy, source.pool))
    finally:
        cleaned(writer, [source.pool for source in copies])
    return how, disks


def _copied(writer: Writer, domain: Found, copies: Sequence[Source], tell: Tell) -> str:
    if not domain.active:
        for source in copies:
            tell(f"{source.disk.target} is copied on the host")
            xml = storage.xml(source.copy, "qcow2", source.volume.capacity)
            call = Virt(Verb.VOLUME_COPY, source.copy, source.pool, xml=xml, part=source.disk.path, seconds=LONG)
            run(writer, f"copy {source.disk.target}", call)
        return "stopped"
    folders = {source.copy: source.volume.path.rpartition("/")[0] for source in copies}
    files = {source.disk.target: f"{folders[source.copy]}/{source.copy}" for source in copies}
    if not files:
        return "running"
    tell(f"{', '.join(files)} of the running machine, as of now, are written on the host")
    xml = copied.backup_xml(domain.live, files)
    looks = (Virt(Verb.POOL_REFRESH, pool) for pool in dict.fromkeys(source.pool for source in copies))
    frozen = run(
        writer, "save the disks", Virt(Verb.DOMAIN_BACKUP, domain.name, xml=xml, number=1, seconds=LONG), *looks
    )
    return "frozen" if frozen else "running"


def _disk(source: Source, digest: str, size: int) -> SavedDisk:
    return SavedDisk(
        target=source.disk.target,
        file=source.file,
        stored="qcow2" if source.copy else "raw",
        sha256=digest,
        size=size,
        pool=source.pool,
        volume=source.volume.file,
        path=source.volume.path,
        format=source.disk.format,
        capacity=source.volume.capacity,
        backing=source.volume.backing,
    )


def _described(
    writer: Writer,
    domain: Found,
    machine: Machine,
    how: str,
    disks: Sequence[SavedDisk],
    answers: Answers,
    part: Path,
) -> Backup:
    """Its definition and its firmware's variables, and what else there is to say."""
    export = Virt(Verb.DOMAIN_EXPORT, domain.name, source=str(part / DEFINITION))
    run(writer, "fetch the definition", export)
    notes = []
    if copied.has_tpm(domain.persistent):
        notes.append("the state of its TPM is not in it: what is sealed by that cannot be opened again")
    variables, digest = copied.nvram(domain.persistent), ""
    if variables:
        raw = writer.ask((ReadFile(variables, limit=NVRAM_LIMIT),))[ReadFile(variables, limit=NVRAM_LIMIT)]
        if not raw.ok and domain.active:
            raise RefusedError(f"{variables} cannot be read: {raw.err.strip()}")
        if raw.ok:  # it is made at the first start
            _write(part / NVRAM, raw.out)
            digest = sha256(raw.out).hexdigest()
    marks, _ = parse(answers[ReadMarks()].text)
    mine = [mark for mark in marks.values() if _belongs(mark, domain.name, {disk.volume: disk for disk in disks})]
    return Backup(
        machine=domain.name,
        host=machine.host,
        time=now(),
        vinfra=__version__,
        how=how,
        autostart=domain.autostart,
        disks=tuple(disks),
        definition=sha256((part / DEFINITION).read_bytes()).hexdigest(),
        nvram=digest,
        blueprint=ownership.owner(domain.definition)[0],
        marks=tuple(mark.line() for mark in mine),
        notes=tuple(notes),
    )


def _belongs(mark: Mark, machine: str, volumes: Mapping[str, SavedDisk]) -> bool:
    """Whether a mark is of the machine itself, or of one of its volumes."""
    if mark.kind not in PARTS:
        return False
    files = {storage.file_name(mark.name, sort) for sort in ("qcow2", "raw", "iso")}
    return mark.name == machine or mark.name.startswith(f"{machine}/") or bool(files & volumes.keys())


def _write(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
