# SPDX-License-Identifier: GPL-3.0-or-later
"""The database after the weekly run: mended where it was neglected, untouched where it was healthy."""

from __future__ import annotations

import pytest

testinfra_hosts = ["ansible://database"]

MEGABYTE = 1024 * 1024


@pytest.fixture
def work(before):
    """Vacuum and analyze counters of prepare.yml, by table."""
    return {row["relname"]: row for row in before["work"]}


@pytest.fixture
def shop(sql):
    return lambda query: sql(query, database="shop")


def counters(shop, table):
    [row] = shop(
        "SELECT relname, vacuum_count, analyze_count, last_vacuum::text, last_analyze::text "
        f"FROM pg_stat_user_tables WHERE relname = '{table}'"
    )
    return row


def test_dead_rows_are_gone(host):
    """Counted row by row in the table itself: statistics may say what they like."""
    script = "BEGIN; CREATE EXTENSION pgstattuple; SELECT dead_tuple_count FROM pgstattuple('order_events'); ROLLBACK"
    counted = host.check_output("runuser -u postgres -- psql -XAtq -d shop -c %s", script)
    assert int(counted) == 0


def test_bloated_table_was_vacuumed_once(shop, work):
    assert counters(shop, "order_events")["vacuum_count"] == work["order_events"]["vacuum_count"] + 1


def test_planner_knows_the_rows_that_came_late(shop):
    [stats] = shop(
        "SELECT most_common_vals::text AS cities FROM pg_stats WHERE (tablename, attname) = ('customers', 'city')"
    )
    assert "new town" in stats["cities"]


def test_partitioned_parent_is_analyzed(shop):
    assert shop("SELECT attname FROM pg_stats WHERE tablename = 'visits' AND inherited")


def test_bloated_index_is_small_and_valid(shop):
    [index] = shop(
        "SELECT pg_relation_size(indexrelid) AS size, indisvalid AS valid FROM pg_index "
        "WHERE indexrelid = 'orders_sku_idx'::regclass"
    )
    assert index["valid"]
    assert index["size"] < 5 * MEGABYTE


def test_invalid_index_is_valid_and_enforced(host, shop):
    assert shop("SELECT indexrelid::regclass::text AS name FROM pg_index WHERE NOT indisvalid") == []
    twice = "BEGIN; INSERT INTO payments SELECT -id, reference FROM payments LIMIT 1; ROLLBACK"
    refused = host.run("runuser -u postgres -- psql -Xq -v ON_ERROR_STOP=1 -d shop -c %s", twice)
    assert "payments_reference_key" in refused.stderr


@pytest.fixture
def duplicates(host):
    """A database whose invalid index cannot be mended: its rows are duplicates still."""
    run = "runuser -u postgres -- psql -Xq -d %s -c %s"
    host.check_output(run, "postgres", "CREATE DATABASE duplicates")
    host.check_output(run, "duplicates", "CREATE TABLE t AS SELECT 1 AS a FROM generate_series(1, 2)")
    assert host.run(run, "duplicates", "CREATE UNIQUE INDEX CONCURRENTLY t_a_key ON t (a)").failed
    yield "duplicates"
    host.check_output(run, "postgres", "DROP DATABASE duplicates")


def test_index_over_duplicates_is_a_failure_without_leftovers(call, sql, duplicates):
    result = call("oncall.runbooks.postgresql_reindex", become_user="postgres", login_db=duplicates)
    assert result["failure"]["code"] == "duplicate_key"
    invalid = sql("SELECT indexrelid::regclass::text AS name FROM pg_index WHERE NOT indisvalid", database=duplicates)
    assert invalid == [{"name": "t_a_key"}]


@pytest.mark.parametrize("table", ["products", "carts"])
def test_healthy_table_was_left_alone(shop, work, table):
    assert counters(shop, table) == work[table]


def test_settings_are_as_before(sql, before):
    now = sql("SELECT name, setting FROM pg_settings WHERE source NOT IN ('client', 'session') ORDER BY 1")
    assert now == before["settings"]
