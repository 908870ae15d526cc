"""postgresql_reindex on real servers: the ladder of a module, its findings, and what is passed over with a reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from plugins.modules import postgresql_reindex
from tests.support.modules import run_failed, run_ok
from tests.support.reindex import (
    empty,
    findings,
    held,
    index,
    index_names,
    invalidate,
    make_bloated,
    options,
    records,
    step,
)
from tests.support.servers import Database, Roles, Server
from tests.support.standby import standby_of

MODULE = "postgresql_reindex"


# --- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "code", "words"),
    [
        ({"bloat_method": "guess"}, "invalid_arguments", "guess"),
        ({"bloat": 3}, "invalid_arguments", "bloat"),
        ({"bloat_ratio": 1.5}, "invalid_value", "bloat_ratio"),
        ({"min_wasted": "much"}, "invalid_value", "min_wasted"),
        ({"min_index_size": "-1"}, "invalid_value", "min_index_size"),
        ({"max_wait": "0s"}, "invalid_value", "max_wait"),
        ({"max_wait": "90d"}, "invalid_value", "max_wait"),
        ({"unused_after": "soon"}, "invalid_value", "unused_after"),
        ({"jobs": 0}, "invalid_value", "jobs"),
        ({"limit": 0}, "invalid_value", "limit"),
        ({"lock_attempts": 0}, "invalid_value", "lock_attempts"),
        ({"sequence_warning": 95}, "invalid_value", "sequence_warning"),
        ({"maintenance_work_mem": "1kB"}, "invalid_value", "maintenance_work_mem"),
        ({"budget": "0s"}, "invalid_value", "budget"),
        ({"window_end": "late"}, "invalid_value", "window_end"),
        ({"window_end": "2001-01-01T00:00:00Z"}, "window_closed", "2001"),
        ({"databases": ["no_such_database"]}, "database_missing", "no_such_database"),
    ],
    ids=str,
)
def test_an_option_that_means_nothing_is_named(
    database: Database, wrong: dict[str, Any], code: str, words: str
) -> None:
    make_bloated(database)
    before = index(database, "t_v")
    failed = run_failed(MODULE, options(database, **wrong))
    assert failed["failure"]["code"] == code and words in failed["msg"] and not failed.get("changed")
    assert index(database, "t_v") == before


def test_an_unreachable_server_and_a_wrong_password_are_told_apart(scram_server: Server) -> None:
    nowhere = {"dsn": "host=127.0.0.1 port=1 dbname=postgres user=postgres"}
    assert run_failed(MODULE, nowhere)["failure"]["code"] == "connection_failed"
    wrong = {"dsn": scram_server.dsn(), "login_password": "wr0ng-secret"}
    failed = run_failed(MODULE, wrong)
    assert failed["failure"]["code"] == "authentication_failed" and "wr0ng-secret" not in str(failed)


def test_pgstattuple_that_is_not_there_is_named(database: Database) -> None:
    failed = run_failed(MODULE, options(database, bloat_method="pgstattuple"))
    assert failed["failure"]["code"] == "extension_missing"
    assert "CREATE EXTENSION pgstattuple" in failed["failure"]["hint"]


def test_pgstattuple_that_may_not_be_used_is_named(database: Database, role: Roles) -> None:
    database.execute("CREATE EXTENSION pgstattuple")
    failed = run_failed(MODULE, options(database, role(), bloat_method="pgstattuple"))
    assert failed["failure"]["code"] == "insufficient_privilege"
    assert "pg_stat_scan_tables" in failed["failure"]["hint"]


@pytest.mark.parametrize("check", [True, False])
def test_releases_that_corrupt_indexes_are_refused(server_of: Callable[..., Server], check: bool) -> None:
    unsafe = Database(server_of("14.3"), "postgres")
    make_bloated(unsafe)
    before = index(unsafe, "t_v")
    failed = run_failed(MODULE, options(unsafe), check=check)
    assert failed["failure"]["code"] == "unsafe_server_version" and "14.3" in failed["msg"]
    assert "14.4" in failed["failure"]["hint"] and index(unsafe, "t_v") == before


# --- the ladder ---------------------------------------------------------------------------------------------------

# Each transaction that writes takes a number; the server of a test has no others, and no autovacuum.
NEXT_TRANSACTION = "SELECT txid_snapshot_xmax(txid_current_snapshot())"


def test_check_mode_predicts_what_the_real_run_does(database: Database) -> None:
    make_bloated(database)
    database.execute("CREATE INDEX broken ON t (id, v)")
    invalidate(database, "broken")
    before = {name: index(database, name) for name in ("t_pkey", "t_v", "broken")}
    written = database.fetch(NEXT_TRANSACTION)

    checked = run_ok(MODULE, options(database), check=True, diff=True)
    assert {name: index(database, name) for name in before} == before
    assert database.fetch(NEXT_TRANSACTION) == written and records(database) == []
    assert checked["changed"] and checked["steps"] == [] and checked["freed_bytes"] == 0
    assert [entry["state"] for entry in checked["indexes"]] == ["invalid", "bloated", "bloated"]
    assert [action["command"] for action in checked["plan"]] == [
        "REINDEX INDEX CONCURRENTLY public.broken",
        "REINDEX INDEX CONCURRENTLY public.t_v",
        "REINDEX INDEX CONCURRENTLY public.t_pkey",
    ]
    assert checked["diff"] == {"before": checked["before"], "after": checked["after"]}
    assert checked["before"] == {"leftover_indexes": 0, "invalid_indexes": 1, "bloated_indexes": 2}

    done = run_ok(MODULE, options(database), diff=True)
    assert done["plan"] == checked["plan"] and done["before"] == checked["before"] and done["after"] == checked["after"]
    assert [one["status"] for one in done["steps"]] == ["done"] * 3 and done["changed"]
    after = {name: index(database, name) for name in before}
    for entry in done["indexes"]:
        name = entry["index"].removeprefix("public.")
        assert after[name].usable and after[name].bytes == entry["bytes_after"] and after[name].oid != before[name].oid
        assert entry["bytes_before"] == before[name].bytes
    assert done["freed_bytes"] == sum(before[name].bytes - after[name].bytes for name in ("t_pkey", "t_v"))
    assert abs(done["freed_bytes"] / checked["wasted_bytes"] - 1) < 0.1
    assert findings(done, "bloated_index")[0]["status"] == "ok" and findings(done, "invalid_index") == []
    assert done["msg"].startswith("3 indexes rebuilt") and index_names(database, "t") == {"t_pkey", "t_v", "broken"}

    again = run_ok(MODULE, options(database), diff=True)
    assert not again["changed"] and again["plan"] == [] and again["msg"].startswith("nothing to rebuild")
    assert again["diff"]["before"] == again["diff"]["after"] and records(database) == []


def test_every_key_of_a_result_is_documented(database: Database) -> None:
    make_bloated(database)
    database.execute("CREATE TABLE x (id int, EXCLUDE USING btree (id WITH =)); CREATE INDEX broken ON x (id)")
    database.execute("UPDATE pg_index SET indisvalid = false WHERE indrelid = 'x'::regclass")
    documented = yaml.safe_load(postgresql_reindex.RETURN)
    done = run_ok(MODULE, options(database, limit=1))
    assert set(done) - {"changed", "warnings"} <= set(documented)
    for name in ("indexes", "passed_over"):
        assert done[name] and all(set(entry) == set(documented[name]["contains"]) for entry in done[name])


def test_a_rebuild_that_must_fail_is_reported_and_the_others_go_on(database: Database) -> None:
    make_bloated(database)
    database.execute("CREATE TABLE twice AS SELECT 1 AS a FROM generate_series(1, 2)")
    with pytest.raises(Exception, match="could not create unique index"):
        database.execute("CREATE UNIQUE INDEX CONCURRENTLY twice_a ON twice (a)")

    failed = run_failed(MODULE, options(database))
    assert failed["failure"]["code"] == "duplicate_key" and "2 of 3 indexes done" in failed["msg"]
    assert [one["status"] for one in failed["steps"]] == ["failed", "done", "done"] and failed["changed"]
    assert "could not create unique index" in failed["steps"][0]["detail"] and failed["status"] == "critical"
    assert index_names(database, "twice") == {"twice_a"}, "what the failed rebuild left behind is gone"
    assert records(database) == [] and failed["after"]["invalid_indexes"] == 1

    database.execute("DELETE FROM twice WHERE ctid = '(0,1)'")
    assert run_ok(MODULE, options(database))["msg"].startswith("1 index rebuilt")


def test_without_rebuild_invalid_an_invalid_index_is_only_told(database: Database) -> None:
    database.execute("CREATE TABLE t (a int); CREATE INDEX broken ON t (a)")
    invalidate(database, "broken")
    told = run_ok(MODULE, options(database, rebuild_invalid=False))
    assert told["plan"] == [] and [f["status"] for f in findings(told, "invalid_index")] == ["warning"]


def test_several_jobs_rebuild_several_tables(database: Database) -> None:
    for table in ("a", "b", "c"):
        make_bloated(database, table, rows=8_000)
    done = run_ok(MODULE, options(database, jobs=2))
    assert [one["status"] for one in done["steps"]] == ["done"] * 6
    assert run_ok(MODULE, options(database))["plan"] == []


def test_several_databases_are_looked_at_by_pattern(database: Database, server: Server) -> None:
    other = Database.create(server, f"{database.name}_two")
    try:
        make_bloated(database)
        make_bloated(other, "u")
        done = run_ok(MODULE, options(database, databases=[f"{database.name}*"], include=["*_v"]))
        assert [(entry["database"], entry["index"]) for entry in done["indexes"]] == [
            (database.name, "public.t_v"),
            (other.name, "public.u_v"),
        ]
        assert [one["status"] for one in done["steps"]] == ["done", "done"]
    finally:
        other.drop()


def test_patterns_choose_and_a_pattern_without_a_match_is_a_warning(database: Database) -> None:
    make_bloated(database)
    make_bloated(database, "u")
    chosen = run_ok(MODULE, options(database, include=["public.t*"], exclude=["t_pkey", "slip.of.pen"]), check=True)
    assert [entry["index"] for entry in chosen["indexes"]] == ["public.t_v"]
    assert {entry["code"] for entry in chosen["passed_over"]} == {"excluded"}
    assert "slip.of.pen" in str(chosen["warnings"])


def test_a_limit_leaves_the_smaller_waste_for_the_next_run(database: Database) -> None:
    make_bloated(database)
    done = run_ok(MODULE, options(database, limit=1))
    assert [entry["index"] for entry in done["indexes"]] == ["public.t_v"]
    assert [(entry["index"], entry["code"]) for entry in done["passed_over"]] == [("public.t_pkey", "limit_reached")]
    assert done["after"]["bloated_indexes"] == 1
    assert [entry["index"] for entry in run_ok(MODULE, options(database, limit=1))["indexes"]] == ["public.t_pkey"]


def test_what_does_not_fit_into_the_budget_is_not_begun(database: Database) -> None:
    make_bloated(database)
    before = index(database, "t_v")
    done = run_ok(MODULE, options(database, budget="1ms"))
    assert len(done["plan"]) == 2 and not done["changed"] and index(database, "t_v") == before
    assert {one["status"] for one in done["steps"]} == {"skipped"} and "estimated" in done["steps"][0]["detail"]
    assert done["after"] == done["before"] and [f["status"] for f in findings(done, "failed_index")] == ["warning"] * 2


# --- what cannot be done is passed over with the reason -----------------------------------------------------------


def test_an_exclusion_constraint_is_passed_over(database: Database) -> None:
    database.execute("CREATE TABLE t (id int, EXCLUDE USING btree (id WITH =))")
    database.execute("INSERT INTO t SELECT generate_series(1, 20000)")
    empty(database, "t")
    seen = run_ok(MODULE, options(database))
    assert [(entry["index"], entry["code"]) for entry in seen["passed_over"]] == [("public.t_id_excl", "not_supported")]
    assert seen["plan"] == [] and "exclusion constraint" in seen["passed_over"][0]["reason"]
    assert [f["status"] for f in findings(seen, "bloated_index")] == ["warning"]


def test_system_catalogs_are_passed_over(database: Database) -> None:
    database.execute("CREATE TABLE t (a int)")
    for _unused in range(3):
        database.execute("""DO $$ BEGIN FOR i IN 1..1500 LOOP
            EXECUTE format('CREATE FUNCTION f%s() RETURNS int LANGUAGE sql AS ''SELECT 1''', i); END LOOP; END $$""")
        database.execute("""DO $$ BEGIN FOR i IN 1..1500 LOOP
            EXECUTE format('DROP FUNCTION f%s()', i); END LOOP; END $$""")
    database.execute("VACUUM ANALYZE pg_proc")
    seen = run_ok(MODULE, options(database, bloat_ratio=0.2))
    passed = {entry["index"]: entry["code"] for entry in seen["passed_over"]}
    assert set(passed.values()) == {"not_supported"} and seen["plan"] == []
    assert all(name.startswith("pg_catalog.") for name in passed)


def test_a_partitioned_index_is_rebuilt_part_by_part(database: Database) -> None:
    database.execute("CREATE TABLE p (id int, v text) PARTITION BY RANGE (id)")
    database.execute("CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (20000)")
    database.execute("CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (20000) TO (40000)")
    database.execute("CREATE INDEX p_v ON p (v)")
    database.execute("INSERT INTO p SELECT g, md5(g::text) FROM generate_series(0, 39999) g")
    empty(database, "p")
    done = run_ok(MODULE, options(database))
    assert {entry["index"] for entry in done["indexes"]} == {"public.p1_v_idx", "public.p2_v_idx"}
    assert {one["status"] for one in done["steps"]} == {"done"}
    attached = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'p_v'::regclass"
    assert database.fetch(attached) == [(2,)] and index(database, "p_v").usable


def test_temporary_tables_are_not_looked_at_and_unlogged_ones_are_rebuilt(database: Database) -> None:
    with held(database, "CREATE TEMP TABLE temporary AS SELECT g AS id FROM generate_series(1, 20000) g") as holder:
        holder.cursor().execute("CREATE INDEX ON temporary (id); DELETE FROM temporary WHERE id % 10 <> 0")
        holder.commit()
        database.execute("CREATE UNLOGGED TABLE t (id int PRIMARY KEY)")
        database.execute("INSERT INTO t SELECT generate_series(1, 20000)")
        empty(database, "t")
        done = run_ok(MODULE, options(database))
    assert [entry["index"] for entry in done["indexes"]] == ["public.t_pkey"]
    assert [one["status"] for one in done["steps"]] == ["done"]


def test_a_table_that_is_locked_throughout_does_not_stop_the_look(database: Database) -> None:
    make_bloated(database)
    make_bloated(database, "u")
    with held(database, "LOCK TABLE t IN ACCESS EXCLUSIVE MODE"):
        done = run_ok(MODULE, options(database, lock_timeout="200ms", lock_attempts=1))
    assert step(done, "public.t_v")["status"] == "skipped" and "no lock on the table" in step(done, "t_v")["detail"]
    assert step(done, "public.u_v")["status"] == "done" and "lock_timeout" in done["msg"]
    assert index_names(database, "t") == {"t_pkey", "t_v"} and records(database) == []


def test_a_standby_is_skipped_and_still_looked_at(throwaway_server: Callable[..., Server]) -> None:
    primary = throwaway_server()
    make_bloated(Database(primary, "postgres"))
    standby = Database(standby_of(primary, throwaway_server), "postgres")
    seen = run_ok(MODULE, options(standby))
    assert seen["plan"] == [] and not seen["changed"] and "skipped (read_only)" in seen["msg"]
    assert {entry["code"] for entry in seen["passed_over"]} == {"read_only"}
    assert [f["status"] for f in findings(seen, "unused_index")] == ["unknown"]
    on_primary = run_ok(MODULE, options(Database(primary, "postgres")), check=True)
    unused = findings(on_primary, "unused_index")
    assert [f["status"] for f in unused] == ["unknown"] and "standbys" in unused[0]["msg"]


# --- findings that are never acted upon ---------------------------------------------------------------------------


def test_unused_duplicate_and_overlapping_indexes_are_told_and_never_dropped(database: Database) -> None:
    database.execute("CREATE TABLE t (a int PRIMARY KEY, b int, c text)")
    for statement in (
        "CREATE INDEX t_b ON t (b)",
        "CREATE INDEX t_b_again ON t (b)",
        "CREATE INDEX t_bc ON t (b, c)",
        "CREATE INDEX t_a ON t (a)",
        "CREATE INDEX t_c ON t (c) WHERE b > 1",
        "CREATE INDEX t_c_all ON t (c)",
    ):
        database.execute(statement)
    names = index_names(database, "t")
    told = run_ok(MODULE, options(database))
    assert told["plan"] == [] and index_names(database, "t") == names
    duplicates = {f["check"]: f["msg"] for f in findings(told, "duplicate_index")}
    assert set(duplicates) == {
        f"duplicate_index:{database.name}:public.t_b_again",
        f"duplicate_index:{database.name}:public.t_a",
    }
    assert "DROP INDEX CONCURRENTLY public.t_a" in duplicates[f"duplicate_index:{database.name}:public.t_a"]
    assert [f["check"].rpartition(".")[2] for f in findings(told, "overlapping_index")] == ["t_b"]
    assert {f["check"].rpartition(".")[2] for f in findings(told, "unused_index")} == names - {"t_pkey"}
    assert {f["status"] for f in findings(told, "unused_index")} == {"warning"}


def advised(database: Database) -> set[str]:
    told = run_ok(MODULE, options(database))
    return {f["check"].rpartition(".")[2] for f in findings(told, "duplicate_index") if f["status"] != "ok"}


def test_only_an_index_without_a_duty_of_its_own_is_called_a_duplicate(database: Database) -> None:
    for statement in (
        "CREATE TABLE t (a int, b int, c int, d int NOT NULL)",
        "ALTER TABLE t ADD CONSTRAINT late UNIQUE (a) DEFERRABLE",
        "CREATE UNIQUE INDEX at_once ON t (a)",
        "CREATE UNIQUE INDEX referenced ON t (b)",
        "CREATE TABLE child (b int REFERENCES t (b))",
        "ALTER TABLE t ADD CONSTRAINT free UNIQUE (b)",
        "CREATE INDEX plain ON t (c)",
        "CREATE INDEX clustered ON t (c)",
        "ALTER TABLE t CLUSTER ON clustered",
        "ALTER TABLE t ADD PRIMARY KEY (d)",
        "CREATE UNIQUE INDEX identity ON t (d)",
        "ALTER TABLE t REPLICA IDENTITY USING INDEX identity",
    ):
        database.execute(statement)
    assert advised(database) == {"free", "plain"}
    database.execute("ALTER TABLE t DROP CONSTRAINT free; DROP INDEX plain")
    assert advised(database) == set()


@pytest.mark.majors(minimum=15)
def test_a_stricter_rule_about_nulls_is_not_a_duplicate(database: Database) -> None:
    database.execute("CREATE TABLE t (a int UNIQUE)")
    database.execute("CREATE UNIQUE INDEX strict ON t (a) NULLS NOT DISTINCT")
    assert advised(database) == set()
    database.execute("CREATE UNIQUE INDEX strict_again ON t (a) NULLS NOT DISTINCT")
    assert advised(database) == {"strict_again"}


def test_counts_that_are_too_young_call_nothing_unused(database: Database) -> None:
    database.execute("CREATE TABLE t (a int); CREATE INDEX t_a ON t (a)")
    database.execute("SELECT pg_stat_reset()")
    (finding,) = findings(run_ok(MODULE, options(database, unused_after="1h")), "unused_index")
    assert finding["status"] == "unknown" and "not enough" in finding["msg"]


def test_sequences_near_their_end_are_told(database: Database, role: Roles) -> None:
    database.execute("CREATE TABLE t (id serial); SELECT setval('t_id_seq', 2000000000)")
    database.execute("ALTER SEQUENCE t_id_seq AS bigint MAXVALUE 9223372036854775807")
    database.execute("CREATE SEQUENCE down INCREMENT -1 MINVALUE -100 MAXVALUE -1; SELECT setval('down', -80)")
    database.execute("CREATE SEQUENCE round MAXVALUE 10 CYCLE; SELECT setval('round', 10)")
    database.execute("CREATE SEQUENCE fresh MAXVALUE 10")
    told = {
        f["check"].rpartition(".")[2]: f for f in findings(run_ok(MODULE, options(database)), "sequence_exhaustion")
    }
    assert set(told) == {"t_id_seq", "down"}
    assert told["t_id_seq"]["status"] == "critical" and told["t_id_seq"]["value"] == 93.1
    assert told["down"]["status"] == "warning" and told["down"]["value"] == 79.8
    hidden = findings(run_ok(MODULE, options(database, role())), "sequence_exhaustion")
    assert [f["status"] for f in hidden] == ["ok", "unknown"] and "GRANT SELECT" in hidden[1]["msg"]
