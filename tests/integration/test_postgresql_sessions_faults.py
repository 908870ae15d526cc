"""postgresql_sessions when rights are missing, the world moves between decision and signal, or the server goes away."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ModuleArgumentSpecValidator

from plugins.module_utils._core.result import render_outcome
from plugins.module_utils._io.clock import SystemClock
from plugins.module_utils._io.command import SystemCommands
from plugins.module_utils._io.postgres import advisory_lock, connect
from plugins.module_utils._io.progress import ProgressFile
from plugins.module_utils._module.postgres import postgres_target
from plugins.module_utils._module.run import Task
from plugins.module_utils._module.sessions import Sessions
from plugins.modules.postgresql_sessions import argument_spec
from tests.support.modules import run_failed, run_ok
from tests.support.servers import SUPERUSER, Database, Roles, Server
from tests.support.sessions import Clients, eventually, finding, only_these_are_left, options, outcomes, rule
from tests.support.standby import RECEIVER, standby_of

SWALLOWS_CANCELS = """
DO $$ BEGIN
  LOOP
    BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN NULL; END;
  END LOOP;
END $$
"""

LATEST_LOOK = """
SELECT query_start FROM pg_stat_activity
 WHERE application_name = 'oncall.runbooks postgresql_sessions' AND query_start > %s
"""


@pytest.fixture
def clients(database: Database, role: Roles) -> Iterator[Clients]:
    opened = Clients(database, role())
    yield opened
    opened.close()


class LostClock(SystemClock):
    """The clock of a host that does not know what time it is."""

    def now(self) -> datetime:
        raise AssertionError("a decision about sessions asks the server's clock only")


def params_of(given: dict[str, Any]) -> dict[str, Any]:
    return dict(ModuleArgumentSpecValidator(argument_spec().options).validate(given).validated_parameters)


@contextlib.contextmanager
def operation(given: dict[str, Any]) -> Iterator[Sessions]:
    """Yield the module's operation, so that a test can do something between decide() and apply()."""
    clock = LostClock()
    running = Sessions(Task(params_of(given), clock, SystemCommands(), ProgressFile(None, clock.monotonic)))
    try:
        yield running
    finally:
        running.close()


# --- rights ------------------------------------------------------------------------------------------------------


def test_without_any_right_others_are_hidden_and_nothing_is_called_fine(
    database: Database, clients: Clients, role: Roles
) -> None:
    stranger, mine = clients().aged(), role()
    own = clients(user=mine).aged()
    done = run_ok("postgresql_sessions", options(database, rule(database, "idle"), user=mine))
    assert outcomes(done) == {own.pid: "terminated"} and stranger.alive and not own.alive
    assert (
        finding(done, "rule:idle")["status"] == "unknown"
        and "needs pg_read_all_stats" in finding(done, "rule:idle")["msg"]
    )
    assert finding(done, "hidden_sessions")["status"] == "unknown" and done["status"] != "ok"


def test_who_may_look_but_not_signal_learns_what_is_missing(database: Database, clients: Clients, role: Roles) -> None:
    victim, watcher = clients().aged(), role("pg_monitor")
    done = run_ok("postgresql_sessions", options(database, rule(database, "idle"), user=watcher))
    assert outcomes(done) == {victim.pid: "not_permitted"} and not done["changed"] and victim.alive
    assert f'GRANT pg_signal_backend (or "{clients.user}") TO "{watcher}"' in done["sessions"][0]["reason"]
    assert done["status"] == "warning" and "1 not permitted" in done["msg"]


def test_a_managed_database_needs_two_grants_and_superusers_stay(
    database: Database, clients: Clients, role: Roles
) -> None:
    victim, admin = clients().aged(), clients.superuser().aged()
    operator = role("pg_monitor", "pg_signal_backend")
    given = options(database, rule(database, "idle"), user=operator)
    done = run_ok("postgresql_sessions", given)
    assert outcomes(done) == {victim.pid: "terminated", admin.pid: "protected"} and admin.alive
    done = run_ok("postgresql_sessions", {**given, "include_superusers": True})
    assert outcomes(done) == {admin.pid: "not_permitted"} and admin.alive
    assert "only a superuser" in done["sessions"][0]["reason"]


def test_a_right_that_is_lost_before_the_signal_skips_the_session(
    database: Database, clients: Clients, role: Roles
) -> None:
    victim, operator = clients().aged(), role("pg_monitor", "pg_signal_backend")
    with operation(options(database, rule(database, "idle"), user=operator)) as running:
        decision = running.decide()
        database.execute(f"REVOKE pg_signal_backend FROM {operator}")
        result = render_outcome(decision, running.apply(decision))
    assert outcomes(result) == {victim.pid: "not_permitted"} and not result["changed"] and victim.alive
    assert result["steps"][0]["status"] == "skipped" and "GRANT pg_signal_backend" in result["steps"][0]["detail"]


def test_a_session_that_is_not_tracked_is_unknown(database: Database, clients: Clients) -> None:
    silent = clients.superuser("silent")
    silent.run("SET track_activities = off")
    given = options(database, rule(database, "idle", applications=["silent"]), include_superusers=True)
    eventually(lambda: silent.state == "disabled", "tracking to be off")
    looked = run_ok("postgresql_sessions", given)
    assert looked["sessions"] == [] and "track_activities is off" in finding(looked, "rule:idle")["msg"]
    assert finding(looked, "rule:idle")["status"] == "unknown" and silent.alive


# --- between the decision and the signal -------------------------------------------------------------------------


def apply_after(given: dict[str, Any], happens: Callable[[Sessions], None]) -> dict[str, Any]:
    with operation(given) as running:
        decision = running.decide()
        assert len(decision.plan) == 1
        happens(running)
        return render_outcome(decision, running.apply(decision))


def test_a_session_that_went_on_is_left_alone(database: Database, clients: Clients) -> None:
    victim = clients().aged()
    result = apply_after(options(database, rule(database, "idle")), lambda _unused: victim.run("SELECT 1"))
    assert outcomes(result) == {victim.pid: "skipped"} and not result["changed"] and victim.alive
    assert result["steps"][0]["detail"] == "it went on by itself, now idle"


def test_a_session_that_left_is_skipped(database: Database, clients: Clients) -> None:
    victim = clients().aged()

    def leave(_unused: Sessions) -> None:
        victim.connection.close()
        eventually(lambda: not victim.alive, "the session to be gone")

    result = apply_after(options(database, rule(database, "idle")), leave)
    assert outcomes(result) == {victim.pid: "skipped"} and result["steps"][0]["detail"] == "it had left by itself"


def test_a_session_that_became_protected_is_left_alone(database: Database, clients: Clients) -> None:
    victim = clients().begin().aged()
    given = options(database, rule(database, "transaction_longer_than"))
    result = apply_after(given, lambda _unused: victim.run("SET application_name = 'pg_dump'"))
    assert outcomes(result) == {victim.pid: "skipped"} and victim.alive


def test_another_session_with_the_same_process_id_is_never_hit(database: Database, clients: Clients) -> None:
    newcomer = clients().aged()

    def reuse_the_pid(running: Sessions) -> None:
        (choice,) = running._choices
        earlier = dataclasses.replace(choice.session, started=choice.session.started.replace(year=2020))
        running._choices = (dataclasses.replace(choice, session=earlier),)

    result = apply_after(options(database, rule(database, "idle")), reuse_the_pid)
    assert outcomes(result) == {newcomer.pid: "skipped"} and newcomer.alive
    assert result["steps"][0]["detail"] == "it had left by itself"


@pytest.mark.parametrize("action", ["cancel", "terminate"])
def test_a_root_that_blocks_nobody_any_more_is_left_alone(database: Database, clients: Clients, action: str) -> None:
    database.execute("CREATE TABLE public.t (i int)")
    root = clients.superuser("root").begin("LOCK TABLE public.t").start("SELECT pg_sleep(60)")
    victim = clients.superuser("victim").start("SELECT * FROM public.t", wait_for="Lock").aged()
    given = options(database, rule(database, "blocking_root", action), include_superusers=True)

    def give_up(_unused: Sessions) -> None:
        victim.connection.cancel()
        assert victim.join() == ["57014"]

    result = apply_after(given, give_up)
    assert outcomes(result) == {root.pid: "skipped"} and root.alive and root.state == "active"


def test_two_runs_do_not_overlap(database: Database, clients: Clients) -> None:
    victim = clients().aged()
    given = options(database, rule(database, "idle"))
    target = postgres_target(params_of(given), "postgresql_sessions")
    with connect(target) as session, advisory_lock(session, "postgresql_sessions"):
        predicted = run_failed("postgresql_sessions", given, check=True)
        failed = run_failed("postgresql_sessions", given)
        assert not run_ok("postgresql_sessions", options(database))["changed"]
    assert predicted["failure"]["code"] == failed["failure"]["code"] == "lock_busy"
    assert victim.alive and not failed["changed"]
    assert run_ok("postgresql_sessions", given)["changed"] and not victim.alive


# --- the server --------------------------------------------------------------------------------------------------


def test_a_server_that_goes_away_leaves_what_was_done_in_the_result(
    throwaway_server: Callable[..., Server],
) -> None:
    server = throwaway_server()
    clients = Clients(Database(server, "postgres"), SUPERUSER)
    quick, stubborn = clients("web").start("SELECT pg_sleep(60)"), clients("web").start(SWALLOWS_CANCELS)
    stubborn.aged(), quick.aged()
    given = options(clients.database, rule(clients.database, "active_longer_than"), include_superusers=True)

    def stop_the_server() -> None:
        quick.join()
        ((ended,),) = clients.database.fetch("SELECT clock_timestamp()")
        seen: set[tuple[Any, ...]] = set()

        def module_has_looked_at_both() -> bool:
            seen.update(clients.database.fetch(LATEST_LOOK, ended))
            return len(seen) >= 3

        eventually(module_has_looked_at_both, "the module to see that the statement ended")
        server.stop("immediate")

    stopper = threading.Thread(target=stop_the_server)
    stopper.start()
    failed = run_failed("postgresql_sessions", {**given, "grace": "1m"})
    stopper.join()
    assert failed["failure"]["code"] == "server_gone" and failed["changed"] and failed["status"] == "unknown"
    assert outcomes(failed) == {quick.pid: "cancelled", stubborn.pid: "unverified"}
    assert sorted(step["status"] for step in failed["steps"]) == ["done", "failed"]
    assert len(failed["plan"]) == 2


def test_connections_that_are_all_in_use_are_freed_by_who_may_use_reserved_ones(
    throwaway_server: Callable[..., Server],
) -> None:
    server = throwaway_server(settings={"max_connections": "10", "superuser_reserved_connections": "3"})
    database = Database(server, "postgres")
    database.execute("CREATE ROLE app LOGIN")
    database.execute("CREATE ROLE operator LOGIN IN ROLE pg_monitor, pg_signal_backend")
    only_these_are_left(server, 0)
    clients = Clients(database, "app")
    pool = [clients("web") for _unused in range(7)]
    pool[-1].aged()
    given = options(database, rule(database, "idle"), max_share=1)
    failed = run_failed("postgresql_sessions", {**given, "dsn": database.dsn("operator")})
    assert failed["failure"]["code"] == "too_many_connections" and "reserved" in failed["failure"]["hint"]
    only_these_are_left(server, len(pool))
    looked = run_ok("postgresql_sessions", given, check=True)
    assert finding(looked, "connections")["status"] == "warning" and finding(looked, "connections")["value"] == 80.0
    assert outcomes(run_ok("postgresql_sessions", given)) == {client.pid: "terminated" for client in pool}
    assert not run_ok("postgresql_sessions", {**given, "dsn": database.dsn("operator")})["changed"]
    clients.close()


def test_text_of_a_database_with_another_encoding_is_told(throwaway_server: Callable[..., Server]) -> None:
    server = throwaway_server()
    database = Database(server, "postgres")
    database.execute("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    clients = Clients(Database(server, "latin"), SUPERUSER)
    database.execute("CREATE ROLE rene LOGIN")
    victim = clients(user="rene", client_encoding="LATIN1")
    clients("admin").run('ALTER ROLE rene RENAME TO "ren\u00e9"')
    victim.run('SELECT 1 AS "caf\u00e9"')
    victim.aged()
    given = options(database, rule(Database(server, "latin"), "idle", roles=["ren*"]))
    done = run_ok("postgresql_sessions", given)
    (row,) = done["sessions"]
    assert row["outcome"] == "terminated" and row["role"] == "ren\\xe9" and row["query"] == 'SELECT ? AS "caf\\xe9"'
    clients.close()


def test_a_standby_is_served_too_and_goes_on_streaming(throwaway_server: Callable[..., Server]) -> None:
    standby = standby_of(throwaway_server(), throwaway_server)
    database = Database(standby, "postgres")
    receiver = database.fetch(RECEIVER)
    clients = Clients(database, SUPERUSER)
    victim = clients().aged()
    given = options(database, rule(database, "idle"), include_superusers=True)
    assert outcomes(run_ok("postgresql_sessions", given)) == {victim.pid: "terminated"}
    assert not victim.alive and database.fetch(RECEIVER) == receiver
    clients.close()
