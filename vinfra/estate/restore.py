"""A machine made from its backup: checked first, never over something that is there, and whole before it has a name."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from vinfra.errors import RefusedError, StepFailed, UsageError
from vinfra.estate.backup import LONG, Tell, cleaned, run
from vinfra.kinds.kvm.domains import copied
from vinfra.kinds.kvm.domains.parts import spelled
from vinfra.kinds.kvm.reading.virsh import DOMAINS, POOLS, element, failure, found
from vinfra.kinds.kvm.volumes import storage
from vinfra.model.backup import DEFINITION, MANIFEST, NVRAM, Backup, SavedDisk, parse
from vinfra.model.claim import now
from vinfra.model.mark import State, path_of
from vinfra.model.mark import parse as marks_of
from vinfra.model.question import ReadMarks
from vinfra.model.step import BACKUP, Append, Call, Exec, Verb, Virt, Write
from vinfra.model.transport import Writer
from vinfra.process import who
from vinfra.transport.leases import Leases, holder
from vinfra.transport.reach import Connections

# Pairs of paths, from and to.
_RENAME = b"""set -e
while [ $# -gt 1 ]; do
[ ! -e "$2" ] || { echo "$2 is there" >&2; exit 1; }
mv -n -- "$1" "$2"
shift 2
done
"""


def checked(folder: Path) -> Backup:
    """What a folder holds, each file of it read and found to be as it was written. Raises UsageError, RefusedError."""
    try:
        made = parse((folder / MANIFEST).read_text("utf-8"))
    except FileNotFoundError:
        hint = "a backup that was cut off is none" if folder.name.endswith(".part") else "name a backup's own folder"
        raise UsageError(f"{folder} holds no {MANIFEST}", hint) from None
    except OSError as error:
        raise UsageError(f"{folder / MANIFEST}: {error.strerror}") from None
    except ValueError as error:
        raise RefusedError(f"{folder / MANIFEST}: {error}", "this backup cannot be trusted") from None
    for name, digest in made.files.items():
        try:
            with (folder / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise RefusedError(f"{folder / name}: {error.strerror}", "this backup is not whole") from None
        if found != digest:
            raise RefusedError(f"{folder / name} is not as it was written", "this backup cannot be trusted")
    return made


def restore(
    connections: Connections, made: Backup, folder: Path, host: str, name: str, tell: Tell, *, start: bool
) -> None:
    """Make the machine on a host, under its own name as it was, or under another one as one that is nobody's.

    Raises RefusedError before anything was touched, StepFailed; what was made until then goes again.
    """
    disks = tuple(_named(disk, made.machine, name) for disk in made.disks)
    with Leases(connections, holder("restore")) as leases:
        writer = leases.claim(host)
        pools = _room(writer, host, name, disks)
        cleaned(writer, [disk.pool for disk in disks])
        try:
            for disk in disks:
                tell(f"{disk.volume}: {spelled(disk.capacity)} into pool {disk.pool}")
                _filled(writer, folder, disk)
            _named_at_last(writer, disks, pools)
        finally:
            cleaned(writer, [disk.pool for disk in disks])
        paths = {disk.path: f"{pools[disk.pool]}/{disk.volume}" for disk in disks}
        try:
            _defined(writer, made, folder, name, paths)
        except StepFailed:
            gone = (Virt(Verb.VOLUME_DELETE, disk.volume, disk.pool) for disk in disks)
            run(writer, "delete its volumes again", *gone)
            raise
        if start:
            run(writer, f"start {name}", Virt(Verb.DOMAIN_START, name))


def _named(disk: SavedDisk, old: str, new: str) -> SavedDisk:
    return disk if old == new else replace(disk, volume=copied.volume_of(disk.volume, old, new))


def _room(writer: Writer, host: str, name: str, disks: Sequence[SavedDisk]) -> Mapping[str, str]:
    """Where each pool lies. Raises RefusedError where something is in the way, missing or too small."""
    answers = writer.ask((DOMAINS, POOLS))
    for question in (DOMAINS, POOLS):
        raw = answers.get(question)
        if raw is None or not raw.ok:
            raise RefusedError(f"{host}: {failure(raw)}")
    if name in found(answers, DOMAINS):
        raise RefusedError(f"{host} has a machine {name} already", "remove that one first, or say --as another name")
    there, known, paths = found(answers, POOLS), storage.volumes(answers), {}
    for pool in dict.fromkeys(disk.pool for disk in disks):
        if pool not in there or not there[pool].active:
            raise RefusedError(f"{host} has no pool {pool} that runs", "declare it under pools, and apply")
        tree = element(there[pool].live)
        paths[pool], free = tree.findtext("target/path", ""), int(tree.findtext("available", "0"))
        need = sum(disk.size for disk in disks if disk.pool == pool)
        if need > free:
            raise RefusedError(f"pool {pool} on {host} has {spelled(free)} left, and this takes {spelled(need)}")
    taken = [disk.volume for disk in disks if disk.volume in known.get(disk.pool, {})]
    if taken:
        raise RefusedError(f"{host} has {', '.join(taken)} already", "remove that first, or say --as another name")
    return paths


def _temporary(disk: SavedDisk) -> str:
    return f"{BACKUP}restored-{disk.volume}"


def _filled(writer: Writer, folder: Path, disk: SavedDisk) -> None:
    """The disk in its pool, written as the definition says, under a name that the next run would clear away."""
    file = _temporary(disk)
    direct = disk.stored == disk.format
    first = file if direct else f"{BACKUP}stored-{disk.volume}"
    create = Virt(Verb.VOLUME_CREATE, first, disk.pool, xml=storage.xml(first, disk.stored, disk.capacity))
    upload = Virt(Verb.VOLUME_UPLOAD, first, disk.pool, source=str(folder / disk.file), seconds=LONG)
    calls = [create, upload, Virt(Verb.POOL_REFRESH, disk.pool)]
    if not direct:
        calls.append(_converted(writer, file, first, disk))
    run(writer, f"write {disk.volume}", *calls)


def _converted(writer: Writer, file: str, first: str, disk: SavedDisk) -> Virt:
    pool = element(found(writer.ask((POOLS,)), POOLS)[disk.pool].live).findtext("target/path", "")
    xml = storage.xml(file, disk.format, disk.capacity)
    return Virt(Verb.VOLUME_COPY, file, disk.pool, xml=xml, part=f"{pool}/{first}", seconds=LONG)


def _named_at_last(writer: Writer, disks: Sequence[SavedDisk], pools: Mapping[str, str]) -> None:
    """All files get their names in one go on the host; one that appeared meanwhile is not written over."""
    if not disks:
        return
    words = [
        word
        for disk in disks
        for word in (f"{pools[disk.pool]}/{_temporary(disk)}", f"{pools[disk.pool]}/{disk.volume}")
    ]
    run(writer, "give the volumes their names", Exec(("sh", "-s", "--", *words), stdin=_RENAME))
    run(writer, "look into the pools", *(Virt(Verb.POOL_REFRESH, pool) for pool in pools))


def _defined(writer: Writer, made: Backup, folder: Path, name: str, paths: Mapping[str, str]) -> None:
    """Its definition, its firmware's variables and, under its own name, whose it is."""
    xml = (folder / DEFINITION).read_text("utf-8")
    xml = copied.moved(xml, paths) if name == made.machine else copied.renamed(xml, name, paths)
    calls: list[Call] = []
    if made.nvram:
        calls.append(Write(copied.nvram(xml), (folder / NVRAM).read_bytes(), "0600", new=True))
    marks = list(_marks(writer, made)) if name == made.machine else []
    calls.append(Virt(Verb.DOMAIN_DEFINE, name, xml=xml))
    calls.append(Virt(Verb.DOMAIN_AUTOSTART, name, number=int(made.autostart)))
    run(writer, f"define {name}", *calls, secret=True)
    if marks:
        run(writer, "note whose it is", *marks)


def _marks(writer: Writer, made: Backup) -> Iterator[Append]:
    """The marks that it had, as far as the host has none of that name."""
    there, _ = marks_of(writer.ask((ReadMarks(),))[ReadMarks()].text)
    for key, mark in marks_of("\n".join(made.marks))[0].items():
        if key not in there:
            again = replace(mark, state=State.OWNED, run="restore", time=now(), who=who())
            yield Append(path_of(mark.blueprint), again.line())
