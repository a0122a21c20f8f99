"""From declarations to resources."""

from pathlib import Path
from typing import Any

import pytest

from tests.stages.files import read
from vinfra.model.action import Impact
from vinfra.model.secret import Secret
from vinfra.model.spec import Deferred
from vinfra.text.template import render, render_text

INV = "hosts: {web1: {address: 10.0.0.1, vars: {rack: a}}, web2: {vars: {rack: b}}, db: {vars: {rack: a}}}\n"
INV += "groups: {web: {hosts: [web1, web2]}}\n"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def blueprint(body: str, variables: str = "") -> str:
    return f"blueprint: b\nvars: {{{variables}}}\nhosts:\n  all:\n" + "".join(
        f"    {line}\n" for line in body.splitlines()
    )


@pytest.mark.parametrize(
    "text",
    ["0644", "1.10", "no", "22:22", "2024-01-01", "0x1F", "1_000", "yes", "True", "1e3", "'~'", "'null'", '"{ {"'],
)
def test_literals_reach_the_target_byte_for_byte(text: str) -> None:
    found = read(
        {
            "web.yaml": blueprint(
                f"files:\n  /a: {text}\n  /b: '{{{{ v }}}}'\n  /c: '{{{{ w }}}}'", f"v: {text}, w: '{{{{ v }}}}'"
            )
        }
    )
    assert not found.problems
    for name in "abc":
        assert found.field(f"host.file:localhost/{name}", "content") == text.strip("'\"")


def test_raw_text_is_never_a_template() -> None:
    found = read({"web.yaml": blueprint("files:\n  /a: !raw '{{ x }} {% y'\n  /b: '{{ r }}'", "r: !raw '{{ z'")})
    assert found.field("host.file:localhost/a", "content") == "{{ x }} {% y"
    assert found.field("host.file:localhost/b", "content") == "{{ z"


def test_block_text_keeps_its_lines() -> None:
    body = "files:\n  /a:\n    content: |\n      one {{ v }}\n\n      two\n"
    assert read({"web.yaml": blueprint(body, "v: 1")}).field("host.file:localhost/a", "content") == "one 1\n\ntwo\n"


def test_present_absent_and_shorthand() -> None:
    body = "packages: {a: , b: present, c: absent, d: '1.0', e: {version: 2.10}}\n"
    body += "files: {/absent: {content: absent}, /gone: absent}"
    found = read({"web.yaml": blueprint(body)})
    versions = [getattr(found[f"host.package:localhost/{name}"].desired, "version", "gone") for name in "abcde"]
    assert versions == [None, None, "gone", "1.0", "2.10"]
    assert found.field("host.file:localhost/absent", "content") == "absent"
    assert found["host.file:localhost/gone"].desired is None


def test_a_template_keeps_carriage_returns() -> None:
    body = 'files: {/a: "x {{ v }}\\r\\ny\\rz\\r\\n", /b: "{% if v %}\\r\\nyes\\r\\n{% endif %}\\r\\n"}'
    found = read({"web.yaml": blueprint(body, "v: 1")})
    assert found.field("host.file:localhost/a", "content") == "x 1\r\ny\rz\r\n"
    assert found.field("host.file:localhost/b", "content") == "yes\r\n"


def test_values_without_host_names_are_made_once() -> None:
    body = "files: {/same: '{{ v }}', /rack: '{{ rack }}', /host: '{{ me }}'}"
    found = read(
        {
            "web.yaml": blueprint(body, "v: x, me: '{{ host.name }} {{ host.address }} {{ host.groups | join }}'"),
            "inv.yaml": INV,
        }
    )
    specs: dict[str, list[Any]] = {
        name: [found[f"host.file:{host}/{name}"].desired for host in ("web1", "db", "web2")]
        for name in ("same", "rack", "host")
    }
    assert specs["same"][0] is specs["same"][1] is specs["same"][2]
    assert [spec.content for spec in specs["rack"]] == ["a", "a", "b"]
    assert [spec.content for spec in specs["host"]] == ["web1 10.0.0.1 web", "db db ", "web2 web2 web"]


def test_groups_are_lists_of_hosts() -> None:
    found = read({"web.yaml": blueprint("files: {/a: '{{ groups.web | join(\" \") }}'}"), "inv.yaml": INV})
    assert found.field("host.file:db/a", "content") == "web1 web2"


def test_facts_are_deferred_and_rendered_later() -> None:
    body = "files: {/a: {content: 'os {{ name }} {{ rack }}', mode: 0600}}"
    found = read({"web.yaml": blueprint(body, "name: '{{ facts.os.id }}'"), "inv.yaml": INV})
    assert not found.problems
    resource = found["host.file:web2/a"]
    value = resource.desired.content  # type: ignore[union-attr]
    assert isinstance(value, Deferred)
    assert found.field("host.file:web2/a", "mode") == "0600"
    assert render(value.raw, {**resource.variables, "facts": {"os": {"id": "{{ debian }}"}}}) == "os {{ debian }} b"


def test_variables_are_shared_by_all_resources_of_a_file_on_a_host() -> None:
    found = read({"web.yaml": blueprint("files: {/a: x, /b: y}"), "inv.yaml": INV})
    assert found["host.file:web1/a"].variables is found["host.file:web1/b"].variables
    assert found["host.file:web1/a"].variables is not found["host.file:web2/a"].variables


def test_a_file_template_is_checked_before_any_connection_and_rendered_later() -> None:
    files = {"web.yaml": blueprint("files: {/a: {template: t.j2}}", "v: 1"), "t.j2": "{{ v }} {{ facts.x }}\n"}
    found = read(files)
    assert not found.problems
    resource = found["host.file:localhost/a"]
    assert resource.desired.template == str(Path("t.j2").absolute())  # type: ignore[union-attr]
    assert render_text(files["t.j2"], {**resource.variables, "facts": {"x": 2}}, "t.j2") == "1 2\n"


def test_secrets() -> None:
    found = read(
        {
            "web.yaml": blueprint(
                "files: {/a: {content: {secret: env:X}}, /b: {content: '{{ s }}'}}", "s: {secret: file:/k}"
            )
        }
    )
    assert not found.problems
    assert found.field("host.file:localhost/a", "content") == Secret("env:X")
    assert found.field("host.file:localhost/b", "content") == Secret("file:/k")


def test_paths_of_secrets_are_beside_the_file_they_are_written_in() -> None:
    files = "/a: {content: {secret: 'sops:keys/../db.yaml#a.b'}}, /b: {content: {secret: 'age:~/x'}}"
    more = "/c: {content: {secret: 'vault:kv/x#k'}}, /d: {content: {secret: 'ansible-vault:v#1.yml#k'}}"
    found = read({"web.yaml": blueprint(f"files: {{{files}, {more}}}", "v: 1")})
    assert not found.problems
    there = [found.field(f"host.file:localhost/{name}", "content") for name in "abcd"]
    beside, home = Path("x").absolute().parent, Path.home()
    expected = (f"sops:{beside}/db.yaml#a.b", f"age:{home}/x", "vault:kv/x#k", f"ansible-vault:{beside}/v#1.yml#k")
    assert there == list(map(Secret, expected))


def test_references_become_addresses() -> None:
    body = (
        "packages: [nginx]\nfiles:\n  /a: {content: x, needs: [package:nginx], protect: true, allow: data-loss}\n"
        "services: {nginx: {running: true, restart_on: [file:/a]}}"
    )
    found = read({"web.yaml": blueprint(body), "inv.yaml": INV})
    assert not found.problems
    resource = found["host.file:web1/a"]
    assert {str(address) for address in resource.needs} == {"host.package:web1/nginx"}
    assert (resource.protect, resource.allow) == (True, Impact.DATA_LOSS)
    service = found["host.service:web1/nginx"]
    assert "host.file:web1/a" in {str(address) for address in service.needs | service.after}
    assert resource.position.line == 7


def test_the_same_declaration_twice_is_one() -> None:
    web = "blueprint: b\nhosts: {web: {files: {/a: x}}, web1: {files: {/a: x}}}\n"
    found = read({"web.yaml": web, "inv.yaml": INV})
    assert not found.problems
    assert [str(resource.address) for resource in found.resources] == ["host.file:web1/a", "host.file:web2/a"]


def test_merges_keep_their_positions() -> None:
    web = "blueprint: b\nvars:\n  base: &base\n    mod: 1\nhosts: {all: {files: {/a: {<<: *base, content: x}}}}\n"
    assert [line.partition(": ")[0] for line in read({"web.yaml": web}).problems] == ["web.yaml:4:5"]


def test_everything_wrong_in_all_files_is_told_at_once() -> None:
    files = {
        "web.yaml": "blueprint: B\ninclude: [p.yaml]\nhosts: {wib: {}}\n",
        "p.yaml": "hosts: {all: {fils: {}}}\n",
        "inv.yaml": "hosts: {a: {prt: 1}}\n",
    }
    assert [line.split(":")[0] for line in read(files).problems] == ["inv.yaml", "p.yaml", "web.yaml", "web.yaml"]


def test_three_hundred_hosts_with_a_hundred_resources() -> None:
    items = "\n".join(f"  /f{number}: 'text {{{{ rack }}}} {number}'" for number in range(100))
    inventory = 'hosts: {"hv[001:300]": {address: "10.0.[0:2].[1:100]", vars: {rack: a}}}\n'
    found = read({"web.yaml": blueprint(f"files:\n{items}"), "inv.yaml": inventory})
    assert not found.problems
    assert len(found.resources) == 30_000
