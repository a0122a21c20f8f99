"""What a kind says of names and combinations of fields before any host is asked."""

from typing import Any

import pytest

from vinfra.kinds.registry import KINDS
from vinfra.model.values import Plain


@pytest.mark.parametrize(
    ("kind", "name", "wish", "said"),
    [
        ("file", "etc/motd", {"content": "a"}, "absolute path"),
        ("file", "/etc/../motd", {"content": "a"}, "without '.'"),
        ("file", "/etc/motd\n", {"content": "a"}, "control characters"),
        ("file", "/etc/motd", {}, "give one of"),
        ("file", "/etc/motd", {"content": "a", "source": "b"}, "exclude each other"),
        ("directory", "/", {}, "root directory"),
        ("package", "nginx;", {}, "package name"),
        ("package", "nginx-", {}, "package name"),
        ("package", "x", {"role": "no"}, "there are kvm"),
        ("package", "x", {"role": "kvm", "version": "1"}, "no version"),
        ("package", "x", {"version": "1 2"}, "write a version"),
        ("service", "-x", {"running": True}, "unit name"),
        ("service", "getty@", {"running": True}, "template"),
        ("service", "x", {}, "at least one"),
        ("service", "x", {"masked": True, "running": True}, "neither run"),
        ("service", "x", {"restart_on": ["user:a"]}, "file:/path"),
        ("user", "Bad", {}, "user name"),
        ("user", "a", {"comment": "a:b"}, "colon"),
        ("user", "a", {"authorized_keys": ["x"]}, "no SSH public key"),
        ("user", "a", {"exclusive_keys": True}, "needs authorized_keys"),
        ("user", "root", None, "root cannot be removed"),
        ("sysctl", "/proc/sys/x", {"value": "1"}, "write the key"),
        ("operation", "a", {"operation": "files.nosuch"}, "no operation"),
        ("operation", "a", {"operation": "files.line", "arguments": {"x": "1"}}, "required argument"),
        ("operation", "a", {"operation": "files.line", "arguments": {"_sudo": "1"}}, "global arguments"),
        ("operation", "a", {"operation": "server.shell", "arguments": {"commands": "x"}}, "run every time"),
        ("operation", "a", {"operation": "server.reboot", "unless": [{"exists": "/x"}]}, "Python functions"),
        ("operation", "a", {"operation": "python.call", "arguments": {}}, "Python functions"),
        ("operation", "a", {"operation": "files.get", "arguments": {"src": "/a", "dest": "b"}}, "downloads"),
    ],
)
def test_what_is_wrong_is_said(kind: str, name: str, wish: dict[str, Any] | None, said: str) -> None:
    module = KINDS[f"host.{kind}"]
    assert said in module.check(name, None if wish is None else module.Spec.model_validate(wish))


def test_files_come_after_their_directories_and_owner() -> None:
    spec = KINDS["host.file"].Spec.model_validate({"content": "a", "owner": "web"})
    needs, after = KINDS["host.file"].references("/srv/app/x", spec)
    assert not needs
    mounts = {"mount:/srv/app/x", "mount:/srv/app", "mount:/srv"}
    assert after == {"directory:/srv/app", "directory:/srv", "user:web"} | mounts


def test_services_need_what_restarts_them() -> None:
    spec = KINDS["host.service"].Spec.model_validate({"restart_on": ["file:/etc/x"]})
    needs, after = KINDS["host.service"].references("web", spec)
    assert needs == {"file:/etc/x"}
    assert "file:/etc/systemd/system/web.service" in after


def test_arguments_of_operations_are_what_yaml_means() -> None:
    wish = {
        "a": Plain("true"),
        "b": "true",
        "c": Plain("0644"),
        "d": Plain("22"),
        "e": Plain("1.10"),
        "f": [Plain("~")],
    }
    spec: Any = KINDS["host.operation"].Spec.model_validate({"operation": "x.y", "arguments": wish})
    assert spec.arguments == {"a": True, "b": "true", "c": "0644", "d": 22, "e": "1.10", "f": [None]}
