from __future__ import annotations

import threading

import psycopg2.extensions
import pytest

from plugins.module_utils._core.errors import DatabaseFailed, LockBusy, PreconditionFailed
from plugins.module_utils._io import postgres
from plugins.module_utils._io.clock import SystemClock, wait_until
from tests.support.sessions import eventually

HOSTILE = [
    'x"; DROP TABLE t; --',
    "two\nlines",
    "dot.dot",
    "'quote'",
    "-lead",
    "select",
    "ü" * 31,
    "a%sb",
    "back\\slash",
]


def target_of(database, **changes):
    parameters = {**psycopg2.extensions.parse_dsn(database.dsn()), **changes.pop("parameters", {})}
    return postgres.Target(parameters=parameters, application_name="oncall.runbooks test", **changes)


@pytest.fixture
def session(database):
    with postgres.connect(target_of(database)) as opened:
        yield opened


def test_a_session_has_its_guards(database):
    with postgres.connect(target_of(database, lock_timeout=1.5, statement_timeout=7)) as opened:
        names = ("search_path", "lock_timeout", "statement_timeout", "application_name")
        values = [opened.fetch(f"SHOW {name}")[0][name] for name in names]
    assert values == ["", "1500ms", "7s", "oncall.runbooks test"]


def test_a_server_that_falls_silent_is_given_up_by_default_and_by_the_users_own_measure(database):
    silence = {
        "keepalives_idle": "30",
        "keepalives_interval": "10",
        "keepalives_count": "3",
        "tcp_user_timeout": "30000",
    }
    own = {"keepalives_idle": 5, "tcp_user_timeout": 7000}
    for given, expected in (({}, silence), (own, {**silence, "keepalives_idle": "5", "tcp_user_timeout": "7000"})):
        with postgres.connect(target_of(database, parameters=given)) as opened:
            used = opened._connection.info.dsn_parameters
        assert {name: used.get(name) for name in silence} == expected


def test_a_lock_that_is_lost_is_noticed(database, session):
    with postgres.advisory_lock(session, "weekly"):
        postgres.require_held(session, "weekly")
        session.execute("SELECT pg_catalog.pg_advisory_unlock_all()")
        with pytest.raises(DatabaseFailed) as lost:
            postgres.require_held(session, "weekly")
    assert lost.value.code == "lock_lost" and "weekly" in lost.value.message


@pytest.mark.parametrize("name", HOSTILE)
def test_the_drivers_quoting_is_the_servers(session, name):
    assert (
        session.fetch("SELECT pg_catalog.quote_ident(%s) AS q", [name])[0]["q"].strip('"')
        == (session.quote(name)[1:-1])
    )
    session.execute(f"CREATE TABLE public.{session.quote(name)} ()")
    assert session.fetch("SELECT relname FROM pg_catalog.pg_class WHERE relname = %s", [name])


def test_all_notices_of_a_statement_are_kept(session):
    notices = session.execute("DO $$ BEGIN FOR i IN 1..80 LOOP RAISE WARNING 'n %', i; END LOOP; END $$")
    assert len(notices) == 80 and notices[79].endswith("n 80")
    assert session.execute("SELECT 1") == []


def test_a_failed_statement_has_a_code_and_keeps_its_notices(session):
    with pytest.raises(DatabaseFailed) as failed:
        session.execute("DO $$ BEGIN RAISE WARNING 'first'; PERFORM 1/0; END $$")
    assert failed.value.code == "database_failed" and failed.value.details["sqlstate"] == "22012"
    assert "first" in failed.value.details["notices"][0]


def test_nothing_of_the_arguments_is_interpreted(session):
    assert session.fetch("SELECT %s AS v", ["'; DROP TABLE x; --"])[0]["v"] == "'; DROP TABLE x; --"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"dbname": "no such"}, "database_missing"),
        ({"user": "nobody_here"}, "authentication_failed"),
        ({"port": "1"}, "connection_failed"),
        ({"host": "no.such.host.invalid"}, "connection_failed"),
    ],
)
def test_a_refused_connection_has_a_code_and_no_password(database, changes, code):
    with pytest.raises(DatabaseFailed) as failed:
        postgres.connect(target_of(database, parameters={"password": "hunter2", **changes}))
    assert failed.value.code == code and "hunter2" not in str(failed.value.failure()) + failed.value.message


def test_a_terminated_session_is_a_server_gone(database, session):
    pid = session.fetch("SELECT pg_catalog.pg_backend_pid() AS pid")[0]["pid"]
    database.fetch("SELECT pg_terminate_backend(%s)", pid)
    wait_until(
        lambda: not database.fetch("SELECT 1 FROM pg_stat_activity WHERE pid = %s", pid), "end", 5, SystemClock()
    )
    with pytest.raises(DatabaseFailed) as failed:
        session.fetch("SELECT 1")
    assert failed.value.code == "server_gone" and session.closed


def test_a_cancelled_statement_says_so(database, session):
    asleep = "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND state = 'active' AND wait_event = 'PgSleep'"

    def cancel_at_work():
        eventually(lambda: database.fetch(asleep, session.reported_pid), "the statement to be at work")
        session.cancel()

    canceller = threading.Thread(target=cancel_at_work)
    canceller.start()
    with pytest.raises(DatabaseFailed) as failed:
        session.fetch("SELECT pg_catalog.pg_sleep(30)")
    canceller.join()
    assert failed.value.code == "cancelled"


def test_a_lock_is_not_waited_for_longer_than_said(database, session):
    session.execute("CREATE TABLE public.t ()")
    holder = database.connect(autocommit=False)
    holder.cursor().execute("LOCK TABLE t")
    with postgres.connect(target_of(database, lock_timeout=0.1)) as other, pytest.raises(DatabaseFailed) as failed:
        other.execute("ALTER TABLE public.t ADD COLUMN x int")
    holder.close()
    assert failed.value.code == "lock_timeout"


def test_a_second_run_is_told_who_holds_the_lock(database, session):
    with postgres.advisory_lock(session, "weekly"), postgres.connect(target_of(database)) as other:
        with pytest.raises(LockBusy) as busy, postgres.advisory_lock(other, "weekly"):
            pass
        assert str(session.reported_pid) in busy.value.message and "oncall.runbooks test" in busy.value.message
        with postgres.advisory_lock(other, "another name"):
            pass
    with postgres.connect(target_of(database)) as other, postgres.advisory_lock(other, "weekly"):
        pass


def test_the_lock_of_a_killed_run_is_free(database, session):
    holder = postgres.connect(target_of(database))
    postgres.advisory_lock(holder, "weekly").__enter__()
    database.fetch("SELECT pg_terminate_backend(%s)", holder.reported_pid)
    gone = "SELECT 1 FROM pg_stat_activity WHERE pid = %s"
    wait_until(lambda: not database.fetch(gone, holder.reported_pid), "end of the holder", 5, SystemClock())
    with postgres.advisory_lock(session, "weekly"):
        pass


def test_an_answer_from_a_pooler_is_refused(database, monkeypatch):
    """A pooler makes up the pid that it reports at the start; the server's own answer differs."""
    monkeypatch.setattr(postgres.Database, "reported_pid", property(lambda _self: 1, lambda _self, _pid: None), False)
    with pytest.raises(PreconditionFailed) as refused:
        postgres.connect(target_of(database))
    assert refused.value.code == "pooler_detected"
    postgres.connect(target_of(database, allow_pooler=True)).close()


def test_a_role_can_be_taken_on(database, role):
    name = role()
    with postgres.connect(target_of(database, session_role=name)) as opened:
        assert opened.fetch("SELECT current_user AS u")[0]["u"] == name
