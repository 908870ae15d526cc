# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What a failed pg_dump means, by its words (the C locale): PostgreSQL's programs all end with 1."""

from __future__ import annotations

from typing import Iterable

from .errors import CommandFailed
from .redact import printable, redact_text

_HINTS = {
    "disk_full": "make room in staging_dir, or use mode: stream",
    "insufficient_privilege": "grant SELECT on everything, or pg_read_all_data (14+); row policies need BYPASSRLS",
    "client_too_old": "install the client programs of the server's major or a newer one",
    "recovery_conflict": "raise max_standby_streaming_delay, switch on hot_standby_feedback, or ask the primary",
    "lock_timeout": "somebody holds an exclusive lock on a table: see the blocking-locks runbook",
    "server_gone": "check the server and its log, then run again",
    "limit_reached": "raise max_locks_per_transaction on the server: a dump locks every table at once",
    "authentication_failed": "pg_dump logs in by itself: check pg_hba.conf and the password",
    "too_many_connections": "lower jobs, or end idle sessions first",
    "killed": "look for the out-of-memory killer in the kernel's log; run again with fewer jobs",
    "dump_failed": "read the text; run pg_dump by hand with the same options",
}
# The first that fits decides: what breaks a dump is followed by complaints about what broke with it.
_BY_WORDS = (
    (("no space left on device", "file too large", "disk quota exceeded"), "disk_full"),
    (("server version mismatch", "aborting because of server version"), "client_too_old"),
    (("conflict with recovery",), "recovery_conflict"),
    (("permission denied", "row-level security", "must be owner", "must be superuser"), "insufficient_privilege"),
    (("lock timeout", "could not obtain lock"), "lock_timeout"),
    (("max_locks_per_transaction",), "limit_reached"),
    (("too many clients", "remaining connection slots", "too many connections"), "too_many_connections"),
    (("password authentication failed", "no password supplied", "no pg_hba.conf entry"), "authentication_failed"),
    (("server closed the connection", "terminating connection", "connection to server was lost", "lost connection",
      "invalid snapshot identifier", "connection refused", "could not connect", "the database system is"),
     "server_gone"),
    (("worker process died unexpectedly",), "killed"),
)  # fmt: skip


def dump_failure(program: str, what: str, rc: int, stderr: str) -> CommandFailed:
    """Return the error for a program that ended badly; a negative ``rc`` is the signal that ended it.

    >>> dump_failure("pg_dump", "back up app", -9, "").code
    'killed'
    """
    text = stderr.lower()
    code = next((code for words, code in _BY_WORDS if any(word in text for word in words)), "")
    if not code:
        code = "disk_full" if rc == -25 else "killed" if rc < 0 else "dump_failed"  # 25: larger than a file may be
    lines = [
        line.strip().replace(f"{program}: error: ", "")
        for line in stderr.splitlines()
        if "error:" in line or "detail:" in line.lower()
    ]
    said = redact_text(printable(" / ".join(lines[:3] or stderr.splitlines()[-3:]), 500))
    how = f"ended by signal {-rc}" if rc < 0 else f"exit status {rc}"
    return CommandFailed(
        f"{what}: {program}: {said or how}",
        code=code,
        hint=_HINTS[code],
        details={"rc": rc, "stderr": redact_text(printable(stderr, 2000))},
    )


def undecodable_line(lines: Iterable[str]) -> str:
    """Return the first line with bytes that were not UTF-8 (surrogates of PEP 383), for messages; "" without one.

    >>> undecodable_line(["CREATE ROLE a;", b"CREATE ROLE m\\xfcller;".decode("utf-8", "surrogateescape")])
    'CREATE ROLE m\\\\xfcller;'
    """
    for line in lines:
        raw = line.encode("utf-8", "surrogateescape")
        shown = raw.decode("utf-8", "backslashreplace")
        if shown != line:
            return redact_text(printable(shown, 200))
    return ""
