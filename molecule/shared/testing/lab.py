# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of every scenario use: a pytest plugin, loaded by verify.yml."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def wait_until():
    """Wait for a condition; what is not so within the deadline (seconds) is a failure."""

    def wait(condition, what, deadline=30):
        end = time.monotonic() + deadline
        while not condition():
            assert time.monotonic() < end, f"{what}: not within {deadline} s"
            time.sleep(0.2)

    return wait


@pytest.fixture
def facts(host):
    """The host's inventory variables."""
    return host.ansible.get_variables()


@pytest.fixture
def sql(host):
    """Ask a host's own database: rows as dictionaries."""

    def ask(query, database="postgres"):
        wrapped = f"SELECT coalesce(json_agg(x), '[]') FROM ({query}) AS x"
        return json.loads(host.check_output("runuser -u postgres -- psql -XAtq -d %s -c %s", database, wrapped))

    return ask


@pytest.fixture
def call(host):
    """Run a module on the host as a playbook would, and return its result, failed or not."""

    def run(module, become_user="root", **arguments):
        try:
            return host.ansible(module, json.dumps(arguments), check=False, become=True, become_user=become_user)
        except host.ansible.AnsibleException as failed:
            return failed.result

    return run


@pytest.fixture(scope="session")
def runs():
    """What the collection's modules returned in each run of converge.yml, oldest first."""
    folder = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "runs")
    return [json.loads(path.read_text()) for path in sorted(folder.iterdir())]
