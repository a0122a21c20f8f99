#!/bin/sh
# Run once by mmdebstrap on the finished tree ($1) of an image with cloud-init: as a distribution's own, but for what
# only costs time where QEMU emulates.
set -eu
root=$1

# Data for the machine comes from a disk alone: nobody waits for a network service that is not there. Its locales were
# left out to save room.
printf 'datasource_list: [NoCloud, None]\nssh_genkeytypes: [ed25519]\nlocale: C.UTF-8\n' >"$root/etc/cloud/cloud.cfg.d/90_lab.cfg"
chroot "$root" systemctl enable --quiet ssh.service networking.service
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
	fstrim.timer getty@tty1.service grub-common.service grub-initrd-fallback.service; do
	ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
ln -sf /usr/lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
mkdir -p "$root/etc/network/interfaces.d"
printf 'source-directory /etc/network/interfaces.d\nauto lo\niface lo inet loopback\n' >"$root/etc/network/interfaces"
echo 'UseDNS no' >"$root/etc/ssh/sshd_config.d/lab.conf"

id=6c616220-6775-4573-b420-726f6f742020
arguments="console=ttyS0 clocksource=acpi_pm no_timer_check cryptomgr.notests nokaslr mitigations=off quiet"
echo "UUID=$id / ext4 noatime,errors=remount-ro 0 1" >"$root/etc/fstab"
mkdir -p "$root/boot/grub"
kernel=$(cd "$root/boot" && echo vmlinuz-*)
cat >"$root/boot/grub/grub.cfg" <<GRUB
set timeout=0
linux /boot/$kernel root=UUID=$id ro $arguments
initrd /boot/initrd.img-${kernel#vmlinuz-}
boot
GRUB

rm -f "$root"/etc/ssh/ssh_host_* "$root/etc/machine-id" "$root/etc/hostname"
: >"$root/etc/machine-id"
: >"$root/etc/resolv.conf"
printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"
