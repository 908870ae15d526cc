"""postgresql_reindex without superuser, with names that are attacks, and over indexes that call functions of users."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg2 import sql

from tests.support.modules import run_failed, run_ok
from tests.support.reindex import empty, findings, index, index_names, invalidate, make_bloated, options, records
from tests.support.servers import SUPERUSER, Database, Roles

MODULE = "postgresql_reindex"
HOSTILE = [
    'x"; DROP TABLE victim; --',
    "new\nline\ttab",
    "dot.ted",
    "it's $1 %s %I {0}",
    "select",
    "-leading",
    "ünïcödé☃" * 3,
    "é" * 31 + "x",
    "a" * 63,
    "back\\slash",
]


def own(database: Database, table: str, role: str) -> None:
    statement = sql.SQL("ALTER TABLE {} OWNER TO {}").format(sql.SQL(table), sql.Identifier(role))
    connection = database.connect()
    connection.cursor().execute(statement)
    connection.close()


def grant(database: Database, statement: str, role: str) -> None:
    connection = database.connect()
    connection.cursor().execute(sql.SQL(statement).format(sql.Identifier(role)))
    connection.close()


# --- rights -------------------------------------------------------------------------------------------------------


def test_an_owner_of_half_the_tables_rebuilds_that_half(database: Database, role: Roles) -> None:
    owner = role()
    make_bloated(database, "mine")
    make_bloated(database, "theirs")
    own(database, "mine", owner)
    grant(database, "GRANT SELECT ON theirs TO {}", owner)
    theirs = index(database, "theirs_v")
    done = run_ok(MODULE, options(database, owner))
    assert [entry["index"] for entry in done["indexes"]] == ["public.mine_v", "public.mine_pkey"]
    assert {one["status"] for one in done["steps"]} == {"done"} and {e["role"] for e in done["indexes"]} == {None}
    passed = {entry["index"]: entry for entry in done["passed_over"]}
    assert set(passed) == {"public.theirs_v", "public.theirs_pkey"} and index(database, "theirs_v") == theirs
    assert passed["public.theirs_v"]["code"] == "insufficient_privilege"
    assert f"role {owner} is not its owner ({SUPERUSER})" in passed["public.theirs_v"]["reason"]
    assert records(database) == [] and run_ok(MODULE, options(database, owner))["plan"] == []


def test_statistics_that_may_not_be_read_make_the_bloat_unknown(database: Database, role: Roles) -> None:
    reader = role()
    make_bloated(database, "theirs")
    seen = run_ok(MODULE, options(database, reader))
    (unknown,) = findings(seen, "index_bloat")
    assert unknown["status"] == "unknown" and "theirs_v" in unknown["msg"] and "GRANT SELECT" in unknown["msg"]
    assert "theirs_pkey" not in unknown["msg"], "a column of fixed length needs no statistics"
    assert seen["plan"] == [] and "1 could not be judged" in seen["msg"]


@pytest.mark.majors(minimum=17)
@pytest.mark.parametrize("by", ["pg_maintain", "table"])
def test_maintain_is_enough_since_17(database: Database, role: Roles, by: str) -> None:
    make_bloated(database, "theirs")
    maintainer = role(*(["pg_maintain"] if by == "pg_maintain" else []))
    grant(database, "GRANT SELECT ON theirs TO {}", maintainer)
    if by == "table":
        grant(database, "GRANT MAINTAIN ON theirs TO {}", maintainer)
    done = run_ok(MODULE, options(database, maintainer))
    assert [one["status"] for one in done["steps"]] == ["done", "done"] and records(database) == []


@pytest.mark.majors(minimum=17)
def test_without_maintain_the_missing_right_is_named(database: Database, role: Roles) -> None:
    make_bloated(database, "theirs")
    reader = role("pg_read_all_data")
    passed = run_ok(MODULE, options(database, reader))["passed_over"]
    assert passed and all("MAINTAIN" in entry["reason"] for entry in passed)


def test_a_member_of_the_owner_works_as_the_owner(database: Database, role: Roles) -> None:
    owner = role()
    member = role(owner)
    make_bloated(database, "theirs")
    own(database, "theirs", owner)
    done = run_ok(MODULE, options(database, member))
    assert {entry["role"] for entry in done["indexes"]} == {owner}
    assert {one["status"] for one in done["steps"]} == {"done"} and index(database, "theirs_v").owner == owner


def test_session_role_is_who_works(database: Database, role: Roles) -> None:
    owner = role()
    make_bloated(database, "mine")
    make_bloated(database, "u")
    own(database, "mine", owner)
    done = run_ok(MODULE, options(database, session_role=owner, include=["mine_v", "u_v"]))
    assert [entry["index"] for entry in done["indexes"]] == ["public.mine_v"]
    ((recorded_as,),) = database.fetch("SELECT count(*) FROM pg_largeobject_metadata")
    assert recorded_as == 0 and {one["status"] for one in done["steps"]} == {"done"}


def test_an_owner_may_not_rebuild_the_index_of_its_toast_table(database: Database, role: Roles) -> None:
    owner = role()
    database.execute("CREATE TABLE t (id int, v text); ALTER TABLE t ALTER v SET STORAGE external")
    database.execute("INSERT INTO t SELECT g, repeat(md5(g::text), 200) FROM generate_series(1, 4000) g")
    empty(database, "t")
    own(database, "t", owner)
    (passed,) = run_ok(MODULE, options(database, owner))["passed_over"]
    assert passed["code"] == "insufficient_privilege" and "USAGE on schema pg_toast" in passed["reason"]
    done = run_ok(MODULE, options(database))
    assert [one["status"] for one in done["steps"]] == ["done"] and done["freed_bytes"] > 0


def test_an_owner_without_usage_on_the_schema_does_not_stop_a_superuser(database: Database, role: Roles) -> None:
    owner = role()
    database.execute("CREATE SCHEMA closed")
    make_bloated(database, "closed.t")
    own(database, "closed.t", owner)
    (first, _second) = run_ok(MODULE, options(database, owner))["passed_over"]
    assert "lacks USAGE on schema closed" in first["reason"]
    done = run_ok(MODULE, options(database))
    assert {entry["role"] for entry in done["indexes"]} == {None}
    assert {one["status"] for one in done["steps"]} == {"done"}


def test_sessions_that_cannot_be_seen_are_unknown(database: Database, role: Roles) -> None:
    owner, other = role(), role()
    connection = database.connect(other)
    try:
        hidden = findings(run_ok(MODULE, options(database, owner)), "old_transaction")
        assert [finding["status"] for finding in hidden] == ["unknown"] and "pg_monitor" in hidden[0]["msg"]
        assert findings(run_ok(MODULE, options(database, role("pg_monitor"))), "old_transaction") == []
    finally:
        connection.close()


# --- names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_names_are_names_and_nothing_else(database: Database, role: Roles, name: str) -> None:
    owner = role(name=f"{name.encode()[:40].decode(errors='ignore')}{database.name[-6:]}")
    connection = database.connect()
    cursor = connection.cursor()
    schema, table, column, first = (
        sql.Identifier(n) for n in (name, name, name, f"{name.encode()[:58].decode(errors='ignore')}_v")
    )
    cursor.execute("CREATE TABLE victim ()")
    cursor.execute(sql.SQL("CREATE SCHEMA {} AUTHORIZATION {}").format(schema, sql.Identifier(owner)))
    cursor.execute(sql.SQL("CREATE TABLE {}.{} (id int, {} text)").format(schema, table, column))
    cursor.execute(
        sql.SQL("INSERT INTO {}.{} SELECT g, md5(g::text) FROM generate_series(1, 8000) g").format(schema, table)
    )
    cursor.execute(sql.SQL("CREATE INDEX {} ON {}.{} ({})").format(first, schema, table, column))
    cursor.execute(sql.SQL("CREATE INDEX ON {}.{} (id)").format(schema, table))
    cursor.execute(sql.SQL("ALTER TABLE {}.{} OWNER TO {}").format(schema, table, sql.Identifier(owner)))
    connection.close()
    qualified = database.fetch("SELECT format('%%I.%%I', %s::text, %s::text)", name, name)[0][0]
    empty(database, qualified, keep=9)
    for user in (SUPERUSER, owner):
        checked = run_ok(MODULE, options(database, user), check=True)
        done = run_ok(MODULE, options(database, user))
        assert done["plan"] == checked["plan"] and len(done["plan"]) == (2 if user == SUPERUSER else 0)
        assert {one["status"] for one in done["steps"]} <= {"done"}, done["steps"]
    assert len(index_names(database, qualified)) == 2 and records(database) == []
    assert database.fetch("SELECT to_regclass('public.victim') IS NOT NULL") == [(True,)]


def test_a_database_with_a_hostile_name_is_worked_on(database: Database) -> None:
    other = Database.create(database.server, f"host=evil dbname='x' {database.name}")
    try:
        make_bloated(other)
        done = run_ok(MODULE, options(database, databases=[other.name]))
        assert [one["status"] for one in done["steps"]] == ["done", "done"]
    finally:
        other.drop()


# --- functions of users -------------------------------------------------------------------------------------------

TRAP = """
CREATE FUNCTION {schema}.{name}({type}) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  PERFORM public.note('{name}');
  RETURN pg_catalog.md5($1::text);
END $$
"""


def trap(database: Database, attacker: str) -> None:
    """Let every call of a user's function note as whom it runs."""
    database.execute("CREATE TABLE seen (who text, by text, super text)")
    database.execute("GRANT ALL ON seen TO PUBLIC; GRANT ALL ON SCHEMA public TO PUBLIC")
    connection = database.connect(attacker)
    cursor = connection.cursor()
    cursor.execute("""
        CREATE FUNCTION public.note(text) RETURNS void LANGUAGE sql AS
        $$ INSERT INTO public.seen VALUES (current_user, $1, pg_catalog.current_setting('is_superuser')) $$""")
    cursor.execute(TRAP.format(schema="public", name="key_of", type="int"))
    cursor.execute(TRAP.format(schema="public", name="lower", type="text"))
    cursor.execute("CREATE TABLE public.t (id int, v text)")
    cursor.execute("INSERT INTO public.t SELECT g, g FROM generate_series(1, 4000) g")
    cursor.execute("CREATE INDEX t_key ON public.t (public.key_of(id))")
    cursor.execute("CREATE INDEX t_part ON public.t (v) WHERE public.lower(v) <> 'x'")
    connection.close()
    empty(database, "t")
    for name in ("t_key", "t_part"):
        invalidate(database, name)
    database.execute("TRUNCATE seen")


def callers(database: Database) -> set[tuple[Any, ...]]:
    return set(database.fetch("SELECT DISTINCT who, super FROM seen"))


def test_a_function_in_an_index_never_runs_as_superuser(database: Database, role: Roles) -> None:
    attacker = role()
    trap(database, attacker)
    checked = run_ok(MODULE, options(database), check=True)
    assert callers(database) == set()
    done = run_ok(MODULE, options(database))
    assert {one["status"] for one in done["steps"]} == {"done"} and done["plan"] == checked["plan"]
    assert {entry["role"] for entry in done["indexes"]} == {attacker}
    assert callers(database) == {(attacker, "off")}, "it ran, and only as its owner"


def test_a_function_that_needs_a_search_path_fails_with_the_servers_words(database: Database) -> None:
    database.execute("CREATE TABLE t (v text)")
    database.execute("CREATE FUNCTION helper(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1'")
    body = "BEGIN RETURN helper($1); END"
    database.execute(f"CREATE FUNCTION careless(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS '{body}'")
    database.execute("CREATE INDEX t_v ON t (careless(v))")
    database.execute("INSERT INTO t SELECT generate_series(1, 9)::text")
    invalidate(database, "t_v")
    failed = run_failed(MODULE, options(database))
    assert failed["steps"][0]["status"] == "failed" and "helper" in failed["steps"][0]["detail"]
    assert index_names(database, "t") == {"t_v"} and records(database) == []
