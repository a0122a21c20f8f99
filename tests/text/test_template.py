"""What templates make of variables."""

from typing import Any

import pytest

from vinfra.errors import InputError
from vinfra.model.source import Position
from vinfra.text.template import RESERVED, Bound, Variables, check_text, render, render_text
from vinfra.text.yaml import parse

VARIABLES = parse(
    b"""
port: 8080
version: 1.10
mode: 0644
big: 1e3
"on": true
odd: False
text: "8080"
list: [a, 1, {x: 2.50}]
map: {items: [1], k: "{{ version }}", deep: {port: "{{ port }}"}}
alias: "{{ port }}"
secret: {secret: env:X}
raw: !raw "{{ x }}"
nothing: ~
""",
    "v.yaml",
).tree


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no template { here }", "no template { here }"),
        ("{{ port }}", "8080"),
        ("{{ port + 1 }}", "8081"),
        ("{{ alias + 1 }}", "8081"),
        ("{{ map.deep.port * 2 }}", "16160"),
        ("{{ version }} {{ version + 1 > 2 }}", "1.10 true"),
        ("{{ mode }}", "0644"),
        ("{{ big }}", "1e3"),
        ("{{ on }}{{ not on }}", "truefalse"),
        ("{{ odd }}{{ 'y' if odd else 'n' }}", "Falsen"),
        ("{{ port == 8080 and port == '8080' and port != '80' }}", "true"),
        ("{{ text == '8080' and text != 8080 }}", "true"),
        ("{{ range(port - 8078) | list }}", ["0", "1"]),
        ("{{ list }}", ["a", "1", {"x": "2.50"}]),
        ("{{ list }} ", "['a', 1, {'x': 2.50}] "),
        ("{% for x in list[:2] %}{{ x }},{% endfor %}", "a,1,"),
        ("{{ map.items }}", ["1"]),
        ("{{ map }}", {"items": ["1"], "k": "1.10", "deep": {"port": "8080"}}),
        ("{{ secret }}", {"secret": "env:X"}),
        ("{{ raw }}", "{{ x }}"),
        ("{{ nothing }}", None),
        ("{{ nothing or 'x' }}", "x"),
        ("{{ missing | default(port) }}", "8080"),
        ("{{ missing is defined }}", "false"),
        ("{{ ['<', \"'\"] | tojson }}", '["<", "\'"]'),
        ("{# comment #}x\n", "x\n"),
        ("{{ port }}\n", "8080\n"),
    ],
)
def test_renders(text: str, value: Any) -> None:
    assert render(text, VARIABLES or {}) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ prt }}", "unknown variable 'prt'; did you mean port?"),
        ("{{ map.kk }}", "nothing is called 'kk' there; did you mean k?"),
        ("{{ map.kk.z }}", "nothing is called 'kk' there; did you mean k?"),
        ("{{", "not a valid template: unexpected 'end of template'; to keep the text as it is, write !raw before it"),
        ("x {{ nothing }}", "the expression has no value (null)"),
        ("x {{ secret }}", "a secret cannot stand inside text; give it a field of its own"),
        ("{{ [].append(1) }}", "not allowed in a template: access to attribute 'append' of 'list' object is unsafe."),
        ("{{ ''.__class__ }}", "not allowed in a template: access to attribute '__class__' of 'str' object is unsafe."),
        ("{{ ''.x ~ port }}", "the template fails: nothing is called 'x' there"),
        ("{{ range }}", "the expression yields function; write one that yields text"),
        ("{{ port / 0 }}", "the template fails: division by zero"),
        ("{{ text + 1 }}", 'the template fails: can only concatenate str (not "int") to str'),
        ("{% include 'x' %}", "the template fails: no loader for this environment specified"),
        ("{{ lipsum() }}", "unknown variable 'lipsum'; did you mean list?"),
    ],
)
def test_says_what_is_wrong(text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        render(text, VARIABLES or {}, Position("f.yaml", 2, 3), "a.b")
    assert [str(problem) for problem in caught.value.problems] == [f"f.yaml:2:3: a.b: {said}"]


def test_variables_refer_to_each_other_to_any_depth() -> None:
    chain = {f"v{number}": f"{{{{ v{number + 1} }}}}" for number in range(3000)}
    assert render("{{ v0 }}", {**chain, "v3000": "end"}) == "end"


def test_a_circle_is_named() -> None:
    with pytest.raises(InputError, match="in a circle: a → b → a"):
        render("{{ b }}", {"a": "{{ b }}", "b": "{{ a }}"})


@pytest.mark.parametrize("name", RESERVED)
def test_what_hosts_tell_is_data_and_never_a_template(name: str) -> None:
    assert render(f"{{{{ {name}.x }}}}", {name: {"x": "{{ 1 + 1 }}"}}) == "{{ 1 + 1 }}"


def test_what_was_rendered_is_not_rendered_again() -> None:
    assert render("{{ a }}", {"a": "{{ '{{ 1 }}' }}"}) == "{{ 1 }}"


def test_a_bound_value_means_what_it_means_where_it_is_written() -> None:
    inner = {"port": Bound("{{ port + 1 }}", {"port": "{{ facts.port }}"})}
    assert render("{{ port }}", {**Variables(inner, {"host": {}}), "facts": {"port": 5}}) == "6"


def test_names_are_followed_through_variables() -> None:
    variables = Variables({"a": ["{{ b }}"], "b": {"c": "{{ facts.os }}"}, "z": "{{ y }}"})
    assert variables.reach(["a"]) == {"a", "b", "facts"}


def test_a_file_template_is_always_text_and_tells_its_line() -> None:
    assert render_text("{{ list }}", VARIABLES or {}, "t.j2") == "['a', 1, {'x': 2.50}]"
    assert render_text("{% if on %}\n  {{ port }}\n{% endif %}\n", VARIABLES or {}, "t.j2") == "  8080\n"
    for text, said in {
        "a\n\n{{ prt }}\n": "t.j2:3:1: unknown variable 'prt'; did you mean port?",
        "a\n{{ map.q.r }}\n": "t.j2:2:1: nothing is called 'q' there",
        "a\n{% for %}\n": "t.j2:2:1: not a valid template: Expected an expression, got 'end of statement block'",
        "a\n{{ secret }}\n": "t.j2:2:1: a secret cannot stand inside text; give it a field of its own",
    }.items():
        with pytest.raises(InputError) as caught:
            render_text(text, VARIABLES or {}, "t.j2")
        assert str(caught.value) == said


def test_a_file_template_is_checked_without_facts() -> None:
    text = "{{ facts.os }} {{ range(3) }}\n{{ prt }} {{ x | default(1) }}\n"
    assert [str(item) for item in check_text(text, VARIABLES or {}, "t.j2")] == [
        "t.j2:2:1: unknown variable 'prt'; did you mean port?"
    ]
