#!/bin/bash
# Lays the guest's files out in a tree ($1) of extracted packages and makes the disk image /disk.qcow2 there, with the
# tree's own tools. Run it in a mount namespace of its own. The same packages give the same bytes.
set -euo pipefail
tree=$1
here=$(dirname "$0")
release=$(ls "$tree/lib/modules")
export SOURCE_DATE_EPOCH=1 E2FSPROGS_FAKE_TIME=1
mkdir -p "$tree/proc"
mount -t proc proc "$tree/proc" # syslinux names its files by it

within() { chroot "$tree" env PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C "$@"; }

# busybox with all its applets, and kernel modules with what they need, in a root ($1).
system() {
	root=$1
	shift
	install -D "$tree/bin/busybox" "$tree$root/bin/busybox"
	within busybox --list | grep -vx busybox | while read -r applet; do ln -s busybox "$tree$root/bin/$applet"; done
	mkdir "$tree$root/sbin" "$tree$root/dev" "$tree$root/proc" "$tree$root/sys"
	ln -s ../bin/modprobe "$tree$root/sbin/modprobe" # where the kernel looks for it
	for module in "$@"; do
		within modprobe -S "$release" --show-depends "$module"
	done | while read -r _ file _; do
		install -D -m 0644 "$tree$file" "$tree$root$file"
	done
	within depmod -b "$root" "$release"
	rm "$tree$root/lib/modules/$release"/*.bin
}

# A program and the libraries it is linked with, in the root file system.
program() {
	within /lib64/ld-linux-x86-64.so.2 --list "$1" | grep -o '/[^ ]*' | while read -r library; do
		install -D "$tree$library" "$tree/guest$library"
	done
	install -D "$tree$1" "$tree/guest$1"
}

within depmod "$release"

# What the kernel starts from: all it takes to find the disk.
system /first virtio_pci virtio_blk virtio_scsi sd_mod ata_piix
install "$here/first" "$tree/first/init"
mkdir "$tree/first/root"

# The root file system on the disk.
system /guest virtio_pci virtio_net virtio_rng virtio_balloon virtio_console isofs sr_mod button evdev
# busybox has no getent and no install, and its stat and date tell no fractions of a second. What its sh and timeout
# start is busybox again where it can, whatever PATH says, so they give way as well.
for path in /usr/sbin/dropbear /usr/bin/dropbearkey /usr/bin/getent /usr/bin/install /usr/bin/stat /usr/bin/timeout \
	/bin/date /bin/dash; do
	program "$path"
done
ln -sf dash "$tree/guest/bin/sh"
cd "$tree/guest"
install -m 0755 "$here/boot" "$here/lease" sbin/
install -D -m 0755 "$here/power" etc/acpi/PWRF/00000080
install -m 0644 "$here/inittab" etc/
mkdir -p run mnt var/lib var/log srv etc/dropbear etc/sysctl.d
mkdir -m 1777 tmp
mkdir -m 0700 root root/.ssh
echo 'root:x:0:0:root:/root:/bin/sh' >etc/passwd
echo 'root:x:0:' >etc/group
echo '127.0.0.1 localhost' >etc/hosts
echo guest >etc/hostname
printf 'ID=busybox\nNAME=BusyBox\nPRETTY_NAME="vinfra lab guest"\n' >etc/os-release
(umask 077 && echo 'root:*:1:0:99999:7:::' >etc/shadow)

# The disk: a FAT partition that SYSLINUX boots from, and the shell of EFI firmware; and the root file system.
cp "$here/syslinux.cfg" "$here/startup.nsh" "$tree/boot/vmlinuz-$release" "$tree/"
find "$tree/first" "$tree/guest" "$tree/syslinux.cfg" "$tree/startup.nsh" "$tree/vmlinuz-$release" -exec touch -h -d @1 {} +
(cd "$tree/first" && find . | LC_ALL=C sort) >"$tree/list"
# mkfs.ext4 copies the times that the build has left; files are inodes 12 and up, 2 and 11 are folders of its own.
for inode in $(seq 2 $(($(find "$tree/guest" | wc -l) + 10))); do
	printf 'set_inode_field <%d> %s @1\n' "$inode" ctime "$inode" atime
done >"$tree/times"
cat >"$tree/table" <<TABLE
label: dos
label-id: 0x76696e66
start=1MiB, size=20MiB, type=6, bootable
start=21MiB, type=83
TABLE
within sh -euc '
(cd first && cpio -o -H newc --quiet --reproducible) <list >initrd
zstd -q -19 --rm -o initrd.zst initrd && mv initrd.zst initrd && touch -d @1 initrd
mv vmlinuz-* vmlinuz
truncate -s 256M disk
sfdisk -q disk <table
dd if=/usr/lib/syslinux/mbr/mbr.bin of=disk conv=notrunc status=none
mformat -i disk@@1M -T 40960 -h 64 -s 32 -N 1 -v BOOT ::
mcopy -i disk@@1M -m vmlinuz initrd syslinux.cfg startup.nsh ::
syslinux --install --offset 1048576 disk
id=6c616220-6775-4573-b420-726f6f742020
mkfs.ext4 -q -F -L guest -m 0 -J size=4 -U $id -E offset=22020096,hash_seed=$id -d guest disk 235M
debugfs -w -f times "disk?offset=22020096" >/dev/null 2>&1
qemu-img convert -f raw -O qcow2 disk disk.qcow2'
