#!/usr/bin/env bash
# Removes the hosts and networks of one lab run, and nothing else: clean.sh RUN [SCENARIO]
set -euo pipefail

run=${1:?usage: clean.sh RUN [SCENARIO]}
filters=(--filter "label=oncall.lab.run=$run")
if [[ -n ${2:-} ]]; then
    filters+=(--filter "label=oncall.lab.scenario=$2")
fi

mapfile -t hosts < <(podman ps --all --quiet "${filters[@]}")
if ((${#hosts[@]})); then
    podman rm --force --volumes --time 0 "${hosts[@]}" >/dev/null
fi
mapfile -t networks < <(podman network ls --quiet "${filters[@]}")
if ((${#networks[@]})); then
    podman network rm "${networks[@]}" >/dev/null
fi
printf 'removed: %d hosts, %d networks\n' "${#hosts[@]}" "${#networks[@]}"
