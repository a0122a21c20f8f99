"""`web[01:20:2].example.com:2222`: the hosts that a pattern of Ansible's stands for, and their port."""

import re
from string import ascii_letters

MANY = 10_000
_PORT = re.compile(r"((?:[^:\[\]]|\[[^\]]*\])*):([0-9]+)")
_BRACKETED = re.compile(r"\[(.+)\]:([0-9]+)")


def expanded(pattern: str) -> tuple[list[str], int | None]:
    """The names, and the port they share. Raises ValueError, in words."""
    port = None
    if match := _BRACKETED.fullmatch(pattern) or _PORT.fullmatch(pattern):
        pattern, port = match[1], int(match[2])
        if not 0 < port < 65536:
            raise ValueError("a port is 1 to 65535")
    if not pattern or pattern.endswith(":"):
        raise ValueError("write the host's name, or NAME:PORT")
    if pattern == "---":
        raise ValueError("this is the beginning of a YAML file; call it .yaml")
    names = [pattern]
    while any("[" in name for name in names):
        names = [each for name in names for each in (_range(name) if "[" in name else (name,))]
        if len(names) > MANY:
            raise ValueError(f"a range of more than {MANY} names")
    return names, port


def _range(name: str) -> list[str]:
    head, _, rest = name.partition("[")
    inside, closed, tail = rest.partition("]")
    bounds = inside.split(":")
    if not closed or len(bounds) not in (2, 3) or not bounds[1]:
        raise ValueError("a range is written [01:20], [01:20:2] or [a:f]")
    first, last = bounds[0] or "0", bounds[1]
    step = bounds[2] if len(bounds) == 3 else "1"
    if not step.isdigit() or int(step) == 0:
        raise ValueError(f"the range [{inside}] has no step {step!r}; write a whole number")
    if len(first) == len(last) == 1 and first.isalpha() and last.isalpha():
        low, high = ascii_letters.find(first), ascii_letters.find(last)
        if low < 0 or high < low:
            raise ValueError(f"the range [{inside}] runs backwards")
        return [f"{head}{letter}{tail}" for letter in ascii_letters[low : high + 1 : int(step)]]
    if not (first.isdigit() and last.isdigit()):
        raise ValueError(f"the range [{inside}] has numbers or letters at both ends")
    width = len(first) if first.startswith("0") and len(first) > 1 else 0
    if width and width != len(last):
        raise ValueError(f"the range [{inside}]: write both ends with the same number of digits")
    numbers = range(int(first), int(last) + 1, int(step))
    if not numbers:
        raise ValueError(f"the range [{inside}] runs backwards")
    if len(numbers) > MANY:
        raise ValueError(f"a range of more than {MANY} names")
    return [f"{head}{str(number).zfill(width)}{tail}" for number in numbers]
