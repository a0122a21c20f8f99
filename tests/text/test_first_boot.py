"""Data for a first boot that stands in a file is read with the blueprint, and what is wrong in it names its line."""

from pathlib import Path
from typing import Any

import pytest

from vinfra.kinds.kvm import domain, seed
from vinfra.model.source import Pointer
from vinfra.model.values import Plain
from vinfra.text.fields import build
from vinfra.text.first_boot import with_files

FILES = {
    "web.yaml": "#cloud-config\npackages: [nginx]\n",
    "net.yaml": "version: 2\nethernets:\n  lan: {match: {macaddress: card 0}, addresses: [10.0.0.5/24]}\n",
    "setup.sh": "#!/bin/sh\necho hello\n",
    "typo.yaml": "#cloud-config\nhostname: web\n\npakcages: [nginx]\nusers:\n- default\n- {shel: /bin/sh, name: ops}\n",
    "odd.yaml": "#cloud-config\na: b: c\n",
    "plain.yaml": "packages: [nginx]\n",
    "list.yaml": "- a\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    return tmp_path


def read(folder: Path, spec: Any, values: dict[str, Any]) -> tuple[Any, list[tuple[Pointer, str]]]:
    said: list[tuple[Pointer, str]] = []
    found = with_files(values, spec, folder, lambda pointer, message: said.append((pointer, message)))
    made = build(spec, found, folder)
    said += [(fault.pointer, fault.message) for fault in made] if isinstance(made, list) else []
    return made, said


def test_a_file_is_what_is_in_it(folder: Path) -> None:
    told = {
        "user_data": {"file": "setup.sh"},
        "vendor_data": {"file": "web.yaml"},
        "network_config": {"file": "net.yaml"},
    }
    made, said = read(folder, domain.Spec, {"memory": Plain("1GiB"), "cloud_init": told})
    assert said == []
    assert made.cloud_init.user_data == FILES["setup.sh"]
    assert made.cloud_init.vendor_data == FILES["web.yaml"]
    assert made.cloud_init.network_config["ethernets"]["lan"]["addresses"] == ["10.0.0.5/24"]
    alone, said = read(folder, seed.Spec, told)
    assert said == []
    assert alone.user_data == FILES["setup.sh"]


@pytest.mark.parametrize(
    ("name", "file", "at", "message"),
    [
        ("user_data", "typo.yaml", (), "typo.yaml:4: pakcages: cloud-init has no pakcages; did you mean packages?"),
        ("user_data", "odd.yaml", (), "odd.yaml:2: no YAML: mapping values are not allowed here"),
        ("vendor_data", "plain.yaml", (), "plain.yaml:1: begin with #cloud-config"),
        ("user_data", "nosuch.yaml", ("file",), "nosuch.yaml: No such file or directory"),
        ("user_data", "binary", ("file",), "binary: it is no text"),
        ("network_config", "odd.yaml", ("file",), "odd.yaml:2: no YAML"),
        ("network_config", "list.yaml", ("file",), "list.yaml: write a mapping"),
        ("network_config", "plain.yaml", (), "say version: 2"),
    ],
)
def test_what_is_wrong_in_it_is_told(folder: Path, name: str, file: str, at: Pointer, message: str) -> None:
    _, said = read(folder, domain.Spec, {"memory": Plain("1GiB"), "cloud_init": {name: {"file": file}}})
    pointer, first = said[0]
    assert pointer == ("cloud_init", name, *at)
    assert message in first


def test_everything_wrong_in_a_file_is_told_with_its_line(folder: Path) -> None:
    _, said = read(folder, seed.Spec, {"user_data": {"file": "typo.yaml"}})
    assert [message for _, message in said] == [
        "typo.yaml:4: pakcages: cloud-init has no pakcages; did you mean packages?; "
        "typo.yaml:7: users[1].shel: cloud-init has no shel; did you mean shell?"
    ]
