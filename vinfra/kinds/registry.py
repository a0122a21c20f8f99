"""The table of kinds. Third parties join by an entry point of group `vinfra.kinds`: a function returning theirs."""

from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import entry_points
from typing import Any

from vinfra.errors import UsageError
from vinfra.kinds.host import (
    certificate,
    command,
    cron,
    directory,
    file,
    filesystem,
    firewall,
    group,
    hostname,
    hugepages,
    interface,
    kernel_argument,
    kernel_module,
    logical_volume,
    mount,
    operation,
    package,
    reboot,
    repository,
    service,
    sshd,
    swap,
    sysctl,
    time,
    timer,
    upgrade,
    user,
    volume_group,
)
from vinfra.kinds.kvm import domain, fleet, guest, hypervisor, image, network, pool, seed, volume
from vinfra.model.kind import Kind

GROUP = "vinfra.kinds"

KINDS: dict[str, Kind] = {
    "host.hostname": hostname,
    "host.repository": repository,
    "host.package": package,
    "host.group": group,
    "host.user": user,
    "host.kernel_module": kernel_module,
    "host.volume_group": volume_group,
    "host.logical_volume": logical_volume,
    "host.filesystem": filesystem,
    "host.swap": swap,
    "host.mount": mount,
    "host.directory": directory,
    "host.file": file,
    "host.certificate": certificate,
    "host.interface": interface,
    "host.firewall": firewall,
    "host.sshd": sshd,
    "host.sysctl": sysctl,
    "host.kernel_argument": kernel_argument,
    "host.hugepages": hugepages,
    "host.time": time,
    "host.operation": operation,
    "host.command": command,
    "host.cron": cron,
    "host.timer": timer,
    "host.service": service,
    "host.upgrade": upgrade,
    "host.reboot": reboot,
    "kvm.hypervisor": hypervisor,
    "kvm.network": network,
    "kvm.pool": pool,
    "kvm.image": image,
    "kvm.volume": volume,
    "kvm.seed": seed,
    "kvm.domain": domain,
    "kvm.guest": guest,
    "kvm.fleet": fleet,
}


def kinds() -> dict[str, Kind]:
    """The built-in kinds together with those of installed plugins."""
    return merged(KINDS, ((entry.name, entry.load()) for entry in entry_points(group=GROUP)))


def merged(
    known: Mapping[str, Kind], plugins: Iterable[tuple[str, Callable[[], Mapping[str, Any]]]]
) -> dict[str, Kind]:
    """The known kinds and each plugin's. Two of one name, noun or section cannot be told apart, so that is an error."""
    result = dict(known)
    for plugin, provide in plugins:
        for name, kind in provide().items():
            missing = [member for member in MEMBERS if not hasattr(kind, member)]
            if missing:
                raise UsageError(
                    f"plugin {plugin}: kind {name} has no {', '.join(missing)}", "see vinfra/model/kind.py"
                )
            if name != kind.NAME:
                raise UsageError(f"plugin {plugin}: kind {name} calls itself {kind.NAME}")
            for other in result.values():
                _keep_apart(plugin, kind, other)
            result[name] = kind
    return result


MEMBERS = tuple(name for name in (*Kind.__annotations__, *vars(Kind)) if not name.startswith("_"))


def _keep_apart(plugin: str, kind: Kind, other: Kind) -> None:
    for what, mine, theirs in (
        ("name", kind.NAME, other.NAME),
        ("section", kind.SECTION, other.SECTION),
        ("noun", kind.NAME.rpartition(".")[2], other.NAME.rpartition(".")[2]),
    ):
        if mine == theirs:
            raise UsageError(
                f"plugin {plugin}: kind {kind.NAME} has the {what} {mine!r} of {other.NAME}",
                f"uninstall one of the two, or give the plugin's kind another {what}",
            )
