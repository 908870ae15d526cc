"""postgresql_slow_log on real servers: on for a time, off by itself, whatever happens to the run that turned it on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._io.clock import SystemClock, wait_until
from plugins.module_utils._io.postgres import Target, advisory_lock, connect
from plugins.module_utils._io.slow_log import LOCK, start_guard
from tests.support.modules import run_failed, run_ok
from tests.support.postgres_health import look, only, status, words
from tests.support.servers import SUPERUSER, Database, Server
from tests.support.sessions import eventually

NAME = "postgresql_slow_log"
SETTING = "log_min_duration_statement"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def own(throwaway_server: Callable[..., Server]) -> Iterator[Database]:
    database = Database.create(throwaway_server())
    database.execute("COMMENT ON DATABASE " + database.name + " IS 'our shop, 100 % odd [oncall.runbooks slow_log {}]'")
    yield database
    stop_guards(database)


def guard_of(result: dict[str, Any]) -> int:
    (detail,) = [step["detail"] for step in result["steps"] if step["id"].startswith("turn_on")]
    return told_guard(detail)


def told_guard(detail: str) -> int:
    return int(detail.split()[2])


GUARDS: dict[str, list[int]] = {}


def turn(database: Database, user: str = SUPERUSER, **more: Any) -> dict[str, Any]:
    result = run_ok(NAME, {"dsn": database.dsn(user), **more})
    if any(step["id"].startswith("turn_on") for step in result["steps"]):
        GUARDS.setdefault(database.name, []).append(guard_of(result))
    return result


def start_halted(*arguments: Any) -> int:
    """Start a guard that does nothing until it is told to go on; its time passes all the same."""
    pid = start_guard(*arguments)
    os.kill(pid, signal.SIGSTOP)
    return pid


@pytest.fixture
def guards(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The guards that this process starts: each does nothing until a test lets it go on."""
    started: list[int] = []

    def start(*arguments: Any) -> int:
        started.append(start_halted(*arguments))
        return started[-1]

    monkeypatch.setattr("plugins.module_utils._io.slow_log.start_guard", start)
    yield started
    for pid in filter(alive, started):
        os.kill(pid, signal.SIGKILL)


def stop_guards(database: Database) -> None:
    for pid in GUARDS.pop(database.name, []):
        if alive(pid):
            os.kill(pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    """Tell whether a guard is there; one that ended may wait for whoever inherited it."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def effective(database: Database) -> str:
    return str(database.fetch("SHOW log_min_duration_statement")[0][0])


def stored(database: Database) -> list[tuple[Any, ...]]:
    query = "SELECT setting FROM pg_file_settings WHERE name = 'log_min_duration_statement' AND sourcefile ~ 'auto'"
    return database.fetch(query)


def comment(database: Database) -> str:
    query = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()"
    return str(database.fetch(query)[0][0])


ODD = "our shop, 100 % odd [oncall.runbooks slow_log {}]"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"duration": "0s"}, "invalid_value"),
        ({"duration": "2d"}, "invalid_value"),
        ({"threshold": "slow"}, "invalid_value"),
        ({"threshold": "30d"}, "invalid_value"),
        ({"role": "app"}, "invalid_value"),
        ({"scope": "role"}, "invalid_arguments"),
        ({"scope": "role", "role": "no such role"}, "object_missing"),
        ({"login_port": 1}, "connection_failed"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_noted(database: Database, changes: dict[str, Any], code: str) -> None:
    assert run_failed(NAME, {"dsn": database.dsn(), **changes})["failure"]["code"] == code
    assert comment(database) == "None" and effective(database) == "-1"


def test_check_mode_shows_the_plan_and_a_real_run_carries_it_out_until_it_is_turned_off(own: Database) -> None:
    planned = run_ok(NAME, {"dsn": own.dsn()}, check=True, diff=True)
    assert planned["changed"] and planned["logging"] and planned["steps"] == [] and effective(own) == "-1"
    assert planned["plan"][0]["command"] == "ALTER SYSTEM SET log_min_duration_statement = '250'"
    done = turn(own)
    assert (
        done["changed"] and done["plan"] == planned["plan"] and done["after"] == planned["after"] == {"on": ["server"]}
    )
    assert effective(own) == "250ms" and comment(own).startswith(f"{ODD}\n[oncall.runbooks slow_log ")
    assert alive(guard_of(done)) and done["until"] and "turned off by itself in 15 min" in done["msg"]
    again = turn(own)
    assert not again["changed"] and again["plan"] == [] and "is on already" in again["msg"] and again["logging"]
    off = turn(own, state="absent")
    assert off["changed"] and not off["logging"] and off["until"] == "" and off["after"] == {"on": []}
    assert effective(own) == "-1" and stored(own) == [] and comment(own) == ODD
    assert not turn(own, state="absent")["changed"]
    eventually(lambda: not alive(guard_of(done)), "the guard to see that it is not needed any more")


def test_it_turns_itself_off_and_puts_back_exactly_what_was_there(own: Database) -> None:
    own.execute("ALTER SYSTEM SET log_min_duration_statement = '7s'")
    own.execute("SELECT pg_reload_conf()")
    done = turn(own, threshold="0", duration="1s")
    assert done["plan"][0]["command"].endswith("= '0'")
    eventually(lambda: comment(own) == ODD, "the note to be gone")
    assert effective(own) == "7s" and stored(own) == [("7s",)]
    eventually(lambda: not alive(guard_of(done)), "the guard to be gone")


KILLED_RUN = """
import os, signal, sys
from plugins.module_utils._io import slow_log
from plugins.module_utils._module.slow_log import PostgresSlowLog
from tests.integration.test_postgresql_slow_log import start_halted
from tests.support.modules import run_module

def tell_and_die(_run, _decision, steps):
    os.write(1, steps[0].detail.encode())
    os.kill(os.getpid(), signal.SIGKILL)

slow_log.start_guard = start_halted
PostgresSlowLog._outcome = tell_and_die
run_module("postgresql_slow_log", {"dsn": sys.argv[1], "duration": "2s"})
"""


def test_it_is_turned_off_although_the_run_was_killed(own: Database) -> None:
    command = [sys.executable, "-c", KILLED_RUN, own.dsn()]
    killed = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=False, timeout=60)
    guard = told_guard(killed.stdout.decode())
    GUARDS.setdefault(own.name, []).append(guard)
    assert killed.returncode == -signal.SIGKILL and effective(own) == "250ms"
    os.kill(guard, signal.SIGCONT)
    eventually(lambda: effective(own) == "-1" and comment(own) == ODD, "the guard to turn it off")


def test_a_guard_that_is_asked_to_end_turns_it_off_first(own: Database) -> None:
    pid = guard_of(turn(own))
    os.kill(pid, signal.SIGHUP)
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: effective(own) == "-1" and comment(own) == ODD, "the guard's last word")
    eventually(lambda: not alive(pid), "the guard to be gone")


def test_the_guard_waits_for_a_server_that_is_away(
    own: Database, guards: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plugins.module_utils._io.slow_log._RETRY_SECONDS", 0.2)
    pid = guard_of(turn(own, duration="1s"))
    own.server.stop()
    assert guards == [pid]
    os.kill(pid, signal.SIGCONT)
    with pytest.raises(TimeoutError):
        wait_until(lambda: not alive(pid), "the guard, which must not give up", 2, SystemClock())
    own.server.start()
    eventually(lambda: effective(own) == "-1" and comment(own) == ODD, "the guard to turn it off after all")


def test_what_is_left_on_when_the_guard_dies_is_told_by_the_health_check_and_cleared_by_the_next_run(
    own: Database, guards: list[int]
) -> None:
    turn(own)
    calm = look(own, limits=only("slow_log"))
    assert status(calm, "slow_log") == "ok" and "will be turned off" in words(calm, "slow_log")
    turn(own, state="absent")
    turn(own, duration="1s")
    for guard in guards:
        os.kill(guard, signal.SIGKILL)
    late: dict[str, Any] = {}

    def overdue() -> bool:
        late.update(look(own, limits=only(slow_log={"warning": 0.1})))
        return status(late, "slow_log") == "warning"

    eventually(overdue, "it to be overdue")
    assert "the whole server" in words(late, "slow_log") and "state=absent" in words(late, "slow_log")
    other = Database.create(own.server)
    cleared = turn(other, scope="database", threshold="1s")
    assert [action["id"] for action in cleared["plan"]] == ["turn_off:server", f"turn_on:database:{other.name}"]
    assert effective(own) == "-1" and comment(own) == ODD and stored(own) == []
    turn(other, state="absent")
    stop_guards(other)


def test_extending_moves_the_end_and_keeps_what_was_there_first(own: Database) -> None:
    own.execute("ALTER SYSTEM SET log_min_duration_statement = '9s'")
    own.execute("SELECT pg_reload_conf()")
    first = turn(own, duration="10m")
    assert turn(own, duration="1m", extend=True)["plan"] == []
    refused = run_failed(NAME, {"dsn": own.dsn(), "threshold": "1s"})
    assert refused["failure"]["code"] == "already_on" and "extend" in refused["msg"]
    later = turn(own, duration="20m", threshold="1s", extend=True)
    eventually(lambda: not alive(guard_of(first)), "the first guard to make room for the second")
    assert alive(guard_of(later))
    assert later["changed"] and later["until"] > first["until"] and effective(own) == "1s"
    turn(own, state="absent")
    assert stored(own) == [("9s",)] and comment(own) == ODD


def test_what_somebody_set_meanwhile_is_left_as_it_is(own: Database) -> None:
    turn(own)
    own.execute("ALTER SYSTEM SET log_min_duration_statement = '3s'")
    off = turn(own, state="absent")
    assert [action["action"] for action in off["plan"]] == ["forget"] and "left as somebody set it" in off["steps"][0][
        "detail"
    ]
    assert stored(own) == [("3s",)] and comment(own) == ODD


def test_what_is_logged_anyway_is_not_made_less(own: Database) -> None:
    own.execute("ALTER SYSTEM SET log_min_duration_statement = '100ms'")
    own.execute("SELECT pg_reload_conf()")
    eventually(lambda: effective(own) == "100ms", "the server to reload")
    result = turn(own)
    assert not result["changed"] and "from 100 ms on are logged anyway" in result["msg"]


@pytest.mark.majors(minimum=15)
def test_an_owner_without_superuser_logs_one_database(own: Database) -> None:
    own.execute("CREATE ROLE shop LOGIN; GRANT SET ON PARAMETER log_min_duration_statement TO shop")
    own.execute(f"ALTER DATABASE {own.name} OWNER TO shop")
    held = own.connect("shop")
    done = turn(own, "shop", scope="database", duration="10m")
    assert effective(own) == "250ms" and Database(own.server, "postgres").fetch("SHOW " + SETTING) == [("-1",)]
    assert done["status"] == "warning"
    assert "1 session" in next(one["msg"] for one in done["findings"] if one["check"] == "open_sessions")
    assert turn(own, "shop", state="absent")["changed"] and effective(own) == "-1" and comment(own) == ODD
    refused = run_failed(NAME, {"dsn": own.dsn("shop")})
    assert refused["failure"]["code"] == "insufficient_privilege" and "ALTER SYSTEM ON PARAMETER" in refused["msg"]
    held.close()


def test_who_may_not_set_it_leaves_nothing_behind(own: Database, guards: list[int]) -> None:
    own.execute("CREATE ROLE shop LOGIN")
    own.execute(f"ALTER DATABASE {own.name} OWNER TO shop")
    refused = run_failed(NAME, {"dsn": own.dsn("shop"), "scope": "database"})
    assert refused["failure"]["code"] == "insufficient_privilege" and not refused["changed"]
    assert [step["status"] for step in refused["steps"]] == ["failed"]
    assert comment(own) == ODD and effective(own) == "-1"
    os.kill(guards[0], signal.SIGCONT)
    eventually(lambda: not alive(guards[0]), "the guard to see that it is not needed")
    own.execute("CREATE ROLE stranger LOGIN")
    assert "owns" in run_failed(NAME, {"dsn": own.dsn("stranger"), "scope": "database"})["msg"]


def test_a_role_s_own_setting_is_put_back_and_told_when_it_wins(own: Database) -> None:
    own.execute('CREATE ROLE "odd % role" LOGIN; ALTER ROLE "odd % role" SET log_min_duration_statement = \'8s\'')
    whole = turn(own)
    assert whole["status"] == "warning" and "role odd % role" in whole["findings"][0]["msg"]
    turn(own, scope="role", role="odd % role")
    mine = Database(own.server, own.name).connect("odd % role")
    cursor = mine.cursor()
    cursor.execute("SHOW log_min_duration_statement")
    assert cursor.fetchall() == [("250ms",)]
    off = turn(own, state="absent", scope="role", role="odd % role")
    assert [action["target"] for action in off["plan"]] == ["role:odd % role"] and off["logging"]
    assert turn(own, state="absent")["after"] == {"on": []} and comment(own) == ODD
    query = "SELECT setconfig FROM pg_db_role_setting"
    assert own.fetch(query) == [(["log_min_duration_statement=8s"],)]
    mine.close()


def test_two_runs_at_once_do_not_mix(own: Database) -> None:
    parameters = {"dsn": own.dsn()}
    with connect(Target(parameters, "other run")) as other, advisory_lock(other, LOCK):
        refused = run_failed(NAME, {"dsn": own.dsn()})
    assert refused["failure"]["code"] == "lock_busy" and comment(own) == ODD
