"""Facts: from machines as tests/facts/ has them; whatever is missing or odd is None and leaves the rest whole."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from vinfra.kinds.host import facts
from vinfra.kinds.registry import KINDS
from vinfra.model import tree
from vinfra.model.fact import SORTS, Fact, known, outline
from vinfra.model.question import Exec, Question, Raw
from vinfra.report.as_json import facts_document
from vinfra.report.schema import schemas

MACHINES = {
    file.stem: yaml.safe_load(file.read_text("utf-8"))
    for file in sorted((Path(__file__).parents[1] / "facts").glob("*.yaml"))
}
DOCUMENTED = outline(fact for topic in facts.documented().values() for fact in topic)


def answers(machine: Mapping[str, Any]) -> dict[Question, Raw]:
    files = {path: text.replace("\\n", "\n") for path, text in machine["files"].items()}
    said: dict[Question, Raw] = {facts.TREE: Raw(0, tree.answer(files, machine["links"], *machine["names"]))}
    for question in facts.PROGRAMS:
        text = machine["programs"].get(question.argv[0])
        said[question] = Raw(127, b"", "not found") if text is None else Raw(0, str(text).encode())
    return said


def at(found: Any, path: str) -> Any:
    """A fact by its path; a name may hold dots."""
    if not path:
        return found
    for key in sorted(found, key=len, reverse=True):
        if path == key or path.startswith(f"{key}."):
            return at(found[key], path[len(key) + 1 :])
    raise AssertionError(f"no {path} among {list(found)}")


@pytest.mark.parametrize("name", MACHINES)
def test_a_machine(name: str) -> None:
    found = facts.read(answers(MACHINES[name]))
    assert {path: at(found, path) for path in MACHINES[name]["expect"]} == MACHINES[name]["expect"]


@pytest.mark.parametrize("name", MACHINES)
def test_all_that_a_machine_has_is_asked_for(name: str) -> None:
    """Or a case would prove what no host is ever asked."""
    machine, asked = MACHINES[name], facts.TREE
    for given_, patterns in ((machine["files"], asked.files), (machine["links"], asked.links)):
        assert [path for path in given_ if not any(_matches(path, pattern) for pattern in patterns)] == []
    assert [path for path in machine["names"] if not any(_matches(path, pattern) for pattern in asked.names)] == []


def _matches(path: str, pattern: str) -> bool:
    return path.count("/") == pattern.count("/") and Path(path).match(pattern)


def leaves(found: Any, node: Any, path: str) -> Iterator[tuple[str, Fact, Any]]:
    """Every fact of a host with what is declared of it."""
    if isinstance(node, Fact):
        yield path, node, found
        return
    assert isinstance(node, dict), f"facts{path} is not documented"
    assert isinstance(found, dict | None)
    for name, value in (found or {}).items():
        yield from leaves(value, known(node, name), f"{path}.{name}")


def test_what_is_read_is_what_is_documented() -> None:
    told = [item for machine in MACHINES.values() for item in leaves(facts.read(answers(machine)), DOCUMENTED, "")]
    for path, fact, value in told:
        right = value is None or (
            isinstance(value, SORTS[fact.sort]) and isinstance(value, bool) == (fact.sort == "flag")
        )
        assert right, f"facts{path} is {value!r}, not {fact.sort}"
    every = {fact.path for topic in facts.documented().values() for fact in topic}
    assert every - {fact.path for _, fact, _ in told} == set(), "documented, and never read"
    never = every - {fact.path for _, fact, value in told if value is not None}
    assert never == set(), "no machine of tests/facts has them"
    for topic in facts.documented().values():
        assert [fact.path for fact in topic if not isinstance(fact.example, SORTS[fact.sort]) or not fact.doc] == []


def test_the_json_is_as_its_schema_says() -> None:
    validator = Draft202012Validator(schemas(KINDS, facts.documented())["facts.schema.json"])
    for told in (*(facts.read(answers(machine)) for machine in MACHINES.values()), facts.read({}), "no route to host"):
        document = json.loads(json.dumps(facts_document({"h": told}, 0)))  # type: ignore[arg-type]
        assert [error.message for error in validator.iter_errors(document)] == []
    document["hosts"][0]["facts"] = {"odd": 1}
    assert list(validator.iter_errors(document))


def test_other_families() -> None:
    for text, family in (
        ("ID=ubuntu\nID_LIKE=debian", "debian"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"', "redhat"),
        ('ID="opensuse-leap"\nID_LIKE="suse opensuse"', "suse"),
        ("ID=void", "other"),
    ):
        assert facts.read({facts.TREE: Raw(0, tree.answer({"/etc/os-release": text}))})["os"]["family"] == family


def test_a_host_that_says_nothing() -> None:
    found = facts.read({})
    assert found["os"]["id"] is None
    assert found["systemd"] == {"running": False, "state": None}
    assert found["addresses"] is None
    assert found["memory"]["total"] is None
    assert set(found) == set(facts.read(answers(MACHINES["server"])))


@pytest.mark.parametrize(
    ("installed", "running", "newer"),
    [
        (["6.1.0-9-amd64", "6.1.0-18-amd64"], "6.1.0-9-amd64", "6.1.0-18-amd64"),
        (["6.1.0-9-amd64", "6.1.0-18-amd64"], "6.1.0-18-amd64", None),
        (["6.10.3", "6.9.12"], "6.9.12", "6.10.3"),
        (["6.1.0-9-amd64"], "5.10.0-custom", None),  # booted from elsewhere: nobody knows what comes next
        ([], "6.1.0-9-amd64", None),
    ],
)
def test_a_newer_kernel_waits_for_a_reboot(installed: list[str], running: str, newer: str | None) -> None:
    said = {
        facts.TREE: Raw(0, tree.answer({}, {}, *(f"/boot/vmlinuz-{release}" for release in installed))),
        facts.system.UNAME: Raw(0, f"h {running} x86_64".encode()),
    }
    found = facts.read(said)["reboot"]
    assert (found["kernel"], found["required"]) == (newer, newer is not None)


def test_no_host_fills_our_memory() -> None:
    names = [f"/sys/kernel/iommu_groups/{n}/devices/0000:{n:02x}:00.0" for n in range(5000)]
    files = {f"/sys/class/net/veth{n}/uevent": f"INTERFACE=veth{n}" for n in range(5000)}
    files |= {f"/sys/bus/pci/devices/{n:04x}:00:00.0/uevent": "PCI_CLASS=20000" for n in range(5000)}
    files["/proc/self/mountinfo"] = "\n".join(f"1 1 0:1 / /m{n} rw - ext4 /dev/x rw" for n in range(5000))
    found = facts.read({facts.TREE: Raw(0, tree.answer(files, {}, *names))})
    assert [len(found[name]) for name in ("interfaces", "pci", "filesystems")] == [512, 512, 512]


WORDS = st.sampled_from(
    ["name", "children", "type", "ifname", "addr_info", "linkinfo", "info_data", "local", "vg", "vg_name"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=8,
)
LISTS = st.lists(st.dictionaries(WORDS, JSON, max_size=5), max_size=3)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(facts.PROGRAMS), LISTS, st.text(max_size=40))
def test_an_odd_answer_leaves_the_rest_whole(program: Exec, odd: Any, noise: str) -> None:
    server = answers(MACHINES["server"])
    for text in (noise, json.dumps(odd), json.dumps({"blockdevices": odd}), json.dumps({"report": odd})):
        found = facts.read({**server, program: Raw(0, text.encode("utf-8", "surrogatepass"))})
        assert set(found) == set(facts.read(server))
        assert found["hardware"]["serial"] == "7XK2LM3"


ODD_FILES = st.sampled_from(sorted(MACHINES["server"]["files"]))
WORD = st.sampled_from(
    ["-", " - ", "cpu", "some", "total=x", "avg10=nan", "1e999", "sda", "00000000", "0003", "/", "\\040", "|"]
)


@settings(max_examples=200, deadline=None)
@given(ODD_FILES, st.lists(WORD | st.text(max_size=6), max_size=20).map(" ".join))
def test_an_odd_file_leaves_the_rest_whole(path: str, text: str) -> None:
    server = MACHINES["server"]
    odd = {**server, "files": {**server["files"], path: text}}
    found = facts.read(answers(odd))
    assert set(found) == set(facts.read(answers(server)))
    assert found["numa"]["0"]["cpus"] == "0,2" or "node0/cpulist" in path
    json.dumps(found, allow_nan=False)
