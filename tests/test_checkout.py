"""An old checkout is told from a new one, by git or by what marks and files say."""

import os
import subprocess
from pathlib import Path

from vinfra.checkout import Checkout


def git(folder: Path, *arguments: str) -> str:
    names = {f"GIT_{who}_{what}": "x@y" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **names}).stdout


def test_a_checkout_has_what_it_came_after_and_nothing_else(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    assert not Checkout(tmp_path).commit
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "one")
    one = Checkout(tmp_path).commit
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "two")
    two = Checkout(tmp_path)
    assert two.has(one)
    assert two.has(two.commit)
    git(tmp_path, "checkout", "-q", one)
    old = Checkout(tmp_path)
    assert old.commit == one
    assert not old.has(two.commit)
    assert not old.has("f" * 40)


def test_without_git_files_tell_their_time(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text("x")
    os.utime(file, (1000, 1000))
    found = Checkout(tmp_path, (str(file), str(tmp_path / "gone")))
    assert not found.commit
    assert found.written == "1970-01-01T00:16:40+00:00"
