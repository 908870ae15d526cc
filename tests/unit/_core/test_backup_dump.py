"""What a failed pg_dump says, in our codes."""

from __future__ import annotations

import pytest

from plugins.module_utils._core.backup_dump import dump_failure

SAID = [
    (1, "pg_dump: error: could not write to file: No space left on device", "disk_full"),
    (1, "pg_dump: error: could not write to output file: File too large", "disk_full"),
    (-25, "", "disk_full"),
    (1, "pg_dump: error: aborting because of server version mismatch", "client_too_old"),
    (1, "pg_dump: error: query failed: ERROR:  permission denied for table x", "insufficient_privilege"),
    (1, 'error: query would be affected by row-level security policy for table "x"', "insufficient_privilege"),
    (1, "ERROR:  canceling statement due to lock timeout", "lock_timeout"),
    (1, "FATAL:  terminating connection due to conflict with recovery", "recovery_conflict"),
    (1, "FATAL:  terminating connection due to administrator command", "server_gone"),
    (1, "ERROR:  out of shared memory\nHINT:  You might need to increase max_locks_per_transaction.", "limit_reached"),
    (1, "FATAL:  sorry, too many clients already", "too_many_connections"),
    (1, 'FATAL:  password authentication failed for user "x"', "authentication_failed"),
    (1, "pg_dump: error: a worker process died unexpectedly", "killed"),
    (-9, "", "killed"),
    (1, "pg_dump: error: something new", "dump_failed"),
    (1, "", "dump_failed"),
]  # fmt: skip


@pytest.mark.parametrize(("rc", "stderr", "code"), SAID)
def test_meaning(rc: int, stderr: str, code: str) -> None:
    failure = dump_failure("pg_dump", "back up app", rc, stderr)
    assert (failure.code, bool(failure.hint)) == (code, True)
    assert failure.message.startswith("back up app: pg_dump: ")


def test_the_errors_are_quoted_and_not_the_progress() -> None:
    stderr = "pg_dump: last built-in OID is 16383\npg_dump: error: the point\npg_dump: hint: x"
    assert dump_failure("pg_dump", "back up app", 1, stderr).message == "back up app: pg_dump: the point"


def test_secrets_and_control_characters_are_not_quoted() -> None:
    failure = dump_failure("pg_dump", "back up app", 1, "error: password=hunter2 \x1b[31m")
    assert "hunter2" not in failure.message + str(failure.details) and "\x1b" not in failure.message
