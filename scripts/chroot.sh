# shellcheck shell=sh
# A fresh Debian in a folder, for scripts/try-*: sourced by them. Needs root and debootstrap.
#
#     chroot_make trixie /var/tmp/x git,make     makes it; more arguments go to debootstrap
#     chroot_run /var/tmp/x 'make run'           runs a command of its shell, with mounts, processes and a /dev/shm of its own
#
# DEBIAN_MIRROR=URL: another mirror. The certificate authorities that this machine adds are taken along.

chroot_say() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
}

# Ends the script where a chroot cannot be made.
chroot_needs() {
	if [ "$(id -u)" -ne 0 ] || ! command -v debootstrap >/dev/null 2>&1; then
		chroot_say "needs root and debootstrap (apt-get install debootstrap)"
		exit 2
	fi
}

chroot_make() {
	chroot_release=$1
	chroot_base=$2
	chroot_packages=$3
	shift 3
	chroot_say "making a fresh $chroot_release in $chroot_base"
	# mktemp made it for root alone, and what is the root of the new Debian is open to its users
	chmod 755 "$chroot_base"
	debootstrap --variant=minbase --include="$chroot_packages" "$@" "$chroot_release" "$chroot_base" \
		"${DEBIAN_MIRROR:-http://deb.debian.org/debian}" >"$chroot_base.log" 2>&1 || {
		tail -n 5 "$chroot_base.log"
		rm -f "$chroot_base.log"
		return 1
	}
	rm -f "$chroot_base.log"
	cp -L /etc/resolv.conf "$chroot_base/etc/resolv.conf"
	cp -L /etc/hosts "$chroot_base/etc/hosts"
	if [ -d /usr/local/share/ca-certificates ]; then
		mkdir -p "$chroot_base/usr/local/share"
		cp -RL /usr/local/share/ca-certificates "$chroot_base/usr/local/share/"
	fi
}

# The shell is the first process of the new namespaces: when it ends, everything in them ends.
chroot_run() {
	# shellcheck disable=SC2016 # for the shell inside
	# pivot_root: in a chroot nothing could be mounted apart from others, because its root is no mount.
	unshare --mount --pid --ipc --fork --kill-child /bin/sh -euc '
		mount --make-rprivate /
		mount --bind "$1" "$1"
		mount -t proc proc "$1/proc"
		mount --rbind -o ro /sys "$1/sys"
		mount --rbind /dev "$1/dev"
		mount -t tmpfs -o mode=1777 tmpfs "$1/dev/shm"
		cd "$1"
		pivot_root . mnt
		umount -l /mnt
		cd /
		exec /usr/bin/env -i HOME=/root TERM=dumb LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
			PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin /bin/sh -c "$2"' sh "$1" "$2"
}
