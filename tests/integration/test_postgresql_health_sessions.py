"""postgresql_health_info on sessions: connections used up, transactions left open, and who blocks whom."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.postgres_health import found, look, only, sample, status, words
from tests.support.servers import Database, Roles, Server
from tests.support.sessions import Clients, eventually, only_these_are_left

SECRET = "SELECT 'a@b.example', pg_sleep(60)"


@pytest.fixture
def small(throwaway_server: Callable[..., Server]) -> Database:
    settings = {"max_connections": "10", "superuser_reserved_connections": "0", "max_wal_senders": "2"}
    return Database.create(throwaway_server(settings=settings))


@pytest.fixture
def clients(database: Database, role: Roles) -> Iterator[Clients]:
    opened = Clients(database, role())
    yield opened
    opened.close()


def test_connections_that_are_used_up_are_told_before_they_are_gone(small: Database) -> None:
    small.execute("CREATE ROLE app LOGIN; CREATE ROLE other LOGIN")
    limits = only("connections", "free_connections", "reserved_connections", "pool")
    opened = [small.connect("app") for _number in range(6)] + [small.connect("other")]
    only_these_are_left(small.server, len(opened))
    result = look(small, limits=limits, pool_size=6, pool_roles=["app"])
    assert status(result, "connections") == "warning" and "8 of 10 connections used" in words(result, "connections")
    assert status(result, "free_connections") == "critical" or sample(result, "database.connections.used") == 8
    assert status(result, "reserved_connections") == "warning"
    assert "superuser_reserved_connections" in words(result, "reserved_connections")
    assert status(result, "pool") == "critical" and "6 of the pool's 6 connections used by app" in words(result, "pool")
    assert sample(result, "database.pool.used_percent") == 100
    for connection in opened:
        connection.close()


def test_a_pool_is_not_judged_without_its_size_and_other_roles_do_not_count(database: Database, role: Roles) -> None:
    name = role()
    held = database.connect(name)
    assert found(look(database, limits=only("pool")), "pool") == []
    mine = look(database, limits=only("pool"), pool_size=4, pool_roles=[name])
    assert (status(mine, "pool"), found(mine, "pool")[0]["value"]) == ("ok", 25)
    held.close()


def test_a_transaction_that_works_for_long_is_named_without_its_literals(clients: Clients, database: Database) -> None:
    working = clients("report").start(SECRET).aged()
    result = look(database, limits=only("idle_in_transaction", long_transactions={"warning": 0.2, "critical": 3600}))
    mine = [one for one in found(result, "long_transactions") if f"pid {working.pid}" in one["msg"]]
    assert [one["status"] for one in mine] == ["warning"] and mine[0]["unit"] == "s"
    assert "(report)" in mine[0]["msg"] and "SELECT ?, pg_sleep(?)" in mine[0]["msg"]
    assert "a@b.example" not in str(result)
    assert sample(result, "database.long_transactions.oldest") >= 0.2


def test_a_transaction_in_which_nothing_happens_is_told(clients: Clients, database: Database) -> None:
    idle = clients("worker").begin().aged()
    limits = only("long_transactions", idle_in_transaction={"warning": 0.1, "critical": 0.2})
    (mine,) = [
        one for one in found(look(database, limits=limits), "idle_in_transaction") if f"pid {idle.pid}" in one["msg"]
    ]
    assert mine["status"] == "critical" and "idle in a transaction" in mine["msg"]


def test_the_root_that_blocks_is_named_and_not_its_victims(clients: Clients, database: Database) -> None:
    database.execute("CREATE TABLE public.t (i int); INSERT INTO public.t VALUES (1); GRANT ALL ON public.t TO PUBLIC")
    root = clients("root").begin("UPDATE public.t SET i = 2")
    first = clients("first").start("UPDATE public.t SET i = 3", wait_for="Lock")
    second = clients("second").start("UPDATE public.t SET i = 4", wait_for="Lock").aged()
    limits = only(lock_waits={"warning": 0.1, "critical": 3600}, blocked_sessions={"warning": 2, "critical": 99})
    result = look(database, limits=limits)
    (mine,) = [one for one in found(result, "lock_waits") if f"pid {root.pid} " in one["msg"]]
    assert mine["status"] == "warning" and "blocks 2 sessions" in mine["msg"] and mine["value"] >= 0.1
    assert f"{first.pid}" in mine["msg"] and f"{second.pid}" in mine["msg"] and "(root)" in mine["msg"]
    assert status(result, "blocked_sessions") == "warning" and sample(result, "database.blocked_sessions") >= 2


def test_a_prepared_transaction_that_was_forgotten_is_named(database: Database) -> None:
    database.execute("CREATE TABLE public.t (i int)")
    connection = database.connect(autocommit=False)
    connection.cursor().execute("INSERT INTO public.t VALUES (1)")
    connection.cursor().execute("PREPARE TRANSACTION 'left\x1b[31m behind'")
    connection.close()
    age = "SELECT extract(epoch FROM clock_timestamp() - prepared) FROM pg_prepared_xacts"
    age += " WHERE database = current_database()"
    eventually(lambda: database.fetch(age)[0][0] > 0.2, "the prepared transaction to be old")
    result = look(database, limits=only(prepared_transactions={"warning": 0.1, "critical": 0.2}))
    (mine,) = [one for one in found(result, "prepared_transactions") if database.name in one["msg"]]
    assert mine["status"] == "critical" and "left\\x1b[31m behind" in mine["msg"] and "\x1b" not in str(result)


@pytest.mark.parametrize("watcher", [False, True], ids=["no rights", "pg_monitor"])
def test_sessions_that_cannot_be_seen_are_never_ok(
    clients: Clients, database: Database, role: Roles, watcher: bool
) -> None:
    clients("worker").begin().aged()
    name = role("pg_monitor") if watcher else role()
    checks: dict[str, Any] = {"idle_in_transaction": {"warning": 0.1, "critical": 9999}}
    result = look(database, name, limits=only("long_transactions", **checks))
    expected = "warning" if watcher else "unknown"
    assert {one["status"] for one in found(result, "idle_in_transaction")} == {expected}
    assert ("GRANT pg_monitor" in words(result, "long_transactions")) != watcher
