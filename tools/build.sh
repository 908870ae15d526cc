#!/usr/bin/env bash
# Builds the collection tarball into build/ and proves it: installs it elsewhere and checks its playbooks by name.
#
# `ansible-playbook oncall.runbooks.x` takes identifiers only, so that each dashed playbook is added under an
# underscored name; the dashed files stay, playbooks import each other by them.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$(readlink -f .venv)/bin/python
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

tools/copy_tracked.sh "$work/source"
(
  cd "$work/source/playbooks"
  find . -type f -name '*.yml' -print0 | while IFS= read -r -d '' playbook; do
    [ "$playbook" = "${playbook//-/_}" ] || { mkdir -p "$(dirname "${playbook//-/_}")" && cp "$playbook" "${playbook//-/_}"; }
  done
)
mkdir -p build
"$python" -m ansible galaxy collection build --force --output-path build "$work/source"
tarball=build/oncall-runbooks-$(sed -n 's/^version: //p' galaxy.yml).tar.gz

export ANSIBLE_COLLECTIONS_PATH=$work/installed ANSIBLE_LOCALHOST_WARNING=false ANSIBLE_INVENTORY_UNPARSED_WARNING=false
"$python" -m ansible galaxy collection install --no-deps --pre --collections-path "$work/installed" "$tarball"
playbooks=$work/installed/ansible_collections/oncall/runbooks/playbooks
cd "$work" # away from this clone: only what was installed may be found
while IFS= read -r -d '' playbook; do
  name=${playbook#./}
  name=oncall.runbooks.$(tr / . <<<"${name%.yml}")
  "$python" -m ansible playbook --syntax-check "$name" >/dev/null
  printf 'runs by name: %s\n' "$name"
done < <(cd "$playbooks" && find . -type f -name '*.yml' ! -name '*-*' ! -name '*.meta.yml' ! -path '*/vars/*' ! -path '*/tasks/*' -print0 | sort -z)
printf 'built: %s\n' "$tarball"
