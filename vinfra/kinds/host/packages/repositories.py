"""The files of one repository on a host, for apt and for dnf, and the scripts that put them there once it has answered.

Its lists are fetched by files beside the real ones first: a repository that is away, or whose signature is wrong, never
comes among those that every later run of apt or dnf reads.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

ARMOR = "-----BEGIN PGP PUBLIC KEY BLOCK-----"


class Fields(Protocol):
    """What of a repository is written down."""

    @property
    def uris(self) -> tuple[str, ...] | None: ...
    @property
    def metalink(self) -> str | None: ...
    @property
    def suites(self) -> tuple[str, ...] | None: ...
    @property
    def components(self) -> tuple[str, ...] | None: ...
    @property
    def architectures(self) -> tuple[str, ...] | None: ...
    @property
    def types(self) -> tuple[str, ...]: ...
    @property
    def signed_by(self) -> str | None: ...
    @property
    def trusted(self) -> bool | None: ...
    @property
    def enabled(self) -> bool: ...
    @property
    def check_metadata(self) -> bool: ...
    @property
    def priority(self) -> int | None: ...
    @property
    def pin(self) -> str | None: ...
    @property
    def key_url(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Paths:
    """Where its files are; the `new` ones stand beside them until it has answered."""

    source: str
    key: str
    preferences: str
    new: str

    @property
    def probe(self) -> str:
        """The list that is tried."""
        return f"{self.new}.sources" if self.preferences else f"{self.new}/probe.repo"

    @property
    def final(self) -> str:
        """The list that is kept, until it has answered."""
        return f"{self.new}.final" if self.preferences else f"{self.new}/final"

    @property
    def new_key(self) -> str:
        """Its key, until it has answered. apt's own user reads it, so it stands where everybody may read."""
        folder, _, name = self.key.rpartition("/")
        stem, _, suffix = name.rpartition(".")
        return f"{folder}/{stem}.new.{suffix}" if self.preferences else f"{self.key}.new"


def apt(name: str, armored: bool = True) -> Paths:
    """apt tells what a key is by its suffix (sources.list(5))."""
    key = f"/etc/apt/keyrings/vinfra-{name}.{'asc' if armored else 'gpg'}"
    pin = f"/etc/apt/preferences.d/vinfra-{name}.pref"
    return Paths(f"/etc/apt/sources.list.d/vinfra-{name}.sources", key, pin, f"/etc/apt/vinfra-{name}.new")


def dnf(name: str) -> Paths:
    """dnf has its pin in the list itself, and its keys as text."""
    key = f"/etc/pki/rpm-gpg/RPM-GPG-KEY-vinfra-{name}"
    return Paths(f"/etc/yum.repos.d/vinfra-{name}.repo", key, "", f"/etc/yum.repos.d/.vinfra-{name}.new")


def stanza(desired: Fields, key: str) -> str:
    """A .sources file (sources.list(5)); `key` is "" when none is to be named."""
    said: tuple[tuple[str, tuple[str, ...] | None], ...] = (
        ("Types", desired.types),
        ("URIs", desired.uris),
        ("Suites", desired.suites),
        ("Components", desired.components),
        ("Architectures", desired.architectures),
        ("Enabled", None if desired.enabled else ("no",)),
        ("Trusted", ("yes",) if desired.trusted else None),
        ("Signed-By", (named,) if (named := key or desired.signed_by) else None),
    )
    return "".join(f"{name}: {' '.join(words)}\n" for name, words in said if words)


def section(name: str, desired: Fields, key: str, probe: bool = False) -> str:
    """A .repo file (dnf.conf(5)). A probe must not be passed over when it does not answer."""
    where = key or desired.signed_by
    said: Mapping[str, Any] = {
        "name": name,
        "baseurl": " ".join(desired.uris or ()),
        "metalink": desired.metalink,
        "enabled": "1" if desired.enabled else "0",
        "gpgcheck": "0" if desired.trusted else "1",
        "repo_gpgcheck": "1" if desired.check_metadata else "",
        "gpgkey": f"file://{where}" if where else "",
        "priority": desired.priority,
        "skip_if_unavailable": "0" if probe else "",
    }
    return f"[vinfra-{name}]\n" + "".join(f"{word}={value}\n" for word, value in said.items() if value)


def preferences(desired: Fields) -> str:
    """A preferences file (apt_preferences(5)): all that comes from there; "" without a priority."""
    if desired.priority is None:
        return ""
    hosts = dict.fromkeys(_host(uri) for uri in desired.uris or ())
    pins = [desired.pin] if desired.pin else [f'origin "{host}"' for host in hosts]
    return "\n".join(f"Package: *\nPin: {pin}\nPin-Priority: {desired.priority}\n" for pin in pins)


def texts(name: str, desired: Fields, paths: Paths, own_key: bool) -> dict[str, str]:
    """Its files as they are to be; an empty text is a file that is not there."""
    key = paths.key if own_key else ""
    if not paths.preferences:
        return {paths.source: section(name, desired, key)}
    return {paths.source: stanza(desired, key), paths.preferences: preferences(desired)}


def staged(name: str, desired: Fields, paths: Paths, own_key: bool) -> dict[str, str]:
    """The files beside the real ones: the list that is tried, with the key where it is until then, and what follows."""
    final, key = texts(name, desired, paths, own_key), paths.new_key if own_key else ""
    probe = stanza(desired, key) if paths.preferences else section(name, desired, key, probe=True)
    pin = {f"{paths.new}.pref": text for path, text in final.items() if path != paths.source and text}
    return {paths.probe: probe, **pin, paths.final: final[paths.source]}


def folders(paths: Paths) -> tuple[str, ...]:
    """What must be there for them to be written."""
    above = (paths.source, paths.key) if paths.preferences else (paths.source, paths.key, paths.probe)
    return tuple(dict.fromkeys(path.rpartition("/")[0] for path in above))


def all_of(paths: Paths) -> tuple[str, ...]:
    """Every path that may be left of one, a killed run's files included."""
    own = (paths.source, paths.probe, paths.final, paths.new_key)
    return (*own, paths.preferences, f"{paths.new}.pref") if paths.preferences else (*own, paths.new)


def fetch(url: str, paths: Paths, sha256: str, armored: str) -> tuple[str, ...]:
    """The host fetches a key to where it stands until the repository has answered."""
    return "sh", "-c", FETCH, "sh", url, paths.new_key, sha256, armored


def put(name: str, paths: Paths, own_key: bool, probe: bool, stamp: int) -> tuple[str, ...]:
    """Ask the repository, then let its files take their places."""
    key, asked = paths.key if own_key else "", "yes" if probe else "no"
    if paths.preferences:
        return "sh", "-c", APT, "sh", paths.new, paths.source, key, paths.preferences, asked, str(stamp)
    return "sh", "-c", DNF, "sh", paths.new, paths.source, key, paths.key, asked, f"vinfra-{name}"


WORDS = ("uris", "suites", "components", "architectures", "types", "metalink", "signed_by", "pin")


def words_problem(desired: Fields) -> str:
    """What cannot stand in a list as it is given, "" for nothing: each word is one word on one line."""
    for key in WORDS:
        value = getattr(desired, key) or ()
        for word in (value,) if isinstance(value, str) else value:
            if not word or "\n" in word or (re.search(r"\s", word) and key != "pin"):
                return f"{key}: {word!r} must be one word"
    if wrong := [uri for uri in desired.uris or () if not re.match(r"[a-z+]+:/", uri)]:
        return f"{wrong[0]!r} is no address, such as https://apt.example.org/debian"
    addresses = (*(desired.uris or ()), desired.metalink or "", desired.key_url or "")
    if any(re.match(r"[a-z+]+://[^/@]*:[^/@]*@", where) for where in addresses):
        return "everybody may read an address, so no password stands in it; apt has /etc/apt/auth.conf.d for that"
    if desired.priority is not None and not (desired.priority and -32768 <= desired.priority <= 32767):
        return "priority is -32768 to 32767 and not 0: with any other one no apt runs any more"
    if desired.pin and not re.fullmatch(r"(release|version|origin) .*\S.*", desired.pin):
        return "pin begins with release, version or origin, as in apt_preferences(5)"
    if any(kind not in ("deb", "deb-src") for kind in desired.types):
        return "types are deb and deb-src"
    exact = [suite for suite in desired.suites or () if suite.endswith("/")]
    if exact and desired.components:
        return f"{exact[0]} is a folder, and a folder has no components"
    if desired.suites and not exact and not desired.components:
        return "a suite has components: say them, or write the suite as a folder with a slash at its end"
    return ""


def _host(uri: str) -> str:
    """The host of a place, "" for one that has none (file:)."""
    found = re.match(r"[a-z+]+://(?:[^/@]*@)?([^/:]*)", uri)
    return found[1] if found else ""


# apt-helper comes with apt and checks the sum itself. What is kept must be what its name says.
FETCH = f"""\
url=$1 key=$2 sum=$3 armored=$4
if [ -x /usr/lib/apt/apt-helper ]; then
    /usr/lib/apt/apt-helper download-file "$url" "$key" "SHA256:$sum" || exit
else
    curl -fsSL -o "$key" -- "$url" || exit
    echo "$sum  $key" | sha256sum --check --quiet - || {{ rm -f -- "$key"; exit 1; }}
fi
if [ -L "$key" ]; then cp -- "$key" "$key.copy" && mv -fT -- "$key.copy" "$key" || exit; fi  # it links what is file:
chown 0:0 "$key" && chmod 0644 "$key" || exit
grep -q -e '{ARMOR}' "$key" && found=yes || found=no
test "$found" = "$armored" && exit
rm -f -- "$key"
test "$found" = yes && echo "the key is armored text: say key_binary: false" >&2
test "$found" = no && echo "the key is binary: say key_binary: true" >&2
exit 1
"""

# $1: where new files are, $2 the list, $3 the key ("": none), $4 the preferences, $5 whether to ask it first. What a
# former one left goes last. $6 is when the lists were last fetched: to have read this one does not make the others new.
APT = """\
new=$1 source=$2 key=$3 pin=$4 probe=$5 stamp=$6
fresh=${key%.*}.new.${key##*.}
trap 'rm -f -- "$new.sources" "$new.final" "$new.pref" ${key:+"$fresh"}' EXIT
if [ "$probe" = yes ]; then
    apt-get update -o "Dir::Etc::sourcelist=$new.sources" -o Dir::Etc::sourceparts=- -o APT::Get::List-Cleanup=0 \\
        -o APT::Update::Error-Mode=any -o DPkg::Lock::Timeout=600
    status=$?
    touch -d "@$stamp" /var/lib/apt/lists /var/lib/apt/lists/partial
    [ "$status" = 0 ] || exit "$status"
fi
if [ -n "$key" ]; then mv -f -- "$fresh" "$key" || exit; fi
if [ -e "$new.pref" ]; then mv -f -- "$new.pref" "$pin" || exit; else rm -f -- "$pin" || exit; fi
mv -f -- "$new.final" "$source" || exit
stem=${source##*/}
for old in "/etc/apt/keyrings/${stem%.sources}.asc" "/etc/apt/keyrings/${stem%.sources}.gpg"; do
    [ "$old" = "$key" ] || rm -f -- "$old"
done
"""

DNF = """\
new=$1 source=$2 key=$3 old=$4 probe=$5 name=$6
trap 'rm -rf -- "$new" ${key:+"$key.new"}' EXIT
if [ "$probe" = yes ]; then
    dnf -q -y "--setopt=reposdir=$new" makecache --repo "$name" || exit
fi
if [ -n "$key" ]; then mv -f -- "$key.new" "$key" || exit; fi
mv -f -- "$new/final" "$source" || exit
[ -n "$key" ] || rm -f -- "$old"
"""
