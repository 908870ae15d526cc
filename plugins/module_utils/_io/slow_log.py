# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Turn slow-query logging on and off on a server, and leave a guard behind that turns it off in time.

Order when it is turned on: note it at the database, start the guard, set it. Whatever ends the run in between, it is
never on without a note that everybody can read, and seldom without a guard.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from typing import Any, Callable, Optional

from .._core.errors import CommandFailed, DatabaseFailed, InvalidValue, OpsError, PreconditionFailed, VerificationFailed
from .._core.redact import printable
from .._core.slow_log import DATABASE, ROLE, SERVER, SETTING, Marker, read_markers, with_marker, without_marker
from .._core.slow_log_decide import Facts, Noted, Place
from .._core.sql_text import identifier
from .._core.units import parse_duration
from .clock import Clock, wait_until
from .postgres import Database, Target, advisory_lock, connect
from .postgres_health_queries import SLOW_LOG_MARKERS
from .sessions import as_text

LOCK = "postgresql_slow_log"
_RELOAD_SECONDS = 10.0
_RETRY_SECONDS, _RETRY_FOR_SECONDS = 15.0, 86400.0
_LAST_WORD_SECONDS = 5.0

_STATE = """
SELECT extract(epoch FROM pg_catalog.clock_timestamp())::float8 AS now, pg_catalog.pg_is_in_recovery() AS in_recovery,
       current_user::text AS role, pg_catalog.pg_has_role(d.datdba, 'USAGE') AS owns,
       (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) AS superuser,
       s.setting::int AS effective, s.source, s.sourcefile
  FROM pg_catalog.pg_database d, pg_catalog.pg_settings s
 WHERE d.datname = pg_catalog.current_database() AND s.name = 'log_min_duration_statement'
"""
_AUTO_CONF = """
SELECT setting FROM pg_catalog.pg_file_settings
 WHERE name = 'log_min_duration_statement' AND sourcefile LIKE '%%postgresql.auto.conf' ORDER BY seqno DESC LIMIT 1
"""
_STORED = """
SELECT o.option_value AS value, pg_catalog.namesend(d.datname) AS database, pg_catalog.namesend(r.rolname) AS role
  FROM pg_catalog.pg_db_role_setting s
  CROSS JOIN LATERAL pg_catalog.pg_options_to_table(s.setconfig) o
  LEFT JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole
 WHERE o.option_name = 'log_min_duration_statement'
"""
_SESSIONS = """
SELECT count(*) AS sessions FROM pg_catalog.pg_stat_activity
 WHERE pid <> pg_catalog.pg_backend_pid() AND CASE %s WHEN 'database' THEN datname = %s ELSE usename = %s END
"""
_COMMENT = """
SELECT pg_catalog.shobj_description(oid, 'pg_database') AS comment FROM pg_catalog.pg_database WHERE datname = %s
"""
_MAY_SET = {
    15: """SELECT pg_catalog.has_parameter_privilege('log_min_duration_statement', 'ALTER SYSTEM')
              AND pg_catalog.has_function_privilege('pg_catalog.pg_reload_conf()', 'EXECUTE') AS may""",
    13: "SELECT rolsuper AS may FROM pg_catalog.pg_roles WHERE rolname = current_user",
}


class SlowLog:
    """Slow-query logging of one server, seen from one session."""

    def __init__(self, target: Target, database: Database, clock: Clock) -> None:
        self._target = target
        self._database = database
        self._clock = clock

    # --- look ---

    def read(self, place: Optional[Place], turn_on: bool) -> Facts:
        """Return what is true.

        Raises:
            PreconditionFailed: it cannot be turned on here; the code and the hint say why.
        """
        state = self._database.fetch(_STATE)[0]
        place = place or Place(SERVER)
        if turn_on:
            self._require(state, place)
        elif state["in_recovery"]:
            raise self._standby()
        rows = self._rows()
        noted = tuple(self._noted(state, rows))
        stored = self._stored(place, state, rows) if turn_on else None
        effective = _anyway(int(state["effective"]), noted) if stored is None else _milliseconds(stored)
        counts = [place.scope, place.name, place.name]
        sessions = 0 if place.scope == SERVER else int(self._database.fetch(_SESSIONS, counts)[0]["sessions"])
        overrides = tuple(sorted(_override(row) for row in rows))
        return Facts(float(state["now"]), self._database.dbname, stored, effective, noted, overrides, sessions)

    def _require(self, state: dict[str, Any], place: Place) -> None:
        role = state["role"]
        if state["in_recovery"]:
            raise self._standby()
        if not state["owns"]:
            raise PreconditionFailed(
                f"turn on slow-query logging: {role} may not note it at database {printable(self._database.dbname)}",
                code="insufficient_privilege",
                hint="connect to a database that the role owns: the note is a line of the database's comment",
            )
        texts = _MAY_SET[15 if self._database.major >= 15 else 13]
        if place.scope == SERVER and not self._database.fetch(texts)[0]["may"]:
            raise PreconditionFailed(
                f"turn on slow-query logging of the whole server: {role} may not",
                code="insufficient_privilege",
                hint=f"15+: GRANT SET, ALTER SYSTEM ON PARAMETER {SETTING} TO {identifier(role)}; GRANT EXECUTE ON "
                f"FUNCTION pg_reload_conf() TO {identifier(role)}. "
                "Or scope: database, where the provider lets the owner set it",
            )
        if place.scope == SERVER and state["source"] == "command line":
            raise PreconditionFailed(
                f"turn on slow-query logging: {SETTING} is set on the server's command line, which wins",
                code="not_effective",
                hint="take it away there, or use scope: database",
            )
        if place.scope == ROLE and not self._database.fetch(
            "SELECT FROM pg_catalog.pg_roles WHERE rolname = %s", [place.name]
        ):
            raise PreconditionFailed(f"there is no role {printable(place.name, 63)}", code="object_missing")

    @staticmethod
    def _standby() -> PreconditionFailed:
        return PreconditionFailed(
            "turn slow-query logging on or off: this is a standby", code="read_only", hint="run it on the primary"
        )

    def _noted(self, state: dict[str, Any], rows: list[dict[str, Any]]) -> list[Noted]:
        found = []
        for row in self._database.fetch(SLOW_LOG_MARKERS, []):
            for marker in read_markers(as_text(row["comment"])):
                stored = self._stored(Place(marker.scope, marker.name), state, rows)
                found.append(Noted(marker, as_text(row["database"]), stored))
        return found

    def _stored(self, place: Place, state: dict[str, Any], rows: list[dict[str, Any]]) -> Optional[str]:
        if place.scope != SERVER:
            key = (
                {"database": place.name, "role": ""}
                if place.scope == DATABASE
                else {"database": "", "role": place.name}
            )
            return next((str(row["value"]) for row in rows if all(row[name] == key[name] for name in key)), None)
        try:
            found = self._database.fetch(_AUTO_CONF, [])
            return str(found[0]["setting"]) if found else None
        except DatabaseFailed as error:
            if error.code != "insufficient_privilege":
                raise
        return self._stored_as_seen(state)

    def _stored_as_seen(self, state: dict[str, Any]) -> Optional[str]:
        """Return what is in postgresql.auto.conf for a role that may not read the files, as far as it can be told."""
        if state["source"] == "default":
            return None
        if state["source"] != "configuration file" or state["sourcefile"] is None:
            raise PreconditionFailed(
                f"where {SETTING} is set cannot be seen, so it could not be put back",
                code="insufficient_privilege",
                hint=f"GRANT pg_read_all_settings TO {identifier(state['role'])}; if its database has a {SETTING} of "
                "its own, also GRANT SELECT ON pg_file_settings and EXECUTE ON FUNCTION pg_show_all_file_settings() "
                "to it",
            )
        return str(state["effective"]) if str(state["sourcefile"]).endswith("postgresql.auto.conf") else None

    # --- do ---

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Hold the lock of this kind of work."""
        return advisory_lock(self._database, LOCK)

    def turn_on(self, place: Place, marker: Marker, earlier: Optional[str]) -> int:
        """Note it, start the guard, set it; return the guard's pid. ``earlier`` database has an older note of it.

        Raises:
            OpsError: it could not be set; then nothing is left of it.
        """
        before = self._stored_now(place)
        if earlier is not None and earlier != self._database.dbname:
            self._note(earlier, lambda comment: without_marker(comment, place.scope, place.name))
        self._note(self._database.dbname, lambda comment: with_marker(comment, marker))
        guard = start_guard(self._target, self._database.dbname, marker, self._clock)
        try:
            self._set(place, str(marker.threshold))
        except OpsError as error:
            with contextlib.suppress(OpsError):
                if self._stored_now(place) != before:
                    self._set(place, before)
            with contextlib.suppress(OpsError):
                self._note(self._database.dbname, lambda comment: without_marker(comment, place.scope, place.name))
            ring(marker)
            raise self._refused(error, place) from error
        return guard

    def _refused(self, error: OpsError, place: Place) -> OpsError:
        if error.code != "insufficient_privilege":
            return error
        return DatabaseFailed(
            f"turn on slow-query logging of {printable(place.id, 80)}: {error.message}",
            code=error.code,
            hint=f"15+: GRANT SET ON PARAMETER {SETTING} to the role; managed servers have their own way",
        )

    def turn_off(self, noted: Noted) -> str:
        """Put back what was there before, if what we set is still there; return what became of it in words."""
        place, marker = noted.place, noted.marker
        ours = self._stored_now(place) == str(marker.threshold)
        if ours:
            self._set(place, marker.previous)
        self._note(noted.database, lambda comment: without_marker(comment, place.scope, place.name))
        ring(marker)
        return f"put back to {marker.previous or 'what it is without a setting'}" if ours else "left as somebody set it"

    def _stored_now(self, place: Place) -> Optional[str]:
        return self._stored(place, self._database.fetch(_STATE)[0], self._rows())

    def _rows(self) -> list[dict[str, Any]]:
        """Return each setting of a database or role; an empty name stands for all of them."""
        rows = self._database.fetch(_STORED)
        return [
            {"value": row["value"], "database": as_text(row["database"]), "role": as_text(row["role"])} for row in rows
        ]

    def _set(self, place: Place, value: Optional[str]) -> None:
        names = {SERVER: "SYSTEM", DATABASE: "DATABASE {}", ROLE: "ROLE {}"}
        target = names[place.scope].replace("{}", self._database.quote(place.name).replace("%", "%%"))
        loaded = self._loaded()
        if value is None:
            self._database.execute(f"ALTER {target} RESET {SETTING}", [])
        else:
            self._database.execute(f"ALTER {target} SET {SETTING} = %s", [value])
        if place.scope == SERVER:
            self._database.execute("SELECT pg_catalog.pg_reload_conf()")
            wait_until(lambda: self._loaded() != loaded, "the server to reload", _RELOAD_SECONDS, self._clock)
        if self._stored_now(place) != value:
            raise VerificationFailed(f"{SETTING} of {printable(place.id, 80)} is not what was set", hint="see its log")

    def _loaded(self) -> Any:
        return self._database.fetch("SELECT pg_catalog.pg_conf_load_time() AS at")[0]["at"]

    def _note(self, database: str, change: Callable[[Optional[str]], Optional[str]]) -> None:
        rows = self._database.fetch(_COMMENT, [database])
        if rows:
            name = self._database.quote(database).replace("%", "%%")
            self._database.execute(f"COMMENT ON DATABASE {name} IS %s", [change(rows[0]["comment"])])

    def noted(self) -> tuple[Noted, ...]:
        """Return what is noted now."""
        return self.read(None, turn_on=False).noted


def _override(row: dict[str, Any]) -> str:
    parts = [f"{kind} {printable(row[kind], 63)}" for kind in ("database", "role") if row[kind]]
    return " with ".join(parts) or "every role"


def _anyway(effective: int, noted: tuple[Noted, ...]) -> int:
    """Return what is logged without us: our own setting of the whole server is only for a time."""
    ours = [one for one in noted if one.marker.scope == SERVER and one.stored == str(one.marker.threshold)]
    return _milliseconds(ours[0].marker.previous) if ours else effective


def _milliseconds(text: Optional[str]) -> int:
    """Return a stored value, where a bare number is of milliseconds; -1, as if nothing were logged, where it is odd."""
    try:
        return int(text or "-1")
    except ValueError:
        pass
    try:
        return int(1000 * parse_duration(text, SETTING))
    except InvalidValue:
        return -1


# --- the guard ----------------------------------------------------------------------------------------------------


def start_guard(target: Target, dbname: str, marker: Marker, clock: Clock) -> int:
    """Leave a process behind that turns the logging off in time, whatever becomes of this one; return its pid.

    It is a copy made by fork(), so that it needs no file and the password stays in memory; it holds no session until
    its time has come. SIGTERM, as at the host's shutdown, makes it turn the logging off at once.

    Raises:
        CommandFailed: it did not start.
    """
    deadline = clock.monotonic() + marker.until - marker.since
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            if os.fork() == 0:
                _guard(writing, target, dbname, marker, clock, deadline)
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as answer:
        pid = answer.read()
    if not pid:
        raise CommandFailed("start the guard that turns slow-query logging off: it did not answer")
    return int(pid)


def _guard(writing: int, target: Target, dbname: str, marker: Marker, clock: Clock, deadline: float) -> None:
    asked: list[int] = []
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, _frame: asked.append(number))
    os.chdir("/")
    os.dup2(writing, 3)
    os.closerange(4, os.sysconf("SC_OPEN_MAX"))
    for stream in (0, 1, 2):
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, stream)
        os.close(null)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bell:
        bell.bind(_bell_of(marker))
        os.write(3, str(os.getpid()).encode())
        os.close(3)
        while not asked and clock.monotonic() < deadline:
            wait = min(0.5, max(0.01, deadline - clock.monotonic()))
            if select.select([bell], [], [], wait)[0]:
                bell.recv(1)
                if _is_settled(target, dbname, marker, clock):
                    return
                time.sleep(1)  # anybody on this host can ring
    give_up = clock.monotonic() + (_LAST_WORD_SECONDS if asked else _RETRY_FOR_SECONDS)
    while not _finish(target, dbname, marker, clock) and clock.monotonic() < give_up:
        time.sleep(0.5 if asked else _RETRY_SECONDS)


def _bell_of(marker: Marker) -> str:
    """Return the guard's address in Linux's abstract namespace: gone with the guard, and no file."""
    return f"\0oncall.runbooks slow_log {marker.token}"


def ring(marker: Marker) -> None:
    """Let the guard of a marker, if it is on this host, look whether it is still needed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bell, contextlib.suppress(OSError):
        bell.setblocking(False)
        bell.sendto(b"?", _bell_of(marker))


def _is_settled(target: Target, dbname: str, marker: Marker, clock: Clock) -> bool:
    try:
        with connect(target, dbname) as database:
            noted = SlowLog(target, database, clock).noted()
            return all(one.marker.token != marker.token for one in noted)
    except OpsError:
        return False


def _finish(target: Target, dbname: str, marker: Marker, clock: Clock) -> bool:
    """Turn it off if this very run is still the one that is noted; False: try again later."""
    try:
        with connect(target, dbname) as database:
            work = SlowLog(target, database, clock)
            with work.locked():
                for noted in work.noted():
                    if noted.marker.token == marker.token:
                        work.turn_off(noted)
        return True
    except OpsError as error:
        return error.code in ("database_missing", "read_only")
