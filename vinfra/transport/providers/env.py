"""`env:NAME`: a variable of vinfra's own environment."""

import os

from vinfra.errors import Unresolved


def fetch(name: str) -> str:
    """The variable's value."""
    value = os.environ.get(name)
    if not value:
        state = "is empty" if value == "" else "is not set"
        raise Unresolved(f"the environment variable {name} {state}", f"export {name}=…")
    return value
