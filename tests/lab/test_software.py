"""Repositories, certificates, commands, cron jobs, timers and the time, on real hosts with the real programs."""

import os
import subprocess
import tarfile
import time
from base64 import b64decode
from functools import partial
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from vinfra import lab as lab_module
from vinfra.lab import Lab, LabHost

from .conftest import Run, Ssh, blueprint, changes, run_ssh
from .software import APT, RPM, make

PLACE = {"uris": ["file:///srv/repo"], "suites": ["stable"], "components": ["main"]}
LEFT = "find /etc/apt /etc/yum.repos.d /etc/pki -name '*vinfra*' 2>/dev/null"
ALL_WELL = "apt-get -o APT::Update::Error-Mode=any update"


@pytest.fixture(scope="module")
def packed(lab: Lab) -> str:
    """A signed repository and its keys, made once and packed (base64)."""
    name = list(lab.hosts)[1]
    host = lab_module.reset(lab, name).hosts[name]
    make(partial(run_ssh, lab), host, APT)
    return run_ssh(lab, host, "tar c -C / srv/repo root/trial.asc root/other.asc root/trial.gpg | base64").stdout


@pytest.fixture
def archive(packed: str, clean_host: LabHost, ssh: Ssh, tmp_path: Path) -> LabHost:
    """A host that has a signed repository at /srv/repo; its keys are on the controller as well."""
    assert ssh(clean_host, "base64 -d | tar x -C /", stdin=packed).returncode == 0
    with tarfile.open(fileobj=BytesIO(b64decode(packed))) as everything:
        for name in ("trial.asc", "other.asc", "trial.gpg"):
            (tmp_path / name).write_bytes(everything.extractfile(f"root/{name}").read())  # type: ignore[union-attr]
    return clean_host


def settled(vinfra: Run, file: Path) -> None:
    """Applied, and the second plan is empty."""
    vinfra("apply", file, "--yes")
    assert "nothing to do" in vinfra("plan", file).stdout


def test_a_repository_brings_what_only_it_has(vinfra: Run, archive: LabHost, ssh: Ssh, tmp_path: Path) -> None:
    """One plan; apt's own lists stay as old as they were; a killed run's files go with the next one."""
    entry = {**PLACE, "key_source": "trial.asc", "priority": 700}
    wish: dict[str, Any] = {"repositories": {"trial": entry}, "packages": {"vinfra-hello": None}}
    file = blueprint(tmp_path, {archive.name: wish})
    ssh(archive, "echo x >/etc/apt/vinfra-trial.new.final; echo x >/etc/apt/keyrings/vinfra-trial.new.asc")
    before = ssh(archive, "stat -c %Y /var/lib/apt/lists").stdout
    row = next(row for row in changes(vinfra("plan", file, "--json", expect=2)) if row["name"] == "vinfra-hello")
    assert (row["verdict"], "repository:trial may bring it" in row["reason"]) == ("later", True)
    settled(vinfra, file)
    assert ssh(archive, "stat -c %Y /var/lib/apt/lists").stdout == before
    assert "*** 1.0 700" in ssh(archive, "apt-cache policy vinfra-hello").stdout
    assert sorted(ssh(archive, LEFT).stdout.split()) == [
        "/etc/apt/keyrings/vinfra-trial.asc",
        "/etc/apt/preferences.d/vinfra-trial.pref",
        "/etc/apt/sources.list.d/vinfra-trial.sources",
    ]
    entry |= {"key_source": "trial.gpg"}
    settled(vinfra, blueprint(tmp_path, {archive.name: wish}))
    assert "vinfra-trial.gpg" in ssh(archive, LEFT).stdout
    assert "vinfra-trial.asc" not in ssh(archive, LEFT).stdout
    vinfra("destroy", file, "--yes")
    assert (ssh(archive, LEFT).stdout, ssh(archive, ALL_WELL).returncode) == ("", 0)


WRONG = (
    ({"key_source": "other.asc"}, "is not signed"),
    ({"key_source": "trial.asc", "suites": ["nosuch"]}, "does not have a Release file"),
    ({"key_source": "trial.asc", "uris": ["http://127.0.0.1:9/x"]}, "Could not connect to 127.0.0.1:9"),
    ({"key_url": "file:///root/trial.asc", "key_sha256": "0" * 64}, "Hash Sum mismatch"),
    ({"key_url": "file:///root/trial.gpg", "key_binary": False}, "say key_binary: true"),
)


def test_a_repository_that_is_wrong_is_taken_back(vinfra: Run, archive: LabHost, ssh: Ssh, tmp_path: Path) -> None:
    """apt's own line is told, nothing of it is left, and apt works on; then the same of one that was right before."""

    def wished(entry: dict[str, Any]) -> Path:
        if "key_url" in entry and "key_sha256" not in entry:
            key = tmp_path / Path(entry["key_url"]).name
            entry = {**entry, "key_sha256": sha256(key.read_bytes()).hexdigest()}
        return blueprint(tmp_path, {archive.name: {"repositories": {"trial": {**PLACE, **entry}}}})

    for wrong, said in WRONG:
        assert said in vinfra("apply", wished(wrong), "--yes", expect=1).stdout
        assert "sources.list.d" not in ssh(archive, LEFT).stdout
    assert ssh(archive, ALL_WELL).returncode == 0
    settled(vinfra, wished({"key_url": "file:///root/trial.asc"}))
    before = ssh(archive, f"cat $({LEFT})").stdout
    for wrong, _ in WRONG[:3]:
        vinfra("apply", wished(wrong), "--yes", expect=1)
        assert ssh(archive, f"cat $({LEFT})").stdout == before


def test_a_place_that_is_configured_twice_is_refused(vinfra: Run, clean_host: LabHost, tmp_path: Path) -> None:
    """apt would warn at each run, or stop at each one when the keys differ."""
    twice = {"uris": ["http://mirror/0/"], "suites": ["bookworm"], "components": ["main"], "trusted": True}
    file = blueprint(tmp_path, {clean_host.name: {"repositories": {"debian": twice}}})
    assert "/etc/apt/sources.list has" in vinfra("plan", file, expect=2).stdout


@pytest.mark.slow
def test_dnf_has_a_repository_too(vinfra: Run, clean_host: LabHost, ssh: Ssh, tmp_path: Path) -> None:
    """dnf itself, on a Debian that says it is a Fedora: a signed package is installed, a wrong place taken back."""
    make(ssh, clean_host, RPM)
    (tmp_path / "trial.asc").write_text(ssh(clean_host, "cat /root/trial.asc").stdout)
    entry = {"uris": ["file:///srv/rpm"], "key_source": "trial.asc", "priority": 50}
    wrong = blueprint(tmp_path, {clean_host.name: {"repositories": {"trial": {**entry, "uris": ["file:///srv/no"]}}}})
    assert "Cannot download repomd.xml" in vinfra("apply", wrong, "--yes", expect=1).stdout
    assert ".repo" not in ssh(clean_host, LEFT).stdout
    wish = {"repositories": {"trial": entry}, "packages": {"vinfra-hello": None}}
    settled(vinfra, blueprint(tmp_path, {clean_host.name: wish}))
    assert ssh(clean_host, "rpm -q vinfra-hello").stdout == "vinfra-hello-1.0-1.noarch\n"
    vinfra("destroy", tmp_path / "trial.yaml", "--yes")
    assert ssh(clean_host, LEFT).stdout == ""


def certificate(folder: Path, name: str, days: int = 90) -> dict[str, Any]:
    """A certificate of the real openssl, as a blueprint names it."""
    made = ("-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem", "-days", str(days))
    kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}.example.org")
    (folder / f"{name}.pem").touch(0o600)
    subprocess.run(["openssl", "req", "-x509", *kind, *made], check=True, capture_output=True)
    return {"certificate_source": f"{name}.pem", "key": {"secret": f"file:{name}.key"}}


def test_a_certificate_is_served_and_renewed(vinfra: Run, clean_host: LabHost, ssh: Ssh, tmp_path: Path) -> None:
    """A real nginx reads it, is reloaded for a new one and for one swapped by hand; the key is nobody else's."""
    server = "server { listen 8443 ssl; ssl_certificate %s; ssl_certificate_key %s; }\n"
    paths = ("/etc/ssl/vinfra/web.pem", "/etc/ssl/private/vinfra-web.key")
    wish: dict[str, Any] = {
        "packages": {"nginx-light": None, "openssl": None},
        "files": {"/etc/nginx/conf.d/tls.conf": {"content": server % paths, "needs": ["certificate:web"]}},
        "certificates": {"web": certificate(tmp_path, "one")},
        "services": {"nginx": {"running": True, "restart_on": ["file:/etc/nginx/conf.d/tls.conf", "certificate:web"]}},
    }
    file = blueprint(tmp_path, {clean_host.name: wish})
    settled(vinfra, file)
    served = "openssl s_client -connect 127.0.0.1:8443 </dev/null 2>/dev/null | openssl x509 -noout -subject"
    assert "one.example.org" in ssh(clean_host, served).stdout
    assert ssh(clean_host, f"stat -c '%a %U' {paths[0]} {paths[1]}").stdout == "644 root\n600 root\n"

    wish["certificates"]["web"] = certificate(tmp_path, "two")
    done = vinfra("apply", blueprint(tmp_path, {clean_host.name: wish}), "--yes")
    assert "one.example.org until" in done.stdout
    assert "two.example.org" in ssh(clean_host, served).stdout
    ssh(clean_host, f"sleep 1; cp /etc/hostname {paths[0]}")  # as a kill between the two renames would leave it
    settled(vinfra, file)
    key = (tmp_path / "two.key").read_text()
    everything = done.stdout + "".join(path.read_text() for path in (tmp_path / "state").rglob("*") if path.is_file())
    assert key.splitlines()[1] not in everything


def test_a_pair_that_is_none_never_comes(vinfra: Run, clean_host: LabHost, ssh: Ssh, tmp_path: Path) -> None:
    one, two, old = (certificate(tmp_path, name, days) for name, days in (("one", 9), ("two", 9), ("old", 1)))
    for pair, said in (
        ({**one, "key": two["key"]}, "the key does not belong to the certificate"),
        ({**one, "key": {"secret": "file:one.pem"}}, "the key is no private key in PEM"),
        ({**one, "certificate_source": "one.key"}, "this is no certificate in PEM"),
    ):
        done = vinfra("plan", blueprint(tmp_path, {clean_host.name: {"certificates": {"web": pair}}}), expect=2)
        assert said in done.stdout
    file = blueprint(tmp_path, {clean_host.name: {"certificates": {"web": old}}})
    assert "it ends in 0 days" in vinfra("plan", file, expect=2).stdout
    ssh(clean_host, "mkdir -p /etc/ssl/private; echo mine >/etc/ssl/private/vinfra-web.key")
    assert "another key is at /etc/ssl/private" in vinfra("plan", file, expect=2).stdout


def test_a_command_runs_until_it_need_not(vinfra: Run, clean_host: LabHost, ssh: Ssh, tmp_path: Path) -> None:
    """Once, as who it is to be; what is secret is in no process's arguments, whoever looks."""
    (tmp_path / "token").write_text("hunter2-hunter2")
    (tmp_path / "token").chmod(0o600)
    look = 'echo "$TOKEN" | wc -c >made; cat /proc/[0-9]*/cmdline | tr "\\0" " " >arguments; id -un >who'
    run = {"run": ["sh", "-c", look], "creates": "/home/ops/who", "user": "ops", "cwd": "/home/ops"}
    wish = {"commands": {"unpack": {**run, "env": {"TOKEN": {"secret": "file:token"}}}}}
    file = blueprint(tmp_path, {clean_host.name: wish})
    settled(vinfra, file)
    assert ssh(clean_host, "cd /home/ops; cat made who").stdout == "16\nops\n"
    assert "hunter2-hunter2" not in ssh(clean_host, "cat /home/ops/arguments").stdout
    for broken, said in (
        ({"run": ["true"], "creates": "/srv/x"}, "it ran, and /srv/x is not there"),
        ({"run": ["sh", "-c", "echo no luck >&2; exit 3"], "creates": "/srv/x"}, "no luck"),
        ({"run": ["sleep", "60"], "creates": "/srv/x", "timeout": "1s"}, "1 s"),
    ):
        done = vinfra("apply", blueprint(tmp_path, {clean_host.name: {"commands": {"x": broken}}}), "--yes", expect=1)
        assert said in done.stdout
    fine = {"run": ["sh", "-c", "touch /srv/x; exit 3"], "creates": "/srv/x", "ok": [0, 3]}
    settled(vinfra, blueprint(tmp_path, {clean_host.name: {"commands": {"x": fine}}}))


def test_a_timer_runs_its_program(vinfra: Run, clean_host: LabHost, ssh: Ssh, tmp_path: Path) -> None:
    """Every second; a new command counts without a restart of what runs; half of it made by hand is mended."""
    first = {"on_calendar": ["*:*:*"], "run": ["/bin/sh", "-c", 'echo "1 50% $HOME" >>/home/ops/said'], "user": "ops"}
    wish: dict[str, Any] = {"timers": {"tick": first}}
    file = blueprint(tmp_path, {clean_host.name: wish})
    settled(vinfra, file)
    assert awaited(ssh, clean_host, "head -1 /home/ops/said") == "1 50% /home/ops\n"
    since = ssh(clean_host, "systemctl show -p ActiveEnterTimestamp vinfra-tick.timer").stdout
    wish["timers"]["tick"]["run"] = ["/bin/sh", "-c", "echo 2 >/home/ops/second"]
    settled(vinfra, blueprint(tmp_path, {clean_host.name: wish}))
    assert awaited(ssh, clean_host, "cat /home/ops/second") == "2\n"
    assert ssh(clean_host, "systemctl show -p ActiveEnterTimestamp vinfra-tick.timer").stdout == since
    ssh(clean_host, "systemctl disable --now vinfra-tick.timer; rm /etc/systemd/system/vinfra-tick.service")
    settled(vinfra, file)
    wish["timers"]["tick"]["on_calendar"] = ["Monx"]
    bad = blueprint(tmp_path, {clean_host.name: wish})
    assert "Failed to parse calendar specification 'Monx'" in vinfra("plan", bad, expect=2).stdout
    vinfra("destroy", file, "--yes")
    assert (
        ssh(clean_host, "ls /etc/systemd/system | grep vinfra; systemctl list-units --all 'vinfra-t*' -q").stdout == ""
    )


def test_what_a_timer_is_given_reaches_its_program_as_it_is(
    vinfra: Run, clean_host: LabHost, ssh: Ssh, tmp_path: Path
) -> None:
    """systemd takes $, % and backslashes in each place otherwise, and no span with an exponent."""
    odd = {"A": "a$b ${c} 5%h", "B": 'c\\ "d"', "C": " é "}
    words = ["$HOME ${A} 5%h", 'q\\ "r"', "it's", ""]
    shown = 'printf "%s\\n" "$@" "$A" "$B" "$C" "$PWD" >/home/ops/said'
    tick = {"run": ["/bin/sh", "-c", shown, "sh", *words], "env": odd, "cwd": "/srv/5%h", "on_calendar": ["*:*:*"]}
    long = {"run": ["/bin/true"], "on_boot": "0s", "interval": "30d", "timeout": "12d"}
    wish = {"directories": {"/srv/5%h": {}}, "timers": {"tick": {**tick, "user": "ops"}, "long": long}}
    settled(vinfra, blueprint(tmp_path, {clean_host.name: wish}))
    assert awaited(ssh, clean_host, "cat /home/ops/said").splitlines() == [*words, *odd.values(), "/srv/5%h"]
    told = ssh(
        clean_host, "systemctl show vinfra-long.timer vinfra-long.service -p TimersMonotonic -p TimeoutStartUSec"
    )
    assert "OnUnitActiveUSec=4w 2d" in told.stdout
    assert "TimeoutStartUSec=1w 5d" in told.stdout


def awaited(ssh: Ssh, host: LabHost, command: str, seconds: float = 15) -> str:
    """What a command says as soon as it says something."""
    end = time.monotonic() + seconds
    while not (said := ssh(host, command).stdout) and time.monotonic() < end:
        time.sleep(0.3)
    return said


def job(minutes: str) -> dict[str, Any]:
    command = "echo $(date +%Y) 100% $WORD >>/home/ops/said"
    return {"cron": {"tidy": {"schedule": minutes, "command": command, "user": "ops", "env": {"WORD": "a b"}}}}


def test_a_cron_job_is_written_as_cron_reads_it(vinfra: Run, clean_host: LabHost, ssh: Ssh, tmp_path: Path) -> None:
    file = blueprint(tmp_path, {clean_host.name: job("@daily")})
    assert "this host has no cron: declare the package cron" in vinfra("plan", file, expect=2).stdout
    file = blueprint(tmp_path, {clean_host.name: {"packages": {"cron": None}, **job("@daily")}})
    settled(vinfra, file)
    ssh(clean_host, "chmod 0666 /etc/cron.d/vinfra-tidy; echo '* * * * * root evil' >>/etc/cron.d/vinfra-tidy")
    settled(vinfra, file)
    text = 'WORD="a b"\n@daily ops echo $(date +\\%Y) 100\\% $WORD >>/home/ops/said\n'
    assert ssh(clean_host, "stat -c %a /etc/cron.d/vinfra-tidy; cat /etc/cron.d/vinfra-tidy").stdout == f"644\n{text}"


@pytest.mark.slow
def test_cron_runs_the_job(vinfra: Run, clean_host: LabHost, ssh: Ssh, tmp_path: Path) -> None:
    """A whole minute."""
    settled(vinfra, blueprint(tmp_path, {clean_host.name: {"packages": {"cron": None}, **job("*/1 * * * *")}}))
    year = ssh(clean_host, "date +%Y").stdout.strip()
    assert awaited(ssh, clean_host, "cat /home/ops/said", 130) == f"{year} 100% a b\n"


SHARED = "the clock is this machine's own: chronyd runs with -x here, which leaves it alone"


@pytest.mark.slow
def test_the_time_of_a_host(vinfra: Run, clean_lab: Lab, ssh: Ssh, tmp_path: Path) -> None:
    """chrony asks the other host; its own servers go and come back; the zone changes at once."""
    host, other = clean_lab.hosts.values()
    for each in (host, other):
        ssh(each, f"""printf '# {SHARED}\nDAEMON_OPTS="-F 1 -x"\n' >/etc/default/chrony""")
    peer = ssh(other, "hostname -I").stdout.split()[0]
    ssh(other, "export DEBIAN_FRONTEND=noninteractive; apt-get install -y -qq --no-install-recommends chrony")
    ssh(other, "printf 'local stratum 8\nallow\n' >/etc/chrony/conf.d/serve.conf; systemctl restart chrony")
    wish = {"timezone": "Europe/Berlin", "servers": [f"{peer} iburst minpoll 0"], "exclusive": True}
    alone = blueprint(tmp_path, {host.name: {"time": wish}})
    assert "declare the package chrony" in vinfra("plan", alone, expect=2).stdout
    packages: dict[str, Any] = {"chrony": None, "tzdata": None}
    file = blueprint(tmp_path, {host.name: {"packages": packages, "time": wish}})
    settled(vinfra, file)
    assert awaited(ssh, host, f"chronyc -n sources | grep '[*] {peer}'", 30)
    assert ssh(host, "date -d @0 +%H:%M; cat /etc/timezone").stdout == "01:00\nEurope/Berlin\n"
    assert ssh(host, "grep -c '^pool' /etc/chrony/chrony.conf").stdout == "0\n"
    ssh(host, "systemctl stop chrony")
    settled(vinfra, file)
    vinfra("destroy", file, "--yes")
    assert ssh(host, "ls /etc/chrony/sources.d | grep vinfra; grep vinfra /etc/chrony/chrony.conf").stdout == ""


@pytest.mark.slow
def test_all_of_it_on_the_next_release(vinfra: Run, tmp_path: Path, ssh: Ssh) -> None:
    """Debian 13: other programs verify signatures, and /etc/timezone is gone."""
    made = lab_module.up(f"x{os.getpid()}", 1, suite="trixie", progress=print)
    try:
        host = next(iter(made.hosts.values()))
        run: Ssh = lambda of, command, **more: ssh(of, command, of=made, **more)  # noqa: E731
        make(run, host, APT)
        run(host, """printf 'DAEMON_OPTS="-F 1 -x"\n' >/etc/default/chrony""")
        (tmp_path / "trial.asc").write_text(run(host, "cat /root/trial.asc").stdout)
        (tmp_path / "other.asc").write_text(run(host, "cat /root/other.asc").stdout)
        entry = {**PLACE, "key_source": "trial.asc", "priority": 700}
        wish: dict[str, Any] = {
            "repositories": {"trial": entry},
            "packages": {"vinfra-hello": None, "cron": None, "chrony": None, "tzdata": None},
            "certificates": {"web": certificate(tmp_path, "one")},
            "commands": {"once": {"run": ["touch", "/srv/once"], "creates": "/srv/once"}},
            "timers": {"tick": {"on_calendar": ["hourly"], "run": ["/bin/true"], "hardened": True}},
            "time": {"timezone": "Europe/Berlin", "servers": ["192.0.2.1"], "exclusive": True},
            **job("@daily"),
        }
        file = blueprint(tmp_path, {host.name: wish})
        vinfra("apply", file, "--yes", machines=made.inventory)
        assert "nothing to do" in vinfra("plan", file, machines=made.inventory).stdout
        entry["key_source"] = "other.asc"
        bad = blueprint(tmp_path, {host.name: wish})
        assert "signature" in vinfra("apply", bad, "--yes", machines=made.inventory, expect=1).stdout
        assert run(host, ALL_WELL).returncode == 0
        entry["key_source"] = "trial.asc"
        vinfra("apply", blueprint(tmp_path, {host.name: wish}), "--yes", machines=made.inventory)
        vinfra("destroy", file, "--yes", machines=made.inventory)
        assert run(host, LEFT).stdout == ""
    finally:
        lab_module.down(made.name)
