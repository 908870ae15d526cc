# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What restoring, undoing and cleaning up have in common: the wish, one session, its lock and the server's facts."""

from __future__ import annotations

from typing import Any, Optional

from .._core.backup_manifest import Manifest
from .._core.errors import DatabaseFailed
from .._core.redact import printable
from .._core.restore import Exchange
from .._core.restore_check import check_server, check_wish, confirmation
from .._core.restore_facts import ServerFacts, Wish
from .._core.restore_marker import KEPT
from .._core.result import UNKNOWN, Finding
from .._io import restore_aside as aside
from .._io.postgres import Database, connect, may_idle, require_unlocked
from .._io.restore_server import quoted, read_server
from .copy_steps import Steps
from .postgres import postgres_target
from .restore_options import read_means, read_wish
from .run import Task

MODULE = "postgresql_restore"
ANSWER = "answer"


class Ground:
    """What all three have in common: the wish, one session in the maintenance database, and its lock."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.began = task.clock.monotonic()
        self.wish: Wish = read_wish(task.params)
        self.means = read_means(task.params)
        self.target = postgres_target(task.params, MODULE)
        check_wish(self.wish, self.means.maintenance_db)
        self._opened: Optional[Database] = None

    @property
    def lock(self) -> str:
        """Return the name of the lock: the target may be renamed, so that it lies in the maintenance database."""
        return f"{MODULE} {self.wish.target}"

    @property
    def database(self) -> Database:
        """Return the session in the maintenance database."""
        if self._opened is None:
            self._opened = connect(self.target, self.means.maintenance_db)
            may_idle(self._opened)
        return self._opened

    def look(self) -> ServerFacts:
        """Return the server's facts, once it is known to be one that this may be done to."""
        require_unlocked(self.database, self.lock)
        facts = read_server(self.database, self.wish.target)
        check_server(facts, self.wish)
        return facts

    def require_confirmation(self) -> None:
        """Refuse to go on when nobody named the target; a check needs no such word."""
        if self.wish.confirm != self.wish.target:
            raise confirmation(self.wish)

    def seconds_left(self) -> float:
        """Return the rest of the time that all of it may take, never less than a second."""
        return max(1.0, self.means.max_time - (self.task.clock.monotonic() - self.began))

    def swap_command(self, exchange: Exchange) -> str:
        """Return the renames of a swap as they are carried out."""
        form = "ALTER DATABASE %I RENAME TO %I"
        renames = [] if exchange.live is None else [quoted(self.database, form, exchange.target, exchange.live_name)]
        return "; ".join([*renames, quoted(self.database, form, exchange.coming, exchange.target)])

    def look_at_swapped(
        self, steps: Steps, oid: int, kept: str, manifest: Optional[Manifest] = None
    ) -> tuple[dict[str, Any], tuple[Finding, ...]]:
        """Return the state after a swap, and a finding when nobody is let in to look.

        Raises:
            OpsError: another database answers, or the session was lost; it says what was done.
        """
        target = self.wish.target
        done = f"{printable(target)} was swapped" + (f", the old one is kept as {printable(kept)}" if kept else "")
        with steps.looking(done, kept=kept):
            after = state_of(read_server(self.database, target), target)
            try:
                aside.look_at_live(self.target, target, oid, manifest)
            except DatabaseFailed as error:
                text = f"{printable(target)} was swapped, and could not be looked at: {error.message}"
                return after, (Finding(ANSWER, UNKNOWN, text, error.code),)
        return after, ()

    def close(self) -> None:
        """Give back the session, and with it the lock."""
        if self._opened is not None:
            self._opened.close()


def state_of(facts: ServerFacts, target: str) -> dict[str, Any]:
    """Return what the diff is made of."""
    live = facts.find(target)
    marker = None if live is None else live.marker
    return {
        "exists": live is not None,
        "restored_from": None if marker is None else marker.snapshot,
        "kept": [one.name for one, _marker in facts.of(target, KEPT)],
    }
