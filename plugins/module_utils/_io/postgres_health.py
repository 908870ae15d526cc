# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Read a database's health in one session; each reading by itself, all of them before a deadline."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import replace
from functools import partial
from typing import Any, Callable, Iterator, Optional, TypeVar

from .._core.errors import DatabaseFailed, OpsError
from .._core.postgres_health import readings_for
from .._core.postgres_health_facts import Facts, Failure, Policy, Question, Row, Rows
from .._core.sessions import Activity
from .._core.sql_text import identifier
from .._core.units import human_duration
from . import postgres_health_queries as queries
from .clock import Clock
from .postgres import Database, Target, connect
from .sessions import ServerSessions, as_text

Read = TypeVar("Read")

# The server itself refuses a second statement in a cursor's text, and to write in such a transaction.
_OPEN_QUESTION = """
DO $oncall$
DECLARE asked pg_catalog.refcursor := 'oncall_question';
BEGIN
  OPEN asked FOR EXECUTE pg_catalog.current_setting('oncall.question');
END
$oncall$
"""
_FETCH_ANSWER = "FETCH 21 FROM oncall_question"
_SETTINGS_OF_A_QUESTION = """
SELECT pg_catalog.set_config('statement_timeout', %s, true), pg_catalog.set_config('oncall.question', %s, true)
"""


def read_health(target: Target, policy: Policy, timeout: float, clock: Clock) -> Facts:
    """Read all that can be read within ``timeout`` seconds; what cannot has a failure instead. Never fails."""
    deadline = clock.monotonic() + timeout
    try:
        database = connect(_bounded(target, timeout))
    except OpsError as error:
        return Facts(target.label(), unreachable=Failure(error.code, error.message, error.hint or ""))
    with database, _cut_off(database, max(0.0, deadline - clock.monotonic())):
        readings = _Readings(database, target.label(), policy, timeout, lambda: deadline - clock.monotonic())
        return replace(readings.facts(), by_default=target.by_default)


def _bounded(target: Target, timeout: float) -> Target:
    """Return the target with no wait longer than the whole may take; libpq rounds connect_timeout 1 up to 2."""
    connecting = {"connect_timeout": max(2, min(10, int(timeout)))}
    limit = min(target.statement_timeout or timeout, timeout)
    return replace(target, parameters={**connecting, **target.parameters}, statement_timeout=limit)


@contextlib.contextmanager
def _cut_off(database: Database, seconds: float) -> Iterator[None]:
    timer = threading.Timer(seconds, database.abandon)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()  # else it could cut off whoever gets the same file descriptor next


class _Readings:
    """The readings of one session, and why some are missing."""

    def __init__(
        self, database: Database, label: str, policy: Policy, timeout: float, left: Callable[[], float]
    ) -> None:
        self._database = database
        self._label = label
        self._policy = policy
        self._timeout = timeout
        self._left = left
        self._role = "the role"
        self._failures: dict[str, Failure] = {}

    def facts(self) -> Facts:
        """Take every reading."""
        server = self._try("server", lambda: self._rows(queries.SERVER)[0])
        self._role = identifier(server["role"]) if server else self._role
        recovering = bool(server and server["in_recovery"])
        activity: Optional[Activity] = None
        rows: dict[str, Rows] = {}
        for name in readings_for(self._policy, recovering) if server else ():
            if name == "activity":
                activity = self._try(name, ServerSessions(self._database).read)
            else:
                rows.update(self._try(name, partial(self._reading, name)) or {})
        for question in self._policy.questions if server else ():
            rows.update(self._try(f"question:{question.name}", partial(self._ask, question)) or {})
        return Facts(
            self._label,
            database=self._database.dbname,
            major=self._database.major,
            unreachable=self._unreachable(server),
            server=server,
            activity=activity,
            rows=rows,
            failures=self._failures,
        )

    def _unreachable(self, server: Optional[Row]) -> Optional[Failure]:
        if server is None:
            return self._failures.get("server")
        return next((failure for failure in self._failures.values() if failure.code == "server_gone"), None)

    def _try(self, name: str, read: Callable[[], Read]) -> Optional[Read]:
        try:
            if self._left() <= 0:
                raise DatabaseFailed("not reached", code="timed_out")
            return read()
        except OpsError as error:
            self._failures[name] = self._failure(error)
            return None

    def _failure(self, error: OpsError) -> Failure:
        if self._left() <= 0:
            used = f"the time-out of {human_duration(self._timeout)} for everything is used up"
            return Failure("timed_out", used, "raise timeout, or look what slows the server down")
        if "shared_preload_libraries" in error.message:
            hint = "add it to shared_preload_libraries and restart the server"
            return Failure("extension_missing", error.message, hint)
        hint = f"GRANT pg_monitor TO {self._role}" if error.code == "insufficient_privilege" else error.hint or ""
        return Failure(error.code, error.message, hint)

    def _rows(self, text: str, parameters: tuple[Any, ...] = ()) -> Rows:
        return [_readable(row) for row in self._database.fetch(text, list(parameters))]

    def _reading(self, name: str) -> dict[str, Rows]:
        if name == "statements":
            return self._statements()
        return {name: self._rows(queries.newest(queries.READINGS[name], self._database.major))}

    def _statements(self) -> dict[str, Rows]:
        where = self._rows(queries.STATEMENTS_WHERE)
        name = self._database.dbname
        if not where:
            raise DatabaseFailed(
                f"the extension pg_stat_statements is not in database {name}",
                code="extension_missing",
                hint=f"CREATE EXTENSION pg_stat_statements in {name}, and add it to shared_preload_libraries",
            )
        schema, new_names = where[0]["schema"], where[0]["new_names"]
        total, top, age = queries.statements_queries(schema, new_names, self._database.major)
        totals = {**self._rows(total)[0], **self._rows(age)[0]}
        bounds = (self._policy.statement_calls, self._policy.statements)
        return {"statements": [totals], "top_statements": self._rows(top, bounds)}

    def _ask(self, question: Question) -> dict[str, Rows]:
        """Ask a question of the inventory in a transaction that cannot write, with the role's own search_path."""
        limit = f"{max(1, int(1000 * min(question.timeout, self._left())))}ms"
        self._database.execute("BEGIN READ ONLY")
        try:
            self._database.fetch(_SETTINGS_OF_A_QUESTION, [limit, question.query])
            self._database.execute("SET LOCAL search_path TO DEFAULT")
            self._database.execute(_OPEN_QUESTION)
            return {f"question:{question.name}": [_answer(row) for row in self._database.fetch(_FETCH_ANSWER)]}
        finally:
            if not self._database.closed:
                with contextlib.suppress(DatabaseFailed):
                    self._database.execute("ROLLBACK")


def _readable(row: Row) -> Row:
    return {name: as_text(value) if isinstance(value, memoryview) else value for name, value in row.items()}


def _answer(row: Row) -> Row:
    """Return a row with its number as ``value``: the column of that name, or the only one.

    Raises:
        DatabaseFailed: there are several columns and none has this name.
    """
    if len(row) == 1:
        return {"value": next(iter(row.values()))}
    if "value" not in row:
        raise DatabaseFailed("the query has several columns and none is called value", code="no_value")
    return row
