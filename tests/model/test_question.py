"""The read side's allow-list: what may be asked, and how it is called."""

import pytest

from vinfra.kinds.host.packages.apt import SIMULATE
from vinfra.model.question import Exec, QuestionRefused, ReadTree


@pytest.mark.parametrize(
    "argv",
    [
        ("rm", "-rf", "/"),
        ("sh", "-c", "id"),
        ("apt-get", "install", "x"),
        ("apt-get", "-s", "install", "x"),
        (*SIMULATE, "-o", "APT::Get::Simulate=false", "install", "x"),
        (*SIMULATE, "-oAPT::Get::Simulate=false", "install", "--", "x"),
        ("rpm", "-q", "--eval", "%(id)"),
        ("rpm", "-e", "x"),
        ("date", "-s", "now"),
        ("date", "+%s.%N", "-s", "now"),
        ("systemctl", "restart", "x"),
        ("systemctl", "show", "-H", "elsewhere", "x"),
        ("ip", "-j", "addr", "add", "10.0.0.1/8", "dev", "lo"),
        ("sha256sum", "-c", "x"),
        ("dpkg-query", "--admindir=/x", "-W"),
        ("vgs", "--reportformat", "json"),
        ("ip", "-d", "-j", "link", "delete", "x"),
        ("df", "-P", "-k", "-T", "-l", "--sync"),
        ("nft", "-j", "list", "table", "inet", "vinfra", ";", "flush", "ruleset"),
        ("nft", "flush", "ruleset"),
        ("firewall-cmd", "--info-policy=vinfra", "--reload"),
        ("firewall-cmd", "--permanent", "--list-all-zones", "--add-port=1/tcp"),
        ("iptables-save", "-t", "filter", "-f", "/etc/passwd"),
        ("ufw", "status"),
        ("sshd", "-T", "-E", "/etc/passwd"),
        ("sshd",),
    ],
)
def test_what_could_write_cannot_be_asked(argv: tuple[str, ...]) -> None:
    with pytest.raises(QuestionRefused):
        Exec(argv)


@pytest.mark.parametrize(
    "argv",
    [
        (*SIMULATE, "install", "--no-remove", "--", "-odd", "x"),
        ("stat", "-L", "-c", "%n", "--", "/x"),
        ("systemctl", "show", "--timestamp=us+utc", "-p", "Id", "--", "x.service"),
        ("getent", "passwd", "ada"),
        ("nft", "-j", "list", "table", "inet", "vinfra"),
        ("firewall-cmd", "--permanent", "--list-all-zones"),
        ("sshd", "-T"),
    ],
)
def test_what_only_reads_can(argv: tuple[str, ...]) -> None:
    assert Exec(argv).argv == argv


@pytest.mark.parametrize(
    "path",
    [
        "/proc/kmsg",
        "/proc/1/environ",
        "/proc/[0-9]*/environ",
        "/sys/kernel/tracing/trace_pipe",
        "/sys/kernel/debug/x",
        "/sys/bus/pci/devices/*/rom",
        "/sys/class/net/*",
        "/sys/class/net/*/*",
        "/sys/class/../../etc/shadow",
        "/sys/class/net/x y/mtu",
        "/sys/class/net/$(id)/mtu",
        "/sys/class/net/a;id/mtu",
        "/etc/shadow",
        "/etc/*/os-release",
        "sys/class/net/mtu",
    ],
)
def test_what_is_not_small_and_harmless_is_not_read_in_bulk(path: str) -> None:
    with pytest.raises(QuestionRefused):
        ReadTree((path,))


@pytest.mark.parametrize("path", ["/a b", "/a;id", "/$(id)", "/../x", "/a'b", "/a\n/b", "/{a,b}", "-n"])
def test_no_pattern_means_anything_else_to_a_shell(path: str) -> None:
    for asked in ({"links": (path,)}, {"names": (path,)}):
        with pytest.raises(QuestionRefused):
            ReadTree(**asked)
