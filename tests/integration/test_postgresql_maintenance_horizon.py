"""postgresql_maintenance where the xmin horizon is held by another server: a standby that reads, and its slot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.maintenance import (
    by_table,
    counters,
    finding,
    holding,
    maintain,
    make_dead_rows,
    make_table,
    named,
    run_sql,
    until,
)
from tests.support.servers import Database, Server
from tests.support.standby import standby_of

FEEDBACK = {"hot_standby_feedback": "on", "wal_receiver_status_interval": "1s"}
FED_BACK = "SELECT 1 FROM pg_stat_replication WHERE backend_xmin IS NOT NULL"
CAUGHT_UP = """
SELECT 1 WHERE 0 = (SELECT max(age(xmin)) FROM (
  SELECT backend_xmin AS xmin FROM pg_stat_replication UNION ALL SELECT xmin FROM pg_replication_slots) held)
"""
A_SECOND_LATER = "SELECT 1 FROM pg_stat_user_tables WHERE date_trunc('second', clock_timestamp()) > last_vacuum"
KEPT = "SELECT 1 FROM pg_replication_slots WHERE slot_name = 'standby_1' AND xmin IS NOT NULL AND active = %s"
SNAPSHOT = ("BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT count(*) FROM t")


@pytest.fixture
def primary(throwaway_server: Callable[..., Server]) -> Database:
    """The database of a server of its own, with a table that needs nothing yet."""
    database = Database(throwaway_server(), "postgres")
    make_table(database, "t", rows=2000)
    return database


def vacuum_in_vain(database: Database) -> None:
    """Make rows dead and show that the server cannot remove them."""
    make_dead_rows(database, "t", rows=1000)
    run_sql(database, "VACUUM {}", named("t"))
    until(lambda: counters(database, "t")["vacuums"] == 2, "the vacuum to be counted")
    assert counters(database, "t")["dead"] == 1000


def the_holder(database: Database) -> dict[str, Any]:
    """Return who is named, as the only one, by a run that leaves the table alone because of it."""
    result = maintain(database, vacuum_only=True)
    (holder,) = result["xmin_holders"]
    assert (result["changed"], result["plan"], result["status"]) == (False, [], "warning")
    assert by_table(result)["public.t"]["code"] == "xmin_horizon"
    assert f"{holder['kind']} {holder['name']}" in finding(result, "xmin_horizon")["msg"]
    return dict(holder)


def test_a_standby_with_feedback_is_named_while_somebody_reads_there(
    primary: Database, throwaway_server: Callable[..., Server]
) -> None:
    standby = Database(standby_of(primary.server, throwaway_server, **FEEDBACK), "postgres")
    with holding(standby, *SNAPSHOT):
        until(lambda: primary.fetch(FED_BACK), "the feedback to arrive")
        vacuum_in_vain(primary)
        holder = the_holder(primary)
    assert (holder["kind"], holder["detail"]) == ("standby", "hot_standby_feedback")
    assert holder["name"].startswith("walreceiver (127.0.0.1")
    assert (holder["age_transactions"] > 0, holder["catalog_only"], holder["database"]) == (True, False, None)


def test_a_standby_without_feedback_holds_nothing_back(
    primary: Database, throwaway_server: Callable[..., Server]
) -> None:
    standby = Database(standby_of(primary.server, throwaway_server), "postgres")
    with holding(standby, *SNAPSHOT):
        make_dead_rows(primary, "t", rows=1000)
        result = maintain(primary)
    assert result["xmin_holders"] == []
    assert result["steps"][0]["detail"].startswith("1,000 of 1,000 dead rows removed")


@pytest.mark.parametrize("slot", [{}, {"primary_slot_name": "standby_1"}], ids=["no slot", "slot"])
def test_a_standby_with_feedback_where_nobody_reads_is_in_nobodys_way(
    primary: Database, throwaway_server: Callable[..., Server], slot: dict[str, str]
) -> None:
    primary.fetch("SELECT pg_create_physical_replication_slot('standby_1')")
    standby_of(primary.server, throwaway_server, **FEEDBACK, **slot)
    until(lambda: primary.fetch(A_SECOND_LATER), "the next checkpoint to be later than the last vacuum")
    primary.execute("CHECKPOINT")
    make_dead_rows(primary, "t", rows=1000)
    until(lambda: primary.fetch(CAUGHT_UP), "the feedback to have come after the rows died")
    primary.execute("DO $$ BEGIN FOR i IN 1..100 LOOP PERFORM txid_current(); COMMIT; END LOOP; END $$")
    result = maintain(primary)
    assert [holder["kind"] for holder in result["xmin_holders"]] == ["slot" if slot else "standby"]
    assert result["steps"][0]["detail"].startswith("1,000 of 1,000 dead rows removed")


def test_the_slot_of_a_standby_is_named_while_it_reads_and_after_it_is_gone(
    primary: Database, throwaway_server: Callable[..., Server]
) -> None:
    primary.fetch("SELECT pg_create_physical_replication_slot('standby_1')")
    server = standby_of(primary.server, throwaway_server, **FEEDBACK, primary_slot_name="standby_1")
    with holding(Database(server, "postgres"), *SNAPSHOT):
        until(lambda: primary.fetch(KEPT, True), "the feedback to arrive")
        vacuum_in_vain(primary)
        holder = the_holder(primary)
    assert (holder["kind"], holder["name"], holder["catalog_only"]) == ("slot", "standby_1", False)
    assert holder["detail"] == "physical slot, active"

    server.stop()
    until(lambda: primary.fetch(KEPT, False), "the slot to be left")
    run_sql(primary, "UPDATE {} SET a = 0", named("t"))
    left = the_holder(primary)
    assert (left["name"], left["detail"]) == ("standby_1", "physical slot, nobody uses it")

    primary.fetch("SELECT pg_drop_replication_slot('standby_1')")
    freed = maintain(primary)
    assert freed["xmin_holders"] == [] and counters(primary, "t")["dead"] == 0
