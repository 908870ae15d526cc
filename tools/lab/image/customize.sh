#!/bin/sh
# Turns a Debian root file system ($1) into a lab host. Called by mmdebstrap before it packs the image.
set -eu
root=$1

# People log in as themselves and become somebody else: a playbook that forgets "become" fails here as it would at home.
chroot "$root" useradd --create-home --shell /bin/bash ops
echo 'ops ALL=(ALL:ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/ops"
chmod 0440 "$root/etc/sudoers.d/ops"

# Keys belong to one run: create.yml mounts them.
rm -f "$root"/etc/ssh/ssh_host_*
cat >"$root/etc/ssh/sshd_config.d/lab.conf" <<'SSHD'
HostKey /etc/ssh/lab/host_key
AuthorizedKeysFile /etc/ssh/lab/authorized_keys
PasswordAuthentication no
UseDNS no
SSHD

# Nothing on a lab host talks to the world or works in the background unless its scenario says so.
rm -f "$root"/etc/apt/sources.list "$root"/etc/apt/sources.list.d/*
chroot "$root" systemctl mask --quiet \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
    fstrim.timer getty-static.service console-getty.service

mkdir -p "$root/etc/systemd/journald.conf.d"
printf '[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\n' >"$root/etc/systemd/journald.conf.d/lab.conf"

rm -f "$root/etc/hostname" "$root/etc/machine-id" "$root"/var/log/*.log "$root"/var/log/apt/*
: >"$root/etc/machine-id"
