#!/usr/bin/env bash
# Pins requirements/*.in afresh, with hashes. dev-py312.txt is dev.in with the newest ansible-core.
set -euo pipefail
cd "$(dirname "$0")/.."
newest_core=2.21

python3.11 -m venv .cache/lock
.cache/lock/bin/python -m pip install --quiet --disable-pip-version-check uv
lock() {
  .cache/lock/bin/python -m uv pip compile --quiet --generate-hashes --no-header --no-annotate --upgrade "$@" >/dev/null
}
lock --python-version 3.11 requirements/dev.in -o requirements/dev-py311.txt
lock --python-version 3.11 requirements/demo.in -c requirements/dev-py311.txt -o requirements/demo-py311.txt
sed "s/^ansible-core==.*/ansible-core==$newest_core.*/" requirements/dev.in |
  lock --python-version 3.12 - -o requirements/dev-py312.txt
