"""Whose things are whose, saved plans, and killed controllers, on real hosts."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.test_checkout import git
from vinfra.lab import Lab

from .conftest import ROOT, Run, Ssh, blueprint, changes, first


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
    note = re.compile(r"warning: run \S+ by \S+ ended without a word .*, during host\.file:\S+/srv/")
    assert note.search(vinfra("plan", file, expect=2).stdout)
    assert note.search(vinfra("apply", file, "--yes").stdout)
    assert not note.search(vinfra("plan", file).stdout)
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
        "/srv/other": {"content": "o"},
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
    assert "-e word has another value" in vinfra("apply", saved, "-e", "word=x", "--yes", expect=3).stderr
    ssh(host, "echo by hand >/srv/other")
    vinfra("apply", saved, "-e", "word=canary-word", "--yes")
    assert ssh(host, "cat /srv/n1 /srv/n2 /srv/key /srv/other").stdout == "1canary-wordcanary-secretby hand\n"
    journal = "".join(path.read_text() for path in (tmp_path / "state").rglob("*.jsonl"))
    assert "canary" not in journal
    assert "no saved plan" in vinfra("plan", file, "--out", file, expect=1).stderr


def test_an_old_checkout_undoes_nothing_of_a_newer_one(vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path) -> None:
    host = first(clean_lab)
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    mine.mkdir()
    git(mine, "init", "-q")
    motd, cron = {"/etc/motd": {"content": "one"}}, {"/etc/cron.d/x": {"content": "# x"}}
    file = blueprint(mine, {host.name: {"files": motd}})
    git(mine, "add", ".")
    git(mine, "commit", "-qm", "one")
    git(tmp_path, "clone", "-q", str(mine), str(theirs))
    vinfra("apply", file, "--yes")
    blueprint(theirs, {host.name: {"files": {"/etc/motd": {"content": "two"}, **cron}}})
    git(theirs, "commit", "-qam", "two")
    vinfra("apply", theirs / file.name, "--yes")
    refused = vinfra("apply", file, "--yes", expect=3)
    assert "which this checkout" in refused.stdout
    assert "git" not in refused.stderr.lower() or "nothing was touched" in refused.stderr
    assert ssh(host, "cat /etc/motd /etc/cron.d/x").stdout == "two# x"
    git(mine, "pull", "-q", str(theirs), "HEAD")
    vinfra("plan", file)
    git(mine, "checkout", "-q", "HEAD~1")
    vinfra("apply", file, "--yes", "--supersede")
    assert ssh(host, "cat /etc/motd; ls /etc/cron.d/x").stdout == "one"


def test_without_git_an_untouched_old_copy_prunes_nothing(
    vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path
) -> None:
    host = first(clean_lab)
    new = tmp_path / "new"
    new.mkdir()
    motd, cron = {"/etc/motd": {"content": "one"}}, {"/etc/cron.d/x": {"content": "# x"}}
    file = blueprint(tmp_path, {host.name: {"files": motd}})
    vinfra("apply", file, "--yes")
    time.sleep(1.1)  # marks tell whole seconds
    vinfra("apply", blueprint(new, {host.name: {"files": {**motd, **cron}}}), "--yes")
    assert "newer than this one" in vinfra("apply", file, "--yes", expect=3).stdout
    time.sleep(1.1)
    file.touch()  # somebody worked on it since: taking a line away is meant
    vinfra("apply", file, "--yes")
    assert ssh(host, "ls /etc/cron.d/x").stdout == ""


def test_one_bad_mark_line_costs_its_host_alone(vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path) -> None:
    bad = {"blueprint": "b", "kind": [1], "name": 5, "state": "owned", "birth": "created"}
    marks = "/var/lib/vinfra/marks"
    ssh(first(clean_lab), f"mkdir -p {marks}; cat >{marks}/bad.jsonl", stdin=json.dumps(bad) + "\n")
    done = vinfra("plan", blueprint(tmp_path, {"web": {"files": {"/srv/x": {"content": "x"}}}}), expect=2)
    assert "nothing is pruned here" in done.stdout
    assert "2 create" in done.stdout


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
