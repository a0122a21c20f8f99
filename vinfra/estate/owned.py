"""Hosts without a blueprint: all that is on them, what of that is owned, and by whom."""

import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from vinfra.errors import TransportError
from vinfra.kinds.host import facts as host_facts
from vinfra.model.address import Address
from vinfra.model.estate import Estate, Item
from vinfra.model.kind import Answers, Kinds, Listed, Lists, Scope
from vinfra.model.mark import DIRECTORY, Mark, parse
from vinfra.model.outcome import Observer
from vinfra.model.question import Question, Raw, ReadMarks
from vinfra.model.transport import Reader
from vinfra.transport.reach import Connections

# Accounts, then their keys; folders, then what is in their files.
ROUNDS = 4


def survey(
    connections: Connections, hosts: Iterable[str], kinds: Kinds, forks: int, observer: Observer
) -> dict[str, Estate]:
    """Each host in one round trip, two where something must be known first; without kinds, its marks alone.

    A host that cannot be read says why in `error`.
    """

    def one(host: str) -> Estate:
        observer.host_started(host, 0)
        began = time.monotonic()
        try:
            estate = _read(host, kinds, connections.reader(host))
        except TransportError as error:
            estate = Estate(host, error=error.line)
        observer.host_read(host, time.monotonic() - began, estate.error)
        return estate

    names = tuple(hosts)
    with ThreadPoolExecutor(max(1, min(forks, len(names))), thread_name_prefix="estate") as pool:
        return {estate.host: estate for estate in pool.map(one, names)}


def _read(host: str, kinds: Kinds, reader: Reader) -> Estate:
    listing = {name: kind for name, kind in kinds.items() if isinstance(kind, Lists)}
    answers: dict[Question, Raw] = {}
    for _ in range(ROUNDS):
        asked = [question for kind in listing.values() for question in kind.ask_all(answers)]
        new = [item for item in dict.fromkeys((*host_facts.ask(), ReadMarks(), *asked)) if item not in answers]
        if not new:
            break
        answers |= reader.ask(tuple(new))
    raw = answers[ReadMarks()]
    if not raw.ok:
        raise TransportError(f"vinfra's marks cannot be read: {raw.err.strip()}", f"look at {DIRECTORY} on the host")
    marks, complaints = parse(raw.text)
    found = tuple(marks.values())
    view = _view(host, found, answers)
    told = [(name, item) for name, kind in listing.items() for item in kind.listing(view, answers)]
    unread = {name.rpartition(".")[2]: item.note for name, item in told if not item.name}
    owners = _owners(found, kinds)
    items = tuple(_item(host, name, item, owners, kinds) for name, item in told if item.name)
    return Estate(host, items=items, unread=unread, marks=found, complaints=tuple(complaints))


def _view(host: str, marks: Iterable[Mark], answers: Answers) -> Scope:
    known: dict[str, list[Mark]] = {}
    for mark in marks:
        known.setdefault(Address(mark.kind, host, mark.name).reference, []).append(mark)
    facts = host_facts.read(answers)
    return Scope(host, (), facts, marks={name: tuple(items) for name, items in known.items()})


def _owners(marks: Iterable[Mark], kinds: Kinds) -> Mapping[str, tuple[str, ...]]:
    """The blueprints that have marks on a thing, by what it is: two names may mean one (`nginx`, `nginx.service`)."""
    found: dict[str, dict[str, None]] = {}
    for mark in marks:
        found.setdefault(_identity(mark.kind, mark.name, kinds), {})[mark.blueprint] = None
    return {name: tuple(sorted(owners)) for name, owners in found.items()}


def _identity(kind: str, name: str, kinds: Kinds) -> str:
    own = kinds[kind].identity(name) if kind in kinds else ""
    return own or f"{kind}:{name}"


def _item(host: str, kind: str, listed: Listed, owners: Mapping[str, tuple[str, ...]], kinds: Kinds) -> Item:
    known = {*owners.get(_identity(kind, listed.name, kinds), ()), listed.owner} - {""}
    return Item(Address(kind, host, listed.name), listed.fields, listed.note, tuple(sorted(known)))


def unmanaged(estates: Iterable[Estate]) -> Iterator[Item]:
    """What nobody owns."""
    return (item for estate in estates for item in estate.items if not item.owners)
