"""Hand-made plans that the tests of reports share."""

from typing import Any

from vinfra.errors import ExitCode
from vinfra.model.action import Action, Impact, Verdict
from vinfra.model.address import Address
from vinfra.model.change import Change, Delta, FieldChange
from vinfra.model.outcome import ChangeOutcome, Outcome, Status
from vinfra.model.plan import Plan
from vinfra.model.source import NOWHERE, Position
from vinfra.model.spec import Spec, field
from vinfra.model.step import Exec, Step, StepResult
from vinfra.model.values import Mode, Seconds, Size, Text

HOSTILE = "\x1b[31mred\x1b]0;title\x07 [bold]b[/bold] \u202eevil\r\n"


class Domain(Spec):
    """A made-up virtual machine."""

    memory: Size | None = field("Memory.", impact=Impact.LIVE, examples=("4GiB",))
    cpu: Text | None = field("CPU model.", impact=Impact.RESTART)
    timeout: Seconds | None = field("How long it may take.", compared=False)
    password: Text | None = field("Console password.", secret=True)


class File(Spec):
    """A made-up file."""

    mode: Mode | None = field("Mode in octal.", examples=("0644",))
    content: Text | None = field("What it holds.")


GIB = 1 << 30
STEP = Step("set memory of web-01", (Exec(("virsh", "setmem", "web-01", "4G")),))


def change(
    address: tuple[str, str, str],
    delta: Delta,
    line: int = 0,
    desired: Spec | None = None,
    actual: Spec | None = None,
    **more: Any,
) -> Change:
    """A change with less to write."""
    place = Position("blueprints/rack-a1.yaml", line, 5) if line else NOWHERE
    return Change(Address(*address), delta, desired, actual, place, **more)


def rack() -> Plan:
    """The plan of the design's page, with every sort of row."""
    old, new = "# motd\nwelcome\nto hv1\n", "# motd\nwelcome home\nto hv1\nbye\n"
    rows = (
        change(("kvm.network", "hv1", "dev"), Delta(Action.CREATE, reason="nat 10.10.0.0/24"), 12),
        change(
            ("kvm.domain", "hv1", "web-01"),
            Delta(Action.UPDATE, (FieldChange("memory", 2 * GIB, 4 * GIB),), Impact.LIVE),
            24,
            Domain(memory="4GiB"),
            steps=(STEP,),
        ),
        change(
            ("kvm.domain", "hv1", "web-02"),
            Delta(
                Action.UPDATE,
                (FieldChange("cpu", "qemu64", "host-model", Impact.RESTART),),
                Impact.RESTART,
                reason="only at boot",
            ),
            31,
            Domain(cpu="host-model"),
        ),
        change(
            ("host.file", "hv1", "/etc/motd"),
            Delta(Action.UPDATE, (FieldChange("content", old, new), FieldChange("mode", "0600", "0644")), Impact.LIVE),
            35,
            File(content=new, mode="0644"),
        ),
        change(
            ("kvm.domain", "hv1", "db-01"),
            Delta(Action.UPDATE, (FieldChange("password", "hunter1", "hunter2", secret=True),), Impact.LIVE),
            37,
            Domain(password="hunter2"),
        ),
        change(
            ("kvm.volume", "hv1", "old-01/root"),
            Delta(Action.DELETE, (), Impact.DATA_LOSS, reason="left the blueprint, owned by rack-a1, 12.4GiB written"),
        ),
        change(
            ("kvm.volume", "hv1", "db-01/root"),
            Delta(
                Action.UPDATE,
                (FieldChange("size", "20GiB", "10GiB", Impact.DATA_LOSS),),
                Impact.DATA_LOSS,
                Verdict.REFUSED,
                "protected",
            ),
            40,
        ),
        change(
            ("kvm.pool", "hv2", "images"),
            Delta(Action.CREATE, (), Impact.NONE, Verdict.LATER, "libvirt comes with this plan"),
            44,
        ),
        change(
            ("kvm.pool", "hv2", "isos"), Delta(Action.NOOP, (), Impact.NONE, Verdict.UNKNOWN, "virsh: no answer"), 46
        ),
        change(("kvm.pool", "hv2", "quiet"), Delta(Action.NOOP), 48),
    )
    return Plan(
        "rack-a1",
        ("hv1", "hv2", "hv3"),
        rows,
        unknown={"hv3": "ssh: no answer from hv3:22 in 10 s"},
        warnings=("hosts.hv9: no such host today",),
        kept=(Address("host.package", "hv1", "nginx"),),
        seconds=0.91,
    )


def fleet(count: int = 300) -> Plan:
    """Many hosts with the same five rows, ten of them out of reach, one a little different."""
    hosts = tuple(f"hv{number:03}" for number in range(1, count + 1))
    rows = []
    for host in hosts[:-10]:
        for item in ("curl", "htop", "jq", "nginx"):
            rows.append(change(("host.package", host, item), Delta(Action.CREATE), 3))
        mode = "0600" if host == "hv007" else "0640"
        fields = (FieldChange("mode", mode, "0644"),)
        rows.append(change(("host.file", host, "/etc/motd"), Delta(Action.UPDATE, fields, Impact.LIVE), 9))
    unknown = {host: f"ssh: no answer from 10.0.0.{number}:22 in 10 s" for number, host in enumerate(hosts[-10:])}
    return Plan("fleet", hosts, tuple(rows), unknown=unknown, seconds=2.9)


def demo_empty() -> Plan:
    """Nothing to do."""
    rows = tuple(change(("host.file", "web1", f"/etc/{number}"), Delta(Action.NOOP)) for number in range(14))
    return Plan("demo", ("web1", "web2"), rows, seconds=0.4)


def hostile() -> Plan:
    """Names and values that want to be acted on."""
    fields = (FieldChange("mode", HOSTILE, "[red]x[/red]"), FieldChange("content", "a\n", f"a\n{HOSTILE}"))
    rows = (
        change(("host.file", "web1", HOSTILE), Delta(Action.UPDATE, fields, Impact.LIVE, reason=HOSTILE), 3),
        change(("host.file", HOSTILE, "/etc/x"), Delta(Action.DELETE, (), Impact.LIVE, reason="left the blueprint")),
    )
    return Plan(HOSTILE, ("web1", HOSTILE, "web3"), rows, unknown={"web3": HOSTILE}, warnings=(HOSTILE,))


def failed() -> tuple[Outcome, Change, StepResult]:
    """A run in which one thing failed and another waited for it."""
    plan = rack()
    ends = (
        ChangeOutcome(plan.changes[0].address, Status.DONE, seconds=0.2),
        ChangeOutcome(plan.changes[1].address, Status.FAILED, "exit status 1", 1.5),
        ChangeOutcome(plan.changes[2].address, Status.BLOCKED, f"{plan.changes[1].address} failed"),
        ChangeOutcome(plan.changes[5].address, Status.LEFT, "interrupted"),
    )
    return (
        Outcome("20261123T010203Z-4f2a", plan, ends),
        plan.changes[1],
        StepResult(1, "", "a\nerror: no space left on device\n", 1.5),
    )


assert ExitCode.DONE == 0
