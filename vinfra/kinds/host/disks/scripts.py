"""What a host does itself with its disks, as shell scripts. Words come only as arguments.

Each looks again before it writes, in the same breath: mkfs asks nobody when its input is no terminal.
"""

from vinfra.model.step import Exec

# empty: whether nothing is on a device, nor stands on it; blkid sees the second copy of a GPT only beside the first.
# orphan: whether it is a physical volume of no group.
_LOOK = """\
export LVM_SUPPRESS_FD_WARNINGS=1
empty() {
[ -b "$1" ] || { echo "$1: no such block device" >&2; return 1; }
said=$(blkid -p -o export -- "$1" 2>/dev/null)
case $? in
2) ;;
*) echo "$1 is not empty, and was when it was read:" $said >&2; return 1;;
esac
cmp -s -n 4096 -- "$1" /dev/zero || { echo "$1 is not empty, and was when it was read" >&2; return 1; }
last=$(($(blockdev --getsize64 "$1") - 512))
cmp -s -n 512 -i "$last:0" -- "$1" /dev/zero || {
echo "$1 is not empty: its last 512 bytes may be the second copy of a partition table" >&2
echo "if all of that may go: dd if=/dev/zero of=$1 bs=512 seek=$((last / 512)) count=1" >&2
return 1
}
set -- "$1" $(stat -L -c '%t %T' -- "$1") || return
for holder in /sys/dev/block/$((0x$2)):$((0x$3))/holders/*; do
[ ! -e "$holder" ] || { echo "$1 is used by ${holder##*/}" >&2; return 1; }
done
}
orphan() {
held=$(pvs --noheadings -o vg_name -- "$1") || return
[ -z "$(echo $held)" ] || { echo "$1 is of volume group" $held >&2; return 1; }
}
"""
# Words: vgcreate or vgextend, the group, each device as `new:/dev/x`, or `ours:/dev/x` for one that a killed run
# prepared. Both prepare the others themselves; asked whether to wipe something, they hear no.
GROUP = (
    _LOOK
    + """\
verb=$1 group=$2
shift 2
for word; do
case $word in
ours:*) orphan "${word#*:}" || exit;;
*) empty "${word#*:}" || exit;;
esac
shift
set -- "$@" "${word#*:}"
done
"$verb" -q -- "$group" "$@"
"""
)
# Words: the group, its devices. Asked whether to remove volumes too, vgremove hears no.
UNGROUP = """\
export LVM_SUPPRESS_FD_WARNINGS=1
group=$1
shift
vgremove -q -- "$group" || exit
for device; do
pvremove -q -- "$device" || exit
done
"""
# Words: the group, devices that were added to it.
REDUCE = """\
export LVM_SUPPRESS_FD_WARNINGS=1
group=$1
shift
for device; do
vgreduce -q -- "$group" "$device" && pvremove -q -- "$device" || exit
done
"""
# A way back takes away what its own run made, and not what somebody else put there meanwhile, because of which the run
# failed. So what was made is noted, by what identifies it, until the next boot.
_NOTE = """\
note=/run/vinfra/made$(printf %s "/$1" | tr / ,)
identified() { tr -d '[:space:]' >"$note.new" && [ -s "$note.new" ] && mv -f -- "$note.new" "$note"; }
unlike() { echo "$1 is not what $2 any more; it stays" >&2; exit 1; }
"""
_NOTED = """\
mkdir -p -m 0700 /run/vinfra && rm -f -- "$note" || exit
"""
# Words: the device, then the program that makes something of it, with its options.
MAKE = (
    _LOOK
    + _NOTE
    + _NOTED
    + """\
device=$1
shift
empty "$device" || exit
"$@" "$device" || exit
sync
blkid -p -o value -s UUID -- "$device" | identified || :
! command -v udevadm >/dev/null || udevadm settle --timeout=10 || :
"""
)
# Words: the device, then what gives it a label. Of a device that is mounted udev hears nothing by itself, and LABEL=…
# would not be found.
LABEL = """\
device=$1
shift
"$@" || exit
sync
! command -v udevadm >/dev/null || udevadm trigger --action=change --settle "$(readlink -f -- "$device")" || :
"""
# Words: the type, the device, where it is mounted or "". A file system that is not mounted is checked before it grows;
# xfs grows only while it is mounted.
GROW = """\
type=$1 device=$2 at=$3
case $type:$at in
ext4:) e2fsck -f -p -- "$device"; [ $? -le 1 ] && resize2fs "$device";;
ext4:*) resize2fs "$device";;
xfs:)
at=$(mktemp -d) || exit
mount -t xfs -- "$device" "$at" && xfs_growfs "$at"
status=$?
umount -- "$at" 2>/dev/null
rmdir -- "$at"
exit $status;;
xfs:*) xfs_growfs "$at";;
esac
"""
# wipefs opens the device for itself alone, so a mounted one is busy. What it leaves of a superblock has no signature,
# and would keep the device from being empty.
_WIPE = """\
[ "$(blkid -p -o value -s UUID -- "$1")" = "$uuid" ] || unlike "$1" "$what"
wipefs -q -a -- "$1" || { echo "$1 is in use" >&2; exit 1; }
dd if=/dev/zero of="$1" bs=4096 count=1 conv=notrunc,fsync status=none
"""
# Words: the device, the UUID of what was read there.
WIPE = _NOTE + "uuid=$2 what='was read'\n" + _WIPE
# Words: the device. Whoever made nothing there has nothing to take away.
UNMAKE = (
    _NOTE
    + """\
[ -e "$note" ] || exit 0
uuid=$(cat -- "$note") what='was made'
"""
    + _WIPE
)
# Words: group/volume, then lvcreate with its words.
VOLUME = (
    _NOTE
    + _NOTED
    + """\
export LVM_SUPPRESS_FD_WARNINGS=1
name=$1
shift
"$@" || exit
lvs --noheadings -o lv_uuid -- "$name" | identified || :
"""
)
_UNVOLUME = """\
export LVM_SUPPRESS_FD_WARNINGS=1
[ "$(lvs --noheadings -o lv_uuid -- "$1" | tr -d '[:space:]')" = "$uuid" ] || unlike "$1" "$what"
lvremove -q --yes -- "$1"
"""
# Words: group/volume, the UUID of the one that was read.
UNVOLUME = _NOTE + "uuid=$2 what='was read'\n" + _UNVOLUME
# Words: group/volume. As with UNMAKE.
UNMADE = (
    _NOTE
    + """\
[ -e "$note" ] || exit 0
uuid=$(cat -- "$note") what='was made'
"""
    + _UNVOLUME
)
# Words: the mount point, what is mounted, the type, the options, and `cover` if it may hide what is in the folder.
MOUNT = """\
at=$1 what=$2 type=$3 options=$4
mkdir -p -- "$at" || exit
! findmnt -n -M "$at" >/dev/null || { echo "something is mounted on $at now; plan again" >&2; exit 1; }
[ "$5" = cover ] || [ -z "$(ls -A -- "$at")" ] || { echo "$at is not empty now; plan again" >&2; exit 1; }
mount -t "$type" -o "$options" -- "$what" "$at"
"""
# Words: the mount point, and the same as a pattern. Never lazily, never by force.
UNMOUNT = """\
findmnt -n -M "$1" >/dev/null || exit 0
umount -- "$1" && exit
find /proc/[0-9]* -maxdepth 2 \\( -lname "$2" -o -lname "$2/*" \\) 2>/dev/null | cut -d / -f 3 | sort -un | head -n 9 |
while read -r process; do
echo "in use by $(cat "/proc/$process/comm"), process $process"
done >&2
exit 1
"""
# Words: the file, its size in bytes. It has its name only once it is whole. A swap file must have no holes.
SWAP_FILE = """\
path=$1 size=$2 part=$1.vinfra-new
fill() {
rm -f -- "$part"
umask 077
: >"$part" || return
case $(stat -f -c %T -- "$part") in
ext2/ext3|xfs) fallocate -l "$size" -- "$part";;
btrfs) chattr +C -- "$part" && head -c "$size" /dev/zero >"$part";;
*) head -c "$size" /dev/zero >"$part";;
esac && mkswap -- "$part" >/dev/null && sync -- "$part"
}
fill || { rm -f -- "$part"; exit 1; }
"""
# The same words. Nothing may be there that was not when it was read.
SWAP_NEW = (
    SWAP_FILE
    + """\
[ ! -e "$path" ] || { echo "$path is there now, and was not when it was read" >&2; rm -f -- "$part"; exit 1; }
mv -n -- "$part" "$path"
"""
)
SWAP_RESIZED = (
    SWAP_FILE
    + """\
[ ! -e "$path" ] || [ "$(blkid -p -o value -s TYPE -- "$path")" = swap ] || {
echo "$path is no swap area any more; it stays" >&2
rm -f -- "$part"
exit 1
}
! grep -q -F -e "$path " /proc/swaps || swapoff -- "$path" || { rm -f -- "$part"; exit 1; }
mv -f -- "$part" "$path"
"""
)
# Words: a swap area. One that is not in use, or is not there, is no error.
SWAP_OFF = """\
[ -e "$1" ] || exit 0
node=$(readlink -f -- "$1")
! grep -q -F -e "$node " /proc/swaps || swapoff -- "$1"
"""
# Words: the file. Only a file that is a swap area goes.
SWAP_GONE = """\
[ -f "$1" ] || exit 0
[ "$(blkid -p -o value -s TYPE -- "$1")" = swap ] || { echo "$1 is no swap area; it stays" >&2; exit 1; }
rm -f -- "$1"
"""


def run(script: str, *words: str) -> Exec:
    """A script with its words; its own input is empty, so whoever asks hears no."""
    return Exec(("sh", "-c", script, "sh", *words))
