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
def checked(runs):
    """The run in check mode."""
    assert runs[0]["check"]
    return runs[0]


@pytest.fixture(scope="session")
def mended(runs):
    """The first real run."""
    assert not runs[1]["check"]
    return runs[1]


@pytest.fixture(scope="session")
def again(runs):
    """The run that followed."""
    assert not runs[-1]["check"] and len(runs) > 2
    return runs[-1]
