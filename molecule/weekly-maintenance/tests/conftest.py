# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest


@pytest.fixture
def before(host):
    """The host as prepare.yml left it (shape: snapshot.py)."""
    return json.loads(host.file("/var/lib/lab-before.json").content_string)


@pytest.fixture(scope="session")
def checked(runs):
    """Results of the run in check mode."""
    assert runs[0]["check"]
    return runs[0]["results"]


@pytest.fixture(scope="session")
def mended(runs):
    """Results of the first real run."""
    assert not runs[1]["check"]
    return runs[1]["results"]


@pytest.fixture(scope="session")
def again(runs):
    """Results of the run that followed."""
    assert not runs[-1]["check"] and len(runs) > 2
    return runs[-1]["results"]
