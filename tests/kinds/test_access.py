"""What decides who gets in, and how a step on it is taken back."""

import pytest

from vinfra.kinds.host import access
from vinfra.model.step import Exec, Step


@pytest.mark.parametrize(
    ("path", "risky"),
    [
        ("/etc/ssh/sshd_config.d/a.conf", True),
        ("/home/ops/.ssh/authorized_keys", True),
        ("/etc/sudoers.d/ops", True),
        ("/etc/motd", False),
        ("/srv/etc/sudoers", False),
    ],
)
def test_files_that_decide_who_gets_in(path: str, risky: bool) -> None:
    assert access.guards(path) == ((path,) if risky else ())


def steps(*verbs: str) -> list[Step]:
    return [Step(verb, (Exec(("systemctl", verb, "--", "ssh.service")),)) for verb in verbs]


def test_what_is_done_to_sshd_has_its_way_back() -> None:
    stop, mask, reread, enable = access.held(steps("stop", "mask", "daemon-reload", "enable"), "ssh.service")
    assert stop.again == (("systemctl", "start", "--", "ssh.service"),)
    assert [command[1] for command in mask.again] == ["unmask", "start"]
    assert not reread.risks_access
    assert not enable.risks_access


def test_other_units_are_left_alone_unless_they_read_such_files() -> None:
    (plain,) = access.held(steps("restart"), "nginx.service")
    assert not plain.risks_access
    (guarded,) = access.held(steps("restart"), "nslcd.service", ("/etc/pam.d/login",))
    assert guarded.guards == ("/etc/pam.d/login",)
    assert guarded.again == (("systemctl", "restart", "--", "nslcd.service"),)
