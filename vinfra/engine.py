"""The stages in order. This is the only module, with `look`, that knows every part and wires them together.

load → validate → expand → discover → place → diff → plan → judge → apply → report
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path

from vinfra.errors import InputError, RefusedError, UsageError
from vinfra.estate import backup as backups
from vinfra.estate import imported, owned, vms
from vinfra.estate import restore as restores
from vinfra.estate import retire as retiring
from vinfra.estate import snapshots as shots
from vinfra.estate.offered import Offered, offer
from vinfra.estate.retire import Retirement
from vinfra.inventories import reading
from vinfra.inventories.netbox import Keeping
from vinfra.kinds.host import facts as host_facts
from vinfra.kinds.registry import kinds as known_kinds
from vinfra.look.aim import require_declared, selected
from vinfra.look.evacuation import evacuation as leave
from vinfra.look.look import Look
from vinfra.model.backup import Backup
from vinfra.model.discovery import HostState
from vinfra.model.estate import Estate
from vinfra.model.inventory import OWN, Host, Inventory, Source, source
from vinfra.model.machine import DOMAIN, Machine, Site
from vinfra.model.outcome import Observer, Observers, Outcome
from vinfra.model.plan import Plan
from vinfra.model.request import Consent, Request, Wish
from vinfra.model.snapshot import Snapshot
from vinfra.model.source import Problem
from vinfra.model.spec import Spec
from vinfra.report import plan_file
from vinfra.report.journal import state_directory
from vinfra.stages.discover import Search, finish, survey
from vinfra.stages.expand import expand
from vinfra.stages.judge import judge
from vinfra.stages.load import contents, load, load_site
from vinfra.stages.validate import validate as check
from vinfra.text.inventory import read_inventory
from vinfra.text.site import read_site
from vinfra.text.yaml import parse
from vinfra.transport.leases import outlast
from vinfra.transport.reach import Connections
from vinfra.transport.secrets import Secrets

NOBODY = Observers()


def validate(request: Request) -> Wish:
    """Load, validate and expand. Raises InputError with every problem of every file."""
    kinds = known_kinds()
    named = source(request.inventory) if request.inventory else None
    foreign = _foreign(named) if named else None
    file = named.file if named else None
    loaded = load(request.blueprint, None if foreign else file, request.var_files, request.extra, request.text)
    blueprint, inventory, invalid = check(loaded, kinds, foreign)
    resources, wrong = expand(blueprint, inventory, kinds)
    policies, unfit = read_site(load_site(request.site, file), inventory, kinds)
    problems: list[Problem] = sorted({*loaded.problems, *invalid, *wrong, *unfit}, key=lambda problem: problem.position)
    if problems:
        raise InputError(problems)
    return Wish(blueprint, inventory, resources, policies)


def plan(request: Request, observer: Observer = NOBODY, now: datetime | None = None) -> Plan:
    """Everything up to the plan, held against the site's policies if a time is given. Touches nothing."""
    wish = validate(request)
    with Connections(wish.inventory) as connections:
        made = Look(request, wish, connections, observer).plan()
        return judge(made, wish.policies, now) if now else made


def apply(request: Request, consent: Consent, observer: Observer = NOBODY, run: str = "") -> Outcome:
    """Plan, ask for consent, run. Raises RefusedError before the first step when the plan holds what may not run."""
    wish = validate(request)
    with Connections(wish.inventory) as connections:
        look, made = _undisturbed(lambda: Look(request, wish, connections, observer))
        return look.run(judge(made, wish.policies, consent.now()), consent, run)


def destroy(request: Request, consent: Consent, observer: Observer = NOBODY, run: str = "") -> Outcome:
    """Remove all that this blueprint created on the inventory's hosts; what was there before stays."""
    wish = validate(request)
    with Connections(wish.inventory) as connections:
        bare = replace(wish, resources=())
        look, made = _undisturbed(lambda: Look(request, bare, connections, observer, everywhere=True))
        return look.run(judge(made, wish.policies, consent.now()), consent, run)


def adopt(request: Request, consent: Consent, observer: Observer = NOBODY, run: str = "") -> Outcome:
    """Take over what is declared, exists and is aimed at. Nothing of it changes but its mark."""
    wish = validate(request)
    require_declared(request, wish)
    with Connections(wish.inventory) as connections:
        look, made = _undisturbed(lambda: Look(request, wish, connections, observer, adopting=True))
        return look.run(judge(made, wish.policies, consent.now()), consent, run)


def evacuation(request: Request, pattern: str, observer: Observer = NOBODY, now: datetime | None = None) -> Plan:
    """What `evacuate` would do. Touches nothing."""
    request, wish, hosts = _leaving(request, pattern)
    with Connections(wish.inventory) as connections:
        look = Look(request, wish, connections, observer)
        made = leave(look.plan(), look.moves, hosts)
        return judge(made, wish.policies, now) if now else made


def evacuate(request: Request, pattern: str, consent: Consent, observer: Observer = NOBODY, run: str = "") -> Outcome:
    """Carry the machines of the blueprint's fleets from the hosts of a pattern to others; nothing else is changed."""
    request, wish, hosts = _leaving(request, pattern)
    with Connections(wish.inventory) as connections:
        look, made = _undisturbed(lambda: Look(request, wish, connections, observer))
        made = leave(made, look.moves, hosts)
        return look.run(judge(made, wish.policies, consent.now()), consent, run)


def named(inventory: Path | None, pattern: str) -> tuple[str, ...]:
    """The hosts that a pattern names, in their order. Raises UsageError, InputError."""
    return selected(inventory_of(inventory), pattern)


def _leaving(request: Request, pattern: str) -> tuple[Request, Wish, frozenset[str]]:
    wish = validate(request)
    hosts = frozenset(selected(wish.inventory, pattern))
    guests = sorted(host for host in hosts if wish.inventory.hosts[host].connection == "guest")
    if guests:
        raise UsageError(f"{guests[0]} is itself a machine of this blueprint", "name the hypervisor that is to be left")
    return replace(request, leaving=hosts), wish, hosts


def facts(inventory: Path | None, pattern: str, forks: int = 50, observer: Observer = NOBODY) -> dict[str, HostState]:
    """The hosts of a pattern as they describe themselves; `error` in a state says why one could not be read."""
    machines = inventory_of(inventory, observer)
    with Connections(machines) as connections:
        search = Search({}, host_facts, lambda resources, _: (resources, {}))
        hosts = dict.fromkeys(selected(machines, pattern), ())
        surveys = survey(hosts, search, connections.reader, observer, forks)
        return finish(surveys, {}, search, connections.reader, observer, forks)


def sites(inventory: Path | None, pattern: str, forks: int = 50, observer: Observer = NOBODY) -> dict[str, Site]:
    """The hosts of a pattern and every virtual machine on them, ours or not."""
    machines = inventory_of(inventory, observer)
    with Connections(machines) as connections:
        return vms.survey(connections, selected(machines, pattern), forks, observer)


def estates(
    inventory: Path | None, pattern: str, forks: int = 50, observer: Observer = NOBODY, *, listing: bool = True
) -> dict[str, Estate]:
    """The hosts of a pattern with the marks on them and, if `listing`, everything that kinds can list there."""
    machines, kinds = inventory_of(inventory, observer), known_kinds()
    with Connections(machines) as connections:
        hosts = selected(machines, pattern)
        return owned.survey(connections, hosts, kinds if listing else {}, forks, observer)


def import_host(inventory: Path | None, host: str, observer: Observer = NOBODY) -> tuple[str, Estate]:
    """The text of a blueprint of what is on a host ("" when it cannot be read), and what was found there."""
    if host not in (known := inventory_of(inventory).hosts):
        near = get_close_matches(host, known, n=1)
        raise UsageError(f"there is no host {host!r} in the inventory", f"did you mean {near[0]}?" if near else "")
    found = estates(inventory, host, 1, observer)[host]
    if found.error:
        return "", found
    return imported.blueprint(found, known_kinds(), lambda file: plan(Request(file, inventory, limit=host))), found


def retire(
    inventory: Path | None,
    host: str,
    agree: Callable[[Retirement], bool],
    observer: Observer = NOBODY,
    run: str = "",
    *,
    leave: bool = False,
) -> tuple[Retirement | None, int]:
    """Release what is owned on a host, and how many marks that were; None when the inventory does not have it."""
    machines = inventory_of(inventory, observer)
    if host not in machines.hosts:
        return None, 0
    with Connections(machines) as connections:
        found = owned.survey(connections, [host], {}, 1, observer)[host]
        if found.error:
            return Retirement(found), 0
        whole = Retirement(found, retiring.machines(connections, found))
        return whole, retiring.retire(connections, whole, agree, run, leave=leave)


def power(
    inventory: Path | None, pattern: str, names: Sequence[str], action: vms.Action, observer: Observer = NOBODY
) -> list[tuple[Machine, str]]:
    """Start, stop or reboot machines that vinfra made, side by side: each with what went wrong ("" for nothing)."""
    hosts = inventory_of(inventory, observer)
    with Connections(hosts) as connections:
        found = vms.survey(connections, selected(hosts, pattern), 50, observer)
        return vms.power(connections, vms.find(found.values(), names, ours=True), action)


def backup(
    inventory: Path | None, pattern: str, name: str, folder: Path, tell: Callable[[str], None] = print
) -> tuple[Machine, Backup]:
    """Save a machine, whoever made it, into a folder that is not there yet."""
    with reach(inventory, pattern, name) as (machine, connections):
        return machine, backups.backup(connections, machine, folder, tell)


def restore(
    inventory: Path | None,
    folder: Path,
    name: str = "",
    on: str = "",
    tell: Callable[[str], None] = print,
    *,
    start: bool = False,
) -> tuple[str, str, Backup]:
    """Make a machine from its backup: its name, its host, and what the backup says. Nothing is written over.

    `name` is that of a copy, "" for its own one; `on` the host, "" for where it was.
    """
    if name and (problem := known_kinds()[DOMAIN].check(name, None)):
        raise UsageError(f"no machine can be called {name!r}", problem)
    made = restores.checked(folder)
    hosts, name, on = inventory_of(inventory), name or made.machine, on or made.host
    if on not in hosts.hosts:
        raise UsageError(f"there is no host {on!r} in the inventory", "say --on, and one of its hosts")
    with Connections(hosts) as connections:
        sites = vms.survey(connections, hosts.hosts, 50, NOBODY)
        there = [site.host for site in sites.values() if name in {machine.name for machine in site.machines}]
        if there:
            hint = "remove that one first, or say --as another name"
            raise RefusedError(f"there is a machine {name} on {', '.join(there)} already", hint)
        dark = [site.host for site in sites.values() if site.error and name == made.machine]
        if dark:
            hint = "bring it back or take it out of the inventory; or say --as another name"
            raise RefusedError(f"{name} may be on {', '.join(dark)}, which could not be read", hint)
        restores.restore(connections, made, folder, on, name, tell, start=start)
    return name, on, made


def snapshots(inventory: Path | None, pattern: str, names: Sequence[str]) -> dict[Machine, list[Snapshot]]:
    """The snapshots of machines, whoever made them."""
    hosts = inventory_of(inventory)
    with Connections(hosts) as connections:
        found = vms.survey(connections, selected(hosts, pattern), 50, NOBODY)
        return shots.listed(connections, vms.find(found.values(), names))


@contextmanager
def reach(inventory: Path | None, pattern: str, name: str) -> Iterator[tuple[Machine, Connections]]:
    """One machine, and the connections to get to it."""
    hosts = inventory_of(inventory)
    with Connections(hosts) as connections:
        found = vms.find(vms.survey(connections, selected(hosts, pattern), 50, NOBODY).values(), [name])
        if len(found) > 1:
            raise UsageError(
                f"{name!r} means {len(found)} machines", f"write one of {', '.join(m.name for m in found[:5])}"
            )
        yield found[0], connections


def login(machine: Machine, user: str, key_file: Path | None, *, direct: bool, inventory: Path | None) -> Host:
    """A machine as a host. Raises UsageError when it runs not, or never told its host key."""
    if machine.state != "running":
        raise UsageError(f"{machine.name} on {machine.host} is {machine.state or 'in no known state'}", "vinfra start")
    if not machine.key or not machine.address:
        hint = "give its fleet an `access:` and apply; `vinfra console` works without"
        raise UsageError(f"{machine.name} on {machine.host} has not told its address and host key", hint)
    hypervisor = inventory_of(inventory).hosts[machine.host]
    return vms.as_host(machine, hypervisor, user, str(key_file) if key_file else None, direct=direct)


def offered(
    named: Path | None,
    pattern: str,
    forks: int = 50,
    observer: Observer = NOBODY,
    *,
    machines: bool = True,
    refresh: bool = False,
) -> Offered:
    """An inventory for others to read: the hosts of a pattern, and the `machines` on them that can be logged in to."""
    hosts = inventory_of(named, observer, refresh=refresh)
    chosen = selected(hosts, pattern)
    sites: dict[str, Site] = {}
    if machines:
        with Connections(hosts) as connections:
            sites = vms.survey(connections, chosen, forks, observer)
    return offer(hosts, chosen, sites, state_directory())


def save(request: Request, plan: Plan, file: Path) -> None:
    """Write a plan file: versioned JSON, 0600, no secrets."""
    plan_file.write(file, plan, request, validate(request), _specs())


def apply_saved(
    file: Path,
    consent: Consent,
    observer: Observer = NOBODY,
    run: str = "",
    *,
    extra: tuple[str, ...] = (),
    site: Path | None = None,
    forks: int = 50,
) -> Outcome:
    """Run a saved plan, or refuse: it was made for another blueprint, inventory or reality.

    `extra` are the `-e` items the plan was made with; the file holds only their hashes. What counts of the policies is
    what they say now, in the plan's own site file unless another `site` is given.
    """
    saved = plan_file.read(file)
    saved.refuse_unless_same(extra, _specs())
    request = saved.request(extra, site, forks)
    wish = validate(request)
    saved.refuse_unless_meant(wish)
    with Connections(wish.inventory) as connections:
        look, fresh = _undisturbed(lambda: Look(request, wish, connections, observer))
        saved.refuse_unless_true(fresh)
        fresh = replace(fresh, warnings=(*saved.warnings, *fresh.warnings))
        return look.run(judge(fresh, wish.policies, consent.now(), saved.document.there), consent, run)


def _specs() -> dict[str, type[Spec]]:
    return {name: kind.Spec for name, kind in known_kinds().items()}


def _undisturbed(begin: Callable[[], Look]) -> tuple[Look, Plan]:
    """A plan of hosts that nobody else is changing meanwhile: whoever does is waited for, as long as a dead one lasts.

    Raises RefusedError when somebody is still at it then.
    """
    look = begin()
    made = look.plan()
    if look.held:
        outlast(look.connections, look.held)
        look = begin()
        made = look.plan()
    return look, made


def inventory_of(named: Path | None, observer: Observer = NOBODY, *, refresh: bool = False) -> Inventory:
    """The inventory that a file or another tool describes; this machine without one. Raises InputError, UsageError.

    `refresh`: whatever another tool said before is not used again.
    """
    if named is None:
        return read_inventory(None)[0]
    found = _foreign(source(named), refresh=refresh) or _own(source(named).file)
    inventory, problems = found
    if problems:
        raise InputError(problems)
    for line in inventory.warnings:
        observer.warned(line)
    return inventory


def _own(file: Path) -> tuple[Inventory, list[Problem]]:
    try:
        document = parse(contents(file), str(file))
    except OSError as error:
        raise UsageError(f"cannot read the inventory {file}: {error.strerror or error}") from None
    inventory, problems = read_inventory(document)
    return inventory, [*document.problems, *problems]


def _foreign(named: Source, *, refresh: bool = False) -> tuple[Inventory, list[Problem]] | None:
    """The inventory of another tool, and what is wrong with it; None when the file is one of ours."""
    sort = reading.sort_of(named)
    if sort == OWN:
        return None
    refresh = refresh or bool(os.environ.get("VINFRA_INVENTORY_REFRESH"))
    return reading.read(named, sort, Secrets().reveal, Keeping(state_directory() / "netbox", refresh))
