"""Real runs of vinfra that stand still at one point, where a fault is made: `python -m tests.faults.driver`.

It has all libraries loaded and makes a process of its own of each run, which saves most of a run's time. A line of JSON
on standard input says what to run: `arguments`, `environment`, a `folder`, and the point, if it is to stop at one:

- `tick`: N: before the N-th thing it does on a host: a script of a step, a call to libvirt, a wait for a guest;
- `pause`: [N, K]: the N-th of those is a script, and waits on the host after its K-th call until it is told to go on;
- `sent`: N: after so many bytes of an upload through libvirt;
- `half`: N: the N-th of those is a script, of which half has been sent.

With a `host` only what is done there counts.

It answers with the process, and with its exit code when it has ended. In the folder the run writes its `output`, its
`ticks`, a line each, and `reached` when it stands still, until there is `go`; `waited` tells how many seconds it waited
for somebody else's lease.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import libvirt

from vinfra import engine
from vinfra.cli.main import main
from vinfra.kinds.registry import kinds
from vinfra.model.lease import Grip
from vinfra.model.step import Hold, Step
from vinfra.transport import guests, network, ssh, steps
from vinfra.transport.channel import ChannelProcess
from vinfra.transport.libvirt import Libvirt
from vinfra.transport.session import Session

FAULT: dict[str, Any] = {}
FLAG = "/run/vinfra-fault"  # on the host: a script that pauses says so
# It goes on when there is FLAG-go, in a minute at the latest.
PAUSE = f"""
: >{FLAG}; i=0; until [ -e {FLAG}-go ] || [ $i = 600 ]; do i=$((i + 1)); sleep 0.1; done; rm -f {FLAG} {FLAG}-go
"""
_RESULT = b"r=$?; case $r in "


class Watch:
    """Counts what is done on the hosts, and stops at the point."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ticks: list[str] = []
        self._sent = 0
        self._here = threading.local()

    def tick(self, label: str, calls: int = 0) -> None:
        if not label.startswith(FAULT.get("host", "")):
            return
        with self._lock:
            number = len(self._ticks)
            self._ticks.append(label)
            with (_folder() / "ticks").open("a") as stream:
                stream.write(json.dumps([label, calls]) + "\n")
        self._here.number = number
        if FAULT.get("tick") == number:
            stand_still()

    def paused(self, script: bytes) -> bytes:
        """The script with its pause, if this is where it has one."""
        number, after = FAULT.get("pause", (None, 0))
        if number != getattr(self._here, "number", -1):
            return script
        parts = script.split(_RESULT)
        first, rest = parts[after + 1].split(b"\n", 1)
        parts[after + 1] = first + PAUSE.encode() + rest
        return _RESULT.join(parts)

    def uploaded(self, count: int) -> None:
        before, self._sent = self._sent, self._sent + count
        if before < FAULT.get("sent", 0) <= self._sent:
            stand_still()

    @property
    def half(self) -> bool:
        """Whether what this thread sends now is to be sent in halves."""
        return FAULT.get("half") == getattr(self._here, "number", -1)

    def leave(self) -> None:
        self._here.number = -1


def stand_still() -> None:
    (_folder() / "reached").touch()
    while not (_folder() / "go").exists():
        time.sleep(0.01)


def install(watch: Watch) -> None:
    script, run, step_script = Session._script, Libvirt.run, steps.step_script
    wait, send, say, outlast = guests.wait, libvirt.virStream.send, ChannelProcess.send, engine.outlast

    def on_script(self: Session, step: Step) -> Any:
        hold = step.calls[0] if step.calls and isinstance(step.calls[0], Hold) else None
        if hold is None or hold.grip is not Grip.RENEW:  # renewals come when they come
            watch.tick(f"{self.host}: {step.summary}", len(step.calls))
        try:
            return script(self, step)
        finally:
            watch.leave()

    def on_call(self: Libvirt, call: Any, limit: float) -> Any:
        watch.tick(f"{self._session.host}: {call.verb} {call.name}")
        return run(self, call, limit)

    def on_wait(call: Any, hypervisor: str, virt: Libvirt, hosts: Any) -> Any:
        watch.tick(f"{hypervisor}: wait for {call.name}")
        return wait(call, hypervisor, virt, hosts)

    def on_send(self: Any, data: bytes) -> Any:
        count = send(self, data)
        watch.uploaded(count)
        return count

    def on_say(self: ChannelProcess, data: bytes, deadline: float) -> None:
        if watch.half and len(data) > 1000:
            middle = len(data) // 2
            say(self, data[:middle], deadline)
            stand_still()
            data = data[middle:]
        say(self, data, deadline)

    def on_outlast(*arguments: Any) -> None:
        began = time.monotonic()
        try:
            outlast(*arguments)
        finally:
            (_folder() / "waited").write_text(str(time.monotonic() - began))

    Session._script, Libvirt.run, guests.wait = on_script, on_call, on_wait
    steps.step_script = lambda step, nonce: watch.paused(step_script(step, nonce))
    libvirt.virStream.send, ChannelProcess.send, engine.outlast = on_send, on_say, on_outlast


def _folder() -> Path:
    return Path(FAULT["folder"])


def become(order: dict[str, Any]) -> None:
    """In a process of its own: become `vinfra` with these arguments."""
    FAULT.update(order)
    os.environ.update(order["environment"])
    output = os.open(_folder() / "output", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number in (1, 2):
        os.dup2(output, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    install(Watch())
    sys.argv = ["vinfra", *order["arguments"]]
    main()


def serve() -> None:
    kinds()
    assert network, ssh  # loaded once, for all
    for line in sys.stdin:
        if (pid := os.fork()) == 0:
            become(json.loads(line))
            return
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
