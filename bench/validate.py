"""How long a blueprint of 50,000 lines takes to load, validate and expand, beside the C composer alone.

    python bench/validate.py [LINES]

Both run in this process with the garbage collector in its default state; the median of five runs counts.
"""

import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

import yaml

from vinfra.kinds.registry import KINDS
from vinfra.stages.expand import expand
from vinfra.stages.load import load
from vinfra.stages.validate import validate

TARGET = 2.5
RUNS = 5


def blueprint(lines: int) -> str:
    """A blueprint of that many lines: files, packages, sysctls and users, one value in ten a template."""
    text = ["blueprint: bench", "vars: {site: berlin, port: 8080}", "hosts:", "  all:"]
    quarter = (lines - len(text)) // 20
    text.append("    files:")
    for number in range(quarter * 2):
        content = "{{ site }}:{{ port }}" if number % 10 == 0 else f"text of file {number}"
        text += [f"      /srv/data/file-{number}:", f'        content: "{content}"', "        mode: 0644"]
        text += ["        owner: root", "        group: root"]
    text.append("    packages:")
    for number in range(quarter):
        text += [f"      package-{number}:", f"        version: 1.{number}", "        recommends: false"]
    text.append("    directories:")
    for number in range(quarter):
        text += [f"      /srv/directory-{number}:", "        mode: 0755", "        owner: root", "        group: root"]
    text.append("    sysctl:")
    text += [f"      net.bench.key{number}: {number}" for number in range(lines - len(text))]
    return "\n".join(text) + "\n"


def compose(file: Path) -> None:
    """The floor."""
    yaml.compose(file.read_bytes(), Loader=yaml.CLoader)


def everything(file: Path) -> int:
    """What `vinfra validate` does with it."""
    loaded = load(file, None, (), ())
    made, inventory, problems = validate(loaded, KINDS)
    resources, wrong = expand(made, inventory, KINDS)
    if loaded.problems or problems or wrong:
        raise SystemExit("\n".join(map(str, [*loaded.problems, *problems, *wrong][:10])))
    return len(resources)


def main() -> int:
    """Measure, print the table, and say whether the target is met."""
    lines = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
    floor, ours = [], []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bench.yaml"
        file.write_text(blueprint(lines), encoding="utf-8")
        count = everything(file)
        for _ in range(RUNS):
            start = perf_counter()
            compose(file)
            middle = perf_counter()
            everything(file)
            floor.append(middle - start)
            ours.append(perf_counter() - middle)
    ratio = median(ours) / median(floor)
    print(f"{lines} lines, {count} resources, median of {RUNS}")
    print(f"  C composer alone          {median(floor):6.2f} s")
    print(f"  load, validate, expand    {median(ours):6.2f} s")
    print(f"  ratio                     {ratio:6.2f}   target ≤ {TARGET}")
    return 0 if ratio <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
