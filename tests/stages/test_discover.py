"""One round trip where one will do, leftovers by mark, and a host that cannot be read never hides the others."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tests.toys import KINDS, LAMP, Lamp
from vinfra.errors import Unreachable
from vinfra.kinds.registry import KINDS as REAL
from vinfra.model.address import Address
from vinfra.model.answer import Absent, Present, Unknown
from vinfra.model.blueprint import Resource
from vinfra.model.discovery import HostState
from vinfra.model.mark import Birth, Mark, State
from vinfra.model.outcome import Observers
from vinfra.model.question import Exec, Question, Raw, ReadMarks
from vinfra.stages.discover import Search, finish, survey


class Facts:
    def ask(self) -> list[Question]:
        return [Exec(("uname", "-r"))]

    def read(self, answers: Mapping[Question, Raw]) -> dict[str, Any]:
        return {"kernel": answers[Exec(("uname", "-r"))].text}


class Host:
    """Answers from a table; everything else is no such program."""

    def __init__(self, answers: dict[Question, Raw] | None = None) -> None:
        self.answers = {Exec(("uname", "-r")): Raw(0, b"6.1"), ReadMarks(): Raw(0, b""), **(answers or {})}
        self.rounds: list[list[Question]] = []

    def ask(self, questions: Sequence[Question]) -> dict[Question, Raw]:
        self.rounds.append(list(questions))
        return {question: self.answers.get(question, Raw(127, b"", "no such program")) for question in questions}


def lamp(name: str, host: str = "a") -> Resource:
    return Resource(Address("toy.lamp", host, name), Lamp(watt=40))


def look(wanted: dict[str, list[Resource]], hosts: dict[str, Any], **search: Any) -> dict[str, HostState]:
    tools = Search(KINDS, Facts(), lambda resources, _: (resources, {}), **search)

    def reader(name: str) -> Any:
        if isinstance(hosts[name], Exception):
            raise hosts[name]
        return hosts[name]

    surveys = survey(wanted, tools, reader, Observers(), forks=4)
    return finish(surveys, wanted, tools, reader, Observers(), forks=4)


def test_facts_marks_and_all_resources_take_one_round() -> None:
    host = Host({LAMP.question("x"): Raw(0, b"40"), LAMP.question("y"): Raw(2, b"")})
    state = look({"a": [lamp("x"), lamp("y"), lamp("z")]}, {"a": host})["a"]
    assert len(host.rounds) == 1
    assert state.facts == {"kernel": "6.1"}
    kinds = {address.name: type(answer) for address, answer in state.answers.items()}
    assert kinds == {"x": Present, "y": Absent, "z": Unknown}


def test_a_dead_host_is_unknown_and_the_others_are_read() -> None:
    states = look({"a": [lamp("x")], "b": [lamp("x", "b")]}, {"a": Unreachable("a: no answer"), "b": Host()})
    assert states["a"].error == "a: no answer"
    assert not states["b"].error
    assert list(states) == ["a", "b"]


def marks(*entries: tuple[str, str, Birth]) -> Raw:
    lines = [Mark(owner, "toy.lamp", name, State.OWNED, birth).line() for owner, name, birth in entries]
    return Raw(0, "\n".join(lines).encode())


def test_leftovers_are_what_this_blueprint_created_and_no_longer_names() -> None:
    found = marks(
        ("mine", "x", Birth.CREATED),
        ("mine", "old", Birth.CREATED),
        ("mine", "was", Birth.FOUND),
        ("theirs", "t", Birth.CREATED),
    )

    def left(mark: Mark, address: Address) -> bool:
        return mark.blueprint == "mine" and address.name != "x"

    host = Host({ReadMarks(): found, LAMP.question("old"): Raw(0, b"40")})
    state = look({"a": [lamp("x")]}, {"a": host}, leftover=left)["a"]
    assert [(item.address.name, item.desired is None) for item in state.resources] == [("x", False), ("old", True)]
    assert isinstance(state.answers[Address("toy.lamp", "a", "old")], Present)
    assert len(host.rounds) == 2
    assert len(look({"a": [lamp("x")]}, {"a": Host({ReadMarks(): found})})["a"].resources) == 1


def test_a_host_whose_marks_cannot_be_read_is_unknown() -> None:
    host = Host({ReadMarks(): Raw(1, marks(("mine", "old", Birth.CREATED)).out, "Permission denied")})
    state = look({"a": [lamp("x")]}, {"a": host}, leftover=lambda *_: True)["a"]
    assert "marks cannot be read: Permission denied" in state.error


def test_a_line_cut_short_stops_pruning_for_it_may_have_been_a_release() -> None:
    cut = marks(("mine", "old", Birth.CREATED)).out + b'\n{"blueprint": "mi'
    state = look({"a": [lamp("x")]}, {"a": Host({ReadMarks(): Raw(0, cut)})}, leftover=lambda *_: True)["a"]
    assert len(state.resources) == 1
    assert "nothing is pruned" in state.complaints[0]


def test_a_mark_of_a_newer_version_is_not_acted_on() -> None:
    newer = replace(Mark("mine", "toy.lamp", "old", State.OWNED, Birth.CREATED), version=99).line().encode()
    state = look({"a": [lamp("x")]}, {"a": Host({ReadMarks(): Raw(0, newer)})}, leftover=lambda *_: True)["a"]
    assert len(state.resources) == 1


def test_a_kind_that_breaks_on_an_answer_costs_its_host_alone() -> None:
    odd = Host({LAMP.question("x"): Raw(0, b"not a number")})
    fine = Host({LAMP.question("x"): Raw(0, b"40")})
    states = look({"a": [lamp("x")], "b": [lamp("x", "b")]}, {"a": odd, "b": fine})
    assert "ValueError" in states["a"].error
    assert not states["b"].error


def test_what_is_made_of_parts_goes_before_them_and_a_file_is_no_part_of_its_directory() -> None:
    names = [("kvm.domain", "web"), ("kvm.volume", "web/root"), ("host.directory", "/srv"), ("host.file", "/srv/a")]
    lines = [Mark("mine", kind, name, State.OWNED, Birth.CREATED).line() for kind, name in names]
    host = Host({ReadMarks(): Raw(0, "\n".join(lines).encode())})
    search = Search(REAL, Facts(), lambda resources, _: (resources, {}), leftover=lambda *_: True)
    surveys = survey({"a": []}, search, lambda _: host, Observers(), forks=1)
    found = finish(surveys, {"a": []}, search, lambda _: host, Observers(), forks=1)["a"].resources
    after = {item.address.name: {str(address) for address in item.after} for item in found}
    assert "kvm.volume:a/web/root" in after["web"]
    assert "host.file:a/srv/a" not in after["/srv"]
