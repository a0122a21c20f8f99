"""A blueprint that is written from what was found says just that when it is read again, whatever stands in it."""

from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from tests.stages.files import read
from vinfra.kinds.registry import KINDS
from vinfra.model.address import Address
from vinfra.model.estate import Estate, Item
from vinfra.report.blueprint_file import text

SIGNS = some.characters(codec="utf-8", exclude_categories=("Cs", "Cc"))
CONTENT = some.text(some.one_of(some.sampled_from("{%#}! \n\t:-'\"|>&*?[],@`~\\"), SIGNS), max_size=60)
NAME = some.text(SIGNS.filter(lambda sign: sign not in "{}%#/"), min_size=1, max_size=20)


def item(kind: str, name: str, fields: dict[str, Any] | None, note: str = "", *owners: str) -> Item:
    return Item(Address(kind, "hv1", name), fields, note, owners)


def written(*items: Item) -> str:
    return text("found", Estate("hv1", items=items), [item for item in items if not item.owners], KINDS)


def test_a_file_for_people() -> None:
    made = written(
        item("host.package", "nginx", {}),
        item("host.package", "curl", {}),
        item("kvm.volume", "odd.img", None, "a raw file\nof that name: cannot be declared"),
        item("kvm.network", "dev", {"mode": "nat"}, "", "rack-a1"),
        item("host.file", "/etc/motd", {"content": "Hello {{ you }}\n", "mode": "0640"}),
        item("host.user", "eve", {"uid": 1000, "groups": ["adm"]}, "no password here"),
    )
    assert made.endswith(
        """#
# Left out, for it is owned already: network:dev (rack-a1).
blueprint: found
hosts:
  hv1:
    packages:
      - curl
      - nginx
    users:
      # no password here
      eve:
        uid: 1000
        groups:
          - adm
    files:
      /etc/motd:
        content: !raw |
          Hello {{ you }}
        mode: '0640'
    # volume:odd.img: a raw file\\nof that name: cannot be declared
"""
    )


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=CONTENT, name=NAME, note=CONTENT)
def test_it_is_read_as_it_was_meant(
    content: str, name: str, note: str, tmp_path_factory: Any, monkeypatch: Any
) -> None:
    with monkeypatch.context() as here:
        here.chdir(tmp_path_factory.getbasetemp())
        path = f"/srv/a{name}"
        files = {
            "web.yaml": written(item("host.file", path, {"content": content}, note)),
            "inv.yaml": "hosts: {hv1: {}}\n",
        }
        found = read(files)
    assert found.problems == []
    assert found.field(f"host.file:hv1{path}", "content") == content


def test_a_host_with_nothing_on_it(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert read({"web.yaml": written(), "inv.yaml": "hosts: {hv1: {}}\n"}).problems == []
