"""Whose inventory a file is, and what the command line makes of those that are not ours."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from vinfra import engine
from vinfra.cli.main import run
from vinfra.errors import InputError, UsageError
from vinfra.inventories.reading import sort_of
from vinfra.model.inventory import Source, source
from vinfra.model.request import Request
from vinfra.report import plan_file

HERE = Path(__file__).parents[2] / "inventories"


@pytest.mark.parametrize(
    ("name", "text", "sort"),
    [
        ("hosts", "[web]\nweb1\n", "ansible"),
        ("hosts", "web1 ansible_host=x\n", "ansible"),
        ("hosts.ini", "web1\n", "ansible"),
        ("hosts", "hosts: {a: }\n", "vinfra"),
        ("hosts.yaml", "hosts: {a: {address: x}}\ngroups: {web: {hosts: [a]}}\n", "vinfra"),
        ("hosts.yaml", "all:\n  hosts:\n    a:\n", "ansible"),
        ("hosts.yaml", "all:\n", "ansible"),
        ("hosts.yml", "web: {hosts: {a: }, vars: {x: !vault y}}\n", "ansible"),
        ("hosts.yml", "plugin: amazon.aws.ec2\n", "ansible"),
        ("hosts.json", '{"web": {"hosts": {"a": {}}}}', "ansible"),
        ("netbox.yaml", "inventory: netbox\nnetbox: {}\n", "netbox"),
        ("site.py", "web = []\n", "pyinfra"),
        ("site", "#!/bin/sh\n", "ansible"),
        ("hosts.yaml", "hosst: {a: }\n", "vinfra"),
        ("hosts.yaml", "", "vinfra"),
        ("hosts.yaml", "hosts: {a: }\n  x\n", "vinfra"),
    ],
)
def test_a_file_shows_whose_it_is(name: str, text: str, sort: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(text)
    if text.startswith("#!"):
        file.chmod(0o755)
    assert sort_of(source(file)) == sort
    assert sort_of(Source("ansible", file)) == "ansible"


def test_a_folder_is_ansibles(tmp_path: Path) -> None:
    assert sort_of(source(tmp_path)) == "ansible"


@pytest.mark.parametrize(
    ("name", "text", "told", "hint"),
    [
        ("x.yaml", "hosts: {a: }\nall: {hosts: {b: }}\n", "it has 'hosts', which is vinfra's, and 'all'", "vinfra:"),
        ("x.py", "#!/usr/bin/python3\n", "a program that ends with .py", "pyinfra:"),
    ],
)
def test_what_could_be_two_is_asked_back(name: str, text: str, told: str, hint: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(text)
    file.chmod(0o755)
    with pytest.raises(UsageError) as error:
        sort_of(source(file))
    assert told in error.value.message
    assert f"-i {hint}{file}" in error.value.hint
    assert f"-i ansible:{file}" in error.value.hint


def test_a_name_says_it_too(tmp_path: Path) -> None:
    assert source(Path("ansible:inventories/hosts")) == Source("ansible", Path("inventories/hosts"))
    assert source(Path("hosts.yaml")) == Source("", Path("hosts.yaml"))
    assert source(Path("other:hosts")) == Source("", Path("other:hosts"))
    assert Source("netbox", Path("a/b.yaml")).absolute == f"netbox:{Path.cwd()}/a/b.yaml"


@pytest.mark.parametrize(
    "named", ["/nowhere/hosts", "ansible:/nowhere/hosts", "pyinfra:/nowhere/x.py", "netbox:/nowhere"]
)
def test_one_that_is_not_there(named: str) -> None:
    with pytest.raises(UsageError, match="cannot read the inventory /nowhere"):
        engine.inventory_of(Path(named))


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VINFRA_ANSIBLE_INVENTORY", "")
    monkeypatch.setenv("VINFRA_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("VINFRA_INVENTORY", raising=False)


@pytest.mark.usefixtures("own")
def test_a_blueprint_meets_anothers_inventory(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text(
        "[web]\nweb[1:2] workers=4 text='{{ site }}-x'\nwin1 ansible_connection=winrm\n[all:vars]\nsite=ams\n"
    )
    (tmp_path / "b.yaml").write_text(
        "blueprint: b\nhosts: {web: {files: {/etc/x: {content: '{{ workers + 1 }} {{ text }} {{ groups.web[0] }}'}}}}\n"
    )
    wish = engine.validate(Request(tmp_path / "b.yaml", Path(f"ansible:{tmp_path / 'hosts'}")))
    contents = [resource.desired.content for resource in wish.resources]  # type: ignore[union-attr]
    assert contents == ["5 ams-x web1"] * 2
    assert [line for line in wish.blueprint.warnings if "win1" in line]
    inputs = plan_file._inputs(Request(tmp_path / "b.yaml", Path("ansible:hosts")))
    assert inputs["inventory"] == f"ansible:{Path.cwd()}/hosts"


@pytest.mark.usefixtures("own")
def test_problems_of_both_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("web1 ansible_port=x\n")
    (tmp_path / "b.yaml").write_text("blueprint: b\nhosts: {web1: {fils: {}}}\n")
    with pytest.raises(InputError) as error:
        engine.validate(Request(tmp_path / "b.yaml", tmp_path / "hosts"))
    told = str(error.value)
    assert f"{tmp_path}/hosts:1:1: web1.port: write a whole number" in told
    assert "did you mean files" in told


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def vinfra(own: None, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["vinfra", *arguments])
        code = run(list(arguments))
        said = capfd.readouterr()
        return code, said.out, said.err

    return call


def test_the_command_shows_hosts_and_hands_them_on(vinfra: Run, tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text(
        "ssh: {user: ops, key_file: id, password: {secret: env:PASS}}\n"
        "vars: {n: 3, on: true, text: '4', list: [1, a], late: '{{ n + 1 }}', "
        "lost: '{{ nobody }}', key: {secret: env:K}}\n"
        "hosts:\n  gw: {address: 192.0.2.1, port: 2222, sudo: false}\n"
        "  web1: {jump: [gw], host_key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA==, user: root}\n"
        "  here: {connection: local}\ngroups: {web: {hosts: [web1]}}\n"
    )
    code, out, _ = vinfra("inventory", "-i", str(file), "--no-machines")
    assert code == 0
    assert [line.split() for line in out.splitlines()] == [
        ["gw", "ops@192.0.2.1:2222"],
        ["web1", "root@web1", "via", "gw", "web"],
        ["here", "this", "machine"],
    ]
    code, out, err = vinfra("inventory", "-i", str(file), "--no-machines", "--list")
    told = json.loads(out)
    assert code == 0
    assert told["web"] == {"hosts": ["web1"]}
    assert told["ungrouped"] == {"hosts": ["gw", "here"]}
    found = told["_meta"]["hostvars"]["web1"]
    assert {name: found[name] for name in ("n", "on", "text", "list", "late")} == {
        "n": 3, "on": True, "text": "4", "list": [1, "a"], "late": 4,
    }  # fmt: skip
    assert not {"key", "lost", "ansible_password"} & set(found)
    assert "web1: its login password is a secret and is not handed on" in err
    assert "web1: the variable key holds a secret and is not handed on" in err
    assert "web1: the variable lost is not handed on" in err
    assert found["ansible_become"] is False
    assert told["_meta"]["hostvars"]["here"]["ansible_connection"] == "local"
    [folder] = (tmp_path / "state/inventories").iterdir()
    keys = f"-o UserKnownHostsFile={folder}/known_hosts.d/web1 -o StrictHostKeyChecking=yes"
    assert found["ansible_ssh_common_args"] == f"-F {folder}/ssh_config -o ProxyJump=gw {keys}"
    assert (folder / "known_hosts.d/web1").read_text() == "web1 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA==\n"
    assert (folder / "ssh_config").stat().st_mode & 0o777 == 0o600
    assert (
        vinfra("inventory", "-i", str(file), "--no-machines", "--host", "web1")[1] == json.dumps(found, indent=2) + "\n"
    )


def test_text_with_braces_is_no_template_to_ansible(vinfra: Run, tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text(
        "hosts: {a: {vars: {raw: !raw \"{{ lookup('pipe', 'id') }}\", in: {list: [!raw '{% x', plain]}}}}\n"
    )
    code, out, _ = vinfra("inventory", "-i", str(file), "--no-machines", "--host", "a")
    told = json.loads(out)
    assert code == 0
    assert told["raw"] == {"__ansible_unsafe": "{{ lookup('pipe', 'id') }}"}
    assert told["in"] == {"list": [{"__ansible_unsafe": "{% x"}, "plain"]}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ansible_host", "192.0.2.1\\n  ProxyCommand id"),
        ("ansible_host", "192.0.2.1 x"),
        ("ansible_host", "-oProxyCommand=id"),
        ("ansible_user", "root\\nMatch all"),
        ("ansible_ssh_private_key_file", "/id\\nMatch all"),
    ],
)
def test_what_would_be_more_in_sshs_files_is_refused(name: str, value: str, vinfra: Run, tmp_path: Path) -> None:
    file = tmp_path / "hosts.yaml"
    file.write_text(f'all: {{hosts: {{a: {{{name}: "{value}"}}}}}}\n')
    code, _, err = vinfra("inventory", "-i", str(file), "--no-machines", "--list")
    assert code == 1
    assert "write one word" in err or "control characters" in err
    assert not (tmp_path / "state/inventories").exists()


def test_what_does_not_go_together(vinfra: Run, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("hosts: {a: }\n")
    named = ("inventory", "-i", str(tmp_path / "s.yaml"), "--no-machines")
    assert vinfra(*named, "--list", "--host", "a")[0] == 1
    code, _, err = vinfra(*named, "--host", "b")
    assert (code, err.splitlines()[0]) == (1, "vinfra: there is no host 'b' in the inventory")
    code, out, _ = vinfra(*named, "--json")
    assert json.loads(out)["hosts"][0]["name"] == "a"


@pytest.mark.parametrize("name", sorted(path.name for path in HERE.iterdir()))
def test_every_example_reads(name: str, vinfra: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "netbox.yaml":  # there is no NetBox to ask; it is well written
        monkeypatch.delenv("NETBOX_TOKEN", raising=False)
        code, _, err = vinfra("inventory", "-i", str(HERE / name), "--no-machines")
        assert (code, "secret env:NETBOX_TOKEN" in err) == (4, True), err
        return
    code, out, err = vinfra("inventory", "-i", str(HERE / name), "--no-machines")
    assert code == 0, err
    assert "web01" in out
