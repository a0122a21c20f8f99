"""The model under load (docs/decisions/0020): `make test-laws` lets it run for long."""

import os

from hypothesis import HealthCheck, settings

from tests.laws.machine import Operators

LONG = int(os.environ.get("VINFRA_LAWS", "0"))
PROFILE = settings(
    max_examples=LONG or 40,
    stateful_step_count=40 if LONG else 15,
    deadline=None,
    derandomize=not LONG,
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)

TestOperators = Operators.TestCase
TestOperators.settings = PROFILE
