"""Ask every host, all at once, and read the answers: what is really there."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from vinfra.errors import TransportError
from vinfra.model.address import Address
from vinfra.model.answer import Answer, Unknown
from vinfra.model.blueprint import Resource
from vinfra.model.discovery import HostState, Marks
from vinfra.model.kind import FactsReader, Kinds
from vinfra.model.mark import DIRECTORY, VERSION, Birth, Mark, parse
from vinfra.model.outcome import Observer
from vinfra.model.question import Question, Raw, ReadMarks
from vinfra.model.transport import Reader

# Kinds ask in layers (a pool, then its volumes); more rounds than this mean that two kinds keep each other asking.
ROUNDS = 8

Place = Callable[[tuple[Resource, ...], Mapping[str, Any]], tuple[tuple[Resource, ...], dict[Address, str]]]


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for, on behalf of which blueprint. `leftover` says of a mark whether its object left that."""

    kinds: Kinds
    facts: FactsReader
    place: Place
    owner: str = ""
    leftover: Callable[[Mark, Address], bool] = lambda *_: False


def discover(
    wanted: Mapping[str, Sequence[Resource]],
    search: Search,
    reader: Callable[[str], Reader],
    observer: Observer,
    forks: int,
) -> dict[str, HostState]:
    """The state of each host, in the order given. A host that cannot be read has `error` set; it never raises."""
    pool = ThreadPoolExecutor(max(1, min(forks, len(wanted))), thread_name_prefix="discover")
    try:
        found = pool.map(lambda item: _host(item[0], tuple(item[1]), search, reader, observer), wanted.items())
        return {state.host: state for state in found}
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # on Ctrl-C the caller closes the connections that hold it


def _host(
    host: str, wanted: tuple[Resource, ...], search: Search, reader: Callable[[str], Reader], observer: Observer
) -> HostState:
    started = time.monotonic()
    observer.host_started(host, 0)
    try:
        state = _ask(host, wanted, search, reader(host), started)
    except TransportError as error:
        hint = " ".join(error.hint.split())
        state = HostState(host, error=f"{error.message} ({hint})" if hint else error.message)
    except Exception as error:  # a bug in a kind, or an answer nobody thought of, must not hide the other hosts
        state = HostState(host, error=f"vinfra failed on this host's answers: {type(error).__name__}: {error}")
    observer.host_read(host, time.monotonic() - started, state.error)
    return state


def _ask(host: str, wanted: tuple[Resource, ...], search: Search, reader: Reader, started: float) -> HostState:
    """Round after round, until no kind has another question. The first is asked by name alone, before any fact."""
    answers: dict[Question, Raw] = {}
    state = HostState(host, search.owner, resources=tuple(map(_without_deferred, wanted)))
    asked: Iterable[Question] = (*search.facts.ask(), ReadMarks())
    for round_number in range(ROUNDS):
        views = state.scopes(search.kinds)
        asked = [*asked, *(new for name, view in views.items() for new in search.kinds[name].ask(view, answers))]
        new = [question for question in dict.fromkeys(asked) if question not in answers]
        if not new:
            found = _read(views, search.kinds, answers)
            return replace(state, answers=found, seconds=time.monotonic() - started)
        answers |= reader.ask(new)
        asked = ()
        if round_number == 0:
            state = _settled(state, wanted, search, answers)
    raise TransportError(f"{host}: still asking after {ROUNDS} rounds", "this is a bug in a kind")


def _settled(
    state: HostState, wanted: tuple[Resource, ...], search: Search, answers: Mapping[Question, Raw]
) -> HostState:
    """After the first round: facts and marks are known, resources get their place, and leftovers come to light."""
    facts = search.facts.read(answers)
    marks, complaints = _marks(answers[ReadMarks()]) if search.kinds else ({}, [])
    placed, refused = search.place(wanted, facts)
    left = () if complaints else _leftovers(state.host, search, marks)
    return replace(
        state, facts=facts, marks=marks, resources=placed + left, refused=refused, complaints=tuple(complaints)
    )


def _read(views: Mapping[str, Any], kinds: Kinds, answers: Mapping[Question, Raw]) -> dict[Address, Answer]:
    found: dict[Address, Answer] = {}
    for name, view in views.items():
        read = kinds[name].read(view, answers)
        for resource in view.wanted:
            found[resource.address] = read.get(resource.address.name, Unknown("the host gave no answer about it"))
    return found


def _without_deferred(resource: Resource) -> Resource:
    """The first round asks by name alone: fields that wait for facts count as not managed."""
    if resource.desired is None or not resource.desired.deferred:
        return resource
    return replace(resource, desired=resource.desired.model_copy(update=dict.fromkeys(resource.desired.deferred)))


def _marks(raw: Raw) -> tuple[Marks, list[str]]:
    """Whose things are whose. A line that cannot be read is said, and then nothing is pruned: it may be a release.

    Raises TransportError when no mark can be read: then nobody knows what on this host may be touched.
    """
    if not raw.ok:
        raise TransportError(f"vinfra's marks cannot be read: {raw.err.strip()}", f"look at {DIRECTORY} on the host")
    marks, complaints = parse(raw.text)
    return marks, [f"{complaint}; nothing is pruned here until that line is mended" for complaint in complaints]


def _leftovers(host: str, search: Search, marks: Marks) -> tuple[Resource, ...]:
    """What the owner made on this host and no longer wishes for. What it merely found there is never among them."""
    nouns = {name.rpartition(".")[2]: name for name in search.kinds}
    found: list[Resource] = []
    for mark in marks.values():
        address = Address(mark.kind, host, mark.name)
        ours = mark.birth is Birth.CREATED and mark.version <= VERSION and mark.kind in search.kinds
        if ours and search.leftover(mark, address):
            references = frozenset().union(*search.kinds[mark.kind].references(mark.name, None))
            pairs = (reference.split(":", 1) for reference in references)
            after = frozenset(Address(nouns[noun], host, name) for noun, name in pairs if noun in nouns)
            found.append(Resource(address, desired=None, after=after, protect=mark.protect))
    return tuple(found)
