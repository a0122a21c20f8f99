"""What kinds know of the kernel: its modules, its command line, its huge pages."""

from vinfra.model.answer import Unknown
from vinfra.model.kind import Scope
from vinfra.model.question import Raw

NO_SUCH_FILE = 2
CONTAINERS = frozenset({"lxc", "lxc-libvirt", "systemd-nspawn", "docker", "podman", "rkt", "openvz", "container-other"})


def shared(scope: Scope) -> str:
    """Why nothing of the kernel is set here, in a sentence: in a container it is the machine's own; "" elsewhere."""
    if scope.facts.get("virtualization") in CONTAINERS:
        return "this host is a container and shares the kernel of its machine; declare it there"
    return ""


def text_of(path: str, raw: Raw | None) -> str | Unknown | None:
    """What is in a file, None when there is none."""
    if raw is not None and raw.ok:
        return raw.text
    if raw is not None and raw.returncode == NO_SUCH_FILE:
        return None
    return Unknown(f"cannot read {path}: {(raw.err.strip() if raw else '') or 'no reason given'}")
