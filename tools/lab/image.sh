#!/usr/bin/env bash
# Builds the lab's base image unless the one made from today's recipe is there, and prints its name.
set -euo pipefail
umask 022

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
suite=bookworm

say() { printf 'lab image: %s\n' "$*" >&2; }

# The archive this machine's own apt uses for a label (Debian, Debian-Security), so that mirrors and proxies keep working.
archive() {
    local uri
    uri=$(apt-get indextargets --format "\$(ORIGIN)|\$(LABEL)|\$(REPO_URI)" 'Created-By: Packages' |
        awk -F'|' -v label="$1" '$1 == "Debian" && $2 == label { print $3; exit }')
    if [[ -z $uri ]]; then
        say "this machine's apt knows no archive with the label $1; add it to the apt sources and run apt-get update"
        return 1
    fi
    printf '%s\n' "$uri"
}

build() {
    local name=$1 scratch=$2 main security packages
    main=$(archive Debian)
    security=$(archive Debian-Security)
    packages=$(grep -v '^#' "$here/image/packages" | paste -sd,)
    say "building $name (about a minute)"
    # shellcheck disable=SC2016  # mmdebstrap's shell expands the hook's $1
    LANG=C.UTF-8 LC_ALL=C.UTF-8 mmdebstrap --quiet --mode=root --variant=minbase \
        --include="$packages" \
        --dpkgopt=force-unsafe-io \
        --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        --essential-hook='echo LANG=C.UTF-8 >"$1/etc/default/locale"' \
        --customize-hook="$here/image/customize.sh" \
        "$suite" "$scratch/root.tar" \
        "deb $main $suite main" \
        "deb $main $suite-updates main" \
        "deb $security $suite-security main" >&2
    podman import --quiet \
        --change 'CMD ["/sbin/init"]' --change 'STOPSIGNAL SIGRTMIN+3' --change 'LABEL oncall.lab=image' \
        "$scratch/root.tar" "$name" >/dev/null
}

recipe=$(cat "$here/image.sh" "$here"/image/* | sha256sum | cut -c1-12)
name=localhost/oncall-lab:$recipe

# Two drills that start together build one image.
exec 9>/run/lock/oncall-lab-image.lock
flock 9
if ! podman image exists "$name"; then
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    build "$name" "$scratch"
fi
printf '%s\n' "$name"
