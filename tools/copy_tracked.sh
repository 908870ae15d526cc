#!/usr/bin/env bash
# Copies what git knows or would add into an empty folder.
set -euo pipefail
destination=${1:?usage: copy_tracked.sh FOLDER}
cd "$(dirname "$0")/.."
rm -rf "$destination"
mkdir -p "$destination"
git ls-files -z --cached --others --exclude-standard |
  while IFS= read -r -d '' file; do [ ! -e "$file" ] || printf '%s\0' "$file"; done |
  sort -zu | tar --create --null --files-from=- | tar --extract --directory "$destination"
