#!/bin/sh
# Run once by mmdebstrap on the finished tree ($1) of a whole machine: what an installed Debian server would have, but
# for what only costs time where QEMU emulates.
set -eu
root=$1

chroot "$root" useradd --create-home --shell /bin/bash --groups sudo ops
install -d -m 0700 "$root/root/.ssh"
install -d -m 0700 -o 1000 -g 1000 "$root/home/ops/.ssh"

mkdir -p "$root/etc/systemd/journald.conf.d" "$root/etc/ssh/sshd_config.d"
printf '[Journal]\nStorage=volatile\nRuntimeMaxUse=16M\n' >"$root/etc/systemd/journald.conf.d/lab.conf"
printf 'UseDNS no\nMaxStartups 200:30:400\nMaxSessions 100\n' >"$root/etc/ssh/sshd_config.d/lab.conf"
echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/lab"
printf 'Acquire::Languages "none";\nAcquire::Retries "0";\nAcquire::Check-Valid-Until "false";\n' \
	>"$root/etc/apt/apt.conf.d/90lab"

# What is there to be switched to, and must not run by itself: another manager of the network, another firewall.
for unit in systemd-networkd.service systemd-networkd.socket NetworkManager.service NetworkManager-wait-online.service \
	NetworkManager-dispatcher.service firewalld.service ufw.service nftables.service; do
	chroot "$root" systemctl disable --quiet "$unit" 2>/dev/null || true
done
chroot "$root" systemctl enable --quiet networking.service ssh.service chrony.service cron.service
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
	fstrim.timer getty@tty1.service logrotate.timer man-db.timer grub-common.service grub-initrd-fallback.service; do
	ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
ln -sf /usr/lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
# The serial console is a shell: the way in when the network is not.
mkdir -p "$root/etc/systemd/system/serial-getty@ttyS0.service.d"
printf '[Service]\nExecStart=\nExecStart=-/sbin/agetty --autologin root --noclear --keep-baud 115200 %%I dumb\n' \
	>"$root/etc/systemd/system/serial-getty@ttyS0.service.d/lab.conf"
ln -sf /lib/systemd/system/serial-getty@.service "$root/etc/systemd/system/getty.target.wants/serial-getty@ttyS0.service"

cat >"$root/etc/network/interfaces" <<'INTERFACES'
# This file describes the network interfaces available on your system
# and how to activate them. For more information, see interfaces(5).

source /etc/network/interfaces.d/*

auto lo
iface lo inet loopback

allow-hotplug eth0
iface eth0 inet static
	address 10.77.0.11/24
	gateway 10.77.0.1
INTERFACES
mkdir -p "$root/etc/network/interfaces.d"

# Nothing is to be tested, hidden or fended off in a lab: each takes its part of a second where QEMU emulates. And on a
# busy machine the kernel takes the measure of the TSC wrong; the PM timer's rate is known.
sed -i -e 's/^GRUB_TIMEOUT=.*/GRUB_TIMEOUT=0/' -e 's/^GRUB_CMDLINE_LINUX_DEFAULT=.*/GRUB_CMDLINE_LINUX_DEFAULT="quiet"/' \
	-e 's/^GRUB_CMDLINE_LINUX=.*/GRUB_CMDLINE_LINUX="console=ttyS0 net.ifnames=0 clocksource=acpi_pm no_timer_check cryptomgr.notests nokaslr mitigations=off"/' \
	"$root/etc/default/grub"
printf 'GRUB_TERMINAL=serial\nGRUB_DISABLE_OS_PROBER=true\n' >>"$root/etc/default/grub"

id=6c616220-6775-4573-b420-726f6f742020
echo "UUID=$id / ext4 noatime,errors=remount-ro 0 1" >"$root/etc/fstab"
mkdir -p "$root/boot/grub"
kernel=$(cd "$root/boot" && echo vmlinuz-*)
# What update-grub will write anew on the machine itself.
cat >"$root/boot/grub/grub.cfg" <<GRUB
set timeout=0
linux /boot/$kernel root=UUID=$id ro console=ttyS0 net.ifnames=0 clocksource=acpi_pm no_timer_check cryptomgr.notests nokaslr mitigations=off quiet
initrd /boot/initrd.img-${kernel#vmlinuz-}
boot
GRUB

rm -f "$root"/etc/ssh/ssh_host_*
: >"$root/etc/resolv.conf"
echo guest >"$root/etc/hostname"
printf '127.0.0.1 localhost\n127.0.1.1 guest\n::1 localhost\n10.77.0.1 mirror\n' >"$root/etc/hosts"
