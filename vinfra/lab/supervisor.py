"""The one background process of a lab: `python -m vinfra.lab.supervisor HOME`, started by `lab.up`.

It is the first process of a pid namespace and lives in a mount namespace of its own, and the lab's network namespace is
held by one of its threads. So whatever ends it, even SIGKILL, ends the hosts, their mounts and their network with it.
Progress goes to standard output as JSON lines, until the lab is up.
"""

import asyncio
import json
import os
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vinfra.errors import VinfraError
from vinfra.lab import kernel, mirror, relay, state
from vinfra.lab.container import Bundle
from vinfra.lab.machine import Machine
from vinfra.lab.network import Network


@dataclass(frozen=True, slots=True)
class Request:
    """What `up` asks for; it lies in HOME/request.json."""

    name: str
    suite: str
    tree: str
    archives: list[str]
    packages: str
    hosts: list[str]
    password: str
    cgroup: str
    memory: int

    @classmethod
    def read(cls, home: Path) -> "Request":
        """From the lab's folder."""
        return cls(**json.loads((home / "request.json").read_text()))


class Supervisor:
    """Owns the hosts, the relay, the mirror and the lab's state file."""

    def __init__(self, home: Path, request: Request, pid: int, machine_proc: int) -> None:
        self._home = home
        self._request = request
        self._pid = pid
        self._proc = machine_proc
        self._started = _start_time(machine_proc, pid)
        self._ports: dict[str, int] = {}
        self._machines: dict[str, Machine] = {}
        self._saving = threading.Lock()
        self._up = False

    async def run(self) -> None:
        """Bring everything up, say so, and then serve for ever."""
        request, run = self._request, self._home / "run"
        network = Network()
        mirror.serve(network, mirror.Archive(tuple(request.archives), Path(request.packages)))
        for number, name in enumerate(request.hosts, 1):
            bundle = Bundle(name, run / name, Path(request.tree), request.cgroup, run / ".runc")
            machine = Machine(bundle, number, self._home / "seed" / name, network)
            self._machines[name] = machine
            self._ports[name] = relay.port_of(await relay.listen(network.socket, machine.address, 22))
        control = await asyncio.start_unix_server(self._control, str(self._home / "control"))
        for name, machine in self._machines.items():
            threading.Thread(target=machine.run, args=(self._save,), name=name, daemon=True).start()
        for name, machine in self._machines.items():
            await asyncio.to_thread(machine.wait)
            _say(progress=f"{name} answers on 127.0.0.1:{self._ports[name]}")
            if machine.failed_units:
                _say(progress=f"{name}: failed units:\n{machine.failed_units}")
        self._up = True
        self._save()
        _say(ready=True)
        _to_log(self._home)
        await control.serve_forever()

    def _save(self) -> None:
        """Write the state down, but not before there is a whole lab to speak of."""
        if not self._up:
            return
        with self._saving:
            seen = _pids(self._proc, self._pid)
            hosts = {}
            for name, machine in self._machines.items():
                upper = f"/proc/{self._pid}/root{machine.bundle.upper}"
                pid = seen.get(machine.pid, 0)
                hosts[name] = state.LabHost(name, machine.address, self._ports[name], pid, upper)
            request = self._request
            lab = state.Lab(request.name, self._home, self._pid, self._started, request.suite, request.password, hosts)
            lab.save()

    async def _control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer: dict[str, Any] = {}
        try:
            order = json.loads(await reader.readline())
            machine = self._machines[order["host"]]
            {"reset": machine.reset, "power_on": machine.power_on}[order["do"]]()
            await asyncio.to_thread(machine.wait)
        except VinfraError as error:
            answer = {"error": str(error)}
        except (KeyError, ValueError) as error:
            answer = {"error": f"not understood: {error}"}
        writer.write(json.dumps(answer).encode() + b"\n")
        await writer.drain()
        writer.close()


def _say(**line: Any) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _to_log(home: Path) -> None:
    """Let go of the pipe to `up`."""
    log = os.open(home / "supervisor.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


def _start_time(proc: int, pid: int) -> int:
    return kernel.start_time(pid, Path(f"/proc/self/fd/{proc}")) or 0


def _pids(proc: int, parent: int) -> dict[int, int]:
    """Children of `parent` as this machine numbers them, by the number they have in here."""
    found = {}
    children = Path(f"/proc/self/fd/{proc}/{parent}/task/{parent}/children").read_text().split()
    for child in children:
        try:
            status = Path(f"/proc/self/fd/{proc}/{child}/status").read_text()
        except OSError:
            continue
        numbers = next(line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:"))
        if len(numbers) > 1:
            found[int(numbers[1])] = int(numbers[0])
    return found


def _isolate(home: Path, memory: int) -> tuple[int, int]:
    """Become the first process of new pid and mount namespaces; returns our pid outside, and the machine's /proc."""
    kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWPID)
    if os.fork():
        os._exit(0)
    pid = int(Path("/proc/self").readlink().name)
    proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY)
    kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("proc", "/proc", "proc")
    run = home / "run"
    run.mkdir(exist_ok=True)
    if memory:
        kernel.mount("tmpfs", run, "tmpfs", 0, f"mode=700,size={memory}")
    return pid, proc


def main(home: Path) -> None:
    """Run a lab until the process is killed."""
    try:
        request = Request.read(home)
        pid, proc = _isolate(home, request.memory)
        asyncio.run(Supervisor(home, request, pid, proc).run())
    except VinfraError as error:
        _say(error=error.message, hint=error.hint)
        raise SystemExit(1) from error


if __name__ == "__main__":
    main(Path(sys.argv[1]))
