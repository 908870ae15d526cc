# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest


@pytest.fixture
def before(host):
    """The host as prepare.yml left it (shape: snapshot.py)."""
    return json.loads(host.file("/var/lib/lab-before.json").content_string)


@pytest.fixture
def generations(host):
    """A log and all its rotated generations: the lines of each by path, unpacked."""

    def read(folder, stem):
        tools = {"gz": "zcat", "zst": "zstdcat"}
        paths = host.check_output("find %s -type f -name %s", folder, f"{stem}*").splitlines()
        return {
            path: host.check_output(f"{tools.get(path.rsplit('.', 1)[-1], 'cat')} %s", path).splitlines()
            for path in paths
        }

    return read


@pytest.fixture(scope="session")
def real(runs):
    """The runs that were no check, oldest first: the one that mended, and the one that had nothing left to do."""
    found = [run for run in runs if not run["check"]]
    assert len(found) > 1
    return found


@pytest.fixture(scope="session")
def checked(runs, real):
    """The last check before the first real run."""
    before = runs[runs.index(real[0]) - 1]
    assert before["check"]
    return before
