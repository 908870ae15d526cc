"""postgresql_maintenance among hostile names, hostile functions and partitioned tables."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg2 import sql

from tests.support.maintenance import (
    by_table,
    counters,
    finding,
    maintain,
    make_needy,
    named,
    run_sql,
    statuses,
    until,
)
from tests.support.servers import Database, Server

NAMES = [
    'x"; drop table big; --',
    "two\nlines",
    "it's",
    "a.b.c",
    "-Zt",
    "select",
    "%s %I",
    "名前" * 10,
    "é" * 31,
    "n" * 63,
    " ",
    "\x1b[31mred",
    "UPPER case",
    "back\\slash",
    "{{ jinja }}",
]


def test_hostile_names_of_tables_and_schemas(database: Database) -> None:
    run_sql(database, "CREATE SCHEMA {}", sql.Identifier("select"))
    for name in NAMES:
        run_sql(database, "CREATE TABLE {} AS SELECT g AS a FROM generate_series(1, 300) g", named(name, "select"))
    result = maintain(database)
    assert set(statuses(result).values()) == {"done"} and len(result["plan"]) == len(NAMES)
    for name in NAMES:
        assert counters(database, name, "select")["analyzes"] == 1, name
    assert "\x1b" not in str(result) and "\n" not in str([action["target"] for action in result["plan"]])
    assert maintain(database)["plan"] == []


@pytest.mark.parametrize("suffix", ["=x", " host=nowhere", "'quoted'", '"', "名", "%(x)s", "://"])
def test_hostile_names_of_databases(server: Server, database: Database, suffix: str) -> None:
    other = Database.create(server, f"{database.name}{suffix}")
    try:
        run_sql(other, "CREATE TABLE {} AS SELECT 1 AS a", named("t"))
        result = maintain(database, databases=[other.name])
        assert [(entry["database"], entry["status"]) for entry in result["tables"]] == [(other.name, "done")]
    finally:
        other.drop()


def test_a_trojan_in_public_is_never_run(database: Database) -> None:
    """A user's functions and operators shadow the server's; an index uses one of them too."""
    statements = [
        "CREATE TABLE trace (who text)",
        """CREATE FUNCTION public.format(text, name, name) RETURNS text LANGUAGE plpgsql AS
           $$ BEGIN INSERT INTO public.trace VALUES ('format'); RETURN 'x'; END $$""",
        """CREATE FUNCTION public.age(xid) RETURNS int LANGUAGE plpgsql AS
           $$ BEGIN INSERT INTO public.trace VALUES ('age'); RETURN 1; END $$""",
        """CREATE FUNCTION public.pg_stat_get_dead_tuples(oid) RETURNS bigint LANGUAGE plpgsql AS
           $$ BEGIN INSERT INTO public.trace VALUES ('dead'); RETURN 1; END $$""",
        """CREATE FUNCTION public.equal(name, text) RETURNS bool LANGUAGE plpgsql AS
           $$ BEGIN INSERT INTO public.trace VALUES ('operator'); RETURN true; END $$""",
        "CREATE OPERATOR public.= (LEFTARG = name, RIGHTARG = text, FUNCTION = public.equal)",
        """CREATE FUNCTION public.helper(int) RETURNS int LANGUAGE plpgsql AS
           $$ BEGIN INSERT INTO public.trace VALUES ('helper'); RETURN 1; END $$""",
        """CREATE FUNCTION public.indexed(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
           $$ BEGIN PERFORM 1; BEGIN RETURN helper($1); EXCEPTION WHEN OTHERS THEN RETURN $1; END; END $$""",
    ]
    for statement in statements:
        run_sql(database, statement.replace("{", "{{").replace("}", "}}"))
    make_needy(database, "t")
    run_sql(database, "SET search_path = pg_catalog; CREATE INDEX ON {} (public.indexed(a))", named("t"))
    run_sql(database, "ALTER DATABASE {} SET search_path = public, pg_catalog", sql.Identifier(database.name))
    run_sql(database, "TRUNCATE public.trace")
    result = maintain(database, system_catalogs=True)
    assert by_table(result)["public.t"]["status"] == "done"
    assert database.fetch("SELECT DISTINCT who FROM public.trace") == []


# --- partitions -------------------------------------------------------------------------------------------------


def make_partitions(database: Database) -> None:
    run_sql(database, "CREATE TABLE {} (day int, a int) PARTITION BY RANGE (day)", named("events"))
    run_sql(database, "CREATE TABLE {} PARTITION OF events FOR VALUES FROM (0) TO (10)", named("events_0"))
    below = "CREATE TABLE {} PARTITION OF events FOR VALUES FROM (10) TO (20) PARTITION BY RANGE (a)"
    run_sql(database, below, named("events_1"))
    run_sql(database, "CREATE TABLE {} PARTITION OF events_1 DEFAULT", named("events_1_a"))
    run_sql(database, "INSERT INTO {} SELECT g % 20, g FROM generate_series(1, 4000) g", named("events"))
    until(lambda: counters(database, "events_1_a")["live"] == 2000, "the inserts to be counted")


def inherited(database: Database) -> bool:
    return bool(database.fetch("SELECT 1 FROM pg_stats WHERE tablename = 'events' AND inherited"))


def test_partitioned_parents_are_analyzed_once_and_again_after_changes(database: Database, major: int) -> None:
    make_partitions(database)
    quiet: dict[str, Any] = {"inserted_rows_min": 10**6}
    first = maintain(database, **quiet)
    plan = [(action["action"], action["target"].split()[-1]) for action in first["plan"]]
    assert plan == [("analyze", "public.events"), ("analyze", "public.events_1")]
    assert set(statuses(first).values()) == {"done"} and inherited(database)
    assert counters(database, "events_0")["analyzes"] >= 1
    assert maintain(database, **quiet)["plan"] == []

    run_sql(database, "INSERT INTO {} SELECT g % 10, g FROM generate_series(1, 1500) g", named("events"))
    until(lambda: counters(database, "events_0")["live"] == 3500, "the inserts to be counted")
    again = maintain(database, **quiet)
    assert [action["target"].split()[-1] for action in again["plan"]] == ["public.events"]
    assert "partitions changed" in again["plan"][0]["reason"]
    assert maintain(database, **quiet)["plan"] == []
    if major == 13:
        assert finding(again, "partitioned_statistics")["status"] == "unknown"


def test_a_parent_is_not_begun_when_its_partitions_do_not_fit(database: Database) -> None:
    make_partitions(database)
    run_sql(database, "ANALYZE {}", named("events"))
    run_sql(database, "INSERT INTO {} SELECT g % 10, g FROM generate_series(1, 3000) g", named("events"))
    until(lambda: counters(database, "events_0")["live"] == 5000, "the inserts to be counted")
    slowly = {"vacuum_cost_delay": "100ms", "vacuum_cost_limit": 10}  # 4.5 pages a second
    result = maintain(database, include=["events"], inserted_rows_min=10**6, budget="5s", **slowly)
    assert {entry["code"] for entry in result["tables"] if entry["status"] == "skipped"} == {"no_time_left"}
    assert (result["changed"], statuses(result)) == (False, {"public.events": "skipped"})


@pytest.mark.majors(minimum=14)
def test_changes_that_only_the_partitions_own_analyze_saw_make_the_parent_due(database: Database) -> None:
    make_partitions(database)
    maintain(database)
    run_sql(database, "INSERT INTO {} SELECT g % 10, g FROM generate_series(1, 3000) g", named("events"))
    run_sql(database, "ANALYZE {}", named("events_0"))
    until(lambda: counters(database, "events_0")["modified"] == 0, "the analyze to be counted")
    result = maintain(database, vacuum_only=False, inserted_rows_min=10**6)
    assert [action["target"].split()[-1] for action in result["plan"]] == ["public.events"]
    assert maintain(database, inserted_rows_min=10**6)["plan"] == []


def test_an_empty_partitioned_table_needs_nothing(database: Database) -> None:
    run_sql(database, "CREATE TABLE {} (day int) PARTITION BY RANGE (day)", named("empty"))
    run_sql(database, "CREATE TABLE {} PARTITION OF empty DEFAULT", named("empty_0"))
    assert maintain(database)["plan"] == []
