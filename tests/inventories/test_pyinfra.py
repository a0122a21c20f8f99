"""pyinfra's inventories: programs, run apart from us."""

import time
from pathlib import Path

import pytest

from vinfra.errors import UsageError
from vinfra.inventories import pyinfra
from vinfra.inventories.found import inventory
from vinfra.model.inventory import Inventory
from vinfra.model.secret import Known
from vinfra.pyinfra_connector import _data


def ours(text: str, folder: Path, **files: str) -> tuple[Inventory, list[str]]:
    (folder / "site.py").write_text(text)
    for name, content in files.items():
        (folder / "group_data").mkdir(exist_ok=True)
        (folder / "group_data" / f"{name}.py").write_text(content)
    made, problems = inventory(pyinfra.read(folder / "site.py"), pyinfra.settings)
    return made, [str(problem).replace(f"{folder}/", "") for problem in problems]


def test_groups_hosts_and_data(tmp_path: Path) -> None:
    made, problems = ours(
        "import os\n_hidden = ['no']\ncount = 3\n"
        "web = ['web1', ('web2', {'ssh_port': 2200, 'workers': 9})]\n"
        "db = ([('db1', {'ssh_hostname': '192.0.2.5'})], {'ssh_user': 'dba', '_sudo': True})\n",
        tmp_path,
        all="import sys\nsite = 'ams'\nworkers = 1\n",
        web="workers = 4\n",
    )
    assert problems == []
    assert list(made.hosts) == ["web1", "web2", "db1"]
    assert made.groups["web"] == ("web1", "web2")
    assert made.groups["site"] == ("web1", "web2", "db1")
    assert made.hosts["db1"].groups == ("db", "site")
    found = made.hosts["db1"]
    assert (found.address, found.user, found.sudo) == ("192.0.2.5", "dba", True)
    assert [made.hosts[name].variables["workers"] for name in made.hosts] == ["4", "9", "1"]
    assert made.hosts["web2"].port == 2200
    assert made.hosts["web1"].position.line == 4
    assert "sys" not in made.hosts["web1"].variables


def test_connectors(tmp_path: Path) -> None:
    made, problems = ours("all = ['@local', '@ssh/web1', '@docker/ubuntu:22.04', '@vagrant/x']\n", tmp_path)
    assert problems == []
    assert made.hosts["localhost"].connection == "local"
    assert made.hosts["web1"].address == "web1"
    assert len(made.hosts) == 2
    assert "@docker; vinfra knows @ssh and @local" in made.warnings[0]


def test_a_password_is_a_secret(tmp_path: Path) -> None:
    made, _ = ours("web = [('a', {'ssh_password': 'hunter2-hunter2'})]\n", tmp_path)
    assert isinstance(made.hosts["a"].password, Known)
    assert "hunter2" not in repr(made)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("web = [", "site.py:1:1: no Python: '[' was never closed"),
        ("\nraise ValueError('no way')", "site.py:2:1: ValueError: no way; it is run as pyinfra runs it"),
        ("import sys\nsys.exit(3)", "site.py:2:1: SystemExit: 3"),
        ("web = [('a', {'x': object()})]", "site.py:1:1: its data cannot be written as JSON"),
        ("web = [('a',)]", "site.py:1:1: ValueError: a host is a name, or a name with a dict of its data, not ('a',)"),
        (
            "web = [(3, {})]",
            "site.py:1:1: ValueError: a host is a name, or a name with a dict of its data, not (3, {})",
        ),
        ("web = [('a', {'ssh_port': 'x'})]", "site.py:1:1: a.port: write a whole number"),
        ("web = [('a', {'ssh_key_password': 'x'})]", "site.py:1:1: a.ssh_key_password: vinfra asks for no passphrase"),
        ("web = [('a', {'_doas': True})]", "site.py:1:1: a._doas: vinfra has nothing like it"),
    ],
)
def test_bad_ones(text: str, told: str, tmp_path: Path) -> None:
    _, problems = ours(text, tmp_path)
    assert problems[0].startswith(told), problems


def test_one_that_hangs_and_one_that_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VINFRA_INVENTORY_TIMEOUT", "2")
    with pytest.raises(UsageError, match="no end after 2 s"):
        ours("import time\ntime.sleep(60)\n", tmp_path)
    with pytest.raises(UsageError, match="was ended by signal 9"):
        ours("import os\nos.kill(os.getpid(), 9)\n", tmp_path)
    with pytest.raises(UsageError, match="ended without saying its hosts"):
        ours("import os\nos._exit(0)\n", tmp_path)


def test_it_may_import_pyinfra_and_what_is_beside_where_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "names.py").write_text("WEB = ['web1']\n")
    monkeypatch.chdir(tmp_path)
    made, problems = ours("from pyinfra.api import Inventory\nfrom names import WEB\nweb = [*WEB, 'web2']\n", tmp_path)
    assert problems == []
    assert made.groups["web"] == ("web1", "web2")


def test_one_that_prints_without_end_or_leaves_something_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vinfra.inventories.program.LARGEST", 1 << 20)
    with pytest.raises(UsageError, match="printed more than 1MiB"):
        ours("while True: print('x' * 9999)\n", tmp_path)
    began = time.monotonic()
    left = "import subprocess\nsubprocess.Popen(['sleep', '50'], start_new_session=True)\nweb = ['a']\n"
    assert list(ours(left, tmp_path)[0].hosts) == ["a"]
    assert time.monotonic() - began < 30


def test_it_never_runs_in_our_process(tmp_path: Path) -> None:
    made, _ = ours(
        f"import os\nweb = [('a', {{'pid': os.getpid()}})]\nopen({str(tmp_path / 'pid')!r}, 'w')\n", tmp_path
    )
    import os

    assert made.hosts["a"].variables["pid"] != str(os.getpid())


def test_secrets_of_the_environment_stay_with_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vinfra import mask

    monkeypatch.setenv("CANARY_TOKEN", "x")
    mask.note_variable("CANARY_TOKEN")
    made, _ = ours("import os\nweb = [('a', {'seen': 'CANARY_TOKEN' in os.environ})]\n", tmp_path)
    assert made.hosts["a"].variables["seen"] == "false"


def test_our_connector_gives_text_without_ansibles_word_for_it() -> None:
    told = {"ansible_user": "root", "ansible_port": 22, "note": {"__ansible_unsafe": "{{ x }}"}, "list": [{"a": 1}]}
    assert _data("a", told, "/ssh_config")["note"] == "{{ x }}"
    assert _data("a", told, "/ssh_config")["list"] == [{"a": 1}]
