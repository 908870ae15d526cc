"""Faults in the middle of a restore: somebody dies, loses a session, or meets objects of every kind."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg2 import sql

from plugins.module_utils._core.errors import TimedOut
from plugins.module_utils._core.restore_marker import LOADING
from plugins.module_utils._io.clock import SystemClock, wait_until
from plugins.module_utils._io.postgres import LOCK_CLASS
from plugins.module_utils._io.restore_swap import Swapper
from tests.support.backup_faults import ModuleProcess
from tests.support.every_object import EVERY_OBJECT, HOSTILE_NAMES
from tests.support.faults import fault
from tests.support.repositories import make_repository
from tests.support.restores import MODULE, ROWS, Shop
from tests.support.servers import SUPERUSER, Database, Roles, Server, administer, random_name
from tests.support.sessions import eventually

UNTOUCHED = "fails with a code; the live database goes on as it was, nothing is left aside"


@pytest.fixture
def shop(database: Database, tmp_path: Path) -> Iterator[Shop]:
    made = Shop(database, make_repository(tmp_path), tmp_path)
    made.fill()
    yield made
    made.remove()


# --- somebody dies ----------------------------------------------------------------------------------------------


class Slow:
    """Makes the load of a copy of this database stop in the middle, for as long as a role exists."""

    def __init__(self, shop: Shop) -> None:
        self.shop, self.role = shop, random_name("slow")
        shop.database.execute(
            f"""CREATE FUNCTION public.slow(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN
            IF current_database() LIKE '%restored%'
               AND EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = '{self.role}') THEN
            PERFORM pg_catalog.pg_sleep(600); END IF; RETURN i; END $$;
            CREATE INDEX ON orders (slow(id))"""
        )
        shop.copy()
        self.on()

    def on(self) -> None:
        administer(self.shop.database.server, sql.SQL("CREATE ROLE {}").format(sql.Identifier(self.role)))

    def off(self) -> None:
        administer(self.shop.database.server, sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(self.role)))

    def wait(self, running: ModuleProcess) -> None:
        """Wait until a run is in the middle of the load; one that does not get there says what it did instead."""

        def there() -> bool:
            return self.loading() or running.process.poll() is not None

        with contextlib.suppress(TimedOut):
            wait_until(there, "the load to be in the middle", 120, SystemClock(), every=0.05)
        if not self.loading():
            running.kill(signal.SIGTERM)
            pytest.fail(f"the run did not get to the middle of the load: {running.result()}")

    def loading(self) -> bool:
        query = "SELECT 1 FROM pg_stat_activity WHERE datname LIKE %s AND wait_event = 'PgSleep'"
        return bool(Database(self.shop.database.server, "postgres").fetch(query, f"{self.shop.name[:20]}%restored%"))


@fault(
    "kill_mid_load", "restore: load", "the live database goes on; the next run clears what is left aside, and succeeds"
)
def test_the_run_is_killed_in_the_middle_of_the_load(shop: Shop, tmp_path: Path) -> None:
    slow = Slow(shop)
    try:
        shop.spoil()
        running = ModuleProcess.start(shop.options, tmp_path / "temp", MODULE)
        slow.wait(running)
        running.kill(signal.SIGKILL)
        running.process.wait()
        (left,) = set(shop.family()) - {shop.name}
        marker = shop.comment(left)[1]
        assert marker is not None and marker.role == LOADING and shop.orders() == 207
    finally:
        slow.off()
    query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = %s::bigint::oid AND granted"
    eventually(lambda: Database(shop.database.server, "postgres").fetch(query, LOCK_CLASS) == [(0,)], "the lock to go")
    done = shop.restore()
    assert done["plan"][0]["action"] == "drop" and done["plan"][0]["target"] == left
    assert shop.orders() == ROWS and set(shop.family()) == {shop.name, done["kept"]} and shop.leftovers() == []


@fault("stopped_mid_load", "restore: load", UNTOUCHED)
def test_the_run_is_told_to_stop_in_the_middle_of_the_load(shop: Shop, tmp_path: Path) -> None:
    slow = Slow(shop)
    try:
        running = ModuleProcess.start(shop.options, tmp_path / "temp", MODULE)
        slow.wait(running)
        running.kill(signal.SIGTERM)
        result = running.result()
    finally:
        slow.off()
    assert result["failure"]["code"] == "stopped", result
    assert set(shop.family()) == {shop.name} and shop.orders() == ROWS and shop.leftovers() == []


@fault("no_end_of_the_load", "restore: load", UNTOUCHED)
def test_the_load_takes_longer_than_it_may(shop: Shop) -> None:
    slow = Slow(shop)
    try:
        shop.fails("timed_out", max_time="8s")
    finally:
        slow.off()


@fault(
    "server_killed_mid_load", "restore: load", "fails; after the restart the next run clears what is left, and succeeds"
)
def test_the_server_dies_in_the_middle_of_the_load(tmp_path: Path, throwaway_server: Callable[..., Server]) -> None:
    server = throwaway_server()
    shop = Shop(Database.create(server, "shop"), make_repository(tmp_path), tmp_path)
    shop.fill()
    slow = Slow(shop)
    shop.spoil()
    running = ModuleProcess.start(shop.options, tmp_path / "temp", MODULE)
    slow.wait(running)
    server.stop("immediate")
    result = running.result()
    assert result["failed"] and result["failure"]["code"] == "server_gone", result
    assert "left_behind" in result["failure"]["details"]
    server.start()
    assert shop.orders() == 207
    slow.off()
    done = shop.restore()
    assert shop.orders() == ROWS and set(shop.family()) == {"shop", done["kept"]}


@fault("session_lost_before_swap", "restore: swap", "fails; the live database goes on, the next run succeeds")
def test_the_session_is_lost_right_before_the_swap(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.copy()
    shop.spoil()
    before = shop.family()
    attempt = Swapper._attempt

    def lose(self: Swapper, exchange: Any, ids: list[int]) -> Any:
        ended = "SELECT pg_terminate_backend(%s)"
        Database(shop.database.server, "postgres").fetch(ended, self._database.reported_pid)
        return attempt(self, exchange, ids)

    monkeypatch.setattr(Swapper, "_attempt", lose)
    failed = shop.refused()
    assert failed["failure"]["code"] == "server_gone" and shop.orders() == 207
    assert set(before) <= set(shop.family())
    monkeypatch.undo()
    done = shop.restore()
    assert [action["action"] for action in done["plan"]] == ["verify", "swap"]
    assert shop.orders() == ROWS


@fault(
    "session_that_cannot_be_ended", "restore: swap", "fails and names it; the restored one stays ready for the next run"
)
def test_a_session_of_somebody_greater_stays(shop: Shop, role: Roles) -> None:
    owner = role(createdb=True)
    for table in ("orders", "customers"):
        shop.database.execute(f'ALTER TABLE {table} OWNER TO "{owner}"')
    shop.database.execute(
        f'CREATE SCHEMA oncall_runbooks AUTHORIZATION "{owner}"; SET ROLE "{owner}"; '
        "CREATE TABLE oncall_runbooks.backup_sentinel (id text PRIMARY KEY, written_at timestamptz NOT NULL)"
    )
    words = sql.SQL("ALTER DATABASE {} OWNER TO {}").format(sql.Identifier(shop.name), sql.Identifier(owner))
    administer(shop.database.server, words)
    shop.copy()
    shop.spoil()
    shop.user = owner
    superuser = shop.database.connect()
    pid = superuser.info.backend_pid
    try:
        failed = shop.refused()
    finally:
        superuser.close()
    assert failed["failure"]["code"] == "target_in_use" and f"pid {pid}" in failed["msg"]
    assert shop.orders() == 207 and failed["failure"]["details"]["aside"] in shop.family()
    done = shop.restore()
    assert [action["action"] for action in done["plan"]] == ["verify", "swap"] and shop.orders() == ROWS


# --- everything at once -----------------------------------------------------------------------------------------


@fault(
    "every_kind_of_object", "restore", "large objects, partitions, policies, types, hostile names: all equal afterwards"
)
@pytest.mark.parametrize("form", ["directory", "stream"])
def test_every_kind_of_object_and_hostile_names(database: Database, role: Roles, tmp_path: Path, form: str) -> None:
    shop = Shop(database, make_repository(tmp_path), tmp_path, SUPERUSER)
    try:
        database.execute(EVERY_OBJECT.replace("{role}", role()))
        for name in HOSTILE_NAMES:
            connection = database.connect()
            words = sql.SQL("CREATE TABLE app.{0} AS SELECT i AS {0} FROM generate_series(1, 5) i")
            connection.cursor().execute(words.format(sql.Identifier(name)))
            connection.close()
        shop.copy(form=form)
        database.execute("DROP SCHEMA app CASCADE")
        found = {finding["check"]: finding["status"] for finding in shop.restore()["findings"]}
        for check in ("rows", "checksums", "sequences", "extensions", "schema", "grants", "roles", "indexes"):
            assert found[check] == "ok", found
        assert database.fetch("SELECT lo_get(4711)")[0][0].tobytes() == b"\xde\xad\xbe\xef"
    finally:
        shop.remove()
