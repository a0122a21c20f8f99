"""The closed sets of a plan: what is done, whether it can be, what it costs."""

from enum import Enum, IntEnum


class Action(Enum):
    """What is to be done; the value is the symbol in a plan's row."""

    NOOP = " "
    CREATE = "+"
    UPDATE = "~"
    REPLACE = "±"
    DELETE = "-"
    MOVE = ">"
    ADOPT = "="
    CHECK = "*"


class Verdict(Enum):
    """Whether it can be done; the value is the symbol that replaces the action's when it is not `ok`."""

    OK = ""
    REFUSED = "!"
    UNKNOWN = "?"
    LATER = "…"


class Impact(IntEnum):
    """What a change costs those who use the object and everything it hits, in rising order."""

    NONE = 0
    LIVE = 1
    RESTART = 2
    REPLACE = 3
    DATA_LOSS = 4

    def __str__(self) -> str:
        return self.name.lower().replace("_", "-")
