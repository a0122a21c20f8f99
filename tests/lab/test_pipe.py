"""The whole pipe on real hosts, through the command line as a user types it."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from vinfra.lab import Lab

from .conftest import ROOT, Run, Ssh, Written, blueprint, changes, first

BLUEPRINTS = sorted(path.relative_to(ROOT) for path in (ROOT / "blueprints").glob("*.yaml") if "vars" not in path.name)
BLUEPRINTS += [Path("blueprints/demo/site.yaml")]
OVERLAY = ROOT / "blueprints" / "lab.vars.yaml"


@pytest.mark.parametrize("file", BLUEPRINTS, ids=lambda path: path.stem)
def test_the_second_plan_is_empty_and_destroy_leaves_no_mark(vinfra: Run, file: Path, clean_lab: Lab, ssh: Ssh) -> None:
    overlay = ("-f", OVERLAY, "-e", f"gateway={first(clean_lab).name}")
    vinfra("apply", file, *overlay, "--yes")
    second = vinfra("plan", file, *overlay)
    assert "nothing to do" in second.stdout
    vinfra("destroy", file, *overlay, "--yes")
    for host in clean_lab.hosts.values():
        assert ssh(host, "ls -A /var/lib/vinfra/marks").stdout == ""


def test_plan_and_drift_write_nothing_on_a_host(vinfra: Run, clean_lab: Lab, written: Written, tmp_path: Path) -> None:
    """Reading every kind, present and absent: the overlay's upper layer stays as it was."""
    everything = {
        "packages": {"less": None, "nginx-light": None, "curl": "absent", "web": {"role": "nginx"}},
        "services": {"ssh": {"running": True, "enabled": True, "restart_on": ["file:/etc/motd"]}},
        "files": {"/etc/motd": {"content": "x {{ facts.kernel }}\n"}, "/etc/hosts": "absent", "/new": {"content": "x"}},
        "directories": {"/srv": {"mode": "0700"}, "/new.d": None},
        "users": {"root": {"shell": "/bin/sh"}, "nobody2": {"groups": ["sudo"]}},
        "hostname": "other",
        "groups": {"root": {"members": ["nobody"]}, "crew": None, "users": "absent"},
        "firewall": {"rules": ["ssh"]},
        "sshd": {"x11_forwarding": False},
        "sysctl": {"net.ipv4.ip_forward": "1"},
        "upgrade": {"packages": "security", "max_age": "1s"},
        "reboot": {"machines": "refuse"},
        "operations": {
            "a line": {"operation": "files.line", "arguments": {"path": "/etc/hosts", "line": "127.0.0.9 x"}}
        },
        "repositories": {"x": {"uris": ["http://127.0.0.1:9/"], "suites": ["./"], "trusted": True}, "y": "absent"},
        "certificates": {"web": "absent"},
        "commands": {"x": {"run": ["touch", "/srv/x"], "creates": "/srv/x"}},
        "cron": {"x": "absent"},
        "timers": {"x": {"on_calendar": ["daily"], "run": ["true"]}},
        "time": {"timezone": "Etc/GMT+1"},
    }
    file = blueprint(tmp_path, {"all": everything})
    host = first(clean_lab)
    before = written(host)
    vinfra("plan", file, expect=2)
    vinfra("drift", file, expect=2)
    vinfra("facts", "all")
    assert written(host) == before


def test_only_what_was_changed_by_hand_is_mended(vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path) -> None:
    file = blueprint(tmp_path, {"web": {"files": {f"/srv/{n}": {"content": f"{n}\n"} for n in "abc"}}})
    vinfra("apply", file, "--yes")
    host = first(clean_lab)
    ssh(host, "echo hacked >/srv/b")
    found = changes(vinfra("drift", file, "--json", expect=2))
    line = 1 + next(number for number, text in enumerate(file.read_text().splitlines()) if "/srv/b" in text)
    assert [(row["host"], row["name"], row["position"]["line"]) for row in found] == [(host.name, "/srv/b", line)]
    outcome = json.loads(vinfra("apply", file, "--yes", "--json").stdout)
    assert [row["address"] for row in outcome["outcomes"]] == [f"host.file:{host.name}/srv/b"]
    assert ssh(host, "cat /srv/b").stdout == "b\n"


def test_literals_reach_the_host_byte_for_byte(vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path) -> None:
    file = tmp_path / "literals.yaml"
    odd = ["0644", "1.10", "no", "22:22", "1e3", "True", "2026-01-01", "0x1F", "~/x", "a 'b' \"c\" $d `e` \\f"]
    items = [
        f"      /srv/{number}: {{content: {text if number < 9 else json.dumps(text)}}}"
        for number, text in enumerate(odd)
    ]
    raw = ["      /srv/raw: {content: !raw '{{ .Names }} {% x %}'}", '      /srv/e: {content: "{{ v }}-{{ n }}"}']
    head = ["blueprint: literals", "vars: {v: 1.10, n: 0644}", "hosts:", "  web:", "    files:"]
    file.write_text("\n".join([*head, *items, *raw]) + "\n")
    vinfra("apply", file, "--yes")
    for number, text in enumerate(odd):
        assert ssh(first(clean_lab), f"cat /srv/{number}").stdout == text
    assert ssh(first(clean_lab), "cat /srv/raw /srv/e").stdout == "{{ .Names }} {% x %}1.10-0644"
    vinfra("plan", file)


def with_hosts(lab: Lab, tmp_path: Path, **extra: dict[str, Any]) -> Path:
    """The lab's inventory with further entries; its relative paths made absolute."""
    tree = yaml.safe_load(lab.inventory.read_text())
    tree["ssh"] |= {"key_file": str(lab.key_file), "known_hosts": str(lab.known_hosts)}
    tree["hosts"] |= extra
    file = tmp_path / "hosts.yaml"
    file.write_text(yaml.safe_dump(tree))
    return file


def test_hosts_that_cannot_be_read_do_not_hide_the_others(
    vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path
) -> None:
    port = first(clean_lab).port
    machines = with_hosts(
        clean_lab,
        tmp_path,
        dead={"address": "127.0.0.1", "port": 1},
        wrongkey={"address": "127.0.0.1", "port": port, "key_file": str(tmp_path / "nokey")},
        stranger={"address": "127.0.0.1", "port": port, "known_hosts": str(tmp_path / "nobody")},
        nosudo={"address": "127.0.0.1", "port": port, "user": "ops"},
    )
    (tmp_path / "nokey").write_text("not a key\n")
    (tmp_path / "nobody").write_text("")
    file = blueprint(tmp_path, {"all": {"files": {"/srv/x": {"content": "x\n"}}}})
    done = vinfra("apply", file, "--yes", "--json", machines=machines, expect=4)
    said = {host["name"]: host["unknown"] or "" for host in json.loads(done.stdout)["plan"]["hosts"]}
    words = {
        "dead": "nothing listens",
        "wrongkey": "not a private key",
        "stranger": "host key",
        "nosudo": "sudo_password",
    }
    assert {name: word in said[name] for name, word in words.items()} == dict.fromkeys(words, True), said
    assert all(ssh(host, "cat /srv/x").stdout == "x\n" for host in clean_lab.hosts.values())


def test_sudo_with_a_password(vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path) -> None:
    host = first(clean_lab)
    secret = {"secret": f"file:{clean_lab.password_file}"}
    entry = {"address": "127.0.0.1", "port": host.port, "user": "ops", "sudo_password": secret}
    machines = with_hosts(clean_lab, tmp_path, ops=entry)
    file = blueprint(tmp_path, {"ops": {"files": {"/srv/by-root": {"content": "x", "mode": "0600", "owner": "root"}}}})
    vinfra("apply", file, "--yes", machines=machines)
    assert ssh(host, "stat -c '%U %a' /srv/by-root").stdout == "root 600\n"
    done = vinfra("plan", file, "--json", machines=machines)
    assert clean_lab.password not in done.stdout + done.stderr


def test_a_host_that_dies_during_the_run_leaves_the_others_done(
    vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path
) -> None:
    """Its sshd goes away between two steps: the rest of its rows is left, exit 4, and the next apply ends the work."""
    victim, other = clean_lab.hosts.values()
    kill = {"operation": "server.shell", "arguments": {"commands": ["systemctl stop ssh ssh.socket; pkill -x sshd"]}}
    files = {"files": {f"/srv/{n}": {"content": n, "needs": ["operation:cut"] if n > "b" else []} for n in "abcd"}}
    dying = {**files, "operations": {"cut": {**kill, "unless": [{"exists": "/srv/done"}], "needs": ["file:/srv/b"]}}}
    plain = {"files": {f"/srv/{n}": {"content": n} for n in "abcd"}}
    file = blueprint(tmp_path, {victim.name: dying, other.name: plain})
    done = vinfra("apply", file, "--yes", expect=4)
    assert "left" in done.stdout
    assert ssh(other, "cat /srv/[abcd]").stdout == "abcd"


def test_a_service_restarts_when_its_file_changes_even_after_a_kill_in_between(
    vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path
) -> None:
    unit = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"
    files = {"/etc/systemd/system/nap.service": {"content": unit}, "/etc/nap.conf": {"content": "one\n"}}
    nap = {"nap": {"running": True, "enabled": True, "restart_on": ["file:/etc/nap.conf"]}}
    file = blueprint(tmp_path, {"web": {"files": files, "services": nap}})
    vinfra("apply", file, "--yes")
    vinfra("plan", file)
    host = first(clean_lab)
    started = ssh(host, "systemctl show -P MainPID nap").stdout
    time.sleep(1.1)
    ssh(host, "cp /etc/nap.conf /etc/nap.conf.new; mv /etc/nap.conf.new /etc/nap.conf")
    (row,) = changes(vinfra("plan", file, "--json", expect=2))
    assert (row["name"], row["impact"]) == ("nap", "restart")
    vinfra("apply", file, "--yes")
    assert ssh(host, "systemctl show -P MainPID nap").stdout != started
    vinfra("plan", file)
    files["/etc/nap.conf"] = {"content": "two\n"}
    file = blueprint(tmp_path, {"web": {"files": files, "services": nap}})
    refused = vinfra("apply", file, "--yes", "--max-impact", "live", expect=3)
    assert "restart" in refused.stderr
    assert ssh(host, "cat /etc/nap.conf").stdout == "one\n"


def test_templates_and_drop_ins_are_read_again_and_destroy_stops_what_it_takes_away(
    vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path
) -> None:
    host = first(clean_lab)
    unit = "[Service]\nExecStart=/bin/sleep {{ n }}\n[Install]\nWantedBy=multi-user.target\n"
    drop_in = "[Service]\nExecStart=\nExecStart=/bin/sleep {{ n }}1\n"
    tree = {
        "directories": {"/etc/systemd/system/drp.service.d": None},
        "files": {
            "/etc/systemd/system/tpl@.service": {"content": unit},
            "/etc/systemd/system/drp.service": {"content": unit},
            "/etc/systemd/system/drp.service.d/o.conf": {"content": drop_in},
        },
        "services": {
            "tpl@a": {"running": True, "enabled": True, "restart_on": ["file:/etc/systemd/system/tpl@.service"]},
            "drp": {"running": True, "restart_on": ["file:/etc/systemd/system/drp.service.d/o.conf"]},
        },
    }
    file = blueprint(tmp_path, {host.name: tree}, vars={"n": 4000})
    vinfra("apply", file, "--yes")
    vinfra("plan", file)
    vinfra("apply", file, "-e", "n=5000", "--yes")
    vinfra("plan", file, "-e", "n=5000")
    sleeping = ssh(host, "pgrep -ax sleep | cut -d' ' -f2-").stdout.splitlines()
    assert sorted(sleeping) == ["/bin/sleep 5000", "/bin/sleep 50001"]
    vinfra("destroy", file, "--yes")
    left = "pgrep -ax sleep; ls /etc/systemd/system/*.wants | grep tpl; ls /etc/systemd/system | grep drp"
    assert ssh(host, left).stdout == ""


def test_odd_names_are_created_and_found_again(vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path) -> None:
    names = ["it's", "ü", 'q"uo te', "$(id)", "-rf", "a;b", "back\\slash", "*"]
    tree = {
        "directories": {"/srv/d": None, **{f"/srv/d/{name}": None for name in names}},
        "files": {f"/srv/d/{name}/x": {"content": name} for name in names},
    }
    file = blueprint(tmp_path, {first(clean_lab).name: tree})
    vinfra("apply", file, "--yes")
    assert sorted(ssh(first(clean_lab), "ls -N /srv/d").stdout.split("\n")) == sorted(["", *names])
    vinfra("plan", file)
    vinfra("destroy", file, "--yes")
    assert ssh(first(clean_lab), "ls /srv").stdout == ""
