import re
from xml.etree import ElementTree

import pytest

from tests.report import samples
from vinfra.model.address import Address
from vinfra.model.blueprint import Resource
from vinfra.report.graph import graph_body, graph_of, render
from vinfra.report.layers import arranged


def chain(count: int = 3, host: str = "a") -> list[Resource]:
    addresses = [Address("host.file", host, f"/{number}") for number in range(count)]
    return [
        Resource(address, None, needs=frozenset(addresses[number - 1 : number]))
        for number, address in enumerate(addresses)
    ]


@pytest.mark.parametrize("form", ["dot", "mermaid", "svg"])
def test_every_node_and_edge_is_drawn(form: str) -> None:
    text = render(graph_of(chain()), form)
    assert all(f"file /{number}" in text for number in range(3))
    edges = {"dot": '"host.file:a/0" -> "host.file:a/1"', "mermaid": "n0 --> n1", "svg": "marker-end"}
    assert edges[form] in text


@pytest.mark.parametrize("form", ["dot", "mermaid", "svg"])
def test_hostile_names_stay_text(form: str) -> None:
    name = samples.HOSTILE + '"]; <script>alert(1)</script> \\" end'
    text = render(graph_of([Resource(Address("host.file", "<b>", name), None)]), form)
    assert "\x1b" not in text
    if form != "dot":
        assert "<script" not in text
    if form == "dot":
        assert not re.search(r'(?<!\\)(?:\\\\)*"\]; <', text)


def test_svg_is_xml_and_left_to_right() -> None:
    root = ElementTree.fromstring(render(graph_of(chain()), "svg"))
    boxes = [float(box.get("x", "")) for box in root.iter("{http://www.w3.org/2000/svg}rect") if box.get("x")]
    assert boxes == sorted(boxes)
    assert len(boxes) == 3


def test_no_two_boxes_overlap() -> None:
    keys = [str(number) for number in range(30)]
    edges = [(str(number // 3), str(number)) for number in range(1, 30) if number // 3 != number]
    boxes = list(arranged(keys, edges, {key: key for key in keys}).boxes.values())
    assert len({(box.x, box.y) for box in boxes}) == 30
    for one in boxes:
        for two in boxes:
            if one is not two and one.x == two.x:
                assert abs(one.y - two.y) >= one.height


def test_barycentre_uncrosses() -> None:
    boxes = arranged(["a", "b", "x", "y"], [("a", "y"), ("b", "x")], dict.fromkeys("abxy", "n")).boxes
    assert (boxes["a"].y < boxes["b"].y) == (boxes["y"].y < boxes["x"].y)


def test_many_nodes_become_counts() -> None:
    graph = graph_of([item for host in ("a", "b") for item in chain(200, host)])
    assert [node.label for node in graph.nodes] == ["200 × file", "200 × file"]


def test_empty_and_body() -> None:
    assert "</svg>" in render(graph_of([]), "svg")
    body = graph_body(graph_of(chain()))
    assert body["edges"] == [
        {"first": "host.file:a/0", "then": "host.file:a/1", "needed": True},
        {"first": "host.file:a/1", "then": "host.file:a/2", "needed": True},
    ]
