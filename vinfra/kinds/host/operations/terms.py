"""What a blueprint says of anything that is run: when, after what, and what it costs. Only the blueprint knows."""

import re
from typing import Literal

from vinfra.model import spec as shape
from vinfra.model.action import Impact
from vinfra.model.spec import field
from vinfra.model.values import Text

SAID = "its `impact:` says so"
WHEN = "what its own `impact:` says"


class Terms(shape.Spec):
    """The fields that a command and an operation share."""

    after: tuple[Text, ...] | None = field(
        "What must be done before it on this host.", compared=False, examples=(["package:git"],)
    )
    impact: Literal["none", "live", "restart", "replace", "data-loss"] = field(
        "What running it costs; only you know.", default="live", compared=False
    )

    @property
    def cost(self) -> Impact:
        """What running it costs."""
        return Impact[self.impact.upper().replace("-", "_")]

    def bound(self, name: str) -> Impact:
        """Only its blueprint knows."""
        return self.cost


def name_problem(name: str) -> str:
    """What is wrong with a label; "" for nothing."""
    return "" if re.fullmatch(r"[^\x00-\x1f/:]{1,100}", name) else "write a label without slashes and colons"
