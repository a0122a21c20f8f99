"""The two unit files of a timer: written field by field, and read back the same way."""

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

FOLDER = "/etc/systemd/system"
# systemd.exec(5): nothing of these keeps a program from its work that only reads the system and writes its own data.
HARDENING = (("NoNewPrivileges", "yes"), ("PrivateTmp", "yes"), ("ProtectSystem", "full"), ("ProtectHome", "read-only"))

Directives = tuple[tuple[str, tuple[str, ...]], ...]


def files(name: str) -> tuple[str, str]:
    """The timer's file and its service's."""
    return f"{FOLDER}/vinfra-{name}.timer", f"{FOLDER}/vinfra-{name}.service"


def quoted(argument: str) -> str:
    """A word as systemd.syntax(7) reads it: in quotes, no specifier expanded. In `Environment=` a $ is just a $."""
    escaped = argument.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return escaped if re.fullmatch(r"[\w@+=:,./-]+", argument) else f'"{escaped}"'


def command_line(run: Sequence[str]) -> str:
    """Arguments as systemd.service(5) reads them: nothing is expanded in these either."""
    return " ".join(quoted(argument).replace("$", "$$") for argument in run)


def taken_apart(line: str) -> tuple[str, ...]:
    """The words of a line that `quoted` wrote."""
    try:
        return tuple(word.replace("%%", "%") for word in shlex.split(line))
    except ValueError:
        return (line,)


def span(value: float) -> str:
    """A span as systemd.time(7) reads it: in seconds, never with an exponent."""
    exact = repr(float(value))
    return (f"{value:.9f}" if "e" in exact else exact).removesuffix(".0") + "s"


def seconds(value: float | None) -> tuple[str, ...]:
    """The one value of a directive, none where nothing is said."""
    return () if value is None else (span(value),)


def directives(said: Mapping[str, Any]) -> dict[str, tuple[str, Directives]]:
    """Per field of a timer the section and what it sets there."""
    env = tuple(quoted(f"{key}={value}") for key, value in (said.get("env") or {}).items())
    return {
        "on_calendar": ("Timer", (("OnCalendar", tuple(said.get("on_calendar") or ())),)),
        "on_boot": ("Timer", (("OnBootSec", seconds(said.get("on_boot"))),)),
        "interval": ("Timer", (("OnUnitActiveSec", seconds(said.get("interval"))),)),
        "persistent": ("Timer", (("Persistent", ("true",) if said.get("persistent") else ()),)),
        "randomized_delay": ("Timer", (("RandomizedDelaySec", seconds(said.get("randomized_delay"))),)),
        "run": ("Service", (("ExecStart", (command_line(said.get("run") or ()),)),)),
        "user": ("Service", (("User", (said["user"],) if said.get("user") else ()),)),
        "cwd": ("Service", (("WorkingDirectory", (said["cwd"].replace("%", "%%"),) if said.get("cwd") else ()),)),
        "env": ("Service", (("Environment", env),)),
        "timeout": ("Service", (("TimeoutStartSec", seconds(said.get("timeout"))),)),
        "hardened": ("Service", tuple((key, (value,) if said.get("hardened") else ()) for key, value in HARDENING)),
    }


def texts(name: str, said: Mapping[str, Any]) -> tuple[str, str]:
    """Both files, as they are to be."""
    sections: dict[str, list[str]] = {"Timer": [], "Service": ["Type=oneshot"]}
    for section, found in directives(said).values():
        sections[section] += [f"{key}={value}" for key, values in found for value in values]
    timer = ["[Unit]", f"Description=When {name} runs", "", "[Timer]", *sections["Timer"]]
    service = ["[Unit]", f"Description={name}", "", "[Service]", *sections["Service"]]
    install = ["", "[Install]", "WantedBy=timers.target"]
    return "".join(f"{line}\n" for line in (*timer, *install)), "".join(f"{line}\n" for line in service)


def told(text: str) -> dict[str, tuple[str, ...]]:
    """What a unit file sets, each directive with all its values."""
    found: dict[str, tuple[str, ...]] = {}
    for line in text.split("\n"):
        key, equals, value = line.partition("=")
        if equals and line[:1] not in "#;":
            found[key.strip()] = (*found.get(key.strip(), ()), value.strip(" \t"))
    return found


def fields(timer: str, service: str) -> dict[str, Any]:
    """Both files by the names of host.timer; a value that we would not write stays text."""
    known = told(timer) | told(service)
    env = dict(word.partition("=")[::2] for line in known.get("Environment", ()) for word in taken_apart(line))
    return {
        "on_calendar": known.get("OnCalendar"),
        "on_boot": _span(known.get("OnBootSec")),
        "interval": _span(known.get("OnUnitActiveSec")),
        "persistent": _last(known.get("Persistent")) == "true",
        "randomized_delay": _span(known.get("RandomizedDelaySec")),
        "run": tuple(word.replace("$$", "$") for word in taken_apart(_last(known.get("ExecStart")) or "")),
        "user": _last(known.get("User")),
        "cwd": cwd.replace("%%", "%") if (cwd := _last(known.get("WorkingDirectory"))) else None,
        "env": env or None,
        "timeout": _span(known.get("TimeoutStartSec")),
        "hardened": all(_last(known.get(key)) == value for key, value in HARDENING),
    }


def _last(values: Sequence[str] | None) -> str | None:
    return values[-1] if values else None


def _span(values: Sequence[str] | None) -> float | str | None:
    text = _last(values)
    return float(text[:-1]) if text and re.fullmatch(r"\d+(\.\d+)?s", text) else text
