"""What comes before what, as a drawing: DOT, Mermaid, or SVG by our own layout.

An arrow goes from what must be there first to what needs it. Above MOST nodes a graph is of no use to a reader, so
each host's objects of one kind are then drawn as one node with their number.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from vinfra.model.address import Address
from vinfra.model.blueprint import Resource
from vinfra.report.layers import Layout, arranged
from vinfra.report.visible import visible

MOST = 300


@dataclass(frozen=True, slots=True)
class Node:
    """One object, or many of one kind on one host."""

    key: str
    host: str
    label: str


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes sorted by key, and edges (first, then): hard ones are needs, the others mere order."""

    nodes: tuple[Node, ...]
    edges: Mapping[tuple[str, str], bool]


def graph_of(resources: Iterable[Resource], most: int = MOST) -> Graph:
    """The graph of resources; collapsed to a node per host and kind above `most`."""
    items = sorted(resources, key=lambda resource: (resource.place, resource.address))
    return _graph(items, _single) if len(items) <= most else _graph(items, _grouped)


def _single(address: Address) -> str:
    return str(address)


def _grouped(address: Address) -> str:
    return f"{address.host}/{address.kind}"


def _graph(items: Sequence[Resource], key: Callable[[Address], str]) -> Graph:
    members: dict[str, list[Address]] = {}
    for item in items:
        members.setdefault(key(item.address), []).append(item.address)
    edges: dict[tuple[str, str], bool] = {}
    for item in items:
        then = key(item.address)
        for first in sorted(item.needs | item.after):
            pair = (key(first), then)
            if pair[0] in members and pair[0] != then:
                edges[pair] = edges.get(pair, False) or first in item.needs
    nodes = tuple(Node(name, found[0].host, _label(found)) for name, found in members.items())
    return Graph(nodes, edges)


def _label(found: Sequence[Address]) -> str:
    first = found[0]
    return visible(f"{first.noun} {first.name}" if len(found) == 1 else f"{len(found)} × {first.noun}")


def render(graph: Graph, form: str) -> str:
    """The graph as `dot`, `mermaid` or `svg`."""
    return {"dot": dot, "mermaid": mermaid, "svg": svg}[form](graph)


def by_host(graph: Graph) -> dict[str, list[Node]]:
    """The nodes of each host."""
    hosts: dict[str, list[Node]] = {}
    for node in graph.nodes:
        hosts.setdefault(node.host, []).append(node)
    return hosts


def dot(graph: Graph) -> str:
    """Graphviz's language."""
    lines = ["digraph vinfra {", "  rankdir=LR;", '  node [shape=box, style=rounded, fontname="sans-serif"];']
    for number, (host, nodes) in enumerate(by_host(graph).items()):
        lines.append(f"  subgraph cluster_{number} {{ label={_quoted(visible(host))};")
        lines.extend(f"    {_quoted(visible(node.key))} [label={_quoted(node.label)}];" for node in nodes)
        lines.append("  }")
    for (first, then), hard in graph.edges.items():
        style = "" if hard else " [style=dashed]"
        lines.append(f"  {_quoted(visible(first))} -> {_quoted(visible(then))}{style};")
    return "\n".join([*lines, "}"])


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def mermaid(graph: Graph) -> str:
    """Mermaid's language, which Markdown pages draw."""
    names = {node.key: f"n{number}" for number, node in enumerate(graph.nodes)}
    lines = ["flowchart LR"]
    for number, (host, nodes) in enumerate(by_host(graph).items()):
        lines.append(f'  subgraph h{number}["{_entities(visible(host) or "anywhere")}"]')
        lines.extend(f'    {names[node.key]}["{_entities(node.label)}"]' for node in nodes)
        lines.append("  end")
    arrows = {True: "-->", False: "-.->"}
    lines.extend(f"  {names[first]} {arrows[hard]} {names[then]}" for (first, then), hard in graph.edges.items())
    return "\n".join(lines)


def _entities(text: str) -> str:
    """Every character that Mermaid or the page around it may read as its own, as an entity."""
    return "".join(char if char.isalnum() or char in " /.-_:×…" else f"#{ord(char)};" for char in text)


def svg(graph: Graph) -> str:
    """A drawing that any browser shows, without scripts."""
    layout = arranged(
        [node.key for node in graph.nodes], list(graph.edges), {node.key: node.label for node in graph.nodes}
    )
    hosts = {node.key: node.host for node in graph.nodes}
    labels = {node.key: node.label for node in graph.nodes}
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {layout.width} {layout.height}" '
        f'width="{layout.width}" height="{layout.height}" font-family="system-ui, sans-serif" font-size="12">',
        "<title>What comes before what</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#8a94a6"/></marker></defs>',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    ]
    lines.extend(_curve(layout, edge, hard) for edge, hard in graph.edges.items())
    lines.extend(_box(layout, key, labels[key], hosts[key]) for key in layout.boxes)
    return "\n".join([*lines, "</svg>"])


def _curve(layout: Layout, edge: tuple[str, str], hard: bool) -> str:
    one, two = layout.boxes[edge[0]], layout.boxes[edge[1]]
    x1, y1, x2, y2 = one.x + one.width, one.y + one.height / 2, two.x, two.y + two.height / 2
    bend = max(24.0, (x2 - x1) / 2)
    dash = "" if hard else ' stroke-dasharray="4 3"'
    path = f"M{x1:g} {y1:g}C{x1 + bend:g} {y1:g} {x2 - bend:g} {y2:g} {x2:g} {y2:g}"
    return f'<path d="{path}" fill="none" stroke="#8a94a6"{dash} marker-end="url(#tip)"/>'


def _box(layout: Layout, key: str, label: str, host: str) -> str:
    box = layout.boxes[key]
    shown = label if len(label) <= layout.longest else label[: layout.longest - 1] + "…"
    return (
        f"<g><title>{_escaped(visible(key))}</title>"
        f'<rect x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" height="{box.height:g}" rx="6" fill="#f4f6fb" '
        f'stroke="#4a5d8a"/><text x="{box.x + 10:g}" y="{box.y + 16:g}" fill="#1d2433">{_escaped(shown)}</text>'
        f'<text x="{box.x + 10:g}" y="{box.y + 31:g}" fill="#6b7589" font-size="10">{_escaped(visible(host))}</text>'
        "</g>"
    )


def _escaped(text: str) -> str:
    for char, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("'", "&#39;")):
        text = text.replace(char, entity)
    return text


def graph_body(graph: Graph) -> dict[str, object]:
    """The graph for JSON."""
    nodes = [{"id": node.key, "host": node.host, "label": node.label} for node in graph.nodes]
    edges = [{"first": first, "then": then, "needed": hard} for (first, then), hard in sorted(graph.edges.items())]
    return {"nodes": nodes, "edges": edges}
