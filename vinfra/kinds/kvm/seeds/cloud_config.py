"""What is wrong with data for cloud-init, as far as can be told before a machine reads it; YAML is parsed in memory.

The keys and their sorts are those of cloud-init's documentation (https://docs.cloud-init.io/en/latest/reference/). A
key that looks like none of them passes: images may have modules of their own.
"""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

import yaml

from vinfra.model.values import FromFile, Plain
from vinfra.text.complaint import near

Pointer = tuple[str | int, ...]

HEADER = "#cloud-config"
JINJA = "## template: jinja"
# What user data may begin with, beside a MIME message.
HEADERS = (
    *(HEADER, "#cloud-config-archive", "#cloud-config-jsonp", "#!", JINJA, "#include", "#include-once"),
    *("#cloud-boothook", "#part-handler"),
)
MIME = ("Content-Type:", "MIME-Version:")
MOST = 1 << 20
# A word as close as this is one that was meant; a key that is refused could not be written in any other way.
_ALIKE = 0.8

_M, _L, _T, _F, _N = "a mapping", "a list", "text", "true or false", "a number"
KEYS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        (
            *("ansible", "apk_repos", "apt", "autoinstall", "ca_certs", "ca-certs", "chef", "chpasswd"),
            *("device_aliases", "disk_setup", "drivers", "fan", "growpart", "grub_dpkg", "grub-dpkg", "keyboard"),
            *("landscape", "lxd", "mcollective", "ntp", "output", "phone_home", "power_state", "puppet", "random_seed"),
            *("reporting", "resolv_conf", "rh_subscription", "rpi", "rsyslog", "salt_minion", "snap", "spacewalk"),
            *("ssh", "ssh_keys", "ssh_publish_hostkeys", "swap", "system_info", "ubuntu_advantage", "ubuntu_pro"),
            *("updates", "vendor_data", "wireguard", "yum_repos", "zypper"),
        ),
        (_M,),
    ),
    **dict.fromkeys(
        (
            *("bootcmd", "cloud_config_modules", "cloud_final_modules", "cloud_init_modules", "fs_setup"),
            *("mount_default_fields", "mounts", "packages", "runcmd", "ssh_authorized_keys"),
            *("ssh_fp_console_blacklist", "ssh_genkeytypes", "ssh_import_id", "ssh_key_console_blacklist"),
            *("write_files",),
        ),
        (_L,),
    ),
    **dict.fromkeys(
        (
            *("authkey_hash", "byobu_by_default", "disable_root_opts", "final_message", "fqdn", "hostname"),
            *("locale_configfile", "password", "timezone", "yum_repo_dir"),
        ),
        (_T,),
    ),
    **dict.fromkeys(
        (
            *("allow_public_ssh_keys", "apt_reboot_if_required", "apt_update", "apt_upgrade", "create_hostname_file"),
            *("disable_ec2_metadata", "disable_root", "manage_resolv_conf", "no_ssh_fingerprints"),
            *("package_reboot_if_required", "package_update", "package_upgrade", "prefer_fqdn_over_hostname"),
            *("preserve_hostname", "ssh_deletekeys", "ssh_quiet_keygen"),
        ),
        (_F,),
    ),
    "apt_pipelining": (_F, _N, _T),
    "groups": (_M, _L, _T),
    "launch-index": (_N,),
    "locale": (_T, _F),
    "manage_etc_hosts": (_F, _T),
    "merge_how": (_T, _L),
    "merge_type": (_T, _L),
    "resize_rootfs": (_F, _T),
    "ssh_pwauth": (_F, _T),
    "user": (_T, _M),
    "users": (_L, _M, _T),
}
_USER = {
    **dict.fromkeys(
        (
            *("name", "doas", "expiredate", "gecos", "hashed_passwd", "homedir", "passwd", "plain_text_passwd"),
            *("primary_group", "selinux_user", "shell", "snapuser"),
        ),
        (_T,),
    ),
    **dict.fromkeys(
        (
            *("create_groups", "inactive", "lock_passwd", "lock-passwd", "no_create_home", "no_log_init"),
            *("no_user_group", "ssh_redirect_user", "system"),
        ),
        (_F, _T),
    ),
    **dict.fromkeys(("ssh_authorized_keys", "ssh-authorized-keys", "ssh_import_id"), (_L, _T)),
    "doas": (_L,),
    "groups": (_T, _L, _M),
    "sudo": (_T, _L, _F),
    "uid": (_N, _T),
}
_FILE = {
    **dict.fromkeys(("path", "content", "owner", "permissions", "encoding"), (_T,)),
    "append": (_F,),
    "defer": (_F,),
    "source": (_M,),
    "permissions": (_T, _N),
}
_PASSWORDS = {"expire": (_F,), "users": (_L,), "list": (_L, _T)}
_POWER = {"delay": (_N, _T), "mode": (_T,), "message": (_T,), "timeout": (_N,), "condition": (_T, _F, _L)}


class Fault(NamedTuple):
    """What is wrong with a value of the data; "" as the key's own name means the whole of it."""

    pointer: Pointer
    message: str


def _real(value: Any) -> Any:
    """What cloud-init will read: without quotes a word may be a number or a flag."""
    if type(value) is Plain:
        try:
            return yaml.safe_load(value)
        except yaml.YAMLError:
            return str(value)
    return value


def sort_of(value: Any) -> str:
    """What a value is, "" for what is not known yet: a secret, something that waits for facts."""
    value = _real(value)
    sorts = ((bool, _F), (int | float, _N), (str, _T), (Mapping, _M), (list | tuple, _L))
    return next((word for sort, word in sorts if isinstance(value, sort)), "nothing" if value is None else "")


def _wrong(value: Any, allowed: tuple[str, ...]) -> str:
    found = sort_of(value)
    return "" if not found or found in allowed else f"write {' or '.join(allowed)}, not {found}"


def mapping(value: Any, keys: Mapping[str, tuple[str, ...]], at: Pointer, needs: str = "") -> Iterator[Fault]:
    """What is wrong with the keys of a mapping, and with the sorts of its values."""
    if not isinstance(value, Mapping):
        return
    if needs and needs not in value:
        yield Fault(at, f"say its {needs}")
    for key, item in value.items():
        if key not in keys:
            if hint := get_close_matches(str(key), keys, n=1, cutoff=_ALIKE):
                yield Fault((*at, key), f"cloud-init has no {key}; did you mean {hint[0]}?")
        elif item is not None and (said := _wrong(item, keys[key])):
            yield Fault((*at, key), said)


def faults(config: Mapping[str, Any]) -> Iterator[Fault]:
    """What is wrong with a #cloud-config."""
    yield from mapping(config, KEYS, ())
    for key in ("runcmd", "bootcmd"):
        for at, item in _items(config, key):
            if said := _wrong(item, (_T, _L)):
                yield Fault((key, at), f"{said}; a line with ': ' in it needs quotes" if _M in said else said)
    for key, allowed in (("packages", (_T, _L, _M)), ("ssh_authorized_keys", (_T,)), ("mounts", (_L,))):
        yield from (Fault((key, at), said) for at, item in _items(config, key) if (said := _wrong(item, allowed)))
    for at, item in _items(config, "write_files"):
        yield from _checked(item, _FILE, ("write_files", at), "path")
    for at, item in _items(config, "users"):
        if sort_of(item) != _T:
            yield from _checked(item, _USER, ("users", at), "")
            if isinstance(item, Mapping) and not {"name", "snapuser"} & item.keys():
                yield Fault(("users", at), "say its name")
    yield from mapping(config.get("chpasswd"), _PASSWORDS, ("chpasswd",))
    yield from mapping(config.get("power_state"), _POWER, ("power_state",), "mode")


def _checked(item: Any, keys: Mapping[str, tuple[str, ...]], at: Pointer, needs: str) -> Iterator[Fault]:
    if said := _wrong(item, (_M,)):
        yield Fault(at, said)
    yield from mapping(item, keys, at, needs)


def _items(config: Mapping[str, Any], key: str) -> Iterator[tuple[int, Any]]:
    value = config.get(key)
    yield from enumerate(value) if isinstance(value, list | tuple) else ()


def text_faults(text: str) -> Iterator[Fault]:
    """What is wrong with user data as text: how it begins, and a #cloud-config in it."""
    first = text.partition("\n")[0].rstrip()
    known = first.startswith((*MIME, "#!")) or first in HEADERS or first.lower().startswith(JINJA)
    if not known:
        hint, file = near(first, HEADERS), f"{text.file}:1: " if isinstance(text, FromFile) else ""
        yield Fault((), f"{file}begin with {HEADER}, #! for a script, or another header that cloud-init knows{hint}")
    if len(text.encode("utf-8", "surrogateescape")) > MOST:
        yield Fault((), f"it is larger than {MOST >> 20} MiB; have the machine fetch what is large")
    if first != HEADER:
        return
    file = f"{text.file}:" if isinstance(text, FromFile) else "line "
    try:
        config, tree = yaml.safe_load(text), yaml.compose(text, yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = f"{error.problem_mark.line + 1}: " if error.problem_mark else ": "
        yield Fault((), f"{file}{line}no YAML: {error.problem}")
        return
    if not isinstance(config, dict | None):
        yield Fault((), f"below {HEADER}: write a mapping")
        return
    found = faults(config or {})
    said = (f"{file}{_line(tree, fault.pointer)}: {_where(fault.pointer)}: {fault.message}" for fault in found)
    if all_of_it := "; ".join(said):  # the text is one value, of which one thing is said
        yield Fault((), all_of_it)


def _line(node: Any, pointer: Pointer) -> int:
    """The line of the part of a text that a pointer names, as far as it leads."""
    line = 1
    for part in pointer:
        if isinstance(node, yaml.MappingNode):
            pair = next((pair for pair in node.value if pair[0].value == part), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line


def _where(pointer: Pointer) -> str:
    said = ""
    for part in pointer:
        said += f"[{part}]" if isinstance(part, int) else f".{part}" if said else part
    return said
