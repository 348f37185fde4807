# shellcheck shell=sh
# An apt of its own in a folder, for scripts/try-*: sourced by them. It knows one release for one architecture, installs nothing and leaves this
# machine's packages alone; it needs no root.
#
#     foreign_apt_begin /var/tmp/x trixie arm64
#     foreign_apt get install --download-only libck-dev     /var/tmp/x/archives has the packages; also: foreign_apt cache depends ...
#
# DEBIAN_MIRROR=URL: another mirror.

foreign_apt_begin() {
	foreign_state=$1
	foreign_architecture=$3
	foreign_mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
	foreign_key=/usr/share/keyrings/debian-archive-keyring.gpg
	mkdir -p "$1/lists/partial" "$1/archives/partial" "$1/none"
	: >"$1/status"
	printf 'deb [signed-by=%s] %s %s main\n' "$foreign_key" "$foreign_mirror" "$2" \
		"$foreign_key" "${foreign_mirror%/*}/debian-security" "$2-security" >"$1/sources.list"
	foreign_apt get update
}

# What apt says is shown when it fails.
foreign_apt() {
	foreign_tool=$1
	shift
	"apt-$foreign_tool" -q -o "Dir::State=$foreign_state" -o "Dir::State::status=$foreign_state/status" \
		-o "Dir::State::lists=$foreign_state/lists" -o "Dir::Cache=$foreign_state" -o "Dir::Cache::archives=$foreign_state/archives" \
		-o "Dir::Etc::sourcelist=$foreign_state/sources.list" -o "Dir::Etc::sourceparts=$foreign_state/none" \
		-o "APT::Architecture=$foreign_architecture" -o "APT::Architectures=$foreign_architecture" \
		-o Acquire::Languages=none -o APT::Sandbox::User= -o Debug::NoLocking=1 "$@" 2>"$foreign_state/log" >"$foreign_state/out" || {
		cat "$foreign_state/out" "$foreign_state/log" >&2
		return 1
	}
	[ "$foreign_tool" = get ] || cat "$foreign_state/out"
}
