"""Maintenance as the text of a blueprint: whatever a pattern or a check holds, it is read back as it was given."""

import json

import pytest
import yaml

from vinfra.text.maintenance import Maintenance, health


@pytest.mark.parametrize("word", ["web", "a\nb", 'a"b', "{{ x }}", "é", "\U0001f600", "\\ud83d\\ude00", "\u2028"])
def test_every_word_is_read_back_as_it_was_given(word: str) -> None:
    text = Maintenance(word, None, {"when": word}, {"health": health([f"command:echo {json.dumps(word)}"])}).blueprint()
    hosts = yaml.safe_load(text)["hosts"]
    assert list(hosts) == [word]
    assert hosts[word]["reboot"] == {"when": word}
