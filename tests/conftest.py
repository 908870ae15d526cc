"""What holds for every test: no setting of the caller's environment reaches a connection, nothing is left behind."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.database import DirectoryBasedExampleDatabase

from plugins.module_utils._io.throwaway import host_resources
from tools.embedded_postgres import ROOT, SERVERS_IN

# No deadline: how long an example takes says more about the neighbours on the machine than about the code.
EXAMPLES = DirectoryBasedExampleDatabase(ROOT / ".cache" / "hypothesis")
settings.register_profile("house", deadline=None, print_blob=True, database=EXAMPLES, max_examples=50)
settings.register_profile("patient", settings.get_profile("house"), max_examples=500)  # HYPOTHESIS_PROFILE=patient
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "house"))

# Databases are made and dropped by the thousand: ext4 looks long for an inode that was not deleted a moment ago.
MEMORY = Path("/dev/shm")
ROOM = 8 * 2**30


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--pg-majors",
        default=None,
        help="PostgreSQL majors of the integration tests, as 13,18 or all (default: oldest and newest; of faults, "
        "recovery and runbooks, which are about disks, signals and whole playbooks, the newest)",
    )
    parser.addoption(
        "--pg-only",
        action="store_true",
        help="only the tests that run against these servers: the others say the same on every major",
    )


def pytest_configure(config: pytest.Config) -> None:
    for name in [name for name in os.environ if name.startswith("PG") or name == "DATABASE_URL"]:
        del os.environ[name]
    if MEMORY.is_dir() and is_roomy(MEMORY):
        os.environ.setdefault(SERVERS_IN, str(MEMORY))


def is_roomy(memory: Path) -> bool:
    """Tell whether servers can work there, and programs be started: some are copied beside their data."""
    may_start = not os.statvfs(memory).f_flag & os.ST_NOEXEC
    return may_start and min(shutil.disk_usage(memory).free, host_resources().memory) > ROOM
