#!/usr/bin/env bash
# Runs every gate but those of ansible-test, also after one has failed, and ends with the list of those that did.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
bin=$(readlink -f .venv)/bin
python=$bin/python
export PATH=$bin:$PATH
failed=()

gate() {
  local name=$1 output start=$SECONDS
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

if [ ${#failed[@]} -gt 0 ]; then
  printf '%d of the gates failed:' ${#failed[@]}
  printf ' [%s]' "${failed[@]}"
  printf '\n'
  exit 1
fi
