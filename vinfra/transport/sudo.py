"""How a login that is not root becomes root, and what it means when it does not.

Without a password `sudo -n` takes the script at once: it reads nothing itself. With one, sudo prompts with a nonce and
gets the password only then, so that it can never be read by the shell; a second prompt means that it was wrong, and
closing the input there leaves it at one failed attempt. The root shell says that it is ready before it is sent
anything, and passes over every line before the one that starts the script.
"""

import shlex
from dataclasses import dataclass, field

from vinfra.errors import SudoRefused


@dataclass(frozen=True, slots=True)
class Gate:
    """What is waited for and what is sent on the way to a root shell that asks for a password."""

    nonce: str
    password: str = field(repr=False)

    @property
    def prompt(self) -> bytes:
        """What sudo writes to standard error when it wants the password."""
        return f"{self.nonce}-password".encode()

    @property
    def ready(self) -> bytes:
        """What the root shell writes to standard output when it runs."""
        return f"{self.nonce}-ready\n".encode()

    @property
    def start(self) -> bytes:
        """The line after which the root shell reads the script."""
        return f"{self.nonce}-start\n".encode()


def plain(shell_command: str) -> str:
    """The command line that runs a script as the user who logged in."""
    return shell_command


def without_password(shell_command: str) -> str:
    """The command line that runs a script as root, if sudo asks nothing."""
    return f"env LC_ALL=C sudo -n -H -- {shell_command}"


def with_password(shell_command: str, gate: Gate) -> str:
    """The command line that runs a script as root once the gate is passed."""
    return f"env LC_ALL=C sudo -S -H -p {gate.prompt.decode()} -- {_behind(gate, shell_command)}"


def gated(command: str, gate: Gate, *, root: bool) -> str:
    """The command line that runs a command behind the gate, as root if told: what a login shell prints stays before."""
    if root and gate.password:
        return with_password(command, gate)
    return (without_password if root else plain)(_behind(gate, command))


def _behind(gate: Gate, command: str) -> str:
    ready, start = gate.ready.decode().strip(), gate.start.decode().strip()
    inner = f"echo {ready}; while IFS= read -r line; do case $line in {start}) exec {command};; esac; done"
    return f"sh -c {shlex.quote(inner)}"


# Parts of sudo's own messages (LC_ALL=C, sudo 1.8 to 1.9), what they mean, and what to do.
_REFUSALS = (
    (
        ("must have a tty",),
        "sudo on the host works only on a terminal",
        "take `requiretty` out of its sudoers: Defaults:{user} !requiretty",
    ),
    (
        ("not in the sudoers file", "is not allowed to", "may not run sudo", "not allowed to run sudo"),
        "{user} is not allowed to become root",
        "allow {user} in the host's sudoers, or log in as another `user`",
    ),
    (
        ("a password is required", "terminal is required", "no password was provided", "no askpass program"),
        "sudo wants a password for {user}, or does not allow {user} at all",
        "set `sudo_password`, or allow {user} in the host's sudoers with NOPASSWD",
    ),
    (
        ("sudo: No such file", "sudo': No such file", "sudo’: No such file", "sudo: not found", "can't execute 'sudo'"),
        "there is no sudo on the host",
        "install it, or log in as root",
    ),
    (
        ("no new privileges", "effective uid is not 0"),
        "sudo cannot become root on this host",
        "its sudo is not setuid root, or it runs where privileges cannot be gained",
    ),
)
MARKS = (*(mark for marks, _, _ in _REFUSALS for mark in marks), "incorrect password", "sudo:")


def refusal(user: str, errors: str, wrong_password: bool) -> SudoRefused:
    """The error for what sudo said."""
    if wrong_password or "incorrect password" in errors:
        hint = "correct `sudo_password`; it was tried once, and is not tried again in this run"
        return SudoRefused(f"sudo does not accept the password of {user}", hint)
    for marks, message, hint in _REFUSALS:
        if any(mark in errors for mark in marks):
            return SudoRefused(message.format(user=user), hint.format(user=user))
    said = " ".join(errors.split())[-200:] or "nothing"
    return SudoRefused(f"{user} did not become root; sudo said: {said}", "try `sudo -n true` in a login of this user")
