"""What devices and logical volumes are called, as far as a name alone tells."""

import re

from vinfra.kinds.host.files import paths
from vinfra.model.values import SIZES

# Folders of /dev that hold no volume group's nodes.
FOLDERS = frozenset({"disk", "mapper", "md", "block", "char", "bus", "dri", "input", "pts", "shm", "snd", "zvol"})
_MAPPER = re.compile(r"/dev/mapper/((?:[^-/]|--)+)-((?:[^-/]|--)+)")
# lvm(8): what a name may hold, and what lvm itself keeps for the parts of a volume.
_WORD = r"[A-Za-z0-9_+.][A-Za-z0-9_+.-]{0,125}"
_RESERVED = re.compile(
    r"(snapshot|pvmove).*|.*_([crt]meta|[crtv]data|cpool|mimage|rimage|mlog|[cv]orig|vorigin|pmspare).*"
)


def canonical(name: str) -> str:
    """`/dev/mapper/vg0-data` as `/dev/vg0/data`: a hyphen of a name is doubled there."""
    found = _MAPPER.fullmatch(name)
    return f"/dev/{found[1].replace('--', '-')}/{found[2].replace('--', '-')}" if found else name


def volume(name: str) -> str:
    """The logical volume that a device's name may stand for, as `vg0/data`; "" for none."""
    parts = canonical(name).split("/")
    return "/".join(parts[2:]) if len(parts) == 4 and parts[1] == "dev" and parts[2] not in FOLDERS else ""


def spellings(name: str) -> tuple[str, ...]:
    """Every name under which another kind may know the device."""
    if not (whole := volume(name)):
        return (name,)
    group, part = (word.replace("-", "--") for word in whole.split("/"))
    return f"/dev/{whole}", f"/dev/mapper/{group}-{part}"


def device_problem(name: str) -> str:
    """Why a name is no device's; "" if it can be one."""
    if not name.startswith("/dev/"):
        return f"{name}: write a device's path, such as /dev/disk/by-id/… or /dev/vg0/data"
    if re.search(r"\s", name):
        return f"{name!r}: a device's path holds no white space"
    return paths.name_problem(name)


def word_problem(name: str, what: str) -> str:
    """Why lvm would not take a name; "" if it would."""
    if not re.fullmatch(_WORD, name) or name in (".", ".."):
        return f"write a {what}'s name: letters, digits, '_', '+', '.' and '-', and no '-' first"
    return f"lvm keeps the name {name} for itself" if _RESERVED.fullmatch(name) else ""


def spelled(number: int) -> str:
    """A number of bytes in the largest binary unit that it fills."""
    units = [(size, unit) for unit, size in SIZES.items() if unit == "B" or unit.endswith("iB")]
    size, unit = max(pair for pair in units if pair[0] <= max(number, 1))
    return f"{round(number / size, 1):g}{unit}"
