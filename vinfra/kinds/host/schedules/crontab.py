"""Lines of a file in /etc/cron.d (crontab(5)): written, read back, and what is wrong with a schedule."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

NICKNAMES = ("@reboot", "@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, MONTHS),
    ("day of the week", 0, 7, DAYS),
)


def schedule_problem(text: str) -> str:
    """Why cron would not take this as a time; "" if it would."""
    words = text.split()
    if text.startswith("@"):
        return "" if text in NICKNAMES else f"cron knows {', '.join(NICKNAMES)}"
    if len(words) != len(FIELDS):
        return f"write minute, hour, day, month and day of the week, such as 30 4 * * 1-5; here are {len(words)} fields"
    for word, (what, least, most, names) in zip(words, FIELDS, strict=True):
        for item in word.split(","):
            if not _fits(item.lower(), least, most, names):
                return f"{item or word!r} is no {what}: write {least} to {most}, *, ranges (1-5), steps (*/10) or lists"
    return ""


def _fits(item: str, least: int, most: int, names: tuple[str, ...]) -> bool:
    match = re.fullmatch(r"(\*|\w+)(?:-(\w+))?(?:/(\d+))?", item, re.ASCII)
    if not match:
        return False
    first, last, step = match.groups()
    if step is not None and (int(step) == 0 or (first != "*" and last is None)):
        return False
    if first == "*":
        return last is None
    ends = [_number(word, least, names) for word in (first, last) if word is not None]
    if any(end is None or not least <= end <= most for end in ends):
        return False
    return len(ends) == 1 or (ends[0] or 0) <= (ends[1] or 0)


def _number(word: str, least: int, names: tuple[str, ...]) -> int | None:
    if word in names:
        return names.index(word) + (1 if names is MONTHS else least)
    return int(word) if word.isdigit() else None


@dataclass(frozen=True, slots=True)
class Job:
    """What one of our files says."""

    schedule: str
    user: str
    command: str
    env: Mapping[str, str]


def written(job: Job) -> str:
    """The file. To cron a % ends the command and begins its standard input, so each is escaped."""
    env = "".join(f'{name}="{value}"\n' for name, value in job.env.items())
    line = job.command.strip(" \t").replace("%", r"\%")
    return f"{env}{' '.join(job.schedule.split())} {job.user} {line}\n"


def parsed(text: str) -> Job | None:
    """One of our files read back; None when it holds anything else."""
    env: dict[str, str] = {}
    lines = [line for line in text.split("\n") if line.strip() and not line.lstrip().startswith("#")]
    for line in lines[:-1]:
        match = re.fullmatch(r'\s*([A-Za-z_]\w*)\s*=\s*"?(.*?)"?\s*', line)
        if not match:
            return None
        env[match[1]] = match[2]
    width = 1 if lines and lines[-1].startswith("@") else 5
    words = re.split(r"[ \t]+", lines[-1].strip(" \t"), maxsplit=width + 1) if lines else []
    if len(words) != width + 2:
        return None
    return Job(" ".join(words[:width]), words[width], words[-1].replace(r"\%", "%"), env)
