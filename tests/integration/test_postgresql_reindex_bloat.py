"""The bloat estimate against the truth on real servers, on awkward data, and that no second run goes in circles."""

from __future__ import annotations

import pytest

from plugins.module_utils._core.reindex_facts import Policy
from plugins.module_utils._core.reindex_plan import bloat_of
from plugins.module_utils._io.postgres import Target, connect
from plugins.module_utils._io.reindex import read_database
from tests.support.modules import run_ok
from tests.support.reindex import empty, findings, index, make_bloated, options, records, step, vacuum
from tests.support.servers import SUPERUSER, Database

MODULE = "postgresql_reindex"
ROWS = 60_000
# How far the estimate may be from a fresh index: below would find bloat that is not there, above miss some that is.
LOWEST, HIGHEST = 0.93, 1.25
AWKWARD = {
    "plain integer": ("id int", "g", "(v)", HIGHEST),
    "descending": ("v int", "g", "(v DESC)", HIGHEST),
    "uuid": ("v uuid", "md5(g::text)::uuid", "(v)", HIGHEST),
    "text of one length": ("v text", "md5(g::text)", "(v)", HIGHEST),
    "text of many lengths": ("v text", "left(md5(g::text) || md5(g::text), 4 + g % 50)", "(v)", HIGHEST),
    "numeric": ("v numeric", "g * 1.1", "(v)", HIGHEST),
    "few values": ("v int", "g % 10", "(v)", HIGHEST),
    "values twice": ("v int", "g / 2", "(v)", HIGHEST),
    "half of them one value": ("v int", "CASE WHEN g % 2 = 0 THEN 0 ELSE g END", "(v)", HIGHEST),
    "mostly null": ("v int", "CASE WHEN g % 5 = 0 THEN g END", "(v)", HIGHEST),
    "only null": ("v text", "NULL", "(v)", HIGHEST),
    "unique with nulls": ("v int", "NULLIF(g % 2, 1) * 0 + g", "UNIQUE (v)", HIGHEST),
    "no deduplication": ("v int", "g % 10", "(v) WITH (deduplicate_items = off)", HIGHEST),
    "fillfactor": ("v int", "g", "(v) WITH (fillfactor = 60)", HIGHEST),
    "two columns": ("v int, w timestamptz", "g % 100, 'epoch'::timestamptz + g * interval '1s'", "(v, w)", HIGHEST),
    "columns that go together": ("v int, w int", "g % 100, g % 100 * 7", "(v, w)", 4.0),
    "small and large types": ("v bool, w bigint, x \"char\"", "g % 2 = 0, g, 'a'", "(v, w, x)", HIGHEST),
    "included columns": ("v int, w text", "g, md5(g::text)", "(v) INCLUDE (w)", HIGHEST),
    "partial": ("v text, w int", "md5(g::text), g % 4", "(v) WHERE w = 1", HIGHEST),
    "expression": ("v text", "'User' || g", "(lower(v))", HIGHEST),
    "json field": ("v jsonb", "jsonb_build_object('a', 'value ' || g)", "((v ->> 'a'))", HIGHEST),
    "wide keys": (
        "v text",
        "(SELECT string_agg(md5((g * 9 + k)::text), '') FROM generate_series(1, 9) k)",
        "(v)",
        HIGHEST,
    ),
    "very wide expression": (
        "v text",
        "(SELECT string_agg(md5((g * 50 + k)::text), '') FROM generate_series(1, 40) k)",
        "(left(v, 1200))",
        HIGHEST,
    ),
    "compressible keys": ("v text", "repeat(md5(g::text), 25)", "(v)", 20.0),
    "array": ("v int[]", "array[g, g]", "(v)", HIGHEST),
    "address": ("v inet", "'10.0.0.0'::inet + g", "(v)", HIGHEST),
    "name": ("v name", "'n' || g", "(v)", 5.0),
}  # fmt: skip


def rows_for(case: str) -> int:
    return 4_000 if "wide" in case or "compressible" in case else ROWS


def make(database: Database, case: str) -> None:
    columns, values, definition, _highest = AWKWARD[case]
    unique = "UNIQUE " if definition.startswith("UNIQUE") else ""
    column = columns.split()[0]
    database.execute(f"CREATE TABLE t ({columns})")
    database.execute(f"INSERT INTO t SELECT {values} FROM generate_series(1, {rows_for(case)}) g")
    on = definition.removeprefix("UNIQUE ").replace("(v)", f"({column})", 1)
    database.execute(f"CREATE {unique}INDEX t_index ON t {on}")
    vacuum(database, "t")


def estimate(database: Database, name: str = "t_index", user: str = SUPERUSER) -> tuple[int, int | None, str]:
    """Return the size of an index, that of a fresh one by the estimate, and why it is not known."""
    policy = Policy(min_index_size=1, min_wasted=1)
    server = database.server
    target = Target({"host": server.host, "port": server.port, "user": user, "dbname": database.name}, "test")
    with connect(target) as session:
        facts = read_database(session, policy)
    (found,) = [one for one in facts.indexes if one.name == name]
    bloat = bloat_of(found, facts, policy)
    return bloat.bytes, bloat.fresh, bloat.unknown


@pytest.mark.parametrize("case", AWKWARD)
def test_a_fresh_index_does_not_look_bloated(database: Database, case: str) -> None:
    make(database, case)
    size, fresh, unknown = estimate(database)
    assert fresh is not None, unknown
    assert LOWEST <= fresh / size <= AWKWARD[case][3]


@pytest.mark.parametrize("case", ["text of many lengths", "few values", "mostly null", "partial", "wide keys"])
def test_a_bloated_index_is_rebuilt_once(database: Database, case: str) -> None:
    make(database, case)
    database.execute("DELETE FROM t WHERE ctid NOT IN (SELECT ctid FROM t TABLESAMPLE BERNOULLI (10) REPEATABLE (1))")
    vacuum(database, "t")
    done = run_ok(MODULE, options(database))
    assert [one["status"] for one in done["steps"]] == ["done"]
    (entry,) = done["indexes"]
    assert 0.8 <= entry["bytes_expected"] / entry["bytes_after"] <= 2.0
    assert run_ok(MODULE, options(database))["plan"] == [] and records(database) == []


def test_a_toast_index_is_judged_without_statistics(database: Database) -> None:
    database.execute("CREATE TABLE t (id int, v text); ALTER TABLE t ALTER v SET STORAGE external")
    database.execute("INSERT INTO t SELECT g, repeat(md5(g::text), 200) FROM generate_series(1, 4000) g")
    vacuum(database, "t")
    assert run_ok(MODULE, options(database))["plan"] == []
    empty(database, "t")
    done = run_ok(MODULE, options(database))
    assert [one["status"] for one in done["steps"]] == ["done"] and done["freed_bytes"] > 100_000
    assert run_ok(MODULE, options(database))["plan"] == []


def test_a_table_that_has_grown_since_its_analyze_does_not_look_bloated(database: Database) -> None:
    database.execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 5000)")
    vacuum(database, "t")
    database.execute("INSERT INTO t SELECT generate_series(5001, 50000)")
    size, fresh, _unknown = estimate(database, "t_pkey")
    assert fresh is not None and LOWEST <= fresh / size <= 1.3


def test_values_that_are_kept_out_of_line_are_unknown_and_told_how_to_know(database: Database) -> None:
    database.execute("CREATE TABLE t (v text); ALTER TABLE t ALTER v SET STORAGE external")
    wide = "(SELECT string_agg(md5((g * 99 + k)::text), '') FROM generate_series(1, 70) k)"
    database.execute(f"INSERT INTO t SELECT {wide} FROM generate_series(1, 2000) g")
    database.execute("CREATE INDEX t_index ON t (v); CREATE EXTENSION pgstattuple")
    vacuum(database, "t")
    (unknown,) = findings(run_ok(MODULE, options(database)), "index_bloat")
    assert unknown["status"] == "unknown" and "pgstattuple" in unknown["msg"]
    exact = run_ok(MODULE, options(database, bloat_method="pgstattuple"))
    assert exact["plan"] == [] and findings(exact, "index_bloat") == []


def test_a_table_that_was_never_counted_is_unknown(database: Database) -> None:
    database.execute("CREATE TABLE t (id int, v text); CREATE INDEX t_v ON t (v)")
    database.execute("INSERT INTO t SELECT g, md5(g::text) FROM generate_series(1, 20000) g")
    (unknown,) = findings(run_ok(MODULE, options(database)), "index_bloat")
    assert unknown["status"] == "unknown" and "ANALYZE" in unknown["msg"]


def test_pgstattuple_measures_what_the_estimate_guesses(database: Database) -> None:
    database.execute("CREATE EXTENSION pgstattuple")
    make_bloated(database)
    args = options(database, bloat_method="pgstattuple")
    guessed = {e["index"]: e["bytes_expected"] for e in run_ok(MODULE, options(database), check=True)["indexes"]}
    checked = run_ok(MODULE, args, check=True)
    assert {entry["index"] for entry in checked["indexes"]} == set(guessed) and "measured" in checked["plan"][0][
        "reason"
    ]
    done = run_ok(MODULE, args)
    for entry in done["indexes"]:
        assert 0.85 <= entry["bytes_expected"] / entry["bytes_after"] <= 1.15
    assert run_ok(MODULE, args)["plan"] == []


# --- no circles ---------------------------------------------------------------------------------------------------


def mislead(database: Database) -> None:
    """Make statistics say that an index holds much less than it does."""
    database.execute("CREATE TABLE t (v text)")
    database.execute("INSERT INTO t SELECT md5(g::text) || repeat('y', 60) FROM generate_series(1, 8000) g")
    database.execute("CREATE INDEX t_index ON t (v)")
    vacuum(database, "t")
    narrow = "UPDATE pg_statistic SET stawidth = 5 WHERE starelid = 't'::regclass"
    database.execute(narrow)


def test_an_index_that_a_rebuild_does_not_shrink_is_told_and_remembered(database: Database) -> None:
    mislead(database)
    before = index(database, "t_index")
    first = run_ok(MODULE, options(database))
    assert [one["status"] for one in first["steps"]] == ["done"]
    assert "not smaller, the estimate was wrong" in step(first, "t_index")["detail"] and first["freed_bytes"] == 0
    after = index(database, "t_index")
    assert after.oid != before.oid and after.bytes == before.bytes and len(records(database)) == 1
    assert first["after"]["bloated_indexes"] == 0

    second = run_ok(MODULE, options(database))
    assert second["plan"] == [] and not second["changed"] and index(database, "t_index") == after


def test_what_is_remembered_does_not_hide_new_bloat(database: Database) -> None:
    mislead(database)
    run_ok(MODULE, options(database))
    database.execute("DELETE FROM t WHERE random() < 0.9")
    vacuum(database, "t", "TRUNCATE")
    again = run_ok(MODULE, options(database))
    assert [one["status"] for one in again["steps"]] == ["done"] and again["freed_bytes"] > 0
    assert run_ok(MODULE, options(database))["plan"] == []


def test_what_is_remembered_of_an_index_that_is_gone_is_forgotten(database: Database) -> None:
    mislead(database)
    run_ok(MODULE, options(database))
    database.execute("DROP INDEX t_index")
    done = run_ok(MODULE, options(database))
    assert [action["action"] for action in done["plan"]] == ["forget"] and records(database) == []
