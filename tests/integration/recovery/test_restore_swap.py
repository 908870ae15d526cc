"""The swap by rename against real servers: whole or not at all, whatever the clients do meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pytest
from psycopg2 import sql

from plugins.module_utils._core.errors import DatabaseFailed, OpsError
from plugins.module_utils._core.restore import Exchange
from plugins.module_utils._core.restore_marker import KEPT, LIVE, READY, Marker, split_comment, with_marker
from plugins.module_utils._io import postgres
from plugins.module_utils._io.clock import SystemClock
from plugins.module_utils._io.postgres import Target, connect
from plugins.module_utils._io.restore_server import read_server
from plugins.module_utils._io.restore_swap import Swapper
from tests.support.servers import Database, Roles, Server, administer, random_name
from tests.support.sessions import eventually

HOSTILE = 'a "quoted" näme; %s -- $x'


def marker(role: str, target: str, **changes: str) -> Marker:
    values = {"at": "2026-11-21T04:00:00Z", "snapshot": "cafe", "taken": "2026-11-21T03:00:00Z", **changes}
    return Marker(role, target, **values)


class Pair:
    """A live database, one restored aside, and what is needed to swap them."""

    def __init__(self, server: Server, owner: str, name: str) -> None:
        self.server, self.owner, self.name = server, owner, name
        self.aside = f"{name}_aside"
        for one in (name, self.aside):
            words = sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(one), sql.Identifier(owner))
            administer(server, words)
        comment = with_marker(None, marker(READY, name))
        self.as_superuser("COMMENT ON DATABASE {} IS {}", self.aside, literal=comment)
        self.target = Target({"host": server.host, "port": server.port, "user": owner}, "test", lock_timeout=5)

    def as_superuser(self, form: str, *names: str, literal: str | None = None) -> None:
        parts = [sql.Identifier(name) for name in names] + ([sql.Literal(literal)] if literal is not None else [])
        administer(self.server, sql.SQL(form).format(*parts))

    def exchange(self) -> Exchange:
        with connect(self.target, "postgres") as database:
            live = read_server(database, self.name).find(self.name)
        assert live is not None
        return Exchange(
            self.name, self.aside, live, f"{self.name}_kept", marker(KEPT, self.name), marker(LIVE, self.name), True
        )

    def swap(self, exchange: Exchange | None = None) -> object:
        with connect(self.target, "postgres") as database:
            return Swapper(database, self.target, SystemClock()).swap(exchange or self.exchange())

    def oids(self) -> dict[str, int]:
        rows = Database(self.server, "postgres").fetch("SELECT datname, oid::bigint FROM pg_database")
        return {name: oid for name, oid in rows if name.startswith(self.name)}

    def comment(self, name: str) -> tuple[str | None, Marker | None]:
        query = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s"
        return split_comment(Database(self.server, "postgres").fetch(query, name)[0][0])


@pytest.fixture(params=["plain", HOSTILE], ids=["plain", "hostile"])
def pair(server: Server, role: Roles, request: pytest.FixtureRequest) -> Iterator[Pair]:
    made = Pair(server, role(createdb=True), random_name(request.param))
    yield made
    for name in made.oids():
        made.as_superuser("ALTER DATABASE {} ALLOW_CONNECTIONS true", name)


def test_names_comments_and_all_that_belongs_to_the_live_one_change_at_once(pair: Pair, role: Roles) -> None:
    reader = role()
    name = pair.name
    pair.as_superuser("COMMENT ON DATABASE {} IS {}", name, literal="the shop\nsince 2020")
    pair.as_superuser("REVOKE ALL ON DATABASE {} FROM PUBLIC", name)
    pair.as_superuser("GRANT CONNECT ON DATABASE {} TO {} WITH GRANT OPTION", name, reader)
    pair.as_superuser("ALTER DATABASE {} CONNECTION LIMIT 17", name)
    pair.as_superuser("ALTER DATABASE {} SET work_mem TO '7MB'", name)
    pair.as_superuser('ALTER DATABASE {} SET search_path TO "$user", public, "odd, one"', name)
    settings = "SELECT unnest(setconfig) FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase"
    settings += " WHERE datname = %s ORDER BY 1"
    about = "SELECT datconnlimit, datacl::text, datallowconn FROM pg_database WHERE datname = %s"
    postgres = Database(pair.server, "postgres")
    before, given = postgres.fetch(about, name), postgres.fetch(settings, name)
    oids = pair.oids()
    swapped = pair.swap()
    assert pair.oids() == {name: oids[pair.aside], f"{name}_kept": oids[name]}
    assert postgres.fetch(about, name) == before and postgres.fetch(settings, name) == given
    assert swapped.not_carried == ()  # type: ignore[attr-defined]
    own, live = pair.comment(name)
    assert own == "the shop\nsince 2020" and live is not None and live.role == LIVE
    own, kept = pair.comment(f"{name}_kept")
    assert own == "the shop\nsince 2020" and kept is not None and kept.role == KEPT
    assert postgres.fetch("SELECT datallowconn FROM pg_database WHERE datname = %s", f"{name}_kept") == [(False,)]


def test_what_an_owner_may_not_give_is_named_and_the_rest_is_given(pair: Pair, role: Roles) -> None:
    pair.as_superuser("ALTER DATABASE {} SET app.secret_key TO 'hush-hush'", pair.name)
    pair.as_superuser("ALTER DATABASE {} SET work_mem TO '7MB'", pair.name)
    swapped = pair.swap()
    (left,) = swapped.not_carried  # type: ignore[attr-defined]
    assert "app.secret_key" in left and "hush" not in left
    assert Database(pair.server, pair.name).fetch("SHOW work_mem") == [("7MB",)]


class Busy:
    """Sessions that come back as soon as they are thrown out."""

    def __init__(self, pair: Pair, count: int = 3) -> None:
        self.pair, self.over, self.work, self.refused = pair, threading.Event(), 0, 0
        self.threads = [threading.Thread(target=self._run, daemon=True) for _number in range(count)]

    def __enter__(self) -> Busy:
        for thread in self.threads:
            thread.start()
        eventually(lambda: self.work > 10, "the clients to work")
        return self

    def __exit__(self, *_exception: object) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join()

    def _run(self) -> None:
        while not self.over.is_set():
            try:
                connection = self.pair.server.connect(self.pair.name, self.pair.owner)
                while not self.over.is_set():
                    connection.cursor().execute("SELECT 1")
                    self.work += 1
                connection.close()
            except psycopg2.Error:
                self.refused += 1


def test_clients_that_come_back_at_once_are_held_off_and_find_the_new_one(pair: Pair) -> None:
    oids = pair.oids()
    with Busy(pair) as busy:
        swapped = pair.swap()
        worked = busy.work
        eventually(lambda: busy.work > worked + 10, "the clients to work again")
    assert pair.oids()[pair.name] == oids[pair.aside]
    assert busy.refused >= 1 and swapped.ended >= 1  # type: ignore[attr-defined]
    assert 0 < swapped.outage_seconds < 10  # type: ignore[attr-defined]


def test_when_the_second_rename_fails_the_first_did_not_happen(pair: Pair) -> None:
    oids = pair.oids()
    superuser = pair.server.connect(pair.aside)
    try:
        with pytest.raises(OpsError) as failure:
            pair.swap()
    finally:
        superuser.close()
    assert failure.value.code == "target_in_use" and pair.oids() == oids
    assert pair.comment(pair.name) == (None, None)
    Database(pair.server, pair.name).fetch("SELECT 1")


def test_a_run_that_dies_between_the_renames_leaves_everything_as_it_was(pair: Pair) -> None:
    oids = pair.oids()
    with connect(pair.target, "postgres") as dying:
        dying.execute("BEGIN")
        for old, new in ((pair.name, f"{pair.name}_kept"), (pair.aside, pair.name)):
            dying.execute(f"ALTER DATABASE {dying.quote(old)} RENAME TO {dying.quote(new)}")
    eventually(lambda: pair.oids() == oids, "the server to take it back")
    Database(pair.server, pair.name).fetch("SELECT 1")
    pair.swap()
    assert pair.oids()[pair.name] == oids[pair.aside]


def test_a_session_that_may_not_be_ended_stops_the_swap_and_is_named(pair: Pair) -> None:
    oids = pair.oids()
    superuser = pair.server.connect(pair.name)
    try:
        with pytest.raises(OpsError) as failure:
            pair.swap()
    finally:
        superuser.close()
    assert failure.value.code == "target_in_use" and "pid" in failure.value.message
    assert pair.oids() == oids
    Database(pair.server, pair.name).fetch("SELECT 1")


@pytest.mark.parametrize("carried_out", [True, False])
def test_when_the_answer_to_the_commit_is_lost_the_truth_is_told(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, carried_out: bool
) -> None:
    oids, execute = pair.oids(), postgres.Database.execute

    def lose(self: postgres.Database, statement: str, parameters: Any = None) -> list[str]:
        if statement != "COMMIT":
            return execute(self, statement, parameters)
        if carried_out:
            execute(self, statement, parameters)
        self.close()
        raise DatabaseFailed("the connection was lost", code="server_gone")

    monkeypatch.setattr(postgres.Database, "execute", lose)
    with pytest.raises(DatabaseFailed) as failure:
        pair.swap()
    words = "everything was done" if carried_out else "everything is as it was"
    assert words in failure.value.message
    assert (pair.oids() == oids) is not carried_out


def test_databases_that_changed_since_they_were_looked_at_stay(pair: Pair) -> None:
    exchange = pair.exchange()
    pair.as_superuser("ALTER DATABASE {} RENAME TO {}", pair.name, f"{pair.name}_moved")
    oids = pair.oids()
    with pytest.raises(OpsError) as failure:
        pair.swap(exchange)
    assert failure.value.code == "changed_meanwhile" and pair.oids() == oids


def test_an_aside_database_without_our_sign_is_never_swapped_in(pair: Pair) -> None:
    exchange, oids = pair.exchange(), pair.oids()
    pair.as_superuser("COMMENT ON DATABASE {} IS {}", pair.aside, literal="somebody else's")
    with pytest.raises(OpsError) as failure:
        pair.swap(exchange)
    assert failure.value.code == "changed_meanwhile" and pair.oids() == oids


def test_other_databases_are_left_in_peace(pair: Pair, database: Database) -> None:
    bystander = database.connect()
    pair.swap()
    bystander.cursor().execute("SELECT 1")
    bystander.close()


def test_a_lost_server_leaves_the_databases_as_they_were(
    throwaway_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = throwaway_server()
    roles = Roles(server)
    pair = Pair(server, roles(createdb=True), "shop")
    oids = pair.oids()
    monkeypatch.setattr(Swapper, "_dress", lambda *_arguments: server.stop("immediate"))
    with pytest.raises(OpsError):
        pair.swap()
    server.start()
    assert pair.oids() == oids
    monkeypatch.undo()
    pair.swap()
    assert pair.oids()["shop"] == oids["shop_aside"]
