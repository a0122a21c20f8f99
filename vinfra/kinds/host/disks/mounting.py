"""How a mount is done, changed and taken back, and how its line reads."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from vinfra.kinds.compare import changed
from vinfra.kinds.host.disks import devices, fstab, mounts, names, scripts
from vinfra.model import spec as shape
from vinfra.model.action import Action, Impact
from vinfra.model.answer import Unknown
from vinfra.model.change import Change, FieldChange, Undo
from vinfra.model.kind import Answers
from vinfra.model.question import Exec as Ask
from vinfra.model.step import Exec, Step

KERNELS = frozenset({"/proc", "/sys", "/dev", "/run"})
# hier(7): without these a system does not come up, so that a line for one of them must not say nofail.
NEEDED = frozenset({"/usr", "/var", "/boot", "/boot/efi"})
# What lies here decides who gets in: a mount over it is taken back unless a new login confirms it.
LIFELINES = ("/home", "/root", "/etc", "/usr", "/bin", "/sbin", "/lib", "/lib64")
NETWORK = frozenset({"nfs", "nfs4", "cifs", "ceph", "glusterfs"})
PACKAGES = {"nfs": "nfs-common", "nfs4": "nfs-common", "cifs": "cifs-utils", "ceph": "ceph-common"}
NO_PROGRAM, NOTHING = 127, 2
KIN = {"nfs4": "nfs", "ext3": "ext4", "ext2": "ext4"}
TIMEOUT = 120.0


class Wish(Protocol):
    """What is wished for of a mount."""

    @property
    def source(self) -> str: ...
    @property
    def type(self) -> str | None: ...
    @property
    def options(self) -> tuple[str, ...] | None: ...
    @property
    def nofail(self) -> bool | None: ...
    @property
    def dump(self) -> int: ...
    @property
    def passno(self) -> int: ...
    @property
    def mounted(self) -> bool: ...
    @property
    def boot(self) -> bool: ...
    @property
    def cover(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class World:
    """What a host has of all this."""

    seen: tuple[mounts.Mount, ...]
    table: tuple[fstab.Entry, ...]
    tree: tuple[devices.Device, ...]
    looks: Mapping[str, devices.Look | Unknown]
    leads: Mapping[str, str] = field(default_factory=dict)

    def same(self, wish: Wish, live: mounts.Mount) -> bool:
        """Whether what is mounted is what is wished for."""
        looks = {name: look for name, look in self.looks.items() if isinstance(look, devices.Look)}
        source = self.leads.get(wish.source, wish.source)
        return mounts.same(source, is_bind(wish), live, self.seen, looks, self.tree)


def is_bind(wish: Wish) -> bool:
    """Whether it shows a folder at another place."""
    return bool({"bind", "rbind"} & set(wish.options or ()))


def type_of(wish: Wish) -> str:
    """The type that its line says."""
    if wish.type is not None:
        return wish.type
    if is_bind(wish):
        return "none"
    return "nfs" if ":/" in wish.source else "tmpfs" if wish.source == "tmpfs" else "auto"


def entry(name: str, wish: Wish) -> fstab.Entry:
    """Its line, with what makes a host boot without it."""
    options = list(dict.fromkeys(wish.options or ()))
    optional = wish.nofail if wish.nofail is not None else name not in NEEDED and not name.startswith("/usr/")
    options += ["_netdev"] if type_of(wish) in NETWORK and "_netdev" not in options else []
    options += ["nofail"] if optional and "nofail" not in options else []
    if set(options) <= {"nofail", "_netdev"}:
        options.insert(0, "defaults")
    return fstab.Entry("", wish.source, name, type_of(wish), tuple(options), wish.dump, wish.passno)


def values(one: fstab.Entry) -> tuple[Any, ...]:
    """What a line says."""
    return one.source, one.target, one.type, one.options, one.dump, one.passno


def _look_into(name: str) -> Ask:
    return Ask(("ls", "-A", "-1", "--", name))


def paths_of(wishes: Iterable[tuple[str, Any]]) -> set[str]:
    """The folders that may be reached by a symbolic link, which the kernel's table does not have."""
    known = [(name, wish) for name, wish in wishes if wish is not None]
    return {name for name, _ in known} | {wish.source for _, wish in known if is_bind(wish)}


def _helper(sort: str) -> Ask:
    return Ask(("ls", "-d", "--", f"/usr/sbin/mount.{sort}", f"/sbin/mount.{sort}"))


def ask(wishes: Iterable[tuple[str, Any]]) -> Iterator[Ask]:
    """What is in each folder, and whether the programs that some types need are there."""
    known = list(wishes)
    yield from mounts.ask_resolved(paths_of(known))
    for name, wish in known:
        if wish is not None:
            yield _look_into(name)
            if type_of(wish) in PACKAGES:
                yield _helper(type_of(wish))


def has_tools(wish: Wish, answers: Answers) -> bool:
    """Whether the program that its type needs is there."""
    raw = answers.get(_helper(type_of(wish))) if type_of(wish) in PACKAGES else None
    return raw is None or bool(raw.text.strip())


def hidden(name: str, answers: Answers) -> tuple[str, ...] | str:
    """What is in the folder, none when there is no folder; or why it is no folder."""
    raw = answers.get(_look_into(name))
    if raw is None or (not raw.ok and "No such file" not in raw.err):
        return f"cannot look into {name}: {raw.err.strip() if raw else 'not asked'}"
    entries = tuple(raw.text.splitlines()) if raw.ok else ()
    return f"{name} is no folder" if entries == (name,) else entries


def problem(source: str, look: devices.Look | None, tree: Iterable[devices.Device]) -> str:
    """Why a source cannot be mounted; "" when it can, or when only mounting will tell."""
    if look is not None:
        if look.problem or not look.blank or look.type:
            return look.problem
        return f"{source} is empty; declare its file system"
    key, value = mounts.tag(source)
    known = [device for device in devices.flat(tree) if device.uuid]
    own = {"UUID": "uuid", "LABEL": "label"}.get(key, "")
    if not own or not known or any(getattr(device, own) == value for device in devices.flat(tree)):
        return ""
    return f"no device with {source}"


def actual(live: mounts.Mount | None, line: fstab.Entry | None) -> dict[str, Any]:
    """What is there, as fields."""
    found: dict[str, Any] = {"mounted": live is not None, "boot": line is not None}
    if line is not None:
        found |= dict(zip(("source", "type", "options", "dump", "passno"), _said(line), strict=True))
    elif live is not None:
        found |= {"source": live.source, "type": live.type, "options": live.options}
    return found


def _said(line: fstab.Entry) -> tuple[Any, ...]:
    return line.source, line.type, line.options, line.dump, line.passno


def differences(spec: type[shape.Spec], name: str, wish: Wish, notes: Mapping[str, Any]) -> list[FieldChange]:
    """The fields in which the line or the mount is not as wished."""
    live, line = notes["live"], notes["entry"]
    target = entry(name, wish)
    found: dict[str, tuple[Any, Any]] = {}
    if line is not None and wish.boot:
        pairs = zip(("source", "type", "options", "dump", "passno"), _said(line), _said(target), strict=True)
        found |= {key: (before, after) for key, before, after in pairs if before != after}
        if names.canonical(line.source) == names.canonical(wish.source):
            found.pop("source", None)
        if type_of(wish) == "auto":
            found.pop("type", None)
    if live is not None and wish.mounted:
        if not notes["same"]:
            found["source"] = (live.source, wish.source)
        if wish.type not in (None, "auto", "none") and KIN.get(live.type, live.type) != KIN.get(wish.type, wish.type):
            found["type"] = (live.type, wish.type)
        if mounts.adjusting(live.options, wish.options or ()):
            found.setdefault("options", (live.options, target.options))
    if line is None and live is None:
        known = zip(("source", "type", "options", "dump", "passno"), _said(target), strict=True)
        found |= {key: (None, value) for key, value in known if getattr(wish, key) is not None or key == "options"}
    found |= {"mounted": (live is not None, wish.mounted)} if wish.mounted is not (live is not None) else {}
    found |= {"boot": (line is not None, wish.boot)} if wish.boot is not (line is not None) else {}
    return [_costed(changed(spec, key, *pair), live) for key, pair in found.items()]


def _costed(change: FieldChange, live: mounts.Mount | None) -> FieldChange:
    """What is not mounted costs nobody anything."""
    comes = change.path == "mounted" and change.after
    return replace(change, impact=Impact.LIVE, why="") if live is None or comes else change


def _risky(name: str) -> bool:
    return name == "/var" or any(
        name == place or name.startswith(f"{place}/") or place.startswith(f"{name}/") for place in LIFELINES
    )


def mount(name: str, wish: Wish, one: fstab.Entry) -> Step:
    """Mount it; over what decides who gets in, only until a new login proves the way."""
    # mount(8) calls it a success when the source is missing and the options say nofail.
    now = ",".join(option for option in one.options if option != "nofail") or "defaults"
    words = (name, one.source, one.type, now, "cover" if wish.cover else "")
    again = (("umount", "--", name),) if _risky(name) else ()
    return Step(f"mount {one.source} on {name}", (scripts.run(scripts.MOUNT, *words),), timeout=TIMEOUT, again=again)


def remount(name: str, wish: Wish, one: fstab.Entry, live: mounts.Mount) -> Step:
    """Change the options while it is in use; flags that nobody wishes for are taken back by name."""
    back = [option for option in mounts.dropped(live.options, one.options) if option not in one.options]
    kind = ("remount", "bind") if is_bind(wish) else ("remount",)
    rest = (option for option in one.options if option not in ("bind", "rbind"))
    options = ",".join((*kind, *back, *rest))
    return Step(f"remount {name}", (Exec(("mount", "-o", options, "--", one.source, name)),), timeout=TIMEOUT)


def unmount(name: str, impact: Impact) -> Step:
    """Unmount it; who keeps it busy is named."""
    pattern = "".join(f"\\{letter}" if letter in "*?[]\\" else letter for letter in name)
    again = (("mount", "--", name),) if _risky(name) else ()
    return Step(f"unmount {name}", (scripts.run(scripts.UNMOUNT, name, pattern),), impact, TIMEOUT, again=again)


def undo(change: Change, spec: type[shape.Spec]) -> Undo:
    """The way back from a creation or an update: what was not mounted is not, and the line reads as it did."""
    name, wish, before = change.address.name, change.desired, change.notes
    assert wish is not None
    done: Any = wish
    now = entry(name, done) if done.boot else None
    found: list[Step] = []
    live, line = before["live"], before["entry"]
    if live is None and done.mounted:
        found.append(unmount(name, Impact.RESTART))
    elif live is not None and not done.mounted:
        found.append(_again(name, live))
    elif live is not None and not before["same"]:
        found += [unmount(name, Impact.RESTART), _again(name, live)]
    elif live is not None and any(item.path == "options" for item in change.delta.fields):
        one = entry(name, done)
        since = replace(live, options=(*live.options, *one.options))
        found.append(remount(name, done, replace(one, options=live.options), since))
    written = replace(now, line=fstab.line(now)) if now is not None else None
    if (written.line if written else "") != (line.line if line else ""):
        found.append(fstab.edit(f"mount {name}", written, line))
    return Undo(tuple(found), early=change.delta.action is Action.CREATE)


def _again(name: str, live: mounts.Mount) -> Step:
    words = (name, live.source, live.type, ",".join(live.options), "cover")
    return Step(f"mount {live.source} on {name}", (scripts.run(scripts.MOUNT, *words),), timeout=TIMEOUT)
