#!/usr/bin/env bash
# Drills the runbooks on real hosts: drill.sh [--keep] [SCENARIO...]   (all of molecule/*/ when none is named)
# --keep leaves hosts and state for somebody to look at, and says how to remove them.
set -euo pipefail
umask 022

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(cd "$here/../.." && pwd)
cd "$project"

packages=(aardvark-dns iptables mmdebstrap netavark openssh-client podman runc)

say() { printf '\n== %s\n' "$*"; }
fail() {
    printf 'drill: %s\n' "$*" >&2
    exit 1
}

install_packages() {
    local missing=() package
    for package in "${packages[@]}"; do
        [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
    done
    if ((${#missing[@]} == 0)); then
        return
    fi
    say "installing ${missing[*]}"
    apt-get update -q
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
}

finish() {
    local rc=$?
    trap - EXIT
    if [[ -n $running ]]; then
        kill -TERM -- "-$running" 2>/dev/null || true
        wait "$running" || true
    fi
    if [[ -n $keep ]]; then
        printf '\nkept: export MOLECULE_EPHEMERAL_DIRECTORY=%s/SCENARIO LAB_RUN=%s\n' "$work" "$LAB_RUN"
        printf 'remove: tools/lab/clean.sh %s && rm -r %s\n' "$LAB_RUN" "$work"
    else
        "$here/clean.sh" "$LAB_RUN" >/dev/null || rc=1
        rm -rf "$work"
    fi
    exit "$rc"
}

# One scenario in a state folder of its own; the caller gets molecule's exit code. It runs in the background, in a
# process group, because bash would answer a signal only when it is over.
drill() {
    local scenario=$1 destroy=always rc=0
    [[ -z $keep ]] || destroy=never
    say "scenario $scenario"
    set -m
    MOLECULE_EPHEMERAL_DIRECTORY=$work/$scenario \
        molecule --base-config "$project/.config/molecule/config.yml" test --scenario-name "$scenario" \
        --destroy "$destroy" </dev/null &
    running=$!
    set +m
    wait "$running" || rc=$?
    running=
    return "$rc"
}

running=
keep=
if [[ ${1:-} == --keep ]]; then
    keep=yes
    shift
fi
scenarios=("$@")
if ((${#scenarios[@]} == 0)); then
    for file in molecule/*/molecule.yml; do
        scenarios+=("$(basename "$(dirname "$file")")")
    done
fi
for scenario in "${scenarios[@]}"; do
    [[ -f molecule/$scenario/molecule.yml ]] || fail "there is no scenario molecule/$scenario"
done

[[ $(id -u) == 0 ]] || fail "this boots real hosts in containers and needs root; run it again as root, for example: sudo make drill"
command -v apt-get >/dev/null || fail "the lab is built from Debian packages; this machine has no apt-get"

install_packages
venv=${VENV:-.venv}
[[ -x $venv/bin/python ]] || make setup
[[ -x $venv/bin/molecule ]] || fail "$venv has no molecule; make it again: rm -r $venv && make setup"
PATH=$(cd "$venv/bin" && pwd):$PATH
export PATH LC_ALL=C.UTF-8 MOLECULE_COMMAND_BORDERS=0
[[ -t 1 ]] || export NO_COLOR=1
unset ANSIBLE_CONFIG ANSIBLE_INVENTORY

LAB_RUN=$(od -An -N4 -tx4 /dev/urandom | tr -d ' ')
work=$(mktemp -d "${TMPDIR:-/tmp}/oncall-lab.XXXXXX")
LAB_REPORTS=$work/reports
export LAB_RUN LAB_REPORTS
mkdir "$LAB_REPORTS"
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say "base image"
"$here/image.sh"

failed=()
for scenario in "${scenarios[@]}"; do
    started=$SECONDS
    drill "$scenario" || failed+=("$scenario")
    say "scenario $scenario took $((SECONDS - started)) s"
done

# What the tests said comes last, so that the closing lines are pytest's own.
for scenario in "${scenarios[@]}"; do
    say "tests of $scenario"
    if [[ -f $LAB_REPORTS/$scenario.txt ]]; then
        cat "$LAB_REPORTS/$scenario.txt"
    else
        printf 'not run: the scenario stopped before its tests\n'
        [[ " ${failed[*]-} " == *" $scenario "* ]] || failed+=("$scenario")
    fi
done
((${#failed[@]} == 0)) || fail "failed: ${failed[*]}"
