#!/bin/sh
# Run once by mmdebstrap on the finished root filesystem ($1): makes it boot fast and quietly inside a container.
set -eu
root=$1

chroot "$root" useradd --create-home --shell /bin/bash --groups sudo ops
install -d -m 0700 "$root/root/.ssh"
install -d -m 0700 -o 1000 -g 1000 "$root/home/ops/.ssh"

mkdir -p "$root/etc/systemd/journald.conf.d" "$root/etc/ssh/sshd_config.d"
printf '[Journal]\nStorage=volatile\nRuntimeMaxUse=16M\n' >"$root/etc/systemd/journald.conf.d/lab.conf"
# Many logins at once are the normal case here, and no name server answers.
printf 'UseDNS no\nMaxStartups 200:30:400\nMaxSessions 100\n' >"$root/etc/ssh/sshd_config.d/lab.conf"
echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/lab"
# Without a network the mirror serves the indexes it kept, still signed, but perhaps past their date.
printf 'Acquire::Languages "none";\nAcquire::Retries "0";\nAcquire::Check-Valid-Until "false";\n' \
	>"$root/etc/apt/apt.conf.d/90lab"

# Timers that would start apt behind the user's back, consoles that are not there, and udev, which must never touch
# the devices of the machine the container runs on.
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
	fstrim.timer getty.target console-getty.service systemd-udev-trigger.service systemd-udevd.service \
	systemd-udevd-kernel.socket systemd-udevd-control.socket systemd-modules-load.service \
	sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount; do
	ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
ln -sf /usr/lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"

# Each host gets its own, before its first boot.
rm -f "$root"/etc/ssh/ssh_host_* "$root/etc/machine-id" "$root/var/lib/dbus/machine-id"
: >"$root/etc/resolv.conf"
: >"$root/etc/hostname"
