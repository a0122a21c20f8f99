"""Facts: the time, its zone, and who keeps it."""

from typing import Any

from vinfra.kinds.host.facts.told import Told, number
from vinfra.model.fact import FLAG, NUMBER, TEXT, Fact
from vinfra.model.question import Exec
from vinfra.model.tree import Tree

UPTIME = "/proc/uptime"
SOURCE = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
LOCALTIME, TIMEZONE = "/etc/localtime", "/etc/timezone"
# systemd-timesyncd touches the first once it has set the clock; the folder is there as soon as it runs.
SYNCHRONIZED, TIMESYNCD = "/run/systemd/timesync/synchronized", "/run/systemd/timesync"
DAEMONS = {"/run/chrony": "chrony", "/run/chronyd.pid": "chrony", "/run/ntpd.pid": "ntp", TIMESYNCD: "timesyncd"}
FILES = (UPTIME, SOURCE, TIMEZONE)
LINKS = (LOCALTIME,)
NAMES = (SYNCHRONIZED, *DAEMONS)
NOW = Exec(("date", "+%s.%N"))
PROGRAMS = (NOW,)

FACTS = (
    Fact("now", NUMBER, "The host's clock: since 1970, UTC.", 1795395658.94, "seconds"),
    Fact("uptime", NUMBER, "How long the kernel has run.", 1264.19, "seconds"),
    Fact("time.zone", TEXT, "The time zone, from /etc/localtime or /etc/timezone.", "Europe/Berlin"),
    Fact("time.service", TEXT, "Who keeps the clock: chrony, ntp or timesyncd; None when nobody was seen.", "chrony"),
    Fact(
        "time.synchronized",
        FLAG,
        "Whether systemd-timesyncd has set the clock since it started. None with other services: they keep it to "
        "themselves.",
        True,
    ),
    Fact("time.clocksource", TEXT, "What the kernel counts time by.", "tsc"),
)


def read(told: Told) -> dict[str, Any]:
    """Now, and since when."""
    tree = told.tree
    uptime = (tree.text(UPTIME).split() or [""])[0]
    service = next((name for path, name in DAEMONS.items() if path in tree.names), None)
    known = SYNCHRONIZED in tree.names if service == "timesyncd" else None
    return {
        "now": number(told.said(NOW)),
        "uptime": number(uptime),
        "time": {
            "zone": _zone(tree),
            "service": service,
            "synchronized": known,
            "clocksource": tree.text(SOURCE) or None,
        },
    }


def _zone(tree: Tree) -> str | None:
    _, found, zone = tree.links.get(LOCALTIME, "").partition("/zoneinfo/")
    return zone if found else tree.text(TIMEZONE) or None
