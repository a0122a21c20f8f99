"""Which boot of a host this is, so that one boot is told from the next."""

from collections.abc import Mapping

from vinfra.model.question import Exec, Question, Raw, ReadFile

BOOT_ID = ReadFile("/proc/sys/kernel/random/boot_id")
FIRST_PROCESS = ReadFile("/proc/1/stat")
STATE = Exec(("systemctl", "is-system-running"))
FAILED = Exec(("systemctl", "list-units", "--failed", "--plain", "--no-legend"))
QUESTIONS: tuple[Question, ...] = (BOOT_ID, FIRST_PROCESS)

_START = 19  # proc(5): the start time is field 22, and field 3 comes first after the program's name


def identity(answers: Mapping[Question, Raw]) -> str:
    """The boot's own word, "" when it cannot be told. Containers share the kernel's, but not their first process."""
    boot, first = answers.get(BOOT_ID), answers.get(FIRST_PROCESS)
    fields = first.text.rpartition(") ")[2].split() if first is not None and first.ok else []
    if boot is None or not boot.ok or len(fields) <= _START:
        return ""
    return f"{boot.text.strip()}/{fields[_START]}"


def failed_units(answers: Mapping[Question, Raw]) -> frozenset[str]:
    """The units of systemd that failed."""
    raw = answers.get(FAILED)
    lines = raw.text.splitlines() if raw is not None and raw.ok else []
    return frozenset(line.split()[0] for line in lines if line.strip())
