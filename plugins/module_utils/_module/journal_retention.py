# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""journal_retention: remove from the journal what is older than it has to be. Runs on the controller."""

from __future__ import annotations

from .._core.errors import InvalidValue
from .._core.result import DONE, OK, Action, Decision, Finding, Outcome, Step
from .._core.units import count_of
from .._io.journal_open import JournalSchema
from .._io.journal_prune import Pruned, Retention, prunable, prune
from .._io.journal_read import open_journal
from .._io.journal_write import open_writer
from .journal import journal_spec
from .run import Operation, Task
from .spec import ArgumentSpec

_NOUNS = {"samples": "sample", "days": "day", "findings": "finding", "steps": "step", "runs": "run"}


def journal_retention_spec() -> ArgumentSpec:
    """Return the options."""
    keep = Retention()
    own = {
        "keep_samples": {"type": "int", "default": keep.samples},
        "keep_runs": {"type": "int", "default": keep.runs},
        "keep_days": {"type": "int", "default": keep.rollups},
    }
    return journal_spec().merge(ArgumentSpec(own))


class JournalRetention(Operation):
    """Count what is old, and remove it in short transactions."""

    def __init__(self, task: Task) -> None:
        params, self._clock = task.params, task.clock
        self._keep = Retention(params["keep_samples"], params["keep_runs"], params["keep_days"])
        for name in ("keep_samples", "keep_runs", "keep_days"):
            if params[name] < 2:  # today is not over, and what was read a moment ago is somebody's history
                raise InvalidValue(f"{name} must be at least 2 days, not {params[name]}")
        self._url = params["journal_url"]
        self._now = task.clock.now().timestamp()

    def decide(self) -> Decision:
        """Count; a journal that nobody has written to has nothing that is old."""
        try:
            with open_journal(self._url) as journal:
                old = prunable(journal, self._keep, self._now)
        except JournalSchema as error:
            if error.code != "journal_missing":
                raise
            old = Pruned()
        before = dict(vars(old))
        plan = tuple(
            Action(f"remove:{name}", "remove", name, f"{count_of(number, _NOUNS[name])} older than it has to be")
            for name, number in before.items()
            if number
        )
        return Decision(f"{_counts(old)} to be removed", plan, _fine(old), before, dict.fromkeys(before, 0))

    def apply(self, decision: Decision) -> Outcome:
        """Remove, and count again."""
        began = self._clock.monotonic()
        with open_writer(self._url) as writer:
            removed = prune(writer, self._keep, self._now)
            left = prunable(writer, self._keep, self._now)
        took = round(self._clock.monotonic() - began, 3)
        counts = vars(removed)
        steps = tuple(
            Step(action.id, DONE, took if number == 0 else 0.0, f"{counts[action.target]} removed")
            for number, action in enumerate(decision.plan)
        )
        return Outcome(f"{_counts(removed)} removed", steps, _fine(left), dict(vars(left)))


def _fine(old: Pruned) -> tuple[Finding, ...]:
    return (Finding("journal_age", OK, f"{_counts(old)} older than needed", old.total, "count"),)


def _counts(old: Pruned) -> str:
    texts = [count_of(number, _NOUNS[name]) for name, number in vars(old).items() if number]
    return ", ".join(texts) or "nothing"
