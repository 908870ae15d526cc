"""What a database says about itself before a dump must be what the restored one says."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from psycopg2 import sql

from plugins.module_utils._core.backup_manifest import DatabaseState
from plugins.module_utils._core.errors import DatabaseFailed
from plugins.module_utils._io import postgres
from plugins.module_utils._io.backup_facts import read_shared, read_state, shared_snapshot
from tests.support.every_object import EVERY_OBJECT, HOSTILE_NAMES
from tests.support.servers import Database, Roles, Server, client_bin_dir

COMPARED = ("schema_hash", "grants_hash", "definitions", "objects", "extensions", "sequences", "roles")


def session(database: Database, user: str | None = None) -> postgres.Database:
    parameters = {"host": database.server.host, "port": database.server.port, "dbname": database.name}
    return postgres.connect(postgres.Target({**parameters, "user": user or "postgres"}, "test"))


def state(database: Database, **options: object) -> DatabaseState:
    with session(database) as open_session:
        return read_state(open_session, **options)  # type: ignore[arg-type]


def fill(database: Database, role: str) -> None:
    database.execute(EVERY_OBJECT.replace("{role}", role))
    for name in HOSTILE_NAMES:
        table = sql.SQL("CREATE TABLE app.{0} AS SELECT i AS {0} FROM generate_series(1, 5) i")
        connection = database.connect()
        connection.cursor().execute(table.format(sql.Identifier(name)).as_string(connection))
        connection.close()


def copy_of(database: Database, to: Server, tmp_path: Path, role: str) -> Database:
    """Dump and restore with the newest client."""
    tools, dump = client_bin_dir(18), tmp_path / "dump"
    subprocess.run([tools / "pg_dump", "-Fc", "-f", dump, "-d", database.dsn()], check=True)
    copy = Database.create(to)
    restored = subprocess.run(
        [tools / "pg_restore", "-d", copy.dsn(), dump], capture_output=True, text=True, check=False
    )
    errors = [line for line in restored.stderr.splitlines() if "error:" in line and "transaction_timeout" not in line]
    assert errors == []  # the newest client sets a parameter that servers before 17 don't know, and goes on
    return copy


def without_sizes(state: DatabaseState) -> list[object]:
    return [replace(table, size_bytes=0) for table in state.tables]


def test_a_restored_database_says_the_same(database: Database, role: Roles, server: Server, tmp_path: Path) -> None:
    owner = role()
    fill(database, owner)
    before = state(database)
    copy = copy_of(database, server, tmp_path, owner)
    try:
        after = state(copy, like=before)
    finally:
        copy.drop()
    assert {name: getattr(before, name) for name in COMPARED} == {name: getattr(after, name) for name in COMPARED}
    assert without_sizes(before) == without_sizes(after)
    names = {table.name: table for table in before.tables}
    assert set(HOSTILE_NAMES) < set(names) and "event" not in names and "event_1" in names
    assert names["person"].rows == 50 and names["parent"].rows == 1
    assert names["event_1"].rows + names["event_rest_1"].rows == 60
    assert before.objects["large object"] == 1 and before.objects["trigger"] == 1
    assert owner in before.roles


@pytest.mark.majors(maximum=13)
def test_a_newer_major_says_the_same(
    database: Database, role: Roles, tmp_path: Path, server_of: Callable[..., Server]
) -> None:
    owner = role()
    fill(database, owner)
    before = state(database)
    newer = server_of(18)
    newer_roles = Roles(newer)
    newer_roles(name=owner)
    after = state(copy_of(database, newer, tmp_path, owner), like=before)
    differing = {kind for kind in before.definitions if before.definitions[kind] != after.definitions.get(kind)}
    assert differing == set()
    assert (before.schema_hash, before.grants_hash) == (after.schema_hash, after.grants_hash)
    assert without_sizes(before) == without_sizes(after)


CHANGES = (
    ("ALTER TABLE app.pet ADD COLUMN x int", "definitions"),
    ("DROP INDEX app.person_lower", "definitions"),
    ("ALTER TYPE app.mood ADD VALUE 'new' BEFORE 'ok'", "definitions"),
    (
        "CREATE OR REPLACE FUNCTION app.double(x int) RETURNS int LANGUAGE sql IMMUTABLE STRICT AS 'SELECT x'",
        "definitions",
    ),
    ("DROP POLICY mine ON app.secret", "definitions"),
    ("ALTER TABLE app.person DISABLE TRIGGER touched", "definitions"),
    ("REVOKE INSERT ON app.person FROM {role}", "grants_hash"),
    ("ALTER TABLE app.child OWNER TO {role}", "grants_hash"),
    ("UPDATE app.person SET real_number = 0.1 WHERE id = 7", "tables"),
    ("DELETE FROM app.event WHERE id = 60", "tables"),
    ("SELECT nextval('app.tickets')", "sequences"),
    ("SELECT lo_unlink(4711)", "objects"),
)


def test_every_change_shows(database: Database, role: Roles) -> None:
    owner = role()
    fill(database, owner)
    for change, where in CHANGES:
        before = state(database)
        database.execute(change.format(role=owner))
        after = state(database, like=before)
        assert getattr(before, where) != getattr(after, where), change


def test_large_tables_are_summed_up_at_their_ends(database: Database) -> None:
    database.execute("CREATE TABLE t (id int PRIMARY KEY, x text); CREATE TABLE no_key (x text)")
    for table in ("t (id, x)", "no_key (x)"):
        key = "i, " if "id" in table else ""
        database.execute(f"INSERT INTO {table} SELECT {key}repeat(i::text, 300) FROM generate_series(1, 25000) i")
    big, without = sorted(state(database, checksum_rows=10).tables, key=lambda table: table.name != "t")
    assert (big.rows, big.checksum.scope, big.checksum.rows) == (25000, "ends", 20)  # type: ignore[union-attr]
    assert (without.rows, without.checksum) == (25000, None)
    before = state(database, checksum_rows=10)
    database.execute("UPDATE t SET x = 'other' WHERE id = 24995")
    assert state(database, checksum_rows=10, like=before).tables != before.tables
    database.execute("DELETE FROM t WHERE id BETWEEN 3000 AND 24990")
    database.execute("VACUUM FULL t")
    (smaller,) = [one for one in state(database, like=before).tables if one.name == "t"]
    assert smaller.checksum is not None and smaller.checksum.scope == "ends"


def test_all_sessions_see_one_moment_and_keep_it(database: Database) -> None:
    database.execute("CREATE TABLE a AS SELECT 1 AS x; CREATE TABLE b AS SELECT 1 AS x")
    with session(database) as first, session(database) as second, shared_snapshot(first, [second]) as snapshot:
        database.execute("INSERT INTO a VALUES (2); INSERT INTO b VALUES (2)")
        assert [table.rows for table in read_shared(snapshot).tables] == [1, 1]
        with pytest.raises(Exception, match="lock timeout"):
            database.execute("SET lock_timeout = '100ms'; TRUNCATE a")
    assert [table.rows for table in state(database).tables] == [2, 2]


def test_everything_that_may_not_be_read_is_named(database: Database, role: Roles) -> None:
    reader = role()
    database.execute("CREATE TABLE open (x int); CREATE TABLE shut (x int); CREATE SEQUENCE numbers")
    database.execute("CREATE SCHEMA far CREATE TABLE gone (x int); SELECT lo_create(42)")
    database.execute("CREATE TABLE filtered (x int); ALTER TABLE filtered ENABLE ROW LEVEL SECURITY")
    database.execute(f'GRANT SELECT ON open, filtered TO "{reader}"')
    with session(database, reader) as limited, pytest.raises(DatabaseFailed) as failure:
        read_state(limited)
    assert failure.value.code == "insufficient_privilege"
    names = {entry["name"] for entry in failure.value.details["objects"]}
    assert names == {"public.shut", "public.numbers", "public.filtered", "far.gone", "large object 42"}
    assert all(name in failure.value.message for name in names)


def test_the_rows_of_an_extension_count_as_far_as_they_are_dumped(database: Database) -> None:
    database.execute("CREATE EXTENSION pg_stat_statements; CREATE EXTENSION pgcrypto")
    assert state(database).tables == ()
    assert state(database).extensions.keys() == {"plpgsql", "pg_stat_statements", "pgcrypto"}
