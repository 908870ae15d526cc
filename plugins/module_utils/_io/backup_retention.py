# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Remove snapshots, and prove by a second look that exactly those are gone."""

from __future__ import annotations

from dataclasses import replace
from typing import Callable, Sequence

from .._core.backup_retention import PRUNE, UNLOCK, Selection, actions_of, done_line
from .._core.errors import OpsError, VerificationFailed
from .._core.result import DONE, FAILED, SKIPPED, Decision, Outcome, Step, partial_result
from .._core.units import count_of, human_size
from .clock import Clock
from .restic import Restic
from .workspace import ends_in_order

_BATCH = 200  # copies of one call: far from the limit of a command line, few enough to lose little


class Remover:
    """Carries out one decision about what goes; what was reached before a failure stays in ``steps``."""

    def __init__(self, restic: Restic, clock: Clock, prune_timeout: float) -> None:
        self._restic = restic
        self._pruning = Restic(replace(restic.repository, timeout=prune_timeout))
        self._clock = clock
        self.steps: list[Step] = []

    def remove(self, decision: Decision, selection: Selection, before: frozenset[str]) -> Outcome:
        """Remove what was selected; ``before`` are the ids of all snapshots when it was selected.

        Raises:
            OpsError: the repository refused (its code says why), or something else than planned is gone
                (``verification_failed``); the partial result says what was done.
        """
        planned = {action.id for action in decision.plan}
        try:
            with ends_in_order():
                if UNLOCK in planned:
                    self._timed(UNLOCK, self._unlock)
                self._forget(selection, before)
                if PRUNE in planned:
                    self._timed(PRUNE, self._prune)
                return self._outcome(decision, selection)
        except OpsError as error:
            error.partial = partial_result(decision, self.steps)
            raise

    def _timed(self, action: str, work: Callable[[], tuple[str, str]]) -> None:
        start = self._clock.monotonic()
        try:
            status, detail = work()
        except OpsError as error:
            status, detail = FAILED, error.message
            raise
        finally:
            self.steps.append(Step(action, status, round(self._clock.monotonic() - start, 3), detail))

    def _unlock(self) -> tuple[str, str]:
        before = len(self._restic.locks())
        self._restic.unlock_stale()
        left = len(self._restic.locks())
        status = DONE if left < before else SKIPPED
        return status, f"{count_of(before - left, 'lock')} of dead runs removed, {left} of living runs left"

    def _prune(self) -> tuple[str, str]:
        self._pruning.prune()
        return DONE, ""

    def _forget(self, selection: Selection, before: frozenset[str]) -> None:
        """Forget in batches; after each one, also one that failed, the listing says what is gone."""
        actions = actions_of(selection)
        allowed: set[str] = set()
        for start in range(0, len(actions), _BATCH):
            batch = actions[start : start + _BATCH]
            ids = [one for _action, snapshots in batch for one in snapshots[:1]]
            ids += [one for _action, snapshots in batch for one in snapshots[1:]]  # copies before their proofs
            allowed.update(ids)
            began = self._clock.monotonic()
            try:
                self._restic.forget(ids)
            except OpsError as error:
                self._record(batch, before, self._clock.monotonic() - began, error.message)
                raise
            gone = self._record(batch, before, self._clock.monotonic() - began, "it is still there")
            _check_gone(set(ids), gone, allowed)

    def _record(
        self, batch: Sequence[tuple[str, tuple[str, ...]]], before: frozenset[str], seconds: float, why_not: str
    ) -> set[str]:
        """Note what became of each action of a batch, and return what is gone of all that was there."""
        listing = self._restic.listing()
        there = {snapshot.id for snapshot in listing.snapshots}
        gone = {one for one in before - there if not one.startswith(listing.unreadable)}  # damaged is not gone
        share = round(seconds / len(batch), 3)
        for action, snapshots in batch:
            if gone.issuperset(snapshots):
                self.steps.append(Step(action, DONE, share, "gone"))
            else:
                self.steps.append(Step(action, FAILED, share, why_not))
        return gone

    def _outcome(self, decision: Decision, selection: Selection) -> Outcome:
        catalog, stored = self._restic.catalog(), self._restic.stored_bytes()
        freed = int(decision.before["stored_bytes"] or 0) - stored
        return Outcome(
            msg=done_line(selection, f", {human_size(freed)} freed" if freed > 0 else ""),
            steps=tuple(self.steps),
            findings=decision.findings,
            after={"copies": len(catalog.copies), "proofs": len(catalog.proofs), "stored_bytes": stored},
        )


def _check_gone(wanted: set[str], gone: set[str], allowed: set[str]) -> None:
    left, too_much = wanted - gone, gone - allowed
    if left:
        raise VerificationFailed(
            f"remove copies: {count_of(len(left), 'snapshot')} should be gone and are listed all the same",
            hint="see whether the repository may be changed (append-only?), then run again",
            details={"snapshots": sorted(left)},
        )
    if too_much:
        raise VerificationFailed(
            f"remove copies: {count_of(len(too_much), 'snapshot')} vanished that nobody here removed",
            hint="somebody else removes snapshots from this repository at the same time: find out who",
            details={"snapshots": sorted(too_much)},
        )
