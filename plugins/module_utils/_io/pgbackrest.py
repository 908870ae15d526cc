# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Ask pgBackRest and the server's archiver; what cannot be asked is said, not raised."""

from __future__ import annotations

from typing import Callable, Optional, Sequence, Tuple

from .._core.errors import OpsError
from .._core.pgbackrest import Archiver, Facts, Ran, Stanza, parse_info
from .._core.redact import printable, redact_text
from .postgres import Target, connect
from .process import Program, follow

_INFO_SECONDS = 300.0
_ARCHIVER = """
SELECT a.last_archived_wal, a.last_archived_time, a.last_failed_wal, a.last_failed_time,
       pg_catalog.pg_is_in_recovery() AS in_recovery,
       CASE WHEN NOT pg_catalog.pg_is_in_recovery()
            THEN pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()) END AS current,
       pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_segment_size')) AS segment_bytes,
       pg_catalog.current_setting('archive_mode') AS archive_mode,
       (SELECT c.system_identifier::text FROM pg_catalog.pg_control_system() c) AS system_identifier
  FROM pg_catalog.pg_stat_archiver a
"""


class PgBackRest:
    """Commands of pgBackRest with one configuration. None of them writes to its log files, whoever runs it."""

    def __init__(self, path: str, config: Optional[str], timeout: float) -> None:
        self._base = [path, *([f"--config={config}"] if config else []), "--log-level-file=off"]
        self._timeout = timeout

    def info(self, stanza: Optional[str]) -> Tuple[Tuple[Stanza, ...], Optional[Ran]]:
        """Return the stanzas, and why they could not be read."""
        chosen = [f"--stanza={stanza}"] if stanza else []
        ran = self._run(["info", "--output=json", *chosen], stanza or "", None, _INFO_SECONDS)
        if ran.rc != 0:
            return (), ran
        try:
            return parse_info(ran.output), None
        except ValueError as error:
            return (), Ran(ran.stanza, None, ran.rc, "", printable(str(error)), "unreadable")

    def create_stanza(self, stanza: str) -> Ran:
        """Make the stanza in every repository that has it not; one that is there is left alone."""
        return self._run(["stanza-create", f"--stanza={stanza}"], stanza, None, self._timeout)

    def backup(self, stanza: str, repository: int, kind: str) -> Ran:
        """Make a backup of this kind in one repository; what its retention no longer keeps goes with it."""
        arguments = ["backup", f"--stanza={stanza}", f"--repo={repository}", f"--type={kind}"]
        return self._run(arguments, stanza, repository, self._timeout)

    def check(self, stanza: str) -> Ran:
        """Run ``check``: it writes a WAL segment and waits for it in every repository."""
        return self._run(["check", f"--stanza={stanza}"], stanza, None, self._timeout)

    def verify(self, stanza: str, repository: int) -> Ran:
        """Run ``verify`` of one repository; without ``--verbose`` it says nothing at all when all is well (2.45)."""
        arguments = ["verify", f"--stanza={stanza}", f"--repo={repository}", "--output=text", "--verbose"]
        return self._run(arguments, stanza, repository, self._timeout)

    def _run(self, arguments: Sequence[str], stanza: str, repository: Optional[int], timeout: float) -> Ran:
        lines: list[str] = []
        program = Program([*self._base, *arguments])
        try:
            completed = follow(program, timeout=timeout, on_line=lines.append, check=False)
        except OpsError as error:
            return Ran(stanza, repository, None, "\n".join(lines), error.message, error.code)
        said = " / ".join(line.strip() for line in completed.stderr.splitlines() if line.strip())
        shown = redact_text(printable(said, 500)) or (f"exit status {completed.rc}" if completed.rc else "")
        return Ran(stanza, repository, completed.rc, "\n".join(lines), shown)


def read_archiver(target: Target) -> Tuple[Optional[Archiver], str]:
    """Return the state of the server's archiver, or why it could not be read."""
    try:
        with connect(target) as database:
            row = database.fetch(_ARCHIVER)[0]
    except OpsError as error:
        return None, f"{error.message} ({error.code})"
    return Archiver(
        last_archived=row["last_archived_wal"],
        last_archived_at=row["last_archived_time"],
        last_failed=row["last_failed_wal"],
        last_failed_at=row["last_failed_time"],
        current=row["current"],
        segment_bytes=row["segment_bytes"],
        archive_mode=row["archive_mode"],
        in_recovery=row["in_recovery"],
        system_identifier=row["system_identifier"],
    ), ""


def read_facts(
    tool: PgBackRest, stanza: Optional[str], check: bool, verify: bool, archiver: Optional[Callable[[], Target]]
) -> Facts:
    """Read all that was asked for, the stanzas first: they say what can be checked and verified."""
    stanzas, unreadable = tool.info(stanza)
    state, trouble = (None, "") if archiver is None else read_archiver(archiver())
    return Facts(
        stanzas=stanzas,
        unreadable=unreadable,
        checks=tuple(tool.check(one.name) for one in stanzas) if check else (),
        verifications=tuple(
            tool.verify(one.name, repository.key)
            for one in (stanzas if verify else ())
            for repository in one.repositories
            if repository.code == 0
        ),
        archiver=state,
        archiver_trouble=trouble,
    )
