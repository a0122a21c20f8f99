"""NetBox as an inventory, against a server with its shapes (tests/inventories/netbox.py); no real NetBox was tried."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vinfra.errors import Unresolved, UsageError
from vinfra.inventories import reading
from vinfra.inventories.netbox import Keeping
from vinfra.model.inventory import Inventory, source
from vinfra.text.template import Variables
from vinfra.transport.secrets import Secrets

from .netbox import TOKEN, Server, device, machine, serving


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as found:
        found.objects["/api/dcim/devices/"] = [
            device(1, "hv01", "10.0.0.11/24"),
            device(2, "hv02", "10.0.0.12/24", "FRA 2", rack=None, location=None, position=None),
            device(3, "patch panel 9", None),
            device(4, None, "10.0.0.14/24"),
            device(5, "hv05", "2001:db8::5/64"),
        ]
        found.objects["/api/virtualization/virtual-machines/"] = [machine(1, "vm01", "10.0.1.1/24")]
        yield found


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETBOX_TOKEN", TOKEN)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")


class Asking:
    """One inventory file, read as `-i` does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "netbox.yaml"
        self.cache = folder / "state/netbox"

    def write(self, server: Server, more: str = "", tail: str = "") -> None:
        text = f"inventory: netbox\nnetbox:\n  url: {server.url}\n  token: {{secret: env:NETBOX_TOKEN}}\n{more}{tail}"
        self.file.write_text(text)

    def __call__(self, *, refresh: bool = False) -> tuple[Inventory, list[str]]:
        named = source(self.file)
        sort = reading.sort_of(named)
        made, problems = reading.read(named, sort, Secrets().reveal, Keeping(self.cache, refresh))
        return made, [str(problem).replace(f"{self.folder}/", "") for problem in problems]


@pytest.fixture
def ask(server: Server, tmp_path: Path) -> Asking:
    asking = Asking(tmp_path)
    asking.write(server)
    return asking


def test_devices_and_machines_become_hosts(ask: Asking, server: Server) -> None:
    ask.write(server, "", "ssh: {user: admin, key_file: keys/id}\nvars: {site: ours, workers: 4}\n")
    made, problems = ask()
    assert problems == []
    assert list(made.hosts) == ["hv01", "hv02", "hv05", "vm01"]
    found = made.hosts["hv01"]
    assert (found.address, found.user, found.key_file) == ("10.0.0.11", "admin", str(ask.folder / "keys/id"))
    assert found.host_key == "strict"
    assert made.hosts["hv05"].address == "2001:db8::5"
    assert {
        name: found.variables[name] for name in ("rack", "position", "zone", "role", "platform", "tags", "workers")
    } == {
        "rack": "r07",
        "position": "12.0",
        "zone": "hall-b",
        "role": "hypervisor",
        "platform": "debian-12",
        "tags": ["kvm"],
        "workers": "4",
    }
    assert found.variables["site"] == "ours"
    assert found.variables["netbox"]["custom_fields"] == {"name": "kept whole", "warranty": "2027-01-01"}
    assert made.hosts["hv02"].variables["zone"] == "fra-2"
    assert made.groups["site_fra-2"] == ("hv02",)
    assert made.groups["rack_r07"] == ("hv01", "hv05")
    assert made.groups["tag_kvm"] == ("hv01", "hv02", "hv05")
    assert made.hosts["vm01"].variables["cluster"] == "pool-a"
    assert made.warnings == (
        "inventory: patch panel 9 left out: it has no primary IP in NetBox",
        "inventory: device-4 left out: it has no name in NetBox",
    )


def test_a_name_that_no_host_can_have_is_left_out_and_the_others_stay(ask: Asking, server: Server) -> None:
    server.objects["/api/dcim/devices/"] = [
        device(1, "Core Switch 1", "10.0.0.9/24"),
        device(2, "hv01", "10.0.0.11/24"),
    ]
    made, problems = ask()
    assert problems == []
    assert "hv01" in made.hosts
    assert "Core Switch 1" not in made.hosts
    assert any(told.startswith("inventory: Core Switch 1 left out: its name") for told in made.warnings)


def test_what_stands_in_netbox_is_never_a_template(ask: Asking, server: Server) -> None:
    odd = {"note": "{{ lookup('pipe', 'id') }}", "list": ["{{ workers }}"]}
    server.objects["/api/dcim/devices/"] = [
        device(1, "hv01", "10.0.0.11/24", serial="{{ workers }}", custom_fields=odd)
    ]
    ask.write(server, "", "vars: {workers: 4, mine: '{{ workers }}'}\n")
    made, problems = ask()
    assert problems == []
    found = Variables(made.hosts["hv01"].variables)
    told = found.render(made.hosts["hv01"].variables["netbox"])
    assert (told["serial"], told["custom_fields"]) == ("{{ workers }}", odd)
    assert found.render(made.hosts["hv01"].variables["mine"]) == "4"


def test_every_page_is_read_and_filters_are_handed_on(ask: Asking, server: Server) -> None:
    server.objects["/api/dcim/devices/"] = [
        device(n, f"hv{n:03}", f"10.1.{n // 250}.{n % 250}/16") for n in range(1, 8)
    ]
    more = "  filters: {site: ams-1}\n  devices: {status: [active]}\n  virtual_machines: false\n  groups_by: [site]\n"
    ask.write(server, more)
    made, _ = ask()
    assert len(made.hosts) == 7
    assert list(made.groups) == ["all", "site_ams-1"]
    assert all("site=ams-1" in asked for asked in server.asked[:1])
    assert "status=active" in server.asked[0]
    assert not any("virtual" in asked for asked in server.asked)


def test_an_answer_is_kept_and_used_again_for_a_while(ask: Asking, server: Server) -> None:
    ask()
    asked = len(server.asked)
    [kept] = ask.cache.iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert ask.cache.stat().st_mode & 0o777 == 0o700
    assert TOKEN not in kept.read_text()
    server.objects["/api/dcim/devices/"].append(device(9, "hv09", "10.0.0.19/24"))
    assert "hv09" not in ask()[0].hosts
    assert len(server.asked) == asked
    assert "hv09" in ask(refresh=True)[0].hosts


def age(ask: Asking, seconds: float) -> None:
    [kept] = ask.cache.iterdir()
    kept.write_text(json.dumps({**json.loads(kept.read_text()), "time": time.time() - seconds}))


@pytest.mark.parametrize("broken", [(500, b"<h1>Server Error</h1>"), (503, b"")])
def test_while_netbox_is_down_its_last_answer_serves_and_its_age_is_told(
    broken: tuple[int, bytes], ask: Asking, server: Server
) -> None:
    ask()
    age(ask, 7300)
    server.answer = broken
    made, problems = ask()
    assert problems == []
    assert len(made.hosts) == 4
    assert f"is broken ({broken[0]})" in made.warnings[0]
    assert "these are the hosts it told 2h ago" in made.warnings[0]


def test_when_nobody_listens(tmp_path: Path) -> None:
    ask = Asking(tmp_path)
    with serving() as server:
        server.objects["/api/dcim/devices/"] = [device(1, "hv01", "10.0.0.11/24")]
        ask.write(server)
        ask()
    age(ask, 400)
    made, _ = ask()
    assert list(made.hosts) == ["hv01"]
    assert "Connection refused" in made.warnings[0]
    assert made.warnings[0].endswith("these are the hosts it told 7m ago")
    next(ask.cache.iterdir()).unlink()
    with pytest.raises(UsageError, match="no answer from NetBox at http"):
        ask()


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((403, b'{"detail": "Invalid token"}'), r'does not let this token read \(403\): \{"detail": "Invalid token"\}'),
        ((500, b"<h1>Server Error</h1>"), r"is broken \(500\)"),
        ((400, b'{"site": ["Select a valid choice."]}'), r"refuses the question \(400\)"),
        ((404, b"nginx"), r"refuses the question \(404\)"),
        ((200, b"<html>hello</html>"), "is no NetBox: it sends no JSON"),
        ((200, b"[]"), "no host|is no NetBox|"),
        ((200, b"3"), "is no NetBox of a kind that is known here"),
        ((200, b'{"count": 1, "results": [3]}'), "is no NetBox of a kind"),
        ((200, b'{"count": 1, "next": null, "results": [{"name": "x"}]}'), "something that is no device|is no NetBox"),
    ],
)
def test_an_answer_that_is_of_no_use(answer: tuple[int, bytes], told: str, ask: Asking, server: Server) -> None:
    server.answer = answer
    if answer[1] == b"[]":
        assert ask()[0].hosts == {}
        return
    with pytest.raises(UsageError, match=told) as error:
        ask()
    assert TOKEN not in str(error.value)


def test_a_refused_token_is_an_error_even_with_an_old_answer(ask: Asking, server: Server) -> None:
    ask()
    age(ask, 7300)
    os.environ["NETBOX_TOKEN"] = "wrong-wrong"
    with pytest.raises(UsageError, match="does not let this token read") as error:
        ask()
    assert "wrong-wrong" not in str(error.value)


def test_without_a_token_nothing_is_asked(ask: Asking, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NETBOX_TOKEN")
    with pytest.raises(Unresolved, match="env:NETBOX_TOKEN"):
        ask()
    assert server.asked == []


def test_its_certificate_is_verified(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        server.objects["/api/dcim/devices/"] = [device(1, "hv01", "10.0.0.11/24")]
        ask = Asking(tmp_path)
        ask.write(server)
        with pytest.raises(UsageError, match=r"certificate of https://127.* cannot be verified"):
            ask()
        assert server.tokens == set()
        ask.write(server, "  ca: ca.pem\n")
        assert list(ask()[0].hosts) == ["hv01"]


def test_the_token_does_not_follow_a_link_to_somewhere_else(tmp_path: Path) -> None:
    with serving(tmp_path) as server, serving() as other:
        server.elsewhere = other.url
        server.objects["/api/dcim/devices/"] = [device(n, f"hv{n}", f"10.0.0.{n}/24") for n in range(1, 8)]
        ask = Asking(tmp_path)
        ask.write(server, "  ca: ca.pem\n")
        with pytest.raises(UsageError, match="leads elsewhere"):
            ask()
        assert other.asked == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("inventory: netbox\n", "netbox.yaml:1:1: netbox: write a mapping with url and token, not nothing"),
        ("inventory: netbox\nnetbox: {url: http://netbox.example.net, token: {secret: env:T}}\n",
         "netbox.yaml:2:15: netbox.url: anybody on the way reads the token along; write https://…"),
        ("inventory: netbox\nnetbox: {url: https://u:p@x, token: {secret: env:T}}\n",
         "netbox.yaml:2:15: netbox.url: write https://NETBOX, without a user in it"),
        ("inventory: netbox\nnetbox: {url: https://x, token: abc}\n",
         "netbox.yaml:2:33: netbox.token: a password does not stand in a file; write {secret: env:NAME}"),
        ("inventory: netbox\nnetbox: {url: https://x, token: {secret: env:T}, groups_by: [color]}\n",
         "netbox.yaml:2:62: netbox.groups_by[0]: "),
        ("inventory: netbox\nnetbox: {url: https://x, token: {secret: env:T}, max_age: soon}\n",
         "netbox.yaml:2:59: netbox.max_age: "),
        ("inventory: netbox\nnetbox: {url: https://x, token: {secret: env:T}}\nhosts: {}\n",
         "netbox.yaml:3:1: hosts: unknown key; allowed: inventory, netbox, ssh, vars"),
    ],
)  # fmt: skip
def test_a_file_that_is_written_wrongly(text: str, told: str, ask: Asking) -> None:
    ask.file.write_text(text)
    _, problems = ask()
    assert problems[0].startswith(told), problems


def test_two_of_one_name(ask: Asking, server: Server) -> None:
    server.objects["/api/dcim/devices/"] = [device(n, "hv01", f"10.0.0.{n}/24", f"S{n}") for n in (1, 2)]
    _, problems = ask()
    assert "NetBox has two of this name" in problems[0]


def test_a_copy_of_somebody_else_is_not_believed(ask: Asking, server: Server) -> None:
    ask()
    [kept] = ask.cache.iterdir()
    kept.chmod(0o644)
    asked = len(server.asked)
    ask()
    assert len(server.asked) > asked


def test_without_pynetbox_it_says_what_to_install(ask: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pynetbox", None)
    with pytest.raises(UsageError, match="needs pynetbox") as error:
        ask()
    assert error.value.hint == "pip install 'vinfra[netbox]'"
