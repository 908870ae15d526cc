#!/usr/bin/env bash
# Runs pytest. What failed is run once more, one after the other, because most tests are about real servers and processes,
# and a machine that is too busy for a moment is no defect of the code. What passes only then is named: it is a defect of
# the test, to be mended.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
python=$(readlink -f .venv)/bin/python

"$python" -m pytest --quiet "$@"
status=$?
[ "$status" = 1 ] || exit "$status"
printf '\n== once more, one after the other: what failed\n'
"$python" -m pytest --quiet "$@" --last-failed --last-failed-no-failures none -n 0 -rfEp
