"""postgresql_health_info on databases: what is counted, what is used up, what is slow and what is broken."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import psycopg2
import psycopg2.errors
import pytest

from tests.support.modules import run_ok
from tests.support.postgres_health import found, look, only, sample, status, words
from tests.support.servers import Database, Roles, Server
from tests.support.sessions import Clients, eventually


def looked_for(database: Database, check: str, wanted: str, of: str | None = None, **more: Any) -> dict[str, Any]:
    """Look until a check of this database says what is wanted: sessions send what they count late."""
    result: dict[str, Any] = {}

    def seen() -> bool:
        result.update(look(database, **more))
        return any(one["status"] == wanted and (of or database.name) in one["msg"] for one in found(result, check))

    eventually(seen, f"{check} to be {wanted}")
    return result


def wait_until_old(database: Database) -> None:
    """Wait until the statistics are older than a second: the moments of runs are kept to the second."""
    age = "SELECT coalesce(clock_timestamp() - stats_reset > '1.1 s', true) FROM pg_stat_database"
    query = f"{age} WHERE datname = current_database()"
    eventually(lambda: database.fetch(query) == [(True,)], "the statistics to be a second old")


def previous_of(database: Database, check: str) -> dict[str, Any]:
    """Return the counters of a run."""
    wait_until_old(database)
    return dict(look(database, limits=only(check))["counters"])


@pytest.mark.majors(minimum=15)  # before, what a session did arrives late, or never: statistics went by UDP
def test_a_cache_that_misses_is_told_since_the_last_run(database: Database) -> None:
    database.execute("CREATE TABLE public.big AS SELECT i, repeat('x', 500) t FROM generate_series(1, 30000) i")
    database.execute("CREATE UNLOGGED TABLE public.other AS SELECT i FROM generate_series(1, 10) i")
    limits = only(cache_hit={"warning": 100, "critical": None})
    before = previous_of(database, "cache_hit")
    database.execute(
        "SET enable_indexscan = off; SELECT count(*) FROM public.big; SELECT count(*) FROM pg_class, pg_class b"
    )
    result = looked_for(database, "cache_hit", "warning", limits=limits, previous=before)
    assert "the last run" in words(result, "cache_hit")
    assert 0 < sample(result, "database.cache_hit_percent", database=database.name) <= 100
    since_ever = look(database, limits=limits)
    (mine,) = [one for one in found(since_ever, "cache_hit") if database.name in one["msg"]]
    assert "since the statistics began" in mine["msg"]


@pytest.mark.majors(minimum=15)  # before, what a session did arrives late, or never: statistics went by UDP
def test_a_deadlock_is_counted(database: Database, role: Roles) -> None:
    database.execute("CREATE TABLE public.t (i int PRIMARY KEY, j int); INSERT INTO public.t VALUES (1, 1), (2, 2)")
    database.execute(
        "GRANT ALL ON public.t TO PUBLIC; ALTER DATABASE " + database.name + " SET deadlock_timeout = '50ms'"
    )
    clients = Clients(database, role())
    one = clients("one").begin("UPDATE public.t SET j = 3 WHERE i = 1")
    two = clients("two").begin("UPDATE public.t SET j = 3 WHERE i = 2")
    one.start("UPDATE public.t SET j = 4 WHERE i = 2", wait_for="Lock")
    with contextlib.suppress(psycopg2.errors.DeadlockDetected):
        two.run("UPDATE public.t SET j = 4 WHERE i = 1")
    clients.close()
    limits = only(deadlocks={"warning": 0.0001, "critical": None})
    result = looked_for(database, "deadlocks", "warning", limits=limits)
    assert f"{database.name}: 1 deadlock since" in words(result, "deadlocks")
    quiet = looked_for(database, "deadlocks", "ok", of="no deadlock", limits=limits, previous=result["counters"])
    assert quiet["counters"][f"deadlocks/{database.name}"] == 1


@pytest.mark.majors(minimum=15)  # before, what a session did arrives late, or never: statistics went by UDP
def test_temporary_files_are_told(database: Database) -> None:
    database.execute("SET work_mem = '64kB'; SELECT * FROM generate_series(1, 300000) i ORDER BY random()")
    limits = only(temp_bytes={"warning": 1, "critical": None})
    result = looked_for(database, "temp_bytes", "warning", limits=limits)
    assert "temporary file" in words(result, "temp_bytes")
    assert sample(result, "database.temp_bytes", database=database.name) > 0


@pytest.mark.majors(minimum=15)  # before, what a session did arrives late, or never: statistics went by UDP
def test_transactions_that_are_rolled_back_or_more_than_usual_are_told(database: Database) -> None:
    before = previous_of(database, "rollbacks")
    connection = database.connect(autocommit=False)
    for _number in range(150):
        connection.cursor().execute("SELECT 1")
        connection.rollback()
    connection.close()
    result = looked_for(database, "rollbacks", "critical", limits=only("rollbacks"), previous=before)
    assert "% of the transactions rolled back since the last run" in words(result, "rollbacks")
    assert sample(result, "database.rollback_percent", database=database.name) >= 50


@pytest.mark.majors(minimum=15)  # before, what a session did arrives late, or never: statistics went by UDP
def test_a_spike_of_transactions_is_told(database: Database) -> None:
    limits = only(transaction_spike={"warning": 1.01, "critical": None}, transactions={"warning": 0, "critical": None})
    before = previous_of(database, "transactions")
    connection = database.connect()
    for _number in range(200):
        connection.cursor().execute("SELECT 1")
    connection.close()
    result = looked_for(database, "transaction_spike", "warning", limits=limits, previous=before)
    assert "times what is usual" in words(result, "transaction_spike")
    assert sample(result, "database.commits", database=database.name) > 0
    assert found(look(database, limits=limits), "transaction_spike") == []  # nothing to compare with


def test_sizes_and_ages_are_read_of_every_database(database: Database) -> None:
    limits = only(
        database_size={"warning": 1_000_000, "critical": None},
        xid_age={"warning": 0, "critical": None},
        multixact_age={"warning": 0, "critical": None},
    )
    result = look(database, limits=limits)
    for check in ("database_size", "xid_age", "multixact_age"):
        assert [one["status"] for one in found(result, check) if database.name in one["msg"]] == ["warning"], check
    assert sample(result, "database.size_bytes", database=database.name) > 1_000_000
    assert 0 <= sample(result, "database.xid_age_percent", database=database.name) < 1
    calm = look(database, limits=only("xid_age", "multixact_age"))
    assert status(calm, "xid_age") == "ok" and found(calm, "xid_age")[0]["critical"] == 50


def test_a_sequence_near_its_end_is_named(database: Database) -> None:
    database.execute(
        'CREATE TABLE public."Odd %s" (id serial); SELECT setval(\'public."Odd %s_id_seq"\', 2000000000);'
        "CREATE SEQUENCE public.narrow AS smallint; SELECT setval('public.narrow', 26000);"
        "CREATE SEQUENCE public.round AS smallint CYCLE; SELECT setval('public.round', 32000);"
        "CREATE SEQUENCE public.down INCREMENT -1 MINVALUE -1000; SELECT setval('public.down', -990);"
        "CREATE SEQUENCE public.fresh"
    )
    # A bigint sequence behind an int column ends where the column ends.
    database.execute('ALTER SEQUENCE public."Odd %s_id_seq" AS bigint')
    result = look(database, limits=only("sequences"))
    mine = {one["msg"].split(" is ")[0]: one["status"] for one in found(result, "sequences")}
    assert mine == {
        f'sequence public."Odd %s_id_seq" in {database.name}': "critical",
        f"sequence public.down in {database.name}": "critical",
        f"sequence public.narrow in {database.name}": "warning",
    }
    assert sample(result, "database.sequence.used_percent", database=database.name) > 90


def test_an_invalid_index_is_named_and_one_that_is_being_built_is_not(database: Database, role: Roles) -> None:
    database.execute("CREATE TABLE public.t (i int); INSERT INTO public.t VALUES (1), (1)")
    with contextlib.suppress(psycopg2.errors.UniqueViolation):
        database.execute("CREATE UNIQUE INDEX CONCURRENTLY broken ON public.t (i)")
    result = look(database, limits=only("invalid_indexes"))
    assert status(result, "invalid_indexes") == "warning" and "public.broken" in words(result, "invalid_indexes")
    database.execute("DROP INDEX public.broken")
    clients = Clients(database, role())
    clients("reader", user=None).begin("SELECT 1")
    holder = clients.superuser("writer").begin("INSERT INTO public.t VALUES (2)")
    clients.superuser("builder").start("CREATE INDEX CONCURRENTLY slow ON public.t (i)", wait_for="Lock")
    assert status(look(database, limits=only("invalid_indexes")), "invalid_indexes") == "ok"
    assert holder.alive
    clients.close()


def test_what_is_said_of_one_database_is_unknown_when_nobody_has_said_which(database: Database) -> None:
    server = database.server
    login = {"login_host": server.host, "login_port": server.port, "login_user": server.superuser}
    checks = ("sequences", "invalid_indexes", "autovacuum_overdue")
    blind = run_ok("postgresql_health_info", {**login, "limits": only(*checks)})
    assert {status(blind, check) for check in checks} == {"unknown"} and blind["server"]["database"] == "postgres"
    assert "only database postgres was looked at" in words(blind, "sequences")
    assert "set login_db" in words(blind, "sequences")
    for named in ({"login_db": "postgres"}, {"connect_params": {"dbname": database.name}}):
        told = run_ok("postgresql_health_info", {**login, **named, "limits": only(*checks)})
        assert {status(told, check) for check in checks} == {"ok"}
        assert all(told["server"]["database"] in words(told, check) for check in checks)


@pytest.mark.majors(minimum=15)  # before, what a session did arrives late, or never: statistics went by UDP
def test_a_table_that_autovacuum_leaves_is_named(database: Database) -> None:
    database.execute("CREATE TABLE public.t AS SELECT i FROM generate_series(1, 4000) i; ANALYZE public.t")
    database.execute("UPDATE public.t SET i = i + 1")
    result = looked_for(database, "autovacuum_overdue", "warning", of="public.t", limits=only("autovacuum_overdue"))
    assert "4000 dead rows" in words(result, "autovacuum_overdue")
    database.execute("ALTER TABLE public.t SET (autovacuum_vacuum_threshold = 10000)")
    assert status(look(database, limits=only("autovacuum_overdue")), "autovacuum_overdue") == "ok"


def test_slow_statements_are_named_without_literals_from_any_schema(database: Database, role: Roles) -> None:
    database.execute('CREATE SCHEMA "odd %s"; CREATE EXTENSION pg_stat_statements SCHEMA "odd %s"')
    for _number in range(3):
        database.execute("SELECT pg_sleep(0.05), 'customer@b.example' AS who")
    limits = only("query_mean", slow_statements={"warning": 0.04, "critical": None})
    result = look(database, limits=limits, statement_calls=3, statements=50)
    mine = [one for one in found(result, "slow_statements") if database.name in one["msg"]]
    assert [one["status"] for one in mine] == ["warning"] and "over 3 calls" in mine[0]["msg"]
    assert "customer@b.example" not in str(result)
    (row,) = [one for one in result["statements"] if one["database"] == database.name and "pg_sleep" in one["query"]]
    assert row["calls"] == 3 and row["mean_seconds"] >= 0.04 and row["role"]
    seen = look(database, role("pg_monitor"), limits=limits, statement_calls=3)
    assert status(seen, "slow_statements") == "unknown" and "odd %s" in words(seen, "slow_statements")


def test_the_mean_of_all_statements_is_measured_since_the_last_run(database: Database) -> None:
    database.execute("CREATE EXTENSION pg_stat_statements")
    limits = only(query_mean={"warning": 0.002, "critical": 9})
    before = look(database, limits=limits)["counters"]
    connection = database.connect()
    for _number in range(120):
        connection.cursor().execute("SELECT pg_sleep(0.005)")
    connection.close()
    result = look(database, limits=limits, previous=before)
    assert status(result, "query_mean") in ("warning", "ok") and "the last run" in words(result, "query_mean")
    assert sample(result, "database.query_mean") > 0


def test_without_the_extension_the_statements_are_unknown_with_the_way_to_get_it(database: Database) -> None:
    result = look(database, limits=only("query_mean", "slow_statements"))
    for check in ("query_mean", "slow_statements"):
        assert status(result, check) == "unknown"
        assert f"CREATE EXTENSION pg_stat_statements in {database.name}" in words(result, check)


def test_an_extension_that_is_not_loaded_is_unknown_too(throwaway_server: Callable[..., Server]) -> None:
    own = Database.create(throwaway_server())
    own.execute("CREATE EXTENSION pg_stat_statements")
    result = look(own, limits=only("query_mean"))
    assert status(result, "query_mean") == "unknown" and "restart the server" in words(result, "query_mean")


def test_a_page_with_a_wrong_checksum_is_critical_and_no_checksums_are_unknown(
    throwaway_server: Callable[..., Server],
) -> None:
    server = throwaway_server()
    own = Database.create(server)
    if own.fetch("SHOW data_checksums") == [("off",)]:
        result = look(own, limits=only("checksum_failures"))
        assert status(result, "checksum_failures") == "unknown" and "pg_checksums" in words(result, "checksum_failures")
        pytest.skip("no checksums by default on this major: the rest is for those that have them")
    own.execute("CREATE TABLE public.t AS SELECT i FROM generate_series(1, 1000) i")
    own.execute("CHECKPOINT")
    ((path,),) = own.fetch("SELECT pg_relation_filepath('public.t')")
    server.stop()
    with (server.data_dir / path).open("r+b") as pages:
        pages.seek(4096)
        pages.write(b"\x55" * 64)
    server.start()
    with contextlib.suppress(psycopg2.errors.DataCorrupted):
        own.execute("SELECT count(*) FROM public.t")
    result = looked_for(own, "checksum_failures", "critical", limits=only("checksum_failures"))
    assert "database-corruption" in words(result, "checksum_failures")
