# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What the server's SQLSTATE codes mean for a person on call.

Source: PostgreSQL documentation, appendix A "PostgreSQL Error Codes" (the same in 13-18).
"""

from __future__ import annotations

from typing import NamedTuple, Optional


class Meaning(NamedTuple):
    """A stable failure code and the next thing to do."""

    code: str
    hint: str


_ENDED = Meaning("server_gone", "a time-out of the server ended the session: see which, and for which role it is set")
_BY_STATE = {
    "28P01": Meaning("authentication_failed", "check login_user and login_password (or the password in dsn)"),
    "28000": Meaning("authentication_failed", "pg_hba.conf does not let this user in from this address"),
    "3D000": Meaning("database_missing", "check the name; pg_database lists the databases that exist"),
    "42501": Meaning(
        "insufficient_privilege", "grant the right that the module's documentation names, or use its owner"
    ),
    "42704": Meaning("object_missing", "the object was dropped meanwhile, or its name is misspelt"),
    "42P01": Meaning("object_missing", "the relation was dropped meanwhile, or its name is misspelt"),
    "42883": Meaning("extension_missing", "CREATE EXTENSION the one that has this function, in this database"),
    "58P01": Meaning("extension_missing", "install the extension's package on the server (often postgresql-contrib)"),
    "0A000": Meaning("not_supported", "the server's version or kind does not offer this"),
    "22023": Meaning("invalid_value", "the server does not accept this value"),
    "23505": Meaning("duplicate_key", "remove or merge the rows with the same key, then try again"),
    "25006": Meaning("read_only", "this is a standby or a read-only session: connect to the primary"),
    "25P03": _ENDED,  # idle_in_transaction_session_timeout
    "25P04": _ENDED,  # transaction_timeout
    "53100": Meaning("disk_full", "free space on the server's disk first: see the disk-full runbook"),
    "53200": Meaning("out_of_memory", "lower maintenance_work_mem or the number of jobs"),
    "53300": Meaning("too_many_connections", "end idle sessions first, or connect as a role with reserved connections"),
    "53400": Meaning("limit_reached", "a configured limit of the server was reached"),
    "54000": Meaning("limit_reached", "a limit of the server was reached"),
    "55P03": Meaning("lock_timeout", "somebody holds the lock: see the blocking-locks runbook, or try again later"),
    "55006": Meaning("object_in_use", "somebody uses the object: try again later"),
    "57014": Meaning("cancelled", "the statement was cancelled, or ran into statement_timeout"),
    "57P01": Meaning("server_gone", "the session was terminated or the server stopped: check the server, run again"),
    "57P02": Meaning("server_gone", "the server crashed: check its log before running again"),
    "57P03": Meaning("server_unavailable", "the server is starting up, shutting down or recovering: try again later"),
    "57P05": _ENDED,  # idle_session_timeout
    "40P01": Meaning("deadlock", "another session wanted the same locks the other way round: run again"),
    "XX001": Meaning("data_corrupted", "stop, keep the data directory as it is: see the database-corruption runbook"),
    "XX002": Meaning("index_corrupted", "see the database-corruption runbook"),
}
_BY_CLASS = {
    "08": Meaning("server_gone", "the connection broke: check the server and the network, then run again"),
    "28": _BY_STATE["28000"],
    "53": Meaning("server_resources", "the server lacks a resource: read its log"),
    "58": Meaning("server_system_error", "the server's operating system reported an error: read the server's log"),
}
UNREACHABLE = Meaning("connection_failed", "check host, port, DNS, firewall, and that the server runs")
GONE = _BY_CLASS["08"]
OTHER = Meaning("database_failed", "read the server's message and its log")


def meaning_of(sqlstate: Optional[str]) -> Meaning:
    """Return what a SQLSTATE means; no code at all means that the server was lost.

    >>> meaning_of("55P03").code, meaning_of("08006").code, meaning_of(None).code, meaning_of("22012").code
    ('lock_timeout', 'server_gone', 'server_gone', 'database_failed')
    """
    if not sqlstate:
        return GONE
    return _BY_STATE.get(sqlstate) or _BY_CLASS.get(sqlstate[:2]) or OTHER
