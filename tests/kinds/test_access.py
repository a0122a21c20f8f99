"""What decides who gets in, and how a step on it is taken back."""

import pytest

from vinfra.kinds.host import access, service
from vinfra.model.action import Action, Impact
from vinfra.model.address import Address
from vinfra.model.change import Change, Delta, FieldChange
from vinfra.model.kind import Scope
from vinfra.model.step import Exec, Step


@pytest.mark.parametrize(
    ("path", "risky"),
    [
        ("/etc/ssh/sshd_config.d/a.conf", True),
        ("/home/ops/.ssh/authorized_keys", True),
        ("/etc/sudoers.d/ops", True),
        ("/etc/ufw/user.rules", True),
        ("/etc/firewalld/zones/public.xml", True),
        ("/etc/vinfra/firewall.nft", True),
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
    assert stop.again == (
        ("systemctl", "reset-failed", "--", "ssh.service"),
        ("systemctl", "start", "--", "ssh.service"),
    )
    assert [command[1] for command in mask.again] == ["reset-failed", "unmask", "start"]
    assert not reread.risks_access
    assert not enable.risks_access


def test_other_units_are_left_alone_unless_they_read_such_files() -> None:
    (plain,) = access.held(steps("restart"), "nginx.service")
    assert not plain.risks_access
    (guarded,) = access.held(steps("restart"), "nslcd.service", ("/etc/pam.d/login",))
    assert guarded.guards == ("/etc/pam.d/login",)
    assert [command[1:] for command in guarded.again] == [
        (verb, "--", "nslcd.service") for verb in ("reset-failed", "restart")
    ]


def test_taking_a_restart_of_sshd_back_is_under_guard_as_well() -> None:
    name = "/etc/ssh/sshd_config.d/a.conf"
    desired, actual = service.Spec(running=True, restart_on=(f"file:{name}",)), service.Spec(running=True, enabled=True)
    delta = Delta(Action.UPDATE, (FieldChange("restart_on", None, desired.restart_on, Impact.RESTART),))
    change = Change(Address("host.service", "h", "ssh"), delta, desired, actual)
    (back,) = service.undo(change, Scope("h", ())).steps
    assert back.guards == (name,)
    assert [command[1] for command in back.again] == ["reset-failed", "restart"]
    assert next(call.argv[1] for call in back.calls if isinstance(call, Exec)) == "reset-failed"
