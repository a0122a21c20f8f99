"""Facts: recorded on a Debian 12; whatever is missing or odd is None and leaves the rest whole."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from vinfra.kinds.host import facts
from vinfra.kinds.host.certificates import pems
from vinfra.model.question import Question, Raw

PEM = """\
-----BEGIN CERTIFICATE-----
MIIBjDCCATGgAwIBAgIUSfplzwY3TwVpOW3QNe4jlrLKDNAwCgYIKoZIzj0EAwIw
GjEYMBYGA1UEAwwPd2ViLmV4YW1wbGUub3JnMCAXDTI2MTEyNDIzNDQ0NVoYDzIx
MjYxMDMxMjM0NDQ1WjAaMRgwFgYDVQQDDA93ZWIuZXhhbXBsZS5vcmcwWTATBgcq
hkjOPQIBBggqhkjOPQMBBwNCAATVhXVeFtm/g1M0KDhkBksHtLa2UHF7cofpuPn8
zXUapYs9ZqQU7BtWc7rZumF1K/JL+h1neDa8YXA4glo2PNAIo1MwUTAdBgNVHQ4E
FgQUSvUEd/MQDUBC+xnjazwmtHEdq64wHwYDVR0jBBgwFoAUSvUEd/MQDUBC+xnj
azwmtHEdq64wDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNJADBGAiEA39jn
iFmeFT3xkIJJ86MjHC+d+Xk9fDIGVladk270us8CIQDZCz7AzOuYsA1msbzSxx2r
m+mr1WyT/auQOYQC7pDyJw==
-----END CERTIFICATE-----
"""

ANSWERS: dict[Question, str] = {
    pems.OURS: "".join(f"/etc/ssl/vinfra/web.pem:{line}\n" for line in PEM.splitlines())
    + "/etc/ssl/vinfra/odd.pem:no certificate\n",
    facts.OS: 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\nID=debian\n',
    facts.HOSTS: "127.0.0.1 localhost\n192.0.2.2 web1.example.org web1 # us\n",
    facts.CPUINFO: "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu svm\n\nprocessor\t: 1\nflags\t\t: other\n",
    facts.MEMINFO: "MemTotal:       24684096 kB\nMemFree:        24253076 kB\nMemAvailable:   24247056 kB\n",
    facts.UPTIME: "1264.19 2429.11\n",
    facts.UNAME: "web1 6.18.44 x86_64\n",
    facts.CPUS: "2\n",
    facts.NOW: "1795395658.942907125\n",
    facts.VIRTUAL: "docker\n",
    facts.SYSTEMD: "degraded\n",
    facts.ADDRESSES: '[{"ifname":"lo","mtu":65536,"operstate":"UNKNOWN","address":"00:00:00:00:00:00","addr_info":['
    '{"local":"127.0.0.1","prefixlen":8,"scope":"host"}]},{"ifname":"eth0","mtu":1500,"operstate":"UP","address":"02:00:00:00:'
    '00:01","addr_info":[{"local":"192.0.2.2","prefixlen":24,"scope":"global"}]}]',
    facts.ROUTES: '[{"dst":"default","gateway":"192.0.2.1","dev":"eth0","flags":[]}]',
    facts.DISKS: '{"blockdevices":[{"name":"vda","size":274877906944,"type":"disk","model":null,"serial":null,"rota":1,'
    '"mountpoint":null,"children":[{"name":"vda1","mountpoint":"/"}]}]}',
}


def told(answers: dict[Question, str]) -> Any:
    return facts.read({question: Raw(0, text.encode("utf-8", "surrogateescape")) for question, text in answers.items()})


def test_a_debian() -> None:
    found = told(ANSWERS)
    assert found["os"]["family"] == "debian"
    assert found["os"]["pretty"] == "Debian GNU/Linux 12 (bookworm)"
    assert (found["hostname"], found["kernel"], found["arch"]) == ("web1", "6.18.44", "x86_64")
    assert found["fqdn"] == "web1.example.org"
    assert found["systemd"] == {"running": True, "state": "degraded"}
    assert found["cpu"] == {"count": 2, "model": "AMD EPYC", "flags": ["fpu", "svm"]}
    assert found["memory"] == {"total": 24684096 * 1024, "available": 24247056 * 1024}
    assert found["addresses"] == ["192.0.2.2"]
    assert found["default"] == {"interface": "eth0", "gateway": "192.0.2.1"}
    assert found["disks"]["vda"]["mountpoints"] == ["/"]
    assert found["package_manager"] == "apt"
    web = {"expires": 4949163885, "days": 36501, "names": ["web.example.org"], "issuer": "CN=web.example.org"}
    assert found["certificates"] == {"web": web}


def test_every_question_is_answered_here() -> None:
    assert set(facts.ask()) == set(ANSWERS)


def test_other_families() -> None:
    for text, family in (
        ("ID=ubuntu\nID_LIKE=debian\n", "debian"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "redhat"),
        ('ID="opensuse-leap"\nID_LIKE="suse opensuse"\n', "suse"),
        ("ID=void\n", "other"),
    ):
        assert told({facts.OS: text})["os"]["family"] == family


def test_a_host_that_says_nothing() -> None:
    found = facts.read({})
    assert found["os"]["id"] is None
    assert found["systemd"] == {"running": False, "state": None}
    assert found["addresses"] is None
    assert found["memory"]["total"] is None


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(ANSWERS, key=repr)), st.text(st.characters(codec="utf-8"), max_size=60))
def test_an_odd_answer_leaves_the_rest_whole(question: Question, noise: str) -> None:
    assert set(told({**ANSWERS, question: noise})) == set(told(ANSWERS))
