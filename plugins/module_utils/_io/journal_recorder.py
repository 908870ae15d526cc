# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Keep what one run leaves: in the journal as it happens, in the spool when the journal is away."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Callable, Optional

from .._core.errors import OpsError
from .._core.journal import Run, State
from .._core.journal_batch import Batch
from .._core.journal_map import Records
from .journal_open import name_of
from .journal_prune import Retention, prune
from .journal_read import open_journal
from .journal_spool import SpoolFile, folder_of, take_in
from .journal_write import JournalWriter, open_writer

PRUNED = "journal.prune"
_FLUSH_SECONDS = 1.0
_MOST_PENDING = 100
_PRUNE_SECONDS = 86400.0


class Recorder:
    """Record one run. Nothing here raises for a journal that is away: ``say`` is told, once, and the run goes on."""

    def __init__(
        self,
        url: Optional[str],
        spool: Optional[str],
        say: Callable[[str], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url, self._spool_path, self._say, self._monotonic = url, spool, say, monotonic
        self._folder: Optional[Path] = None
        self._spool: Optional[SpoolFile] = None
        self._writer: Optional[JournalWriter] = None
        self._reached = False
        self._pending: list[Batch] = []
        self._number = 0
        self._lost = 0
        self._flushed = monotonic()

    def open(self, run: Run) -> None:
        """Write the row of a run that begins, and then what earlier runs could not write."""
        self._run = run
        header = Batch(run.id, 0, run.started_at, run=run)
        no_spool = self._open_spool(header)
        try:
            self._writer = open_writer(self._url)
            self._writer.apply([header])
            self._reached = True
        except OpsError as error:
            self._give_up(error, no_spool)
            if self._spool is None:
                self._lost += 1
            return
        if no_spool:
            self._say(f"{no_spool}; what is not yet in the journal would be lost with it")
        self._clear_up(run.started_at)

    def _open_spool(self, header: Batch) -> str:
        """Return why there is no spool, or nothing."""
        try:
            self._folder = folder_of(self._spool_path)
            self._spool = SpoolFile(self._folder, name_of(self._url), header)
        except OpsError as error:
            return error.message
        except OSError as error:
            return f"no spool for the journal in {self._spool_path or 'the home folder'}: {error.strerror or error}"
        return ""

    def _clear_up(self, now: float) -> None:
        """Take in what other runs left, and say of those that died that they did."""
        if self._writer is None or self._folder is None:
            return
        try:
            taken = take_in(self._folder, self._writer)
            self._writer.mark_interrupted(now)
        except OpsError as error:
            self._give_up(error, "")
        except OSError as error:
            self._say(f"the spool of the journal cannot be read: {error.strerror or error}")
        else:
            if taken.batches:
                self._say(f"{taken.batches} entries of earlier runs were taken in from the spool")
            for path in taken.rejected:
                self._say(f"a spool was refused by the journal and put aside: {path}")

    def note(self, records: Records, at: float) -> None:
        """Keep the records of one result."""
        self._number += 1
        batch = Batch(
            self._run.id,
            self._number,
            at,
            steps=records.steps,
            findings=records.findings,
            samples=records.samples,
            states=records.states,
        )
        if not batch.empty:
            self._keep(batch)

    def _keep(self, batch: Batch) -> None:
        spooled = self._to_spool(batch)
        if self._writer is None:
            self._lost += 0 if spooled else 1
            return
        self._pending.append(batch)
        due = self._monotonic() - self._flushed >= _FLUSH_SECONDS or len(self._pending) >= _MOST_PENDING
        if due or not spooled:
            self.flush()

    def _to_spool(self, batch: Batch) -> bool:
        if self._spool is None:
            return False
        try:
            self._spool.append(batch)
        except OSError as error:
            self._say(f"the spool of the journal takes no more: {error.strerror or error}")
            self._end_spool()
            return False
        return True

    def _end_spool(self) -> None:
        """Keep what is in the spool for a later run; with the journal at hand it would be offered twice, taken once."""
        if self._spool is not None:
            self._spool.close(remove=False)
            self._spool = None

    def flush(self) -> None:
        """Write what is pending, as one transaction."""
        self._flushed = self._monotonic()
        if self._writer is None or not self._pending:
            return
        try:
            self._writer.apply(self._pending)
        except OpsError as error:
            self._lost += 0 if self._spool else len(self._pending)
            self._pending = []
            self._give_up(error, "")
            return
        self._pending = []
        if self._spool is not None:
            self._spool.forget()

    def close(self, run: Run, keep: Optional[Retention]) -> None:
        """Write how the run ended, and once a day remove what is older than it has to be."""
        self._number += 1
        last = Batch(run.id, self._number, run.ended_at or run.started_at, run=run)
        spooled = self._to_spool(last)
        if self._writer is not None:
            self._pending.append(last)
            self.flush()
        elif not spooled:
            self._lost += 1
        written = self._writer is not None
        if self._spool is not None:
            self._spool.close(remove=written)
            self._spool = None
        if not written and self._reached and self._folder is not None:
            self._try_again()
        if self._lost:
            self._say(f"{self._lost} entries of this run are lost: neither the journal nor the spool took them")
        if self._writer is not None:
            if keep is not None:
                self._prune(self._writer, keep, last.at)
            self._writer.close()
            self._writer = None

    def _try_again(self) -> None:
        """Bring this run's spool in, when the journal was only away for a while."""
        try:
            self._writer = open_writer(self._url)
            taken = take_in(self._folder or folder_of(self._spool_path), self._writer)
            self._say(f"the journal is there again: {taken.batches} entries were taken in from the spool")
        except (OpsError, OSError):
            self._writer = None  # said already: a later run takes it in

    def _prune(self, writer: JournalWriter, keep: Retention, now: float) -> None:
        try:
            with open_journal(self._url) as journal:
                last = max((state.at for state in journal.states("", [PRUNED])), default=0.0)
            if 0 <= now - last < _PRUNE_SECONDS:
                return
            mark = State("", PRUNED, now, "{}")
            if writer.apply([Batch(f"prune-{self._run.id}", 0, now, states=(mark,))]):
                prune(writer, keep, now)
        except (OpsError, OSError) as error:
            self._say(f"what is old was not removed: {error}")

    def _give_up(self, error: OpsError, no_spool: str) -> None:
        """Go on without the journal, and say so."""
        if self._writer is not None:
            self._writer.close()
        self._writer = None
        if self._spool is not None:
            kept = f"the run goes on; its entries are kept in {self._spool.path} until a run reaches the journal"
        else:
            kept = f"the run goes on, but its entries are lost{': ' + no_spool if no_spool else ''}"
        self._say(f"{error.words()}; {kept}")
