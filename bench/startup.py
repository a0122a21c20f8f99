"""How long `vinfra --help` takes beside the floor: a Python that imports typer and rich and ends.

Run `python bench/startup.py`. Both are started in turn, so that what else the machine does hits both; the smallest of
each counts, for nothing makes a start faster than it is.
"""

import subprocess
import sys
import time

ROUNDS = 20
ALLOWED = 1.3
FLOOR = [sys.executable, "-c", "import typer, rich"]
VINFRA = [sys.executable, "-c", "from vinfra.cli.main import main; main()"]
OTHERS = (["--help"], ["plan", "--help"], ["version"])


def once(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> int:
    commands = {"floor": FLOOR, **{f"vinfra {' '.join(args)}": [*VINFRA, *args] for args in OTHERS}}
    for command in commands.values():
        once(command)
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, command in commands.items():
            times[name].append(once(command))
    floor = min(times["floor"])
    for name, taken in times.items():
        middle = sorted(taken)[len(taken) // 2]
        print(f"{name:<20} {min(taken) * 1000:6.1f} ms  median {middle * 1000:6.1f} ms  {min(taken) / floor:5.2f}x")
    return int(min(times["vinfra --help"]) > ALLOWED * floor)


if __name__ == "__main__":
    sys.exit(main())
