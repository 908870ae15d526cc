#!/usr/bin/env bash
# Runs every gate, also after one has failed, and ends with the list of those that did.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
bin=$(readlink -f .venv)/bin
python=$bin/python
export PATH=$bin:$PATH
failed=()

gate() {
  local name=$1 output start=${begun:-$SECONDS}
  shift
  if output=$("$@" 2>&1); then
    printf '%-22s ok      %3d s\n' "$name" $((SECONDS - start))
  else
    failed+=("$name")
    printf '%-22s FAILED  %3d s:  %s\n%s\n\n' "$name" $((SECONDS - start)) "$*" "$output"
  fi
}

shell_files() { git ls-files -z --cached --others --exclude-standard '*.sh' .ci/run | xargs -0 shellcheck; }

collection_docs() {
  "$bin/antsibull-docs" lint-collection-docs --plugin-docs --validate-collection-refs=self \
    --disallow-unknown-collection-refs .
}

ansible_lint() { # roles are checked from a playbook elsewhere: the collection has to be on the path
  ANSIBLE_COLLECTIONS_PATH=$PWD/playbooks/collections "$python" -m ansiblelint --offline --profile production
}

sanity_result() {
  cat "$sanity_output"
  return "$sanity_status"
}

if [ -z "${WITHOUT_SANITY:-}" ]; then # the longest: beside the others
  sanity_output=$(mktemp)
  tools/sanity.sh >"$sanity_output" 2>&1 &
  sanity=$!
fi

gate "ruff check" "$python" -m ruff check .
gate "ruff format" "$python" -m ruff format --check .
gate "mypy" "$python" -m mypy
gate "import rules" "$bin/lint-imports" --no-logo
gate "yamllint" "$python" -m yamllint --strict .
gate "shellcheck" shell_files
gate "ansible-lint" ansible_lint
gate "collection docs" collection_docs
gate "changelog" "$bin/antsibull-changelog" lint
gate "changelog history" "$bin/antsibull-changelog" lint-changelog-yaml changelogs/changelog.yaml

if [ -z "${WITHOUT_SANITY:-}" ]; then
  wait "$sanity"
  sanity_status=$?
  begun=0 # it ran from the start of this script
  gate "ansible-test sanity" sanity_result
  rm -f "$sanity_output"
fi

if [ ${#failed[@]} -gt 0 ]; then
  printf '%d of the gates failed:' ${#failed[@]}
  printf ' [%s]' "${failed[@]}"
  printf '\n'
  exit 1
fi
