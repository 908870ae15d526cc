#!/usr/bin/env bash
# Runs the targets that it is given, each also after one has failed, and the sanity tests of ansible-test beside them: they
# keep one processor busy for minutes. Ends with the list of those that failed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
failed=()

sanity_output=$(mktemp)
trap 'rm -f "$sanity_output"' EXIT
tools/sanity.sh >"$sanity_output" 2>&1 &
sanity=$!

for target in "$@"; do
  printf '\n== %s\n' "$target"
  if [ "$target" = lint ]; then tools/lint.sh; else make --no-print-directory "$target"; fi || failed+=("$target")
done
if wait "$sanity"; then
  printf '%-22s ok\n' "ansible-test sanity"
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
