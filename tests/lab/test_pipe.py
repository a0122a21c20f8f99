"""The whole pipe on real hosts, through the command line as a user types it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from vinfra.lab import Lab, LabHost

from .conftest import Ssh, Written

ROOT = Path(__file__).parents[2]
BLUEPRINTS = sorted(path.relative_to(ROOT) for path in (ROOT / "blueprints").glob("*.yaml") if "vars" not in path.name)
BLUEPRINTS += [Path("blueprints/demo/site.yaml")]
OVERLAY = ROOT / "blueprints" / "lab.vars.yaml"

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def inventory(clean_lab: Lab, tmp_path: Path) -> Path:
    """The lab's inventory with what a test adds to it (`host(…)` entries are plain dicts)."""
    return clean_lab.inventory


@pytest.fixture
def vinfra(inventory: Path, tmp_path: Path) -> Run:
    def run(*arguments: object, expect: int = 0, machines: Path = inventory) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "VINFRA_INVENTORY": str(machines), "VINFRA_STATE": str(tmp_path / "state")}
        command = [sys.executable, "-m", "vinfra", *map(str, arguments)]
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False, timeout=180
        )
        assert done.returncode == expect, f"{command}\n{done.stdout}\n{done.stderr}"
        return done

    return run


def changes(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return list(json.loads(done.stdout)["changes"])


def blueprint(folder: Path, hosts: dict[str, Any], name: str = "trial", **more: Any) -> Path:
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump({"blueprint": name, **more, "hosts": hosts}))
    return file


def first(lab: Lab) -> LabHost:
    return next(iter(lab.hosts.values()))


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
        "sysctl": {"net.ipv4.ip_forward": "1"},
        "operations": {
            "a line": {"operation": "files.line", "arguments": {"path": "/etc/hosts", "line": "127.0.0.9 x"}}
        },
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


def test_a_controller_killed_at_work_is_followed_by_one_that_converges(
    vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path
) -> None:
    names = [f"/srv/{number:02}" for number in range(40)]
    file = blueprint(tmp_path, {"web": {"files": {name: {"content": name} for name in names}}})
    environment = {**os.environ, "VINFRA_INVENTORY": str(clean_lab.inventory), "VINFRA_STATE": str(tmp_path / "state")}
    command = [sys.executable, "-m", "vinfra", "apply", str(file), "--yes"]
    with subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("[11/"):
                break
        process.send_signal(signal.SIGKILL)
    time.sleep(0.5)
    assert "ended without a word" in vinfra("runs").stdout
    vinfra("plan", file, expect=2)
    vinfra("apply", file, "--yes")
    vinfra("plan", file)
    vinfra("destroy", file, "--yes")
    assert ssh(first(clean_lab), "ls /srv").stdout == ""


def test_a_controller_killed_while_packages_install_is_waited_for(
    vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path
) -> None:
    host = first(clean_lab)
    file = blueprint(tmp_path, {host.name: {"packages": ["nginx-light", "rsync"]}})
    environment = {**os.environ, "VINFRA_INVENTORY": str(clean_lab.inventory), "VINFRA_STATE": str(tmp_path / "state")}
    command = [sys.executable, "-m", "vinfra", "apply", str(file), "--yes"]
    with subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        while ssh(host, "systemctl is-active vinfra-packages").stdout != "active\n":
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    assert ssh(host, "systemctl is-active vinfra-packages").stdout == "active\n"
    vinfra("apply", file, "--yes")
    vinfra("plan", file)
    assert (
        ssh(host, "dpkg --audit; dpkg-query -W -f '${Status},' nginx-light rsync").stdout == 2 * "install ok installed,"
    )
    vinfra("destroy", file, "--yes")
    assert ssh(host, "command -v rsync").stdout == ""


def test_a_saved_plan_runs_once_and_goes_stale_by_reality(
    vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path
) -> None:
    file = blueprint(tmp_path, {"web": {"files": {"/srv/a": {"content": "a"}, "/srv/b": {"content": "b"}}}})
    vinfra("apply", file, "--yes")
    host = first(clean_lab)
    ssh(host, "echo 1 >/srv/a")
    saved = tmp_path / "plan.json"
    vinfra("plan", file, "--out", saved, expect=2)
    assert saved.stat().st_mode & 0o777 == 0o600
    ssh(host, "echo elsewhere >/srv/b; echo 2 >/srv/a")
    refused = vinfra("apply", saved, "--yes", expect=3)
    assert f"host.file:{host.name}/srv/a: content" in refused.stderr
    assert ssh(host, "cat /srv/a").stdout == "2\n"
    ssh(host, "echo 1 >/srv/a")
    vinfra("apply", saved, "--yes")
    assert ssh(host, "cat /srv/a /srv/b").stdout == "aelsewhere\n"
    assert "stale" in vinfra("apply", saved, "--yes", expect=3).stderr


def test_two_blueprints_on_one_host_never_touch_each_other(
    vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path
) -> None:
    mine = blueprint(tmp_path, {"web": {"files": {"/srv/mine": {"content": "m"}}, "packages": ["rsync"]}}, "mine")
    theirs = blueprint(tmp_path, {"web": {"files": {"/srv/mine": {"content": "t"}}}}, "theirs")
    vinfra("apply", mine, "--yes")
    assert "owned by blueprint mine" in vinfra("apply", theirs, "--yes", expect=3).stderr
    theirs = blueprint(tmp_path, {"web": {"packages": ["rsync"]}}, "theirs")
    vinfra("apply", theirs, "--yes")
    vinfra("destroy", mine, "--yes")
    host = first(clean_lab)
    assert ssh(host, "ls /srv; command -v rsync").stdout == "/usr/bin/rsync\n"
    vinfra("plan", theirs)
    vinfra("destroy", theirs, "--yes")
    assert ssh(host, "command -v rsync").stdout == ""


def test_what_left_the_blueprint_goes_if_the_blueprint_made_it(
    vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path
) -> None:
    host = first(clean_lab)
    ssh(host, "echo before >/srv/found")
    files = {name: {"content": "x"} for name in ("/srv/found", "/srv/made", "/srv/stays")}
    vinfra("apply", blueprint(tmp_path, {"web": {"files": files}}), "--yes")
    file = blueprint(tmp_path, {"web": {"files": {"/srv/stays": files["/srv/stays"]}}})
    assert "nothing to do" in vinfra("plan", file, "--no-prune").stdout
    vinfra("apply", file, "--yes")
    assert ssh(host, "ls /srv").stdout.split() == ["found", "stays"]
    assert "nothing to do" in vinfra("plan", file).stdout


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


def test_a_target_widens_nothing_and_gives_up_nothing(vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path) -> None:
    host = first(clean_lab)
    ssh(host, "echo before >/srv/found")
    files = {name: {"content": "x"} for name in ("/srv/found", "/srv/made", "/srv/other", "/srv/gone")}
    vinfra("apply", blueprint(tmp_path, {"web": {"files": files}}), "--yes")
    del files["/srv/gone"]
    files["/srv/made"]["needs"] = ["file:/srv/other"]  # type: ignore[assignment]
    file = blueprint(tmp_path, {"web": {"files": files}})
    ssh(host, "echo y >/srv/made; echo y >/srv/other; echo y >/srv/found")
    rows = changes(vinfra("plan", file, "--target", "file:/srv/made", "--json", expect=2))
    assert sorted(row["name"] for row in rows) == ["/srv/made", "/srv/other"]
    vinfra("apply", file, "--target", "file:/srv/made", "--yes")
    assert ssh(host, "cat /srv/found /srv/gone").stdout == "y\nx"
    assert "released" not in ssh(host, "cat /var/lib/vinfra/marks/trial.jsonl").stdout
    assert "names nothing" in vinfra("drift", file, "--target", "files:/srv/made", expect=1).stderr
    rows = changes(vinfra("plan", file, "--target", "file:/srv/gone", "--json", expect=2))
    assert {(row["action"], row["name"]) for row in rows} == {("delete", "/srv/gone")}
    vinfra("destroy", file, "--target", "file:/srv/made", "--yes")
    assert ssh(host, "ls /srv").stdout.split() == ["found", "gone", "other"]
    vinfra("destroy", file, "--yes")
    assert ssh(host, "ls /srv; ls /var/lib/vinfra/marks").stdout.split() == ["found"]


def test_a_saved_plan_runs_its_own_rows_alone_and_holds_no_secret(
    vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path
) -> None:
    host, secret = first(clean_lab), tmp_path / "key"
    secret.write_text("canary-secret\n")
    secret.chmod(0o600)
    files = {
        "/srv/key": {"content": {"secret": f"file:{secret}"}},
        "/srv/n1": {"content": "1"},
        "/srv/n2": {"content": "{{ word }}", "needs": ["file:/srv/n1"]},
    }
    file = blueprint(tmp_path, {host.name: {"files": files}}, vars={"word": "old"})
    vinfra("apply", file, "--yes")
    assert ssh(host, "stat -c %a /srv/key; cat /srv/key").stdout == "600\ncanary-secret"
    ssh(host, "echo leak >/srv/key")
    saved = tmp_path / "plan.json"
    shown = vinfra("plan", file, "-e", "word=canary-word", "--out", saved, expect=2)
    assert "canary-secret" not in saved.read_text() + shown.stdout
    assert "canary-word" not in saved.read_text()
    assert "-e word" in vinfra("apply", saved, "--yes", expect=3).stderr
    ssh(host, "echo by hand >/srv/n1")
    refused = vinfra("apply", saved, "-e", "word=canary-word", "--yes", expect=0)
    assert ssh(host, "cat /srv/n1 /srv/n2 /srv/key").stdout == "by hand\ncanary-wordcanary-secret", refused
    journal = "".join(path.read_text() for path in (tmp_path / "state").rglob("*.jsonl"))
    assert "canary" not in journal
    assert "no saved plan" in vinfra("plan", file, "--out", file, expect=1).stderr


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


def test_one_bad_mark_line_costs_its_host_alone(vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path) -> None:
    bad = {"blueprint": "b", "kind": [1], "name": 5, "state": "owned", "birth": "created"}
    marks = "/var/lib/vinfra/marks"
    ssh(first(clean_lab), f"mkdir -p {marks}; cat >{marks}/bad.jsonl", stdin=json.dumps(bad) + "\n")
    done = vinfra("plan", blueprint(tmp_path, {"web": {"files": {"/srv/x": {"content": "x"}}}}), expect=2)
    assert "nothing is pruned here" in done.stdout
    assert "2 create" in done.stdout


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


def test_a_path_renamed_through_a_link_is_not_removed(vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path) -> None:
    host = first(clean_lab)
    ssh(host, "mkdir -p /srv/usr/lib; ln -s usr/lib /srv/lib")
    vinfra("apply", blueprint(tmp_path, {host.name: {"files": {"/srv/lib/unit": {"content": "x"}}}}), "--yes")
    file = blueprint(tmp_path, {host.name: {"files": {"/srv/usr/lib/unit": {"content": "x"}}}})
    vinfra("apply", file, "--yes")
    assert ssh(host, "cat /srv/usr/lib/unit").stdout == "x"
    assert "nothing to do" in vinfra("plan", file).stdout


def test_a_refused_row_stops_all_unless_the_rest_may_run(vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path) -> None:
    host = first(clean_lab)
    files = {"/srv/ok": {"content": "x"}, "/nowhere/x": {"content": "x"}}
    file = blueprint(tmp_path, {host.name: {"files": files}})
    assert "/nowhere does not exist" in vinfra("apply", file, "--yes", expect=3).stdout
    assert ssh(host, "ls /srv").stdout == ""
    vinfra("apply", file, "--yes", "--skip-refused", expect=3)
    assert ssh(host, "ls /srv").stdout == "ok\n"
    guarded = {"/srv/ok": {"content": "x", "protect": True}}
    vinfra("apply", blueprint(tmp_path, {host.name: {"files": guarded}}), "--yes")
    file = blueprint(tmp_path, {host.name: {"directories": {"/srv/d": None}}})
    assert "protected" in vinfra("apply", file, "--yes", expect=3).stdout
    assert "protected" in vinfra("destroy", file, "--yes", expect=3).stdout
    assert ssh(host, "ls /srv").stdout == "ok\n"
