"""What apply will do, as data: it can be printed, saved, journalled and replayed.

A step is one line for the reader and a few calls for the transport, which stops at the first that fails. Calls to the
shell that stand together travel in one round trip; those to libvirt go over one connection per host.
"""

from dataclasses import dataclass
from enum import StrEnum

from vinfra.model.action import Impact
from vinfra.model.inventory import Host
from vinfra.model.lease import SECONDS, Grip

# In a Shell's text or a Write's path: a folder made for this one step, open to nobody else, and gone after it.
SCRATCH = "/tmp/vinfra-scratch"  # noqa: S108  the transport puts an unforeseeable name in its place

# How a backup's files are called on the host while they are on their way: what a killed run left is known by it.
BACKUP = "vinfra-backup-"


@dataclass(frozen=True, slots=True)
class Exec:
    """Run a program. `argv` is quoted by the transport; `stdin` is sent to it; `env` is added to LC_ALL=C.

    `ok` lists the exit statuses that count as success.
    """

    argv: tuple[str, ...]
    stdin: bytes = b""
    env: tuple[tuple[str, str], ...] = ()
    ok: tuple[int, ...] = (0,)


@dataclass(frozen=True, slots=True)
class Write:
    """Replace a file atomically (temporary file beside it, sync, rename); None keeps what is there, or root's 0644.

    Symbolic links are followed, so that the file they name is replaced. `mode` is octal digits ("0644"). With `new` the
    step fails when something is there: it appeared since the plan was made, and is not ours to overwrite.
    """

    path: str
    content: bytes
    mode: str | None = None
    owner: str | None = None
    group: str | None = None
    new: bool = False


@dataclass(frozen=True, slots=True)
class Append:
    """Add one line to a file that only vinfra writes (0600, its directory 0700, both made when missing)."""

    path: str
    line: str


@dataclass(frozen=True, slots=True)
class Shell:
    """A command line already quoted by its maker: what pyinfra's operations yield. No kind builds one itself."""

    text: str


class Verb(StrEnum):
    """What can be asked of a host's libvirt. The fields of `Virt` that each takes stand beside it."""

    NETWORK_DEFINE = "network.define"  # xml
    NETWORK_START = "network.start"  # xml: the definition to go back to when it does not start; "" for none
    NETWORK_STOP = "network.stop"
    NETWORK_UNDEFINE = "network.undefine"
    NETWORK_AUTOSTART = "network.autostart"  # number: 1 on, 0 off
    NETWORK_UPDATE = (
        "network.update"  # of what runs. xml: an element (a lease, a portgroup, ..); number: 1 comes, 0 goes
    )
    POOL_DEFINE = "pool.define"  # xml
    POOL_BUILD = "pool.build"
    POOL_START = "pool.start"
    POOL_STOP = "pool.stop"
    POOL_UNDEFINE = "pool.undefine"
    POOL_AUTOSTART = "pool.autostart"  # number
    POOL_REFRESH = "pool.refresh"
    VOLUME_CREATE = "volume.create"  # pool, xml
    VOLUME_UPLOAD = "volume.upload"  # pool, and content or source: a file on the controller, or an address and sha256
    VOLUME_RESIZE = "volume.resize"  # pool, number: bytes
    VOLUME_DELETE = "volume.delete"  # pool
    VOLUME_GROW = "volume.grow"  # pool, number, domain: the one that runs on it and is to see it
    SECRET_DEFINE = "secret.define"  # xml  # noqa: S105
    SECRET_SET = "secret.set"  # content; the name is its uuid  # noqa: S105
    SECRET_UNDEFINE = "secret.undefine"  # noqa: S105
    DOMAIN_DEFINE = "domain.define"  # xml; part: the definition that it was made from, and must be still; "" for any
    DOMAIN_START = "domain.start"  # xml: as for a network
    DOMAIN_PRESS = "domain.press"  # ask its system to go down, and wait for nothing
    DOMAIN_SHUTDOWN = "domain.shutdown"  # seconds: how long its system may take; number: 1 to switch it off after that
    DOMAIN_DESTROY = "domain.destroy"  # a power cut
    DOMAIN_REBOOT = "domain.reboot"  # seconds: how long its system may take to go down
    DOMAIN_UNDEFINE = "domain.undefine"  # its firmware variables and saved state go with it
    DOMAIN_AUTOSTART = "domain.autostart"  # number
    DOMAIN_MEMORY = "domain.memory"  # number: bytes, of the running domain; seconds: how long its system may take
    DOMAIN_VCPUS = "domain.vcpus"  # number, of the running domain; seconds
    DOMAIN_METADATA = "domain.metadata"  # xml: our element; in the definition and in what runs, number: 1 only there
    DEVICE_ATTACH = "device.attach"  # xml: a device, of the running domain
    DEVICE_DETACH = "device.detach"  # xml; seconds: how long its system may take to let it go
    DEVICE_UPDATE = "device.update"  # xml
    DISK_LIMIT = "disk.limit"  # xml: a disk of the running domain, with all its limits
    # xml: which disks go to which files, at one moment; number: 1 to let the guest agent freeze its file systems for
    # that moment; seconds. Without xml: one of ours that a killed run left is ended. Prints "frozen" if it was.
    DOMAIN_BACKUP = "domain.backup"
    DOMAIN_EXPORT = "domain.export"  # source: the file on the controller that its definition goes to, with its secrets
    SNAPSHOT_CREATE = "snapshot.create"  # xml; part: instead of a name, one that the time is put behind; number: how
    #                                      many of those are kept
    SNAPSHOT_REVERT = "snapshot.revert"  # part: its name
    SNAPSHOT_DELETE = "snapshot.delete"  # part: its name
    VOLUME_COPY = "volume.copy"  # pool, xml; part: the path of the volume that is copied, on its own and without holes
    VOLUME_DOWNLOAD = "volume.download"  # pool; source: the file on the controller. Prints its SHA-256 and its size


@dataclass(frozen=True, slots=True)
class Virt:
    """One call to the host's libvirt on the object `name`. `seconds` is how long a verb that waits may take.

    What is already so is no error (starting what runs, undefining what is gone): the step was cut off before.
    """

    verb: Verb
    name: str
    pool: str = ""
    xml: str = ""
    number: int = 0
    seconds: float = 0.0
    content: bytes = b""
    source: str = ""
    sha256: str = ""
    domain: str = ""
    part: str = ""


class Path(StrEnum):
    """How a machine gets to another host: through vinfra's own two logins, or straight, readable or encrypted."""

    RELAY = "relay"
    TCP = "tcp"
    TLS = "tls"


@dataclass(frozen=True, slots=True)
class Migrate:
    """Carry the domain `name` over to the host `to`: as it runs, or what is off as its definition and its files.

    Its volumes go along and are removed here once it is there, but for those in the pools `shared`, which both see.
    What did not come to its end is taken back: the domain is here as before, and nothing of it is there.
    """

    name: str
    to: str
    path: Path = Path.RELAY
    shared: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AwaitGuest:
    """Wait until the domain `name` on this host answers by SSH, with the host key that its own console showed.

    `network` is the libvirt network whose lease tells its address, "" for its first one; `address` is the one that it
    is known to have. `finished`: wait also until its cloud-init, if it has one, has ended without error. `login` is
    how it will be known as a host of the run: its name, user and key, and whether the way leads through this host. The
    key and the address are kept in the domain's metadata under `mark.GUEST_NAMESPACE`, so that later runs know them.
    """

    name: str
    login: Host
    network: str = ""
    jump: bool = True
    seconds: float = 300.0
    address: str = ""
    finished: bool = False


@dataclass(frozen=True, slots=True)
class Hold:
    """Take, renew or give back the host's lease (model.lease) under `token`, for so many seconds.

    `seen` is the token that was there when the host was read, None if it does not matter; `dead` that of a holder known
    to have died. Fails with HELD while another one holds it and CHANGED if another one held it since; its output is
    then that one's lease.
    """

    grip: Grip
    token: str
    holder: str = ""
    seen: str | None = None
    dead: str = ""
    seconds: int = SECONDS


ELSEWHERE = (Virt, AwaitGuest, Migrate)  # the calls that are not for a shell

HELD, CHANGED = 76, 77  # exit statuses of Hold

# A step that may cut us off is taken back after so long; less than a lease, so that nobody else comes in between.
GUARD_SECONDS = SECONDS - 5


class Watch(StrEnum):
    """What is done with the timer of a step that may cut us off."""

    ARM = "arm"
    CONFIRM = "confirm"
    REVERT = "revert"


@dataclass(frozen=True, slots=True)
class Guard:
    """Arm, stop or at once run the host's own way back from a step: the files `paths` as they were before this `run`.

    `name` tells it from others, `again` are the commands that make the files count once they are back.
    """

    watch: Watch
    run: str
    name: str
    paths: tuple[str, ...] = ()
    again: tuple[tuple[str, ...], ...] = ()
    seconds: int = GUARD_SECONDS


@dataclass(frozen=True, slots=True)
class Reboot:
    """Restart the host itself and wait until it is back, as the last call of a step.

    Nothing is restarted when the host is not in the boot `boot` (model.boot) any more: somebody else did it. It is back
    once a new login finds another boot and systemd says that it is up, within `seconds`; the step fails when units
    failed that had not before.
    """

    boot: str
    seconds: float = 600.0


Call = Exec | Write | Append | Shell | Virt | AwaitGuest | Migrate | Hold | Guard | Reboot


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do on one host. `summary` is its line in the plan; `timeout` is in seconds.

    `secret` says that a call holds what must not be printed or saved. `fence` is the token under which the host's
    lease must be held when it begins ("" for none): whoever lost the lease does not even begin.

    A step that may cut us off from the host names in `guards` the files that the host puts back by itself unless a new
    login confirms the step, and in `again` the commands that it then runs: they make the files count, or are the way
    back themselves. `otherwise` is done when it failed, if the host can still be reached.
    """

    summary: str
    calls: tuple[Call, ...]
    impact: Impact = Impact.LIVE
    timeout: float = 600.0
    secret: bool = False
    fence: str = ""
    guards: tuple[str, ...] = ()
    again: tuple[tuple[str, ...], ...] = ()
    otherwise: tuple[Call, ...] = ()

    @property
    def risks_access(self) -> bool:
        """Whether it may cut us off, so that the host takes it back unless a new login confirms it."""
        return bool(self.guards or self.again)


@dataclass(frozen=True, slots=True)
class StepResult:
    """How a step ended: exit status of the call that ended it (0: all ran), the last of both outputs, which call."""

    returncode: int
    out: str = ""
    err: str = ""
    seconds: float = 0.0
    call: int = 0
