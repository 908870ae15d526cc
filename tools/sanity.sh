#!/usr/bin/env bash
# ansible-test sanity, in a real copy of the collection because ansible-test refuses to work through a link.
#
# Its own HOME keeps its virtual environments and its bootstrap file out of the user's. ansible-test clears the
# environment, so that pip's settings have to be in a file to reach it.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$(readlink -f "${1:-.venv}")/bin/python
case $PWD in *[!A-Za-z0-9/._-]*) cache=${XDG_CACHE_HOME:-$HOME/.cache}/oncall-runbooks/sanity-$(pwd | sha256sum | cut -c1-16) ;;
  *) cache=$PWD/.cache/sanity ;;
esac
home=$cache/home
collection=$cache/ansible_collections/oncall/runbooks
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
tools/copy_tracked.sh "$collection"
git -C "$collection" init --quiet # or ansible-test asks the clone around it, which ignores this folder

mkdir -p "$home/.ansible/test/cache" "$home/.config/pip"
for name in get_pip_24_2.py get_pip_25_2.py; do # what ansible-core 2.19 and 2.21 look for before they download it
  printf 'import ensurepip\n\nensurepip.bootstrap()\n' >"$home/.ansible/test/cache/$name"
done
{
  printf '[global]\nquiet = 1\n'
  env -0 | while IFS='=' read -r -d '' name value; do
    case $name in PIP_*) option=${name#PIP_} option=${option,,} && printf '%s = %s\n' "${option//_/-}" "$value" ;; esac
  done
} >"$home/.config/pip/pip.conf"

cd "$collection"
HOME=$home "$python" "$(dirname "$python")/ansible-test" sanity --color no \
  --python "$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
