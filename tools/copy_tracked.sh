#!/usr/bin/env bash
# Copies what git knows or would add into an empty folder, without the link that makes the clone its own collection.
set -euo pipefail
destination=${1:?usage: copy_tracked.sh FOLDER}
cd "$(dirname "$0")/.."
rm -rf "$destination"
mkdir -p "$destination"
git ls-files -z --cached --others --exclude-standard ':!playbooks/collections' |
  while IFS= read -r -d '' file; do [ ! -e "$file" ] || printf '%s\0' "$file"; done |
  sort -zu | tar --create --null --files-from=- | tar --extract --directory "$destination"
