"""Giving files their meaning: patterns, includes, precedence."""

from pathlib import Path

import pytest

from tests.stages.files import read
from vinfra.text.template import PRECEDENCE

INV = """
vars: {a: all, v: inventory}
hosts: {web1: {vars: {v: host}}, web2: {}, web3: {}, db: {}}
groups:
  web: {hosts: ["web[1:3]"], groups: [], vars: {v: child}}
  site: {groups: [web], hosts: [db], vars: {v: parent}}
  idle: {}
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("pattern", "hosts"),
    [
        ("all", "web1 web2 web3 db"),
        ("web", "web1 web2 web3"),
        ("db:web1", "web1 db"),
        ("all:!web2", "web1 web3 db"),
        ("!web", "db"),
        ("we*:!web3", "web1 web2"),
        ("web[2:3]", "web2 web3"),
        ("web[1:2]:db:!web1", "web2 db"),
        ("site", "web1 web2 web3 db"),
    ],
)
def test_patterns(pattern: str, hosts: str) -> None:
    found = read({"web.yaml": f"blueprint: b\nhosts: {{'{pattern}': {{packages: [x]}}}}\n", "inv.yaml": INV})
    assert not found.problems
    assert [resource.address.host for resource in found.resources] == hosts.split()


def test_an_empty_group_is_a_warning_only() -> None:
    found = read({"web.yaml": "blueprint: b\nhosts: {idle: {packages: [x]}}\n", "inv.yaml": INV})
    assert not found.problems
    assert found.blueprint.warnings == ("web.yaml:2:9: hosts.idle: no host is in idle",)


def test_without_an_inventory_this_machine_is_the_host() -> None:
    found = read({"web.yaml": "blueprint: b\nhosts: {all: {packages: [x]}, localhost: {packages: [y]}}\n"})
    assert [str(resource.address) for resource in found.resources] == [
        "host.package:localhost/x",
        "host.package:localhost/y",
    ]
    assert found.inventory.hosts["localhost"].connection == "local"


def test_precedence_is_what_is_printed() -> None:
    """One step at a time down the list, each time without the highest."""
    part = "vars: {v: included}\nhosts: {included: {files: {/v: '{{ v }}'}}}\n"
    inventory = {
        "host": "hosts: {h: {vars: {v: host}}}\ngroups: {g: {hosts: [h], vars: {v: group}}}\nvars: {v: inventory}\n",
        "group": "hosts: {h: {}}\ngroups: {g: {hosts: [h], vars: {v: group}}}\nvars: {v: inventory}\n",
        "inventory": "hosts: {h: {}}\nvars: {v: inventory}\n",
        "": "hosts: {h: {}}\n",
    }

    def value(
        inv: str, given: str = "", parts: str = part, var_files: list[str] | None = None, extra: list[str] | None = None
    ) -> object:
        with_ = "{v: with}" if given else "{}"
        web = f"blueprint: b\nvars: {{v: blueprint}}\ninclude: [{{file: p.yaml, with: {with_}, hosts: h}}]\n"
        files = {"web.yaml": web, "p.yaml": parts, "inv.yaml": inventory[inv], "v.yaml": "v: file\n"}
        return read(files, extra or (), var_files or ()).field("host.file:h/v", "content")

    found = [
        value("", parts=part.replace("v: included", "")),
        value(""),
        value("", "given"),
        value("inventory", "given"),
        value("group", "given"),
        value("host", "given"),
        value("host", "given", var_files=["v.yaml"]),
        value("host", "given", var_files=["v.yaml"], extra=["v=extra"]),
    ]
    assert found == ["blueprint", "included", "with", "inventory", "group", "host", "file", "extra"]
    assert len(PRECEDENCE) == len(found)


def test_a_child_groups_variables_win_over_its_parents() -> None:
    found = read({"web.yaml": "blueprint: b\nhosts: {all: {files: {/v: '{{ v }}'}}}\n", "inv.yaml": INV})
    values = [found.field(f"host.file:{host}/v", "content") for host in ("web1", "web2", "db")]
    assert values == ["host", "child", "parent"]


def test_an_include_is_used_twice_with_its_own_parameters_and_hosts() -> None:
    part = "vars: {name: , port: 1}\nhosts: {included: {files: {'/p': '{{ name }}:{{ port }} {{ who }}'}}}\n"
    web = (
        "blueprint: b\nvars: {who: me, name: outer, port: 5}\ninclude:\n"
        "  - {file: p.yaml, with: {name: '{{ name }}-x', port: '{{ port + 1 }}'}, hosts: web1}\n"
        "  - {file: p.yaml, with: {name: two}, hosts: 'all:!web1'}\n"
    )
    found = read({"web.yaml": web, "p.yaml": part, "inv.yaml": "hosts: {web1: , db: }\n"})
    assert not found.problems
    assert found.field("host.file:web1/p", "content") == "outer-x:6 me"
    assert found.field("host.file:db/p", "content") == "two:1 me"


def test_included_with_an_exclusion() -> None:
    files = {
        "web.yaml": "blueprint: b\ninclude: [{file: p.yaml, hosts: web}]\n",
        "p.yaml": "hosts: {'included:!web2': {packages: [x]}}\n",
        "inv.yaml": INV,
    }
    assert [resource.address.host for resource in read(files).resources] == ["web1", "web3"]
