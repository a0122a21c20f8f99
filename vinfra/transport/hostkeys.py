"""Which host key belongs to which host: known_hosts files, read once and indexed, and what to do about a key.

Understands plain and hashed names, `[host]:port`, patterns, `@revoked`. Host certificates are not offered by our SSH
library, so `@cert-authority` lines are passed over.
"""

import base64
import fnmatch
import hashlib
import hmac
import os
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from vinfra.errors import HostKeyRefused

SYSTEM_FILE = "/etc/ssh/ssh_known_hosts"


@dataclass(frozen=True, slots=True)
class HostKey:
    """A public host key: its type, such as `ssh-ed25519`, and its base64 text."""

    type: str
    text: str

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` prints it."""
        digest = hashlib.sha256(base64.b64decode(self.text)).digest()
        return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"

    def __str__(self) -> str:
        return f"{self.type} {self.text}"


@dataclass(frozen=True, slots=True)
class Policy:
    """What decides: `rule` as in an inventory's `host_key`, and the files, of which the first learns new keys."""

    rule: str
    files: tuple[str, ...]


def name_in_file(host: str, port: int) -> str:
    """A host as known_hosts names it."""
    return host if port == 22 else f"[{host}]:{port}"


def parsed(line: str) -> HostKey | None:
    """The key in a line such as `ssh-ed25519 AAAA… comment`, or None."""
    parts = line.split()
    if len(parts) < 2:
        return None
    try:
        blob = base64.b64decode(parts[1], validate=True)
    except ValueError:
        return None
    return HostKey(parts[0], parts[1]) if parts[0].encode() in blob[:64] else None


@dataclass(slots=True)
class _File:
    """One known_hosts file as it was at `stamp`."""

    stamp: tuple[int, int]
    plain: dict[str, list[HostKey]] = field(default_factory=dict)
    hashed: list[tuple[bytes, bytes, HostKey]] = field(default_factory=list)
    patterns: list[tuple[tuple[str, ...], HostKey]] = field(default_factory=list)
    revoked: set[HostKey] = field(default_factory=set)
    found: dict[str, list[HostKey]] = field(default_factory=dict)

    def add(self, line: str) -> None:
        self.found.clear()
        parts = line.split()
        if not parts or parts[0].startswith("#"):
            return
        marker = parts.pop(0) if parts[0].startswith("@") else ""
        key = parsed(" ".join(parts[1:3]))
        if key is None or marker not in ("", "@revoked"):
            return
        if marker == "@revoked":
            self.revoked.add(key)
        elif parts[0].startswith("|1|"):
            with suppress(ValueError):  # a damaged line is passed over, as OpenSSH does
                salt, digest = (base64.b64decode(part) for part in parts[0].split("|")[2:4])
                self.hashed.append((salt, digest, key))
        elif any(sign in parts[0] for sign in "*?!"):
            self.patterns.append((tuple(parts[0].lower().split(",")), key))
        else:
            for name in parts[0].lower().split(","):
                self.plain.setdefault(name, []).append(key)

    def keys_of(self, name: str) -> list[HostKey]:
        if name not in self.found:  # hashed names cost a digest for each line
            self.found[name] = self._search(name)
        return self.found[name]

    def _search(self, name: str) -> list[HostKey]:
        found = list(self.plain.get(name, ()))
        found += [key for salt, digest, key in self.hashed if hmac.digest(salt, name.encode(), "sha1") == digest]
        return found + [key for patterns, key in self.patterns if _matches(name, patterns)]


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    if any(fnmatch.fnmatchcase(name, pattern[1:]) for pattern in patterns if pattern.startswith("!")):
        return False
    return any(fnmatch.fnmatchcase(name, pattern.replace("[", "[[]")) for pattern in patterns)


class HostKeys:
    """All known_hosts files of a run. Safe to use from many threads."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}
        self._lock = threading.Lock()

    def known(self, name: str, policy: Policy) -> list[HostKey]:
        """The keys by which the host may show itself, so that it can be asked for one of their types."""
        pinned = parsed(policy.rule)
        if pinned:
            return [pinned]
        with self._lock:
            return self._known(name.lower(), policy.files)

    def check(self, name: str, key: HostKey, policy: Policy) -> None:
        """Accept the key, learning it if the policy says so, or raise HostKeyRefused."""
        pinned = parsed(policy.rule)
        if pinned:
            if pinned != key:
                raise _changed(name, key, [pinned], "the inventory's host_key")
            return
        with self._lock:
            self._check(name.lower(), key, policy)

    def _check(self, name: str, key: HostKey, policy: Policy) -> None:
        files = [self._file(path) for path in policy.files]
        if any(key in file.revoked for file in files):
            raise HostKeyRefused(f"the host key of {name} ({key.fingerprint}) is marked as revoked")
        known = self._known(name, policy.files)
        if key in known:
            return
        bare = name[1:].partition("]:")[0] if name.startswith("[") else ""
        if bare and not known and key in self._known(bare, policy.files):
            return  # as OpenSSH does: another port of a host that is known by this very key
        if known:
            raise _changed(name, key, known, policy.files[0])
        if policy.rule != "accept-new":
            raise _unknown(name, key, policy.files)
        self._learn(name, key, policy.files[0])

    def _known(self, name: str, paths: tuple[str, ...]) -> list[HostKey]:
        return [key for path in paths for key in self._file(path).keys_of(name)]

    def _file(self, path: str) -> _File:
        try:
            facts = os.stat(path)  # noqa: PTH116  one call, hundreds of hosts
            stamp = (facts.st_mtime_ns, facts.st_size)
        except OSError:
            return _File((0, 0))
        file = self._files.get(path)
        if file is None or file.stamp != stamp:
            file = self._files[path] = _File(stamp)
            try:
                text = Path(path).read_text(encoding="utf-8", errors="replace")
            except OSError as error:
                raise HostKeyRefused(f"cannot read {path}: {error.strerror}") from error
            for line in text.splitlines():
                file.add(line)
        return file

    def _learn(self, name: str, key: HostKey, path: str) -> None:
        target = Path(path)
        file = self._file(path)
        try:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "r+b", buffering=0) as stream:
                size = os.fstat(descriptor).st_size
                whole = size == 0 or os.pread(descriptor, 1, size - 1) == b"\n"
                line = f"{'' if whole else chr(10)}{name} {key}\n".encode()
                stream.write(line)
                facts = os.fstat(descriptor)
        except OSError as error:
            hint = "make it writable, or name another file in `known_hosts`"
            raise HostKeyRefused(f"cannot add the host key of {name} to {path}: {error.strerror}", hint) from error
        if facts.st_size == file.stamp[1] + len(line):  # nobody else wrote meanwhile: no need to read it again
            file.add(line.decode())
            file.stamp = (facts.st_mtime_ns, facts.st_size)
            self._files[path] = file


def _unknown(name: str, key: HostKey, files: tuple[str, ...]) -> HostKeyRefused:
    host, _, port = name.strip("[").partition("]:")
    scan = f"ssh-keyscan {f'-p {port} ' if port else ''}-t {_short(key.type)} {host} >> {files[0]}"
    return HostKeyRefused(
        f"the host key of {name} is unknown: {key.type} {key.fingerprint}",
        f"if that is its fingerprint, pin it with `host_key: {key}`, or run: {scan}"
        "\n  or set `host_key: accept-new` to learn keys at the first login",
    )


def _changed(name: str, key: HostKey, known: list[HostKey], where: str) -> HostKeyRefused:
    expected = ", ".join(sorted({f"{one.type} {one.fingerprint}" for one in known}))
    return HostKeyRefused(
        f"the host key of {name} has changed: it shows {key.type} {key.fingerprint}, {where} has {expected}",
        "somebody may be in between. If the host was made anew, "
        + (f"run: ssh-keygen -R '{name}' -f {where}" if where.startswith("/") else "pin its new key"),
    )


def _short(key_type: str) -> str:
    return next((word for word in ("ed25519", "ecdsa", "rsa") if word in key_type), key_type)
