"""What a host does itself about images, volumes and networks, as shell scripts. Words come only as arguments."""

from collections.abc import Mapping
from typing import Any

from vinfra.model.step import Exec

# Words of FETCH and FINISH: the pool's folder, the final name, the sha256, the format, where it comes from.
# What was half fetched is gone on with, unless that is no beginning of it. 22 and 33 of curl and 8 of wget: the server
# does not go on from there. 23 and 3: it cannot be written.
FETCH = """\
fetch() {
if command -v curl >/dev/null; then
curl --fail --location --globoff --silent --show-error --retry 3 --connect-timeout 30 \\
--speed-limit 1 --speed-time 60 --continue-at - --output "$part" -- "$from"
elif command -v wget >/dev/null; then
wget --no-verbose --tries=3 --timeout=60 --continue --output-document="$part" -- "$from"
else
echo 'neither curl nor wget is on this host' >&2
return 1
fi
}
whole() { echo "$want  $part" | sha256sum --check --status; }
part=.$2.part want=$3 from=$5
cd -- "$1" || exit
[ ! -e "$2" ] || exit 0
umask 077
begun=
[ ! -s "$part" ] || begun=yes
if [ -z "$begun" ] || ! whole; then
fetch
status=$?
if [ "$begun" ] && ! whole; then
case $status in 0|8|22|33) rm -f -- "$part"; fetch; status=$?;; esac
fi
case $status in
0) ;;
3|23)
rm -f -- "$part"
echo "no room for it in $1: $(($(stat -f -c '%a * %S' .) / 1048576)) MiB are left" >&2
exit 1;;
*)
echo "$from was not fetched" >&2
exit 1;;
esac
fi
"""
FINISH = """\
part=.$2.part
cd -- "$1" || exit
got=$(sha256sum <"$part") || exit
if [ "$got" != "$3  -" ]; then
rm -f -- "$part"
echo "wrong checksum of $5: expected sha256 $3, got $(echo "$got" | cut -c 1-64)" >&2
exit 1
fi
is=raw
! head -c 3 -- "$part" | grep -q QFI || is=qcow2
if [ "$is" != "$4" ]; then
rm -f -- "$part"
echo "$5 is $is, not $4" >&2
exit 1
fi
sync -- "$part" && mv -f -- "$part" "$2"
"""
# Words: the pool's folder, the file. Whoever was to go before it may have stayed.
STANDS_ON = """\
cd -- "$1" || exit
for file in *; do
case $(qemu-img info -U -- "$file" 2>/dev/null) in
*"backing file: $1/$2"*|*"(actual path: $1/$2)"*)
echo "$file stands on $2" >&2
exit 1;;
esac
done
"""
# Words: the image's path and format, the size. Before the image was fetched nobody knew how large it is.
FITS = """\
own=$(qemu-img info -U -f "$2" -- "$1" | sed -n 's/^virtual size: .*(\\([0-9]*\\) bytes)$/\\1/p')
[ "$own" ] || exit 1
[ "$own" -le "$3" ] || { echo "the image alone is $own bytes" >&2; exit 1; }
"""
# Words: the pool's folder, the file, its format, the image's path and format, the size. The file gets its name last.
# The copy of a run whose controller was killed was waited for, and is the one.
COPY = """\
cd -- "$1" || exit
if [ -e "$2" ]; then
[ -z "$WAITED" ] || exit 0
echo "$1/$2 is there already" >&2
exit 1
fi
umask 077
part=.$2.part
qemu-img convert -f "$5" -O "$3" -- "$4" "$part" && { [ -z "$6" ] || qemu-img resize -q -f "$3" -- "$part" "$6"; } &&
sync -- "$part" && mv -- "$part" "$2" || { rm -f -- "$part"; exit 1; }
"""
# The same words; the pool's folder is that of a volume group. The copy gets its name last here too.
COPY_TO_GROUP = """\
vg=${1##*/} part=$2.part
if [ -e "$1/$2" ]; then
[ -z "$WAITED" ] || exit 0
echo "$1/$2 is there already" >&2
exit 1
fi
[ ! -e "$1/$part" ] || lvremove -qq -y -- "$vg/$part" >/dev/null || exit 1
size=$6
[ "$size" ] || size=$(qemu-img info -U -f "$5" -- "$4" | sed -n 's/^virtual size: .*(\\([0-9]*\\) bytes)$/\\1/p')
lvcreate -qq -y -W y -n "$part" -L "${size}b" -- "$vg" >/dev/null || exit 1
qemu-img convert -n -f "$5" -O raw -- "$4" "$1/$part" && sync -- "$1/$part" &&
lvrename -qq -- "$vg" "$part" "$2" >/dev/null ||
{ lvremove -qq -y -- "$vg/$part" >/dev/null; exit 1; }
"""
# Words: a logical volume's path, and the size. One that has it already is left as it is.
EXTEND = """\
[ "$(blockdev --getsize64 "$1")" -ge "$2" ] || lvextend -qq -L "${2}b" -- "$1" >/dev/null
"""
# Words: the path. Whoever was to stop using it may not have done so; of a raw file qemu's lock does not tell.
OPEN = """\
real=$(readlink -f -- "$1")
held=$(find /proc/[0-9]*/fd \\( -lname "$1" -o -lname "$real" \\) 2>/dev/null | head -n 1 | cut -d / -f 3)
[ -z "$held" ] || { echo "$1 is in use by $(cat "/proc/$held/comm"), process $held" >&2; exit 1; }
"""
_BRIDGE = """bridge=$(virsh -q -r -c qemu:///system net-info "$1" | sed -n 's/^Bridge: *//p')\n"""
# Words: the network, and the taps that were plugged into it.
PLUG = f"""\
{_BRIDGE}shift
for tap; do
[ ! -e "/sys/class/net/$tap" ] || ip link set dev "$tap" master "$bridge" || exit
done
"""
# Words: the network. Whoever was to go before may have stayed. Older versions keep a port of their own on the bridge.
UNPLUGGED = f"""\
{_BRIDGE}for port in /sys/class/net/"$bridge"/brif/*; do
case $port in *-nic|*"*") ;; *) echo "$1 is in use: $(basename "$port") is plugged into it" >&2; exit 1;; esac
done
"""


# One unit for each file, under its name: a run whose controller was killed is waited for, and what it made is there.
# systemd would read dollar signs, which doubled stand for themselves.
_LASTING = """\
unit=$1 since=$(date +%s) waited=; shift
while systemctl --quiet is-active "$unit"; do waited=yes; sleep 0.3; done
systemd-run --quiet --wait --collect --unit="$unit" --description="$unit" --setenv=WAITED=$waited -- "$@" && exit 0
status=$?
journalctl --quiet --no-pager --output=cat --unit="$unit" --since="@$since" _TRANSPORT=stdout >&2
[ $status = 1 ] || echo "$unit ended with status $status" >&2
exit $status
"""


def lasting(unit: str, script: str, words: tuple[str, ...], facts: Mapping[str, Any]) -> Exec:
    """A shell script with its words, as a transient unit where systemd runs: it outlives a lost connection."""
    argv = ("sh", "-c", script, "sh", *words)
    if not (facts.get("systemd") or {}).get("running"):
        return Exec(argv)
    doubled = (word.replace("$", "$$") for word in argv)
    return Exec(("sh", "-c", _LASTING, "sh", f"vinfra-{unit}.service", *doubled))
