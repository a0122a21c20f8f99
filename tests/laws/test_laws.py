"""The model under load (docs/decisions/0020): `make test-laws` lets it run for long, and breaks the product as well."""

import os

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.laws.machine import Operators
from tests.laws.mutants import MUTANTS

EXAMPLES = int(os.environ.get("VINFRA_LAWS", "0"))
PROFILE = settings(
    max_examples=EXAMPLES or 40,
    stateful_step_count=30 if EXAMPLES else 12,
    derandomize=not EXAMPLES,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)

TestOperators = Operators.TestCase
TestOperators.settings = PROFILE


@pytest.mark.skipif(not EXAMPLES, reason="make test-laws")
@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_product_is_found(name: str) -> None:
    mutant, words = MUTANTS[name]
    quick = settings(PROFILE, max_examples=600, stateful_step_count=20, derandomize=True, phases=[Phase.generate])
    with mutant(), pytest.raises(AssertionError, match=words):
        run_state_machine_as_test(Operators, settings=quick)
