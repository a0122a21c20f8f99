"""`ansible_ssh_common_args` and its like: the few of OpenSSH's options that have a meaning for vinfra.

What speaks only of OpenSSH's own conduct (its control sockets, its keepalive) is passed over. Whatever would change
where, as whom or how safely we log in, and is not known here, is refused.
"""

import re
import shlex
from collections.abc import Iterator
from typing import Any

from vinfra.inventories.found import Unfit

_LEFT = "vinfra does not use OpenSSH's client; write it into ~/.ssh/config, which vinfra reads, or leave it out"
# Options of OpenSSH that change nothing about where or as whom one logs in.
_PASSED_OVER = frozenset(
    (
        *("addressfamily", "batchmode", "challengeresponseauthentication", "compression", "connectionattempts"),
        *("controlmaster", "controlpath", "controlpersist", "gssapiauthentication", "identitiesonly", "ipqos"),
        *(
            "kbdinteractiveauthentication",
            "loglevel",
            "logverbose",
            "numberofpasswordprompts",
            "passwordauthentication",
        ),
        *(
            "preferredauthentications",
            "pubkeyauthentication",
            "requesttty",
            "serveralivecountmax",
            "serveraliveinterval",
        ),
        "tcpkeepalive",
    )
)
_SETTINGS = {"port": "port", "user": "user", "identityfile": "key_file"}
_SHORT = {"p": "port", "l": "user", "i": "identityfile", "J": "proxyjump"}
_QUIET = frozenset("qCTntx46v")


def settings(text: str, name: str, warn: Any) -> dict[str, Any]:
    """What they say as settings of ours. Raises Unfit. `warn` is told what is not followed."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise Unfit(name, f"not to be taken apart: {error}") from None
    found: dict[str, Any] = {}
    for option, value in _options(words, name):
        _one(option, value, found, name, warn)
    return found


def _options(words: list[str], name: str) -> Iterator[tuple[str, str]]:
    todo = iter(words)
    for word in todo:
        letter, rest = word[1:2], word[2:]
        if word.startswith("-") and set(word[1:]) <= _QUIET and word != "-":
            continue
        if not word.startswith("-") or letter not in ("o", *_SHORT):
            raise Unfit(name, f"{word!r}: {_LEFT}")
        value = rest or next(todo, "")
        if letter == "o":
            option, _, value = value.strip().replace("=", " ", 1).partition(" ")
            yield option.lower(), value.strip().strip('"')
        else:
            yield _SHORT[letter], value


def _one(option: str, value: str, found: dict[str, Any], name: str, warn: Any) -> None:
    if not value:
        raise Unfit(name, f"{option} has no value")
    if option in ("proxyjump", "proxycommand"):
        if value.lower() != "none":
            hops = value.split(",")
            found["jump"] = [_hop(hop, name) for hop in hops] if option == "proxyjump" else [_through(value, name)]
    elif option in _SETTINGS:
        found[_SETTINGS[option]] = value
    elif option == "connecttimeout":
        found["connect_timeout"] = f"{value}s"
    elif option in ("stricthostkeychecking", "userknownhostsfile", "globalknownhostsfile"):
        _host_key(option, value, found, warn)
    elif option not in _PASSED_OVER:
        raise Unfit(name, f"{option}={value}: {_LEFT}")


def _host_key(option: str, value: str, found: dict[str, Any], warn: Any) -> None:
    """What decides about host keys. It can be another file, and not less."""
    if option == "stricthostkeychecking":
        if value.lower() == "accept-new":
            found["host_key"] = "accept-new"
        elif value.lower() not in ("yes", "ask"):
            warn("host keys are checked all the same: known_hosts decides, whatever StrictHostKeyChecking says")
    elif value == "/dev/null":
        warn("host keys are checked all the same: known_hosts decides, and not /dev/null")
    elif option == "userknownhostsfile":
        found["known_hosts"] = value


def _hop(text: str, name: str) -> str:
    text = text.strip().removeprefix("ssh://")
    if not re.fullmatch(r"([^@\s]+@)?(\[[0-9A-Fa-f:]+\]|[^@:\s\[\]]+)(:[0-9]+)?", text):
        raise Unfit(name, f"{text!r} is no jump host; write user@address:port")
    return text


def _through(command: str, name: str) -> str:
    """The jump host of a ProxyCommand that is `ssh -W %h:%p` and nothing more."""
    refused = Unfit(name, "of ProxyCommand only `ssh -W %h:%p [-q] [-p PORT] [user@]host` is followed; write ProxyJump")
    try:
        words = shlex.split(command)
    except ValueError:
        raise refused from None
    if not words or words[0].rpartition("/")[2] != "ssh":
        raise refused
    user = port = target = way = ""
    todo = iter(words[1:])
    for word in todo:
        if word == "-W":
            way = next(todo, "")
        elif word.startswith("-W"):
            way = word[2:]
        elif word == "-p":
            port = next(todo, "")
        elif word == "-l":
            user = next(todo, "")
        elif word.startswith("-") and set(word[1:]) <= _QUIET:
            continue
        elif word.startswith("-") or target:
            raise refused
        else:
            target = word
    if way not in ("%h:%p", "[%h]:%p") or not target:
        raise refused
    target = f"{user}@{target}" if user and "@" not in target else target
    return _hop(f"{target}:{port}" if port else target, name)
