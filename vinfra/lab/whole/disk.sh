#!/bin/bash
# Makes a disk image ($3) that boots by GRUB of the tree of a whole machine ($2), with the programs in the folder $1.
# Drafts lie beside the tree.
set -euo pipefail
tools=$1 tree=$2 image=$3
work=$(dirname "$tree")
identity=6c616220-6775-4573-b420-726f6f742020 # as /etc/fstab and GRUB know the file system
export MKE2FS_CONFIG=$tools/etc/mke2fs.conf

run() {
	program=$1
	shift
	"$tools/lib64/ld-linux-x86-64.so.2" --library-path "$tools/lib/x86_64-linux-gnu:$tools/usr/lib/x86_64-linux-gnu" \
		"$tools/$program" "$@"
}

modules=$tree/boot/grub/i386-pc
mkdir -p "$modules"
cp "$tree"/usr/lib/grub/i386-pc/*.mod "$tree"/usr/lib/grub/i386-pc/*.lst "$modules/"
chroot "$tree" grub-mkimage -O i386-pc -p '(hd0,msdos1)/boot/grub' -o /boot/grub/i386-pc/core.img \
	biosdisk part_msdos ext2

disk=$work/disk
truncate -s 4G "$disk"
run sbin/sfdisk -q "$disk" <<TABLE
label: dos
label-id: 0x76696e67
start=1MiB, type=83, bootable
TABLE
# boot.img looks for the rest in the sectors after it, unless grub-install told it otherwise.
dd if="$tree/usr/lib/grub/i386-pc/boot.img" of="$disk" bs=440 count=1 conv=notrunc status=none
dd if="$modules/core.img" of="$disk" bs=512 seek=1 conv=notrunc status=none
run sbin/mke2fs -t ext4 -q -F -L root -m 0 -J size=16 -U "$identity" \
	-E offset=1048576,lazy_itable_init=0,lazy_journal_init=0 -d "$tree" "$disk" 4095M
run usr/bin/qemu-img convert -f raw -O qcow2 "$disk" "$image"
rm "$disk"
