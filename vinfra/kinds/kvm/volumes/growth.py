"""What may change of a volume that is there. It gets larger: under the machine that runs on it, or while none does."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from vinfra.kinds.compare import changed, compare
from vinfra.kinds.host.disks import lvm
from vinfra.kinds.kvm.domains.parts import spelled
from vinfra.kinds.kvm.reading.usage import User
from vinfra.kinds.kvm.volumes import scripts, secrets, storage
from vinfra.model.action import Impact
from vinfra.model.answer import Unknown
from vinfra.model.change import FieldChange
from vinfra.model.kind import Answers
from vinfra.model.step import Call, Exec, Step, Verb, Virt

# What vgcreate(8) takes without a word.
EXTENT = 4 << 20


def grain(pool: storage.Pool, answers: Answers) -> int:
    """Of what a volume's size there is a multiple."""
    if pool.type != "logical":
        return storage.GRAIN
    group = group_of(pool, answers)
    return EXTENT if group is None else group.extent


def group_of(pool: storage.Pool, answers: Answers) -> lvm.Group | None:
    """The volume group that a pool is, as lvm has it."""
    if pool.type != "logical" or lvm.GROUPS not in answers:
        return None
    known = lvm.read(answers)
    return None if isinstance(known, Unknown) else known.groups.get(pool.path.removeprefix("/dev/"))


def fields(actual: Any, desired: Any, notes: Mapping[str, Any]) -> Iterator[FieldChange]:
    """What of a volume that is there is not as it should be."""
    yield from compare(actual, desired, skip=("size", "encryption"))
    volume: storage.Volume = notes["volume"]
    if desired.encryption is not None and not volume.encrypted:
        yield changed(type(desired), "encryption", None, None)
    elif desired.encryption is not None and secrets.of_volume(volume.path) not in notes["secrets"]:
        yield FieldChange("passphrase", None, None, Impact.LIVE, secret=True)
    grain, size = notes["grain"], actual.size or 0
    wish = -(-(desired.size or 0) // grain) * grain
    # A run that was killed may have made the room and not told the machine.
    half = notes["claim"] is not None and notes["pool"].type == "logical" and any(u.running for u in notes["using"])
    if wish and (wish != size or half):
        impact = Impact.LIVE if wish >= size else Impact.DATA_LOSS
        yield FieldChange("size", size, desired.size, impact)


def objection(using: Iterable[User], pool: storage.Pool, volume: storage.Volume | None = None) -> str:
    """Why it cannot grow now; "" when it can."""
    running = [user for user in using if user.running]
    names = ", ".join(user.name for user in running)
    if len(running) > 1:
        return f"{names} run on it together, and each would have to be told; stop all but one first"
    if any(user.below for user in running):
        return f"{names} runs on a snapshot of it; merge that first, or stop it"
    if pool.type == "logical" and volume is not None and volume.allocation < volume.capacity:
        return "it is a sparse one, which lvm keeps as a snapshot of nothing; make another volume"
    return f"the LUNs of pool {pool.name} grow on its target" if pool.type == "iscsi" else ""


def steps(notes: Mapping[str, Any], size: int) -> list[Step]:
    """By the machine that runs on it, which its system sees at once; else by libvirt, after a look that none does."""
    pool, volume = notes["pool"], notes["volume"]
    running = next((user.name for user in notes["using"] if user.running), "")
    calls: list[Call] = []
    if not running:
        calls.append(Exec(("sh", "-s", "--", volume.path), stdin=scripts.OPEN.encode()))
    if pool.type == "logical":
        calls.append(Exec(("sh", "-s", "--", volume.path, str(size)), stdin=scripts.EXTEND.encode()))
        calls.append(Virt(Verb.POOL_REFRESH, pool.name))  # libvirt would go on with the size of its last look
    if running:
        calls.append(Virt(Verb.VOLUME_GROW, volume.file, pool.name, number=size, domain=running))
    elif pool.type != "logical":
        calls.append(Virt(Verb.VOLUME_RESIZE, volume.file, pool.name, number=size))
    said = f"grow {volume.file} to {spelled(size)}" + (f" as {running} runs on it" if running else "")
    return [Step(said, tuple(calls), Impact.LIVE)]
