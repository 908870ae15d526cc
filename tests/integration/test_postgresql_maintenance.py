"""postgresql_maintenance on real servers: bad input, check mode, the real run, and the run after it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.maintenance import (
    MODULE,
    by_table,
    counters,
    finding,
    maintain,
    maintain_failing,
    make_dead_rows,
    make_needy,
    make_table,
    named,
    run_sql,
    statuses,
    until,
)
from tests.support.modules import run_failed
from tests.support.servers import Database, Roles, Server


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"jobs": 0}, "invalid_value"),
        ({"dead_ratio": 1.5}, "invalid_value"),
        ({"budget": "soon"}, "invalid_value"),
        ({"budget": "0"}, "invalid_value"),
        ({"window_end": "25:00"}, "invalid_value"),
        ({"window_end": "tomorrow"}, "invalid_value"),
        ({"window_end": "2026-11-22T06:00:00"}, "invalid_value"),
        ({"window_end": "2020-01-01T00:00:00Z"}, "window_closed"),
        ({"vacuum_cost_delay": "1"}, "invalid_value"),
        ({"buffer_usage_limit": "1kB"}, "invalid_value"),
        ({"maintenance_work_mem": "1kB"}, "invalid_value"),
        ({"overrides": [{"pattern": "t", "parallel": 2000}]}, "invalid_value"),
        ({"index_cleanup": "sometimes"}, "invalid_arguments"),
        ({"analyze_only": True, "vacuum_only": True}, "invalid_arguments"),
        ({"databases": ["no_such_database"]}, "database_missing"),
        ({"databases": ["no_such_*"]}, "database_missing"),
        ({"login_port": 1}, "connection_failed"),
        ({"login_db": "no such database"}, "database_missing"),
        ({"login_user": "nobody at all"}, "authentication_failed"),
    ],
    ids=str,
)
def test_bad_input_is_refused_with_a_stable_code_and_nothing_is_changed(
    database: Database, options: dict[str, Any], code: str
) -> None:
    make_needy(database, "t")
    before = counters(database, "t")
    result = maintain_failing(database, **options)
    assert (result["failure"]["code"], result.get("changed", False)) == (code, False), result
    assert counters(database, "t") == before


@pytest.mark.majors(maximum=15)
def test_an_option_that_the_server_does_not_know_is_refused_before_anything_happens(database: Database) -> None:
    result = maintain_failing(database, overrides=[{"pattern": "t", "buffer_usage_limit": "1MB"}])
    assert result["failure"]["code"] == "not_supported"
    assert "PostgreSQL 16" in result["msg"]


def test_a_wrong_password_is_told_apart(scram_server: Server) -> None:
    options = {"login_host": scram_server.host, "login_port": scram_server.port, "login_user": "postgres"}
    result = run_failed(MODULE, {**options, "login_password": "wr0ng-canary"})
    assert result["failure"]["code"] == "authentication_failed"
    assert "wr0ng-canary" not in str(result)


def test_check_mode_shows_the_plan_of_the_real_run_and_touches_nothing(database: Database) -> None:
    make_needy(database, "small")
    make_needy(database, "large", rows=20_000)
    before = [counters(database, name) for name in ("small", "large")]
    predicted = maintain(database, check=True)
    assert predicted["changed"] is True and predicted["steps"] == []
    assert [action["target"].split()[-1] for action in predicted["plan"]] == ["public.large", "public.small"]
    assert [counters(database, name) for name in ("small", "large")] == before

    result = maintain(database)
    assert result["plan"] == predicted["plan"]
    assert result["before"] == predicted["before"]
    assert result["after"] == predicted["after"] == {
        "tables_to_freeze": 0, "tables_to_vacuum": 0, "tables_to_analyze": 0, "dead_rows": result["after"]["dead_rows"],
    }  # fmt: skip
    assert [step["id"] for step in result["steps"]] == [action["id"] for action in result["plan"]]
    assert set(statuses(result).values()) == {"done"}
    for name in ("small", "large"):
        now = counters(database, name)
        assert (now["dead"], now["modified"], now["vacuums"], now["analyzes"]) == (0, 0, 2, 2)
        entry = by_table(result)[f"public.{name}"]
        assert entry["before"]["dead_rows"] > 0 and entry["after"]["dead_rows"] == 0
        assert entry["before"]["size_bytes"] > 0 and entry["after"]["last_vacuum"] > "2020"

    second = maintain(database)
    assert (second["changed"], second["plan"], second["steps"]) == (False, [], [])
    assert second["msg"].startswith("nothing to do")


def test_the_whole_server_with_its_catalogs_is_done_after_one_run(database: Database) -> None:
    for number in range(30):
        run_sql(
            database, "CREATE TABLE {} AS SELECT g AS a, g AS b FROM generate_series(1, 300) g", named(f"t{number}")
        )
    first = maintain(database, system_catalogs=True)
    assert set(statuses(first).values()) == {"done"}
    second = maintain(database, system_catalogs=True)
    assert second["plan"] == [], second["plan"]


def test_each_kind_of_need_is_seen_and_in_this_order(database: Database) -> None:
    make_needy(database, "dead")
    make_table(database, "inserted")
    run_sql(database, "INSERT INTO {} SELECT g, g, '' FROM generate_series(2001, 4500) g", named("inserted"))
    run_sql(database, "CREATE TABLE {} AS SELECT 1 AS a", named("never_analyzed"))
    run_sql(database, "CREATE TABLE {} (a int)", named("empty"))
    make_table(database, "well")
    run_sql(database, "CREATE MATERIALIZED VIEW {} AS SELECT 1 AS a", named("view"))
    until(lambda: counters(database, "inserted")["live"] == 3500, "the inserts to be counted")
    result = maintain(database)
    plan = [(action["action"], action["target"].split()[-1]) for action in result["plan"]]
    assert plan[:2] == [("vacuum", "public.dead"), ("vacuum", "public.inserted")]
    assert sorted(plan[2:]) == [("analyze", "public.never_analyzed"), ("analyze", "public.view")]
    assert set(statuses(result).values()) == {"done"}
    assert maintain(database)["plan"] == []


def test_wraparound_comes_first_and_is_frozen(database: Database) -> None:
    make_needy(database, "dead", rows=20_000)
    make_table(database, "old")
    run_sql(database, "ALTER TABLE {} SET (autovacuum_freeze_max_age = 100000)", named("old"))
    connection = database.connect()
    connection.cursor().execute("DO $$ BEGIN FOR i IN 1..90000 LOOP PERFORM txid_current(); COMMIT; END LOOP; END $$")
    connection.close()
    result = maintain(database)
    assert [(a["action"], a["target"].split()[-1]) for a in result["plan"]] == [
        ("freeze", "public.old"),
        ("vacuum", "public.dead"),
    ]
    assert "FREEZE" in result["plan"][0]["command"]
    assert "90," in result["plan"][0]["reason"]
    assert counters(database, "old")["age"] < 1000
    assert maintain(database)["plan"] == []


def test_toast_is_part_of_its_owner(database: Database) -> None:
    run_sql(database, "CREATE TABLE {} (id int, doc text)", named("docs"))
    run_sql(database, "ALTER TABLE {} ALTER doc SET STORAGE EXTERNAL", named("docs"))
    run_sql(database, "INSERT INTO {} SELECT g, repeat('x', 20000) FROM generate_series(1, 40) g", named("docs"))
    run_sql(database, "VACUUM (ANALYZE) {}", named("docs"))
    run_sql(database, "UPDATE {} SET doc = doc || 'y'", named("docs"))

    def toast_dead() -> int:
        query = "SELECT n_dead_tup FROM pg_stat_all_tables WHERE relid = 'docs'::regclass::oid"
        toast = query.replace("'docs'::regclass::oid", "(SELECT reltoastrelid FROM pg_class WHERE relname = 'docs')")
        return int(database.fetch(toast)[0][0])

    until(lambda: toast_dead() > 300, "the TOAST rows to be counted")
    result = maintain(database)
    assert "TOAST" in result["plan"][0]["reason"]
    assert statuses(result) == {"public.docs": "done"}
    assert toast_dead() == 0
    assert maintain(database)["plan"] == []


def test_patterns_choose_and_one_that_matches_nothing_is_a_finding(database: Database) -> None:
    run_sql(database, "CREATE SCHEMA {}", named_schema("audit"))
    make_needy(database, "events", "orders")
    make_needy(database, "log", schema="audit")
    result = maintain(database, include=["public.*", "evnts"], exclude=["order?"], check=True)
    assert list(statuses(result)) == ["public.events"]
    assert finding(result, "pattern_unmatched")["value"] == "evnts"
    assert result["status"] == "warning"


def named_schema(name: str) -> Any:
    from psycopg2 import sql

    return sql.Identifier(name)


def test_thresholds_and_overrides_decide(database: Database) -> None:
    make_table(database, "a", rows=1000)
    make_table(database, "b", rows=1000)
    for name in ("a", "b"):
        make_dead_rows(database, name, rows=300)
    only_statistics = {"modified_rows_min": 2**31, "inserted_rows_min": 2**31}
    assert maintain(database, dead_ratio=0.4, check=True, **only_statistics)["plan"] == []
    overrides = [{"pattern": "a", "dead_ratio": 0.1, "truncate": False, "index_cleanup": "on", "parallel": 0}]
    result = maintain(database, dead_ratio=0.4, overrides=overrides, **only_statistics)
    (action,) = result["plan"]
    assert "TRUNCATE false, INDEX_CLEANUP on, PARALLEL 0" in action["command"]
    assert (counters(database, "a")["dead"], counters(database, "b")["dead"]) == (0, 300)
    run_sql(database, "ALTER TABLE {} SET (autovacuum_vacuum_scale_factor = 0.1)", named("b"))
    assert len(maintain(database, dead_ratio=0.4, check=True, **only_statistics)["plan"]) == 1


@pytest.mark.parametrize(
    ("options", "vacuums", "analyzes"),
    [({"analyze_only": True}, 1, 2), ({"vacuum_only": True}, 2, 1), ({"freeze": True}, 2, 2)],
    ids=["analyze only", "vacuum only", "freeze"],
)
def test_only_one_of_both(database: Database, options: dict[str, Any], vacuums: int, analyzes: int) -> None:
    make_needy(database, "t")
    result = maintain(database, **options)
    assert statuses(result) == {"public.t": "done"}
    now = counters(database, "t")
    assert (now["vacuums"], now["analyzes"]) == (vacuums, analyzes)
    assert ("FREEZE" in result["plan"][0]["command"]) is ("freeze" in options)
    assert maintain(database, **options)["plan"] == []


def test_what_a_limit_leaves_over_is_done_by_the_next_run(database: Database) -> None:
    make_needy(database, "a", "b", "c")
    first = maintain(database, limit=2)
    assert sorted(statuses(first).values()) == ["done", "done", "skipped"]
    assert finding(first, "left_over")["value"] == 1
    second = maintain(database, limit=2)
    assert list(statuses(second).values()) == ["done"]
    assert maintain(database, limit=2)["plan"] == []


def test_all_tables_are_done_whether_they_need_it_or_not(database: Database) -> None:
    make_table(database, "well")
    for _run in range(2):
        assert statuses(maintain(database, all_tables=True)) == {"public.well": "done"}
    assert counters(database, "well")["vacuums"] == 3


def test_several_databases_are_done_in_one_run(database: Database, server: Server, role: Roles) -> None:
    other = Database.create(server, f"{database.name}=x y")
    try:
        make_needy(database, "t")
        make_needy(other, "t")
        result = maintain(database, databases=[f"{database.name}*"])
        assert [entry["database"] for entry in result["tables"]] == [database.name, other.name]
        assert set(entry["status"] for entry in result["tables"]) == {"done"}
        assert counters(other, "t")["dead"] == 0
        assert maintain(database, databases=[database.name, other.name])["plan"] == []
    finally:
        other.drop()
