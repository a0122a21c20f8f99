"""docs/faults.md, from what was seen."""

from pathlib import Path
from typing import NamedTuple

HEAD = """\
# Faults

What was done to vinfra and its hosts while it worked, and what one more run made of it. Written by `make test-faults`
from what it saw, on real systemd hosts, real libvirt and QEMU; nobody edits this page.

A **point** is a place where the run was stopped: before each script and each libvirt call of a step, between any two
calls of a script as it runs on the host, or after so many bytes of an upload. At each point, on a host made anew, the
fault was made and the same command run again, once. That point counts as **converged** if all of this holds:

- that one run ended with exit code 0, and the plan after it is empty;
- the host is as after a run that nothing disturbed: files and their content, owners, modes; users, units, sysctls,
  packages; networks, pools, volumes and machines in libvirt; and what each mark says, "made by us" or "found" included;
- nothing half-made is left: no temporary file, no unit of vinfra's, nothing in /tmp or /run, no lease that is held.

"Waited" is the longest that this one run waited for the lease of the run before it, or for its last step to end on the
host. "First run" is how the disturbed run ended where it was not killed.

| scenario | fault | points | converged | waited | first run |
|---|---|---|---|---|---|
"""


class Row(NamedTuple):
    """One line of the table."""

    scenario: str
    fault: str
    tried: int
    failed: int
    waited: float
    first: str


def write(file: Path, rows: list[Row]) -> None:
    """The page, with these rows in the place of those that were there."""
    known = {(row.scenario, row.fault): row for row in [*_read(file), *rows]}
    lines = [
        f"| {row.scenario} | {row.fault} | {row.tried} | {_outcome(row)} | {_waited(row)} | {row.first} |"
        for row in sorted(known.values())
    ]
    total, failed = sum(row.tried for row in known.values()), sum(row.failed for row in known.values())
    file.write_text(HEAD + "\n".join(lines) + f"\n\n{total} points, of which {total - failed} converged.\n")


def _read(file: Path) -> list[Row]:
    """When only a part is run, the rest stays."""
    rows = []
    for line in file.read_text().splitlines() if file.exists() else ():
        if line.startswith("| ") and "| points |" not in line:
            scenario, fault, tried, converged, waited, first = line[2:-2].split(" | ")
            failed = 0 if converged == "all" else int(tried) - int(converged)
            rows.append(Row(scenario, fault, int(tried), failed, 0.0 if waited == "not" else float(waited[:-2]), first))
    return rows


def _outcome(row: Row) -> str:
    return "all" if not row.failed else f"{row.tried - row.failed}"


def _waited(row: Row) -> str:
    return "not" if row.waited < 0.5 else f"{row.waited:.0f} s"
