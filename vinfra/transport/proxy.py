"""ProxyCommand: another program's standard input and output as the connection.

The program gets a real socket. The SSH library's own class for this reads in a busy loop once the program has ended.
"""

import signal
import socket
import subprocess
from contextlib import suppress

from vinfra import mask


class ProxySocket(socket.socket):
    """A socket whose other end is a program; closing it ends the program."""

    program: subprocess.Popen[bytes] | None = None

    def close(self) -> None:
        """Close the socket and end the program."""
        super().close()
        program, self.program = self.program, None
        if program is None:
            return
        try:
            program.wait(0.2)  # most end with their input
        except subprocess.TimeoutExpired:
            program.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                program.wait(1)


def connect(command: str) -> ProxySocket:
    """Start a ProxyCommand. Raises OSError."""
    ours, theirs = socket.socketpair()
    with theirs:
        sock = ProxySocket(fileno=ours.detach())
        try:
            sock.program = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {command}"],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                env=mask.environment(),
            )
        except OSError:
            sock.close()
            raise
    return sock
