"""Restarting a host in the middle of a run: from one boot to the next, and on with the same run.

Nobody must think that a host is back that has not gone yet, nor restart it twice. So the boot that was read travels
with the call: the host restarts only while it is in that one, and is back once a new login, with its host key checked
as ever, finds another one. Its lease was in /run and is gone; it is taken anew, and whoever was there in between is
noticed.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Protocol

from vinfra.errors import HostKeyRefused, LeaseLost, TransportError
from vinfra.model import boot
from vinfra.model.step import Reboot, Step, StepResult
from vinfra.model.transport import Writer
from vinfra.transport import shell

_POLL = 1.0
_UP = ("running", "degraded")
UNIT = "vinfra-reboot"

# A moment later, so that the step's end is heard; by a timer, so that nobody has to be alive for it. A timer that is
# there is of a run that was killed just now.
FUNCTION = f"""\
restart() {{
[ -d /run/systemd/system ] && command -v systemd-run >/dev/null || {{
echo 'without systemd nobody here knows how to restart this host' >&2; exit 1; }}
read -r boot </proc/sys/kernel/random/boot_id && read -r first </proc/1/stat || exit
wanted=$1
set -- ${{first##*) }}
[ "$wanted" = "$boot/${{20}}" ] || exit 0
systemctl --quiet is-active {UNIT}.timer || systemd-run --quiet --collect --unit={UNIT} --on-active=1 \\
--timer-property=AccuracySec=100ms systemctl reboot
}}
"""


class Lessee(Protocol):
    """Who holds the hosts of the run (`leases.Leases`)."""

    def leave(self, host: str) -> None: ...

    def come_back(self, host: str) -> None: ...

    def lose(self, host: str, why: str) -> None: ...

    def is_here(self, host: str) -> bool: ...

    @property
    def anew(self) -> Callable[[str], AbstractContextManager[Writer]]: ...


def rendered(call: Reboot) -> str:
    """The call as a line of shell: it ends before the host goes down."""
    return f"( restart {shell.words([call.boot])} ) </dev/null"


def restarts(step: Step) -> bool:
    """Whether a step restarts its host."""
    return any(isinstance(call, Reboot) for call in step.calls)


def rebooted(step: Step, host: str, writer: Writer, leases: Lessee) -> StepResult:
    """Run a step whose last call is a Reboot, and wait for the host. Raises TransportError when the lease is lost."""
    call = step.calls[-1]
    assert isinstance(call, Reboot)
    if leases.is_here(host):
        return StepResult(1, err="this is the machine that vinfra runs on: restart it by hand, or from another one")
    if not call.boot:
        return StepResult(1, err="nobody can tell this boot from the next: /proc cannot be read there")
    began = time.monotonic()
    before = boot.failed_units(writer.ask((boot.FAILED,)))
    leases.leave(host)
    try:
        result = writer.run(step)
    except LeaseLost as error:
        leases.lose(host, error.message)
        raise
    except TransportError as error:  # whether it restarts is seen from here
        result = StepResult(0, err=error.message)
    if result.returncode:
        leases.come_back(host)
        return result
    failed, trouble = _until_back(call, host, leases.anew)
    if trouble:
        leases.lose(host, trouble)
        return StepResult(1, err=trouble, call=len(step.calls) - 1)
    leases.come_back(host)
    result = replace(result, seconds=time.monotonic() - began)
    if broken := sorted(failed - before):
        said = f"it is back, but {', '.join(broken)} failed, which had not before: `systemctl status` there says why"
        return replace(result, returncode=1, err=said, call=len(step.calls) - 1)
    return result


def _until_back(
    call: Reboot, host: str, anew: Callable[[str], AbstractContextManager[Writer]]
) -> tuple[frozenset[str], str]:
    """The units that failed in the new boot, and why it did not come to that, "" if it did."""
    deadline = time.monotonic() + call.seconds
    last = "it has not gone down"
    while time.monotonic() < deadline:
        time.sleep(_POLL)
        try:
            with anew(host) as login:
                answers = login.ask((*boot.QUESTIONS, boot.STATE, boot.FAILED))
        except HostKeyRefused as error:
            return frozenset(), f"it came back as another one: {error.message}"
        except TransportError as error:
            last = error.message.removeprefix(f"{host}: ")
            continue
        now, state = boot.identity(answers), answers[boot.STATE].text.strip()
        if now == call.boot:
            last = "it has not gone down"
        elif now and state in _UP:
            return boot.failed_units(answers), ""
        else:
            last = f"its systemd says {state or 'nothing'}"
    return frozenset(), f"did not come back within {call.seconds:g} s ({last})"
