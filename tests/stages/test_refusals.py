"""Every refusal, as data: which files, and exactly what is said of them."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.stages.files import read

CASES = yaml.safe_load(Path(__file__).with_name("refusals.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_is_refused_in_these_words(case: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = [problem.replace(str(tmp_path), "DIR") for problem in read(case["files"]).problems]
    assert found == case["problems"]
    assert found, "a refusal says something"


def test_names_are_unique() -> None:
    assert len({case["name"] for case in CASES}) == len(CASES)
