#!/usr/bin/env bash
# Everything that `make test` runs: each part also after one has failed. ansible-test works with one processor for minutes:
# it goes on beside the tests, and is told last.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
failed=()

part() {
  printf '\n== %s\n' "$1"
  shift
  "$@" || failed+=("$*")
}

sanity_output=$(mktemp)
trap 'rm -f "$sanity_output"' EXIT
tools/sanity.sh >"$sanity_output" 2>&1 &
sanity=$!

part "lint" env WITHOUT_SANITY=1 tools/lint.sh
part "unit" make --no-print-directory unit
part "integration" make --no-print-directory integration
if wait "$sanity"; then
  printf '\nansible-test sanity    ok\n'
else
  cat "$sanity_output"
  failed+=("ansible-test sanity")
fi

if [ ${#failed[@]} -gt 0 ]; then
  printf '\nfailed:'
  printf ' [%s]' "${failed[@]}"
  printf '\n'
  exit 1
fi
