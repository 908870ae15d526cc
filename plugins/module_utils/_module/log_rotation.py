# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""The log_rotation module: options in, rotation composed of its parts."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import datetime
from typing import Any, Mapping, Optional, Union

from .._core.errors import OpsError, PreconditionFailed
from .._core.log_rotation import Holdings, Survey, User, survey
from .._core.log_rotation_decide import REOPEN, Work, candidates, plan_work
from .._core.log_rotation_names import LOCK_NAME, check_path
from .._core.log_rotation_report import (
    UNREAD,
    Result,
    actions,
    done_message,
    files,
    findings,
    freed,
    planned_message,
    predicted,
    state,
    steps,
    total_size,
    trouble,
)
from .._core.redact import printable
from .._core.result import FAILED, Decision, Outcome, render_outcome
from .._core.units import count_of
from .._io.log_rotation_apply import Means, Rotation, code_of
from .._io.log_rotation_compress import find_compressor, sample_ratio
from .._io.log_rotation_copy import redundant_copies
from .._io.log_rotation_holders import Processes, leases
from .._io.log_rotation_lock import RotationLock
from .._io.log_rotation_reopen import Reopener
from .._io.log_rotation_tree import LogTree
from .log_rotation_options import level_of, log_rotation_spec, policy_of, request_of, threads_of
from .run import Operation, Task

__all__ = ["LogRotation", "log_rotation_spec"]

_Look = tuple[Survey, Holdings, Work, float]  # the directory, who holds its files, what is to be done, and when
_HINT = "what was done is in steps and files; mend it, then run again"
_HINTS = {
    "disk_full": "free some space (prune_age and max_total_size help), then run again: nothing is lost",
    "insufficient_privilege": "run the task as the owner of the logs or as root (become)",
    "reopen_failed": "the old files are whole and not compressed; mend it, then run again",
    "reopen_unproven": "the old files are whole and not compressed; look at the process, then run again",
}


class LogRotation(Operation):
    """Rotate, compress and prune the logs of one directory."""

    def __init__(self, task: Task) -> None:
        self._task = task
        params = task.params
        self._policy = policy_of(params)
        self._threads = threads_of(params)
        self._compressor = find_compressor(params["compress"], level_of(params), task.commands)
        self._user = User(os.geteuid(), frozenset({os.getegid(), *os.getgroups()}))
        self._tree = LogTree(check_path(params["path"]))
        self._processes = Processes(tree=self._tree)
        self._lock = RotationLock(self._tree, task.clock)
        request = request_of(params)
        self._reopener = request and Reopener(request, self._tree, self._processes, task.commands, task.clock)
        self._locks_below: tuple[str, ...] = ()

    def decide(self) -> Decision:
        """Look at the directory and at who holds its files, and return what is to be done."""
        if not self._tree.writable():
            raise PreconditionFailed(
                f"rotate logs under {self._tree.path}: the directory may not be written by this user",
                code="insufficient_privilege",
                hint=_HINTS["insufficient_privilege"],
            )
        self._lock.check(())
        self._survey, self._holdings, self._work, now = self._look()
        self._lock.check(self._locks_below)
        survey, work, policy = self._survey, self._work, self._policy
        reopen = work.of(REOPEN)
        if reopen and self._reopener:
            logs, waiting = candidates(survey, policy, now)
            self._reopener.check(h for e in (*logs, *waiting) for h in self._holdings.writers(e.identity))
        before = total_size(survey)
        give = sum(freed(operation, operation.estimate) for operation in work.operations)
        return Decision(
            planned_message(survey, work),
            actions(work, policy),
            findings(survey, work, self._holdings, policy, now),
            state(survey, work),
            predicted(survey, work, policy),
            _extra(work, (), before, before - give, give, estimated=bool(work.operations)),
        )

    def apply(self, decision: Decision) -> Outcome:
        """Carry out the plan under the lock, and look again."""
        self._lock.acquire()
        self._lock.check(self._locks_below)
        work, task = self._work, self._task
        means = Means(
            self._tree, self._policy, self._holdings, self._processes, self._compressor, self._reopener,
            self._threads, task.clock, task.commands, task.progress,
        )  # fmt: skip
        rotation = Rotation(work, means)
        results = rotation.run()
        seen = self._look_again()
        outcome = self._outcome(results, None if isinstance(seen, Exception) else seen)
        attempt, partial = f"rotate logs under {self._tree.path}", render_outcome(decision, outcome)
        _fail_if_any(results, attempt, partial)
        if rotation.not_durable is not None:
            raise OpsError(
                f"{attempt}: done, but the disk did not confirm it: {rotation.not_durable.strerror}",
                code=code_of(rotation.not_durable),
                partial=partial,
            )
        if isinstance(seen, Exception):
            raise _unread(seen, attempt, partial)
        return outcome

    def close(self) -> None:
        """Give the lock and the directory back."""
        self._lock.release()
        self._tree.close()

    def _outcome(self, results: list[Result], seen: Optional[_Look]) -> Outcome:
        """Return what was done and what is there now; ``seen`` is None when that could not be looked at."""
        work, before = self._work, total_size(self._survey)
        give = sum(result.freed for result in results)
        message, done = done_message(self._survey, work, results), steps(results, len(work.operations))
        if seen is None:
            extra = _extra(work, results, before, before - give, give, estimated=True)
            return Outcome(message, done, (*trouble(results), UNREAD), {}, extra)
        survey, holdings, left, now = seen
        found = (*trouble(results), *findings(survey, left, holdings, self._policy, now))
        extra = _extra(work, results, before, total_size(survey), give, estimated=False)
        return Outcome(message, done, found, state(survey, left), extra)

    def _look_again(self) -> Union[_Look, OpsError, OSError]:
        """Return what is there after the work, or why that cannot be told: what was done must not be lost with it."""
        try:
            return self._look()
        except (OpsError, OSError) as error:
            return error

    def _look(self) -> _Look:
        """Return the directory, who holds its files, what is to be done about it, and when that was."""
        scan = self._tree.scan(self._task.params["recurse"], self._user.uid)
        if "" in scan.closed:
            raise PreconditionFailed(
                f"rotate logs under {self._tree.path}: the directory {scan.closed['']}",
                code="path_unsafe",
                hint="nothing in it was touched",
            )
        self._locks_below = tuple(e.directory for e in scan.entries if e.name == LOCK_NAME and e.directory)
        now = _seconds(self._task.clock.now())
        found = survey(scan.entries, self._policy, self._user, scan.closed, scan.hidden)
        logs, waiting = candidates(found, self._policy, now)
        holdings = self._processes.holdings(frozenset(e.identity for e in (*logs, *waiting)), self._tree)
        asked = [*waiting, *(log for log in logs if holdings.hidden(log.identity))]
        holdings = replace(holdings, leases=leases(self._tree, asked))
        ratio = sample_ratio(self._tree, (*logs, *waiting), self._compressor is not None)
        redundant = redundant_copies(self._tree, found)
        return found, holdings, plan_work(found, holdings, self._policy, now, ratio, redundant), now


def _seconds(moment: datetime) -> float:
    return moment.timestamp()


def _extra(
    work: Work, results: tuple[Result, ...] | list[Result], before: int, after: int, give: int, *, estimated: bool
) -> dict[str, Any]:
    return {
        "files": files(work, results),
        "files_total": sum(1 for operation in work.operations if operation.kind != REOPEN),
        "bytes": {"before": before, "after": after, "freed": give, "estimated": estimated},
    }


def _fail_if_any(results: list[Result], attempt: str, partial: Mapping[str, Any]) -> None:
    """Fail when an operation failed: a run that is half done is no success, but what was done is in the result."""
    failed = [result for result in results if result.status == FAILED]
    if not failed:
        return
    first = next((result for result in failed if result.code == "disk_full"), failed[0])
    what = f"{count_of(len(failed), 'operation')} of {len(results)} failed"
    raise OpsError(
        f"{attempt}: {what}: {printable(f'{first.operation.path}: {first.detail}')}",
        code=first.code,
        hint=_HINTS.get(first.code, _HINT),
        partial=partial,
    )


def _unread(error: Union[OpsError, OSError], attempt: str, partial: Mapping[str, Any]) -> OpsError:
    """Return the failure of a run that did its work, but could not look at what is there now."""
    if isinstance(error, OpsError):
        code, why = error.code, error.message.removeprefix(f"{attempt}: ")
    else:
        code, why = code_of(error), error.strerror or str(error)
    return OpsError(f"{attempt}: done, but not looked at again: {why}", code=code, hint=_HINT, partial=partial)
