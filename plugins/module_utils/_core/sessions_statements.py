# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""The statements that signal a session: guarded in themselves, so that nobody else can be hit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Union

from .redact import printable
from .sessions import IN_TRANSACTION, WORKING, Session
from .sessions_policy import ACTIVE, BLOCKING, CANCEL, IDLE, IDLE_IN_TRANSACTION, TERMINATE, Rule

Parameter = Union[int, str, datetime, None]

_SELECT = "SELECT {} FROM pg_catalog.pg_stat_activity a WHERE "
_WHO = "pid = %s AND backend_start = %s"
_SAME = f"{_WHO} AND backend_type = 'client backend' AND usesysid = %s::pg_catalog.oid AND application_name = %s"
_FUNCTIONS = {CANCEL: "pg_catalog.pg_cancel_backend(pid)", TERMINATE: "pg_catalog.pg_terminate_backend(pid)"}
_STILL_BLOCKS = (
    " AND xact_start IS NOT DISTINCT FROM %s AND pg_catalog.cardinality(pg_catalog.pg_blocking_pids(pid)) = 0"
    " AND EXISTS (SELECT FROM pg_catalog.pg_locks w"
    " WHERE NOT w.granted AND a.pid = ANY (pg_catalog.pg_blocking_pids(w.pid)))"
)


@dataclass(frozen=True)
class Statement:
    """SQL with its parameters."""

    sql: str
    parameters: tuple[Parameter, ...]

    def shown(self) -> str:
        """Return the statement as one would type it.

        >>> Statement("SELECT pg_terminate_backend(pid) FROM a WHERE pid = %s AND b = %s", (7, "it's")).shown()
        "SELECT pg_terminate_backend(pid) FROM a WHERE pid = 7 AND b = 'it''s'"
        """
        return printable(self.sql % tuple(_literal(parameter) for parameter in self.parameters), 2000)


def signal_statement(how: str, session: Session, rule: Rule) -> Statement:
    """Return the statement that cancels or terminates a session if, at that very moment, it is still the same one.

    Same process (a reused pid has another backend_start), role and application, and the very same idle time, statement
    or transaction that the rule was about. It returns one row (``signalled``) or, when something is different, none.
    """
    condition = _condition(session, rule)
    at_work = f" AND state IN ({_listed(WORKING)})" if how == CANCEL else ""
    return _about_same(f"{_FUNCTIONS[how]} AS signalled", session, condition, at_work)


def holds_statement(session: Session, rule: Rule) -> Statement:
    """Return the statement that gives a row as long as the rule's condition still holds for the session."""
    return _about_same("pid", session, _condition(session, rule))


def find_statement(session: Session) -> Statement:
    """Return the statement that gives the session's state as long as it exists at all."""
    return Statement(_SELECT.format("state") + _WHO, (session.pid, session.started))


def _about_same(what: str, session: Session, condition: Statement, more: str = "") -> Statement:
    who = (session.pid, session.started, session.role_oid, session.application)
    return Statement(_SELECT.format(what) + _SAME + condition.sql + more, who + condition.parameters)


def _condition(session: Session, rule: Rule) -> Statement:
    if rule.match == IDLE:
        return Statement(" AND state = 'idle' AND state_change = %s", (session.state_change,))
    if rule.match == IDLE_IN_TRANSACTION:
        return Statement(f" AND state IN ({_listed(IN_TRANSACTION)}) AND state_change = %s", (session.state_change,))
    if rule.match == ACTIVE:
        return Statement(f" AND state IN ({_listed(WORKING)}) AND query_start = %s", (session.query_start,))
    if rule.match == BLOCKING:
        return Statement(_STILL_BLOCKS, (session.xact_start,))
    return Statement(" AND xact_start = %s", (session.xact_start,))


def _listed(texts: tuple[str, ...]) -> str:
    return ", ".join(f"'{text}'" for text in texts)


def _literal(value: Parameter) -> str:
    if value is None:
        return "NULL"
    return str(value) if isinstance(value, int) else "'" + str(value).replace("'", "''") + "'"
