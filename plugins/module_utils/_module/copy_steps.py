# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Keep account of the steps of a plan, and hand over what was done when one of them fails."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Any, Iterator, Mapping, Optional

from .._core.errors import OpsError
from .._core.progress import Progress
from .._core.result import DONE, FAILED, Decision, Step, partial_result
from .._io.clock import Clock
from .._io.progress import ProgressFile


@dataclass
class Note:
    """What a step says about itself when it is done."""

    detail: str = ""


@dataclass
class Steps:
    """The steps so far; their ids are those of the plan. Who watches ``progress`` reads of each, as one of ``item``."""

    decision: Decision
    clock: Clock
    progress: Optional[ProgressFile] = None
    item: str = ""
    done: list[Step] = field(default_factory=list)
    _first: Optional[float] = None

    @contextlib.contextmanager
    def doing(self, step_id: str) -> Iterator[Note]:
        """Time one step; a failure inside it carries all steps so far as its partial result."""
        began, note = self.clock.monotonic(), Note()
        self.show(step_id)
        try:
            yield note
        except OpsError as error:
            self._add(step_id, FAILED, began, error.message)
            self._carry(error, {})
            raise
        self._add(step_id, DONE, began, note.detail)

    @contextlib.contextmanager
    def looking(self, done: str, **known: Any) -> Iterator[None]:
        """Look at what was done: a failure inside says that it was, and is no step's; ``known`` are its results."""
        try:
            yield
        except OpsError as error:
            error.message = f"{done}; {error.message}"
            self._carry(error, known)
            raise

    def _carry(self, error: OpsError, known: Mapping[str, Any]) -> None:
        error.partial = {**partial_result(self.decision, self.done), **known, **error.partial}

    def show(self, activity: str, percent: Optional[float] = None) -> None:
        """Offer a progress line."""
        if self.progress is None:
            return
        now = self.clock.monotonic()
        self._first = now if self._first is None else self._first
        done, total = len(self.done), len(self.decision.plan)
        self.progress.show(Progress(self.item, activity, done, total, "steps", now - self._first, None, percent))

    def stored(self, message: Mapping[str, Any]) -> None:
        """Offer what restic says while it stores."""
        self.show("store", 100.0 * float(message.get("percent_done", 0.0)))

    def _add(self, step_id: str, status: str, began: float, detail: str) -> None:
        self.done.append(Step(step_id, status, round(self.clock.monotonic() - began, 3), detail))
