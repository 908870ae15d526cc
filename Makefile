# The whole menu of this repository. A fresh clone needs Python 3.11, make and git; each target does its own set-up.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := menu
.NOTPARALLEL:

export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PYTHONPYCACHEPREFIX := $(CURDIR)/.cache/pycache
# Without compiled files each start of ansible-playbook takes seconds instead of a half.
unexport PYTHONDONTWRITEBYTECODE
export ANSIBLE_HOME := $(CURDIR)/.cache/ansible
# ansible-core starts in no other encoding, and every image of Debian has this locale.
export LC_ALL := C.UTF-8
# ansible-playbook buffers what it writes to a pipe: progress would arrive when it is over.
export PYTHONUNBUFFERED := 1
# In a folder with an odd name .venv is a link to a place with a plain one, see tools/setup.sh.
PYTHON = "$$(readlink -f .venv)/bin/python"
# Most tests wait for a server half of the time: two of them for each core.
JOBS ?= $(shell expr 2 \* $$(nproc))
PYTEST := tools/pytest.sh -n $(JOBS) --dist worksteal

.PHONY: menu demo demo-clean test lint matrix bench drill docs build setup sanity unit integration faults runbooks

menu:
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1|\2/p' Makefile | while IFS='|' read -r name text; do \
	    printf '%-16s %s\n' "$$name" "$$text"; done

demo: ## run the weekly maintenance on a throwaway PostgreSQL 18 that has real work to do
	@tools/setup.sh demo
	@$(PYTHON) tools/demo.py up

demo-clean: ## stop the demo's servers and remove every trace of it
	@if [ -x .venv/bin/python ]; then $(PYTHON) tools/demo.py clean; else echo "There is no demo here."; fi

test: setup ## all gates that need no containers: lint, types, unit, integration on the oldest and newest PostgreSQL
	@tools/gates.sh lint unit integration

lint: setup ## formatting, types, import rules, Ansible, documentation and changelog checks
	@tools/gates.sh lint

matrix: setup ## integration tests on every PostgreSQL major, and all tests on the newest ansible-core
	@$(PYTHON) -m tools.matrix

bench: setup ## measure our engines beside the usual tools; tables here, JSON in benchmarks/results
	@for benchmark in $$(grep -l '^if __name__' benchmarks/*.py); do \
	    $(PYTHON) -m "benchmarks.$$(basename "$$benchmark" .py)"; done

drill: setup ## run the runbooks on real systemd hosts (needs root)
	@tools/lab/drill.sh

docs: setup ## write the runbook book in docs/ from the playbooks
	@$(PYTHON) tools/docs.py
	@$(PYTHON) tools/faults.py

build: setup ## build the collection tarball and prove that it installs and runs
	@tools/build.sh

setup:
	@tools/setup.sh dev

sanity: setup
	@tools/sanity.sh

unit: setup
	@$(PYTEST) -n $$(nproc) tests/unit tests/test_house.py

integration: setup
	@$(PYTEST) tests/integration $(patsubst %,--ignore tests/integration/%,faults recovery runbooks)

faults: setup
	@$(PYTEST) tests/integration/faults

runbooks: setup
	@$(PYTEST) tests/integration/recovery tests/integration/runbooks
