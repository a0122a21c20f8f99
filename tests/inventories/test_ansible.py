"""Ansible's inventories: our own reader against the real program, and what becomes of both in ours."""

import json
import os
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

from vinfra.errors import UsageError
from vinfra.inventories import ansible, ansible_files, ansible_variables
from vinfra.inventories.found import Found, inventory
from vinfra.model.inventory import Host, Inventory
from vinfra.model.secret import Known, Secret
from vinfra.transport.secrets import Secrets

HERE = Path(__file__).parent / "ansible"
TOOLS = Path(os.environ.get("VINFRA_CACHE", Path(__file__).parents[2] / ".cache")) / "tools/bin"
PROGRAM = str(TOOLS / "ansible-inventory")


def shape(found: Found) -> dict[str, Any]:
    """All that two readers must agree on."""
    assert found.problems == []
    plain = {
        name: json.loads(json.dumps(entry.variables, default=lambda value: str(getattr(value, "reference", value))))
        for name, entry in found.entries.items()
    }
    groups = {name: (sorted(group.hosts), sorted(group.children)) for name, group in found.groups.items()}
    return {"hosts": plain, "groups": groups}


def ours(text: str, folder: Path, name: str = "hosts.ini") -> tuple[Inventory, list[str]]:
    """What vinfra makes of an inventory without Ansible, and the problems told."""
    (folder / name).write_text(text)
    made, problems = inventory(ansible_files.read(folder / name), ansible_variables.settings)
    return made, [str(problem).replace(f"{folder}/", "") for problem in problems]


def host(line: str, folder: Path) -> Host:
    made, problems = ours(f"web1 {line}\n", folder)
    assert problems == []
    return made.hosts["web1"]


@pytest.mark.parametrize("file", ["yaml/hosts.yml", "ini/hosts.ini", "folder", "groupvars/hosts"])
def test_our_reader_says_what_ansible_says(file: str) -> None:
    assert shape(ansible_files.read(HERE / file)) == shape(ansible.by_program(HERE / file, PROGRAM))


def invented(chance: random.Random, folder: Path) -> Path:
    """A random inventory: groups within groups, shared hosts, variables of the same names everywhere."""
    names = [f"g{number}" for number in range(chance.randint(2, 7))]
    values = ["1", "'1'", "yes", "True", "0x1f", "1.50", "a b", "[1, 2]", "~", "0644", "", "'#x'", "12:30"]

    def variables(count: int) -> dict[str, str]:
        return {f"v{chance.randint(0, 5)}": chance.choice(values) for _ in range(count)}

    lines, tree = [], {}
    for index, name in enumerate(names):
        hosts = [f"h{chance.randint(1, 6)}" for _ in range(chance.randint(0, 3))]
        children = sorted(
            {chance.choice(names[index + 1 :]) for _ in range(chance.randint(0, 2)) if names[index + 1 :]}
        )
        own = variables(chance.randint(0, 3))
        priority = {"ansible_group_priority": str(chance.randint(0, 12))} if chance.random() < 0.3 else {}
        lines += [f"[{name}]"]
        for each in hosts:
            words = " ".join(f"{key}={json.dumps(value)}" for key, value in variables(1).items())
            lines.append(f"{each} {words}")
        lines += [f"[{name}:children]", *children, f"[{name}:vars]"]
        lines += [f"{key} = {value}" for key, value in {**own, **priority}.items()]
        inner = {
            "hosts": {each: variables(1) for each in hosts},
            "children": dict.fromkeys(children),
            "vars": {**own, **priority},
        }
        tree[name] = inner
    for place in ("group_vars", "host_vars"):
        (folder / place).mkdir(parents=True)
        for name in ["all", *names] if place == "group_vars" else ["h1", "h2"]:
            if chance.random() < 0.4:
                text = "".join(f"{key}: {value}\n" for key, value in variables(2).items())
                (folder / place / f"{name}{chance.choice(['', '.yml', '.yaml'])}").write_text(text)
    if chance.random() < 0.5:
        (folder / "hosts").write_text("\n".join(["h9", "[all:vars]", "v0=top", *lines, ""]))
        return folder / "hosts"
    text = "all:\n  vars: {v0: top}\n"
    for name, group in tree.items():
        text += f"{name}:\n"
        for key, content in group.items():
            text += f"  {key}:\n"
            for item, value in content.items():
                if isinstance(value, dict):
                    text += f"    {item}: {{{', '.join(f'{k}: {v or None!r}' for k, v in value.items())}}}\n"
                else:
                    text += f"    {item}: {value or ''}\n"
    (folder / "hosts.yaml").write_text(text)
    return folder / "hosts.yaml"


@pytest.mark.parametrize("seed", range(6))
def test_our_reader_says_what_ansible_says_of_invented_ones(seed: int, tmp_path: Path) -> None:
    file = invented(random.Random(seed), tmp_path)
    theirs = shape(ansible.by_program(file, PROGRAM))
    assert shape(ansible_files.read(file)) == theirs, file.read_text()
    assert theirs["hosts"]


def test_without_the_program_our_own_reader_reads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("web1\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("VINFRA_ANSIBLE_INVENTORY", raising=False)
    assert list(ansible.read(tmp_path / "hosts", None).entries) == ["web1"]


def test_settings_come_from_ansibles_variables(tmp_path: Path) -> None:
    found = host(
        "ansible_host=192.0.2.7 ansible_port=2200 ansible_user=ops ansible_become=yes ansible_timeout=5", tmp_path
    )
    assert (found.address, found.port, found.user, found.sudo, found.connect_timeout) == (
        "192.0.2.7",
        2200,
        "ops",
        True,
        5,
    )
    assert found.host_key == "strict"
    assert host("", tmp_path).address == "web1"
    assert host("ansible_connection=local", tmp_path).connection == "local"
    assert host("ansible_become=false", tmp_path).sudo is False
    assert host("ansible_ssh_host=192.0.2.8 ansible_ssh_user=old", tmp_path).address == "192.0.2.8"
    assert host("site=ams ansible_host='web1.{{ site }}.example.com'", tmp_path).address == "web1.ams.example.com"


@pytest.mark.parametrize(
    ("arguments", "setting", "value"),
    [
        ("-o ProxyJump=ops@192.0.2.1:2222", "jump", ("ops@192.0.2.1:2222",)),
        ("-J a@one,b@two", "jump", ("a@one", "b@two")),
        ("-o ProxyCommand='ssh -W %h:%p -q -p 2222 ops@192.0.2.1'", "jump", ("ops@192.0.2.1:2222",)),
        ("-o StrictHostKeyChecking=accept-new", "host_key", "accept-new"),
        ("-o UserKnownHostsFile=/etc/known", "known_hosts", "/etc/known"),
        ("-o ControlMaster=auto -o ControlPersist=60s -C -q", "host_key", "strict"),
        ("-o ConnectTimeout=7", "connect_timeout", 7.0),
        ("-i /keys/id -p 2200 -l ops", "key_file", "/keys/id"),
    ],
)
def test_ssh_arguments_that_mean_something(arguments: str, setting: str, value: Any, tmp_path: Path) -> None:
    assert getattr(host(f'ansible_ssh_common_args="{arguments}"', tmp_path), setting) == value


def test_a_password_is_a_secret_and_in_no_variable(tmp_path: Path) -> None:
    found = host("ansible_password=hunter2-hunter2 ansible_become_pass=sesame-sesame x=1", tmp_path)
    assert isinstance(found.password, Known)
    assert isinstance(found.sudo_password, Known)
    assert Secrets().reveal(found.password) == "hunter2-hunter2"
    assert Secrets().reveal(found.sudo_password) == "sesame-sesame"
    assert "hunter2" not in repr(found)
    assert "sesame" not in repr(found)
    assert dict(found.variables) == {"x": "1"}


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("ansible_ssh_common_args='-o LocalForward=1'", "localforward=1: vinfra does not use OpenSSH's client"),
        ("ansible_ssh_common_args='-F /x'", "'-F': vinfra does not use OpenSSH's client"),
        ("ansible_ssh_common_args='-A'", "'-A': vinfra does not use"),
        ("ansible_ssh_common_args=\"-o ProxyCommand='nc -x p %h %p'\"", "of ProxyCommand only `ssh -W %h:%p"),
        ("ansible_become=yes ansible_become_method=su", "su: vinfra becomes root by sudo only"),
        ("ansible_become=yes ansible_become_user=postgres", "postgres: vinfra becomes root and nobody else"),
        ("ansible_become=maybe", "'maybe' is neither true nor false"),
        ("ansible_port=99999", "a port is 1 to 65535"),
        ("ansible_port='{{ nowhere }}'", "unknown variable 'nowhere'"),
        ("ansible_password='{{ vault }}'", "vinfra renders no template of Ansible's into a password"),
        ("ansible_ssh_private_key_passphrase=x", "vinfra asks for no passphrase"),
        ("ansible_ssh_common_args='-o ProxyJump=web1'", "the way to this host leads through itself"),
    ],
)
def test_what_cannot_be_followed_is_told_with_its_line(line: str, told: str, tmp_path: Path) -> None:
    _, problems = ours(f"# first\nweb1 {line}\n", tmp_path)
    assert len(problems) == 1
    assert problems[0].startswith("hosts.ini:2:1: web1")
    assert told in problems[0]


def test_hosts_that_are_not_vinfras_are_left_out_and_told(tmp_path: Path) -> None:
    made, problems = ours(
        "web1\nwin1 ansible_connection=winrm\nsw1 ansible_connection=ansible.netcommon.network_cli\n"
        "win2 ansible_shell_type=powershell\n",
        tmp_path,
    )
    assert problems == []
    assert list(made.hosts) == ["web1"]
    assert [line.partition(";")[0] for line in made.warnings] == [
        "inventory: win1 left out: ansible_connection: winrm",
        "inventory: sw1 left out: ansible_connection: ansible.netcommon.network_cli",
        "inventory: win2 left out: it is a Windows host, and vinfra manages Linux",
    ]


def test_host_keys_cannot_be_switched_off(tmp_path: Path) -> None:
    made, _ = ours(
        "web1 ansible_ssh_common_args='-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null'\n", tmp_path
    )
    assert (made.hosts["web1"].host_key, made.hosts["web1"].known_hosts) == ("strict", None)
    assert len(made.warnings) == 2


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("hosts.ini", "[web\nweb1", "hosts.ini:1:1: [web: a range is written [01:20], [01:20:2] or [a:f]"),
        ("hosts.ini", "[we b]\nweb1", "hosts.ini:1:1: a section is [GROUP], [GROUP:vars] or [GROUP:children]"),
        ("hosts.ini", "[web:stuff]\nx", "hosts.ini:1:1: [web:stuff]: a section is"),
        ("hosts.ini", "web1 alone", "hosts.ini:1:1: web1: 'alone' stands beside the host; write NAME=VALUE"),
        ("hosts.ini", "web1 a='b", "hosts.ini:1:1: not to be taken apart: No closing quotation"),
        ("hosts.ini", "web[3:1]", "hosts.ini:1:1: web[3:1]: the range [3:1] runs backwards"),
        ("hosts.ini", "web[1:99999]", "hosts.ini:1:1: web[1:99999]: a range of more than 10000 names"),
        ("hosts.ini", "[a:children]\nb", "hosts.ini:2:1: [a:children]: there is no group 'b'; write [b]"),
        ("hosts.ini", "[b:vars]\nx=1", "hosts.ini:1:1: [b:vars]: there is no group 'b'; write [b]"),
        ("hosts.ini", "[a]\nx\n[a:vars]\njust", "hosts.ini:4:1: [a:vars]: 'just' has no value; write NAME=VALUE"),
        ("hosts.ini", "[a:children]\nb\n[b:children]\na", "hosts.ini:1:1: a: groups hold each other in a circle: a"),
        ("hosts.ini", "2001:db8::1", "hosts.ini:1:1: 2001:db8::1: no name for a host of vinfra's"),
        ("hosts.ini", "[web1]\nweb1", "hosts.ini:2:1: web1: a host and a group have this name; rename one of them"),
        ("h.yaml", "all: {hosts: {a: [1]}}", "h.yaml:1:18: all.hosts.a: write a mapping of variables, not a list"),
        ("h.yaml", "all: {host: {a: }}", "h.yaml:1:7: all.host: unknown key; a group has vars, children, hosts"),
        ("h.yaml", "web: {hosts: [a]}", "h.yaml:1:14: web.hosts: write a mapping, not a list"),
        ("h.yaml", "plugin: amazon.aws.ec2\nx: 1", "h.yaml:1:9: plugin: amazon.aws.ec2 is a plugin of Ansible's"),
        ("h.yaml", "all: {hosts: {a: }\n", "h.yaml:2:1: not valid YAML"),
        ("h.yaml", "all: {hosts: {a: }}\nall: {hosts: {b: }}\n", "h.yaml:2:1: duplicate key 'all', first at 1:1"),
        ("h.toml", "[web]", "h.toml:1:1: TOML is not read here; install ansible-core"),
        ("hosts", "#!/bin/sh\necho", "hosts:1:1: a program that prints an inventory; to run it, install ansible-core"),
        ("hosts", "$ANSIBLE_VAULT;1.1;AES256\n61", "hosts:1:1: sealed by ansible-vault as a whole; install"),
    ],
)
def test_bad_files_without_ansible(name: str, text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / name).touch(0o755)
    _, problems = ours(text, tmp_path, name)
    assert problems[0].startswith(told), problems


def test_a_file_that_is_not_utf_8(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_bytes(b"web1\nweb2 name=M\xfcller\n")
    [problem] = ansible_files.read(tmp_path / "hosts").problems
    assert str(problem) == f"{tmp_path}/hosts:2:1: not UTF-8 text"


@pytest.mark.parametrize(
    ("script", "told", "hint"),
    [
        ("echo 'no json'", "ansible-inventory ended with status", "Completely failed to parse inventory source"),
        ("exit 1", "ansible-inventory ended with status", "Completely failed to parse inventory source"),
        ("sleep 60", "no end after 3 s, so it was stopped", "VINFRA_INVENTORY_TIMEOUT"),
    ],
)
def test_a_script_that_does_not_do(
    script: str, told: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VINFRA_INVENTORY_TIMEOUT", "3" if "sleep" in script else "60")
    file = tmp_path / "site"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    with pytest.raises(UsageError) as error:
        ansible.by_program(file, PROGRAM)
    assert told in error.value.message
    assert hint in error.value.hint


@pytest.mark.parametrize("printed", ["[]", "{}", "nothing", '{"_meta": 3}', '{"_meta": {"hostvars": {}}, "web": 3}'])
def test_a_program_that_is_not_ansibles(printed: str, tmp_path: Path) -> None:
    program = tmp_path / "ansible-inventory"
    program.write_text(f"#!/bin/sh\nprintf %s '{printed}'\n")
    program.chmod(0o755)
    with pytest.raises(UsageError, match="printed no inventory"):
        ansible.by_program(tmp_path, str(program))
    with pytest.raises(UsageError, match="cannot run /nowhere: No such file"):
        ansible.by_program(tmp_path, "/nowhere")


def test_a_dynamic_inventory_by_the_program(tmp_path: Path) -> None:
    file = tmp_path / "site"
    told = {"web": {"hosts": ["a"], "vars": {"x": 1}}, "_meta": {"hostvars": {"a": {"ansible_host": "192.0.2.9"}}}}
    file.write_text(f"#!/bin/sh\necho '{json.dumps(told)}'\n")
    file.chmod(0o755)
    made, problems = inventory(ansible.by_program(file, PROGRAM), ansible_variables.settings)
    assert problems == []
    assert made.hosts["a"].address == "192.0.2.9"
    assert made.hosts["a"].groups == ("web",)


class Vault:
    """Files that the real ansible-vault sealed."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        password = folder / "password"
        password.write_text("correct horse")
        password.chmod(0o600)
        monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", str(password))

    def run(self, *arguments: str) -> str:
        done = subprocess.run([TOOLS / "ansible-vault", *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def vault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vault:
    return Vault(tmp_path, monkeypatch)


@pytest.mark.parametrize("reader", ["own", "program"])
def test_sealed_values_become_references(reader: str, vault: Vault, tmp_path: Path) -> None:
    sealed = vault.run("encrypt_string", "kept-in-the-vault", "--name", "ansible_password")
    file = tmp_path / "hosts.yml"
    indented = "".join(f"          {line}\n" for line in sealed.strip().splitlines())
    file.write_text(f"all:\n  children:\n    web:\n      hosts:\n        web1.example.com:\n{indented}")
    (tmp_path / "group_vars").mkdir()
    whole = tmp_path / "group_vars/web.yml"
    whole.write_text("token: token-in-the-vault\ndeep: {list: [one-in-the-vault]}\n")
    vault.run("encrypt", str(whole))

    secrets = Secrets()
    read = ansible_files.read if reader == "own" else lambda path, reveal: ansible.by_program(path, PROGRAM, reveal)
    made, problems = inventory(read(file, secrets.reveal), ansible_variables.settings)
    assert problems == []
    found = made.hosts["web1.example.com"]
    assert found.password == Secret(f"ansible-vault:{file}#all.children.web.hosts.web1.example.com.ansible_password")
    assert secrets.reveal(found.password) == "kept-in-the-vault"
    assert found.variables["token"] == {"secret": f"ansible-vault:{whole}#token"}
    assert secrets.reveal(Secret(found.variables["deep"]["list"][0]["secret"])) == "one-in-the-vault"
    assert "in-the-vault" not in repr(found)


def test_a_whole_file_is_told_when_its_password_is_missing(
    vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hosts").write_text("web1\n")
    (tmp_path / "host_vars").mkdir()
    (tmp_path / "host_vars/web1").write_text("token: x\n")
    vault.run("encrypt", str(tmp_path / "host_vars/web1"))
    monkeypatch.delenv("ANSIBLE_VAULT_PASSWORD_FILE")
    [problem] = ansible_files.read(tmp_path / "hosts", Secrets().reveal).problems
    assert "no file is named that holds the vault's password" in problem.message
