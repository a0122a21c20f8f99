"""Which variables a declaration sees: on a host, in a fleet, as one of its members."""

from typing import Any

from vinfra.model.blueprint import Blueprint, Declaration, Member
from vinfra.model.inventory import Host, Inventory
from vinfra.text.expression import has_template, names_in
from vinfra.text.pattern import ALL, select
from vinfra.text.template import HOST, MEMBER, Bound, Nested, Variables


class Scopes:
    """Which variables a declaration sees on a host, and which of them make hosts differ."""

    def __init__(self, blueprint: Blueprint, inventory: Inventory) -> None:
        self._top = blueprint.variables
        self._hosts = inventory.hosts
        self._groups = {name: list(hosts) for name, hosts in inventory.groups.items()}
        self._groups[ALL] = list(select(ALL, inventory).hosts)
        self._facets = {name for host in inventory.hosts.values() for name in host.variables}
        self._made: dict[tuple[int, str], Variables] = {}
        self._surveys: dict[int, Variables] = {}
        self._overlays: dict[str, dict[str, Any]] = {}

    def of(self, declaration: Declaration, host: str) -> Variables:
        """The variables, shared by all declarations of one file on one host."""
        key = (id(declaration.scope), host)
        found = self._made.get(key)
        if found is None:
            overlay = self._overlay(self._hosts[host])
            found = self._made[key] = Variables(declaration.scope, overlay)
        return found

    def depends(self, declaration: Declaration) -> tuple[str, ...]:
        """The names that a declaration uses, directly or not, and that may differ from host to host."""
        survey = self._surveys.get(id(declaration.scope))
        if survey is None:
            survey = self._surveys[id(declaration.scope)] = Variables(declaration.scope, self._all_values(declaration))
        used = survey.reach(names_in(declaration.value))
        return tuple(sorted(name for name in used if name == HOST or name in self._facets))

    def anywhere(self, declaration: Declaration, member: Member | None = None) -> Variables:
        """The variables of a fleet, or of one of its members: no host's."""
        overlay = {**self._top, "groups": self._groups, **({MEMBER: member.facets()} if member else {})}
        return Variables(declaration.scope, overlay)

    def key(self, host: str, depends: tuple[str, ...]) -> tuple[Any, ...]:
        """Equal for hosts on which those names have the same values as written."""
        variables = self._hosts[host].variables
        return tuple(host if name == HOST else id(variables.get(name)) for name in depends)

    def _overlay(self, host: Host) -> dict[str, Any]:
        found = self._overlays.get(host.name)
        if found is None:
            itself = {
                "name": host.name,
                "address": host.address or host.name,
                "port": host.port or 22,
                "user": host.user or "root",
                "groups": list(host.groups),
            }
            found = {**host.variables, **self._top, HOST: itself, "groups": self._groups}
            for name, value in self._top.items():
                below = host.variables.get(name)
                if isinstance(value, Nested) and isinstance(below, dict):
                    found[name] = Variables({name: below}, {name: value})[name]
            self._overlays[host.name] = found
        return found

    def _all_values(self, declaration: Declaration) -> dict[str, Any]:
        """Each name with every value it has anywhere, so that what it leads to is known for all hosts at once."""
        values: dict[str, Any] = {name: [_raw(declaration.scope.get(name))] for name in (*self._facets, *self._top)}
        for variables in (*(host.variables for host in self._hosts.values()), self._top):
            for name, value in variables.items():
                if has_template(value):
                    values[name].append(value)
        return {**values, HOST: {}, "groups": {}}


def _raw(value: Any) -> Any:
    return value.raw if isinstance(value, Bound) else value
