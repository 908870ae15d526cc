"""postgresql_maintenance on a disk that is full: of tables, of statistics, of WAL."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.backup_faults import small_disk as mounted
from tests.support.maintenance import (
    by_table,
    counters,
    maintain,
    maintain_whatever,
    make_needy,
    named,
    run_sql,
    statuses,
    until,
)
from tests.support.servers import Database, Server
from tools.embedded_postgres import give_to_server_account

ONE_SEGMENT = 16 * 1024**2


def fill_up(folder: Path, leave: int = 0) -> Path:
    """Leave so many bytes free, and return the file to remove when it is over."""
    file = folder / "full"
    file.write_bytes(bytes(shutil.disk_usage(folder).free - leave))
    return file


def grow(database: Database, table: str, rows: int, width: int, where: str = "") -> None:
    """Make a table of rows that no vacuum has seen yet."""
    words = f"CREATE TABLE {{}} {where} AS SELECT g AS id, repeat('x', {width}) AS b FROM generate_series(1, {rows}) g"
    run_sql(database, words, named(table))
    until(lambda: counters(database, table)["live"] == rows, "the inserts to be counted")


def test_a_table_whose_disk_is_full_ends_the_run_and_the_server_lives(small_disk: tuple[Database, Path]) -> None:
    database, folder = small_disk
    make_needy(database, "first")
    grow(database, "cramped", 3000, 50, "TABLESPACE small")
    run_sql(database, "CREATE TABLE {} AS SELECT 1 AS a", named("rest"))
    full = fill_up(folder)
    predicted = maintain(database, check=True)
    result = maintain_whatever(database, jobs=1)
    assert result["failed"] and result["failure"]["code"] == "disk_full", result
    assert "1 of 3 tables done" in result["msg"] and "No space left on device" in result["msg"]
    assert statuses(result) == {"public.first": "done", "public.cramped": "failed", "public.rest": "skipped"}
    assert by_table(result)["public.cramped"]["code"] == "disk_full"
    assert (result["changed"], result["plan"]) == (True, predicted["plan"])
    assert [step["id"] for step in result["steps"]] == [action["id"] for action in result["plan"]]
    assert "the run ended early" in result["steps"][2]["detail"]
    assert (counters(database, "first")["vacuums"], counters(database, "cramped")["vacuums"]) == (2, 0)

    full.unlink()
    assert statuses(maintain(database)) == {"public.cramped": "done", "public.rest": "done"}
    assert maintain(database)["plan"] == []


def test_statistics_that_do_not_fit_are_a_failure_and_nothing_is_called_done(small_disk: tuple[Database, Path]) -> None:
    default, folder = small_disk
    default.execute("CREATE DATABASE cramped TABLESPACE small")
    database = Database(default.server, "cramped")
    columns = ", ".join(f"md5({number} || '-' || g) AS c{number}" for number in range(60))
    run_sql(database, f"CREATE TABLE {{}} AS SELECT {columns} FROM generate_series(1, 1000) g", named("wide"))
    until(lambda: counters(database, "wide")["live"] == 1000, "the inserts to be counted")
    full = fill_up(folder)
    result = maintain_whatever(database, analyze_only=True)
    assert result["failed"] and result["failure"]["code"] == "disk_full", result
    assert (statuses(result), result["changed"]) == ({"public.wide": "failed"}, False)
    assert counters(database, "wide")["analyzes"] == 0
    full.unlink()
    assert statuses(maintain(database, analyze_only=True)) == {"public.wide": "done"}


@pytest.fixture
def small_wal_disk(throwaway_server: Callable[..., Server]) -> Iterator[tuple[Database, Path]]:
    """A server whose WAL is on a disk of a few segments, of which it keeps none for later."""
    settings = {"full_page_writes": "on", "wal_recycle": "off", "restart_after_crash": "off"}
    server = throwaway_server(start=False, settings=settings)
    wal = server.data_dir / "pg_wal"
    first = wal.rename(server.directory / "first_wal")
    with mounted(wal, 96):
        try:
            shutil.copytree(first, wal, dirs_exist_ok=True)
            give_to_server_account(wal)
            server.start()
            yield Database(server, "postgres"), wal
        finally:
            server.stop("immediate")


def test_a_server_that_stops_because_its_wal_is_full_leaves_what_was_done(
    small_wal_disk: tuple[Database, Path],
) -> None:
    database, wal = small_wal_disk
    make_needy(database, "first")
    grow(database, "large", 12_000, 1900)
    database.execute("SELECT pg_switch_wal()")
    database.server.restart()  # no process keeps a segment that is gone; each page goes to the WAL as a whole again
    full = fill_up(wal, leave=ONE_SEGMENT // 2)
    result = maintain_whatever(database, jobs=1, freeze=True)
    assert result["failed"] and result["failure"]["code"] in ("disk_full", "server_gone"), result
    assert "1 of 2 tables done" in result["msg"]
    assert statuses(result) == {"public.first": "done", "public.large": "failed"}
    assert result["changed"] is True and len(result["plan"]) == len(result["steps"]) == 2

    until(lambda: not database.server.running, "the server to stop")
    full.unlink()
    database.server.start()
    again = maintain(database, freeze=True, freeze_age=0)
    assert by_table(again)["public.large"]["status"] == "done"
