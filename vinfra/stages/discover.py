"""Ask every host, all at once, and read the answers: what is really there.

In two goes: `survey` asks the first round, which says where the machines are that can move; after `place` has given
everything its host, `finish` asks the rest. On most hosts there is no rest: one round trip has told all.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from vinfra import mask
from vinfra.errors import TransportError
from vinfra.model import lease
from vinfra.model.action import Impact
from vinfra.model.address import Address
from vinfra.model.answer import Answer, Unknown
from vinfra.model.blueprint import Resource
from vinfra.model.change import Delta
from vinfra.model.discovery import HostState, Marks
from vinfra.model.kind import Composite, FactsReader, Kinds, Machines, Store, Stores, Tenant
from vinfra.model.lease import LEASE
from vinfra.model.mark import DIRECTORY, VERSION, Mark, parse, worn
from vinfra.model.outcome import Observer
from vinfra.model.question import Question, Raw, ReadFile, ReadMarks
from vinfra.model.transport import Reader

# Kinds ask in layers (a pool, then its volumes); more rounds than this mean that two kinds keep each other asking.
ROUNDS = 8
UNPRUNED = "nothing is pruned here until that line is mended"

Render = Callable[[tuple[Resource, ...], Mapping[str, Any]], tuple[tuple[Resource, ...], dict[Address, Delta]]]
_In = TypeVar("_In")
_Out = TypeVar("_Out")


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for, on behalf of which blueprint. `leftover` says of a mark whether its object left that.

    `allow` says by a fleet's name what it may cost that something leaves it. `around` gives what is declared on a host
    beside what is looked for: kinds see it, and do not read it; `outline` renders that, where it is another way than
    `render`. `seen` gives the marks of a host as this blueprint is to see them; `formerly` are names that the owner had
    before.
    """

    kinds: Kinds
    facts: FactsReader
    render: Render
    owner: str = ""
    leftover: Callable[[Mark, Address], bool] = lambda *_: False
    allow: Mapping[str, Impact] = field(default_factory=dict)
    around: Callable[[str], Sequence[Resource]] = lambda _: ()
    seen: Callable[[str, Marks], Marks] = lambda _, marks: marks
    formerly: frozenset[str] = frozenset()
    outline: Render | None = None


@dataclass(slots=True)
class Survey:
    """One host after the first round: who it is, whose things are on it, and what of that can move.

    `error` says why it could not be read. `found` holds the first answers about what has no host yet, `tenants` the
    machines on it, `stores` its pools.
    """

    host: str
    state: HostState
    answers: dict[Question, Raw] = field(default_factory=dict)
    found: Mapping[Address, Answer] = field(default_factory=dict)
    tenants: tuple[Tenant, ...] = ()
    stores: Mapping[str, Store] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def error(self) -> str:
        """Why nothing is known of it."""
        return self.state.error


def survey(
    wanted: Mapping[str, Sequence[Resource]],
    search: Search,
    reader: Callable[[str], Reader],
    observer: Observer,
    forks: int,
) -> dict[str, Survey]:
    """The first round of each host: asked by name alone, before any fact. What may land there is asked for too.

    A host that cannot be read has `error` set; it never raises.
    """

    def one(item: tuple[str, Sequence[Resource]]) -> Survey:
        host, resources = item
        observer.host_started(host, 0)
        started = time.monotonic()
        try:
            found = _first(host, tuple(resources), search, reader(host))
        except Exception as error:
            found = Survey(host, HostState(host, search.owner, error=_told(error)))
            observer.host_read(host, time.monotonic() - started, found.error)
        found.seconds = time.monotonic() - started
        return found

    return {found.host: found for found in _side_by_side(one, wanted.items(), forks)}


def finish(
    surveys: Mapping[str, Survey],
    placed: Mapping[str, Sequence[Resource]],
    search: Search,
    reader: Callable[[str], Reader],
    observer: Observer,
    forks: int,
) -> dict[str, HostState]:
    """The state of each host with what was placed on it: asked round after round until no kind has a question left."""

    def one(found: Survey) -> HostState:
        if found.error:
            return replace(found.state, seconds=found.seconds)
        started = time.monotonic()
        try:
            state = _rest(found, tuple(placed.get(found.host, ())), search, reader(found.host))
        except Exception as error:
            state = HostState(found.host, search.owner, error=_told(error))
        seconds = found.seconds + time.monotonic() - started
        observer.host_read(found.host, seconds, state.error)
        return replace(state, seconds=seconds)

    return {state.host: state for state in _side_by_side(one, surveys.values(), forks)}


def _side_by_side(work: Callable[[_In], _Out], items: Collection[_In], forks: int) -> list[_Out]:
    pool = ThreadPoolExecutor(max(1, min(forks, len(items))), thread_name_prefix="discover")
    try:
        return list(pool.map(work, items))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # on Ctrl-C the caller closes the connections that hold it


def _told(error: Exception) -> str:
    if isinstance(error, TransportError):
        return error.line
    # A bug in a kind, or an answer nobody thought of, must not hide the other hosts.
    return mask.struck(f"vinfra failed on this host's answers: {type(error).__name__}: {error}")


def _first(host: str, wanted: tuple[Resource, ...], search: Search, reader: Reader) -> Survey:
    around = tuple(map(_without_deferred, search.around(host)))
    resources = tuple(map(_without_deferred, wanted))
    state = HostState(host, search.owner, resources=resources, around=around, formerly=search.formerly)
    known = (ReadMarks(), ReadFile(LEASE))
    asked = dict.fromkeys((*search.facts.ask(), *known, *_questions(state, search, {})))
    answers = dict(reader.ask(tuple(asked)))
    facts = search.facts.read(answers)
    marks, complaints = _marks(answers[ReadMarks()]) if search.kinds else ({}, [])
    held = lease.parse(answers[ReadFile(LEASE)].text, facts.get("uptime"))
    old = not complaints and worn(answers[ReadMarks()].text, search.owner)
    marks = search.seen(host, marks)
    state = replace(state, facts=facts, marks=marks, complaints=tuple(complaints), lease=held, worn=old)
    movable = {item.address.kind for item in state.resources if item.demand}
    machines = {name for name in movable if isinstance(search.kinds[name], Machines)}
    views = {name: view for name, view in state.scopes(search.kinds).items() if name in machines}
    found = _read(views, search.kinds, answers)
    return Survey(host, state, answers, found, tuple(_tenants(search.kinds, answers)), _stores(search.kinds, answers))


def _tenants(kinds: Kinds, answers: Mapping[Question, Raw]) -> Iterator[Tenant]:
    """Every machine that was seen, whether machines were looked for or not."""
    for kind in kinds.values():
        if isinstance(kind, Machines):
            yield from kind.tenants(answers)


def _stores(kinds: Kinds, answers: Mapping[Question, Raw]) -> Mapping[str, Store]:
    return {
        name: one for kind in kinds.values() if isinstance(kind, Stores) for name, one in kind.stores(answers).items()
    }


def _rest(found: Survey, wanted: tuple[Resource, ...], search: Search, reader: Reader) -> HostState:
    """Facts and marks are known, resources have their place, leftovers came to light: ask on until all is known."""
    rendered, refused = search.render(wanted, found.state.facts)
    beside, _ = (search.outline or search.render)(tuple(search.around(found.host)), found.state.facts)
    known, around = (tuple(map(_without_deferred, items)) for items in (rendered, beside))
    odd = tuple(_odd(search, found.state.marks))
    complaints = (*found.state.complaints, *(f"{complaint}; {UNPRUNED}" for complaint in odd))
    left = () if complaints else _leftovers(found.host, search, found.state.marks, (*wanted, *around))
    state = replace(found.state, resources=known + left, around=around, refused=refused, complaints=complaints)
    for _ in range(ROUNDS):
        new = [question for question in _questions(state, search, found.answers) if question not in found.answers]
        if not new:
            return replace(state, answers=_read(state.scopes(search.kinds), search.kinds, found.answers))
        found.answers |= reader.ask(tuple(dict.fromkeys(new)))
    raise TransportError(f"{found.host}: still asking after {ROUNDS} rounds", "this is a bug in a kind")


def _questions(state: HostState, search: Search, answers: Mapping[Question, Raw]) -> list[Question]:
    views = state.scopes(search.kinds)
    return [question for name, view in views.items() for question in search.kinds[name].ask(view, answers)]


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
    return marks, [f"{complaint}; {UNPRUNED}" for complaint in complaints]


def _odd(search: Search, marks: Marks) -> Iterator[str]:
    """Marks that would let us delete what cannot have this name: somebody wrote them, or in them."""
    for mark in marks.values():
        made = mark.ours and mark.blueprint == search.owner and mark.kind in search.kinds
        if made and (wrong := search.kinds[mark.kind].check(mark.name, None)):
            yield f"mark of {mark.kind} {mark.name[:80]!r}: {wrong}"


def _leftovers(host: str, search: Search, marks: Marks, staying: Iterable[Resource]) -> tuple[Resource, ...]:
    """What the owner made on this host and no longer wishes for. What it merely found there is never among them.

    It may cost what the fleet that it was of, or the object that it was a part of, says now.
    """
    wholes = {name for name, kind in search.kinds.items() if isinstance(kind, Composite)}
    allowed = {item.address.name: item.allow for item in staying if item.address.kind in wholes}
    nouns = {name.rpartition(".")[2]: name for name in search.kinds}
    found: list[Resource] = []
    for mark in marks.values():
        address = Address(mark.kind, host, mark.name)
        ours = mark.ours and mark.version <= VERSION and mark.kind in search.kinds
        if ours and search.leftover(mark, address):
            references = frozenset().union(*search.kinds[mark.kind].references(mark.name, None))
            pairs = (reference.split(":", 1) for reference in references)
            after = frozenset(Address(nouns[noun], host, name) for noun, name in pairs if noun in nouns)
            whole, part, _ = mark.name.partition("/")
            allow = max(search.allow.get(mark.fleet, Impact.NONE), allowed.get(whole if part else "", Impact.NONE))
            found.append(Resource(address, desired=None, after=after, protect=mark.protect, allow=allow))
    return tuple(_tied(resource, found) if resource.address.kind in wholes else resource for resource in found)


def _tied(whole: Resource, found: Sequence[Resource]) -> Resource:
    """What is made of parts (`web-01` of `web-01/root`) goes before them, and they stay if it cannot go."""
    parts = {item.address for item in found if item.address.name.startswith(f"{whole.address.name}/")}
    return replace(whole, after=whole.after | parts)
