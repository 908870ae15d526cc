# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What became of the plan: what the connections saw, the server's own counters, and the steps made of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping, Optional, Sequence

from .maintenance_facts import ServerFacts, TableFacts
from .maintenance_plan import Planned
from .result import DONE, FAILED, SKIPPED, Step
from .units import count_of, human_duration, human_size

Leaves = Mapping[tuple[str, int], Sequence[TableFacts]]

RAN, GIVEN_UP, BROKEN, CANCELLED, NOT_STARTED = "ran", "given_up", "broken", "cancelled", "not_started"

NO_TIME = "no_time_left"
STOPPED = "stopped"


@dataclass(frozen=True)
class Attempt:
    """What a connection saw of one table. ``notices`` are the server's, in its own language.

    ``companions``: how many other tables shared the statement; ``seconds`` is this table's share of its time.
    """

    status: str
    seconds: float = 0.0
    companions: int = 0
    notices: tuple[str, ...] = ()
    code: str = ""
    message: str = ""


@dataclass(frozen=True)
class Counters:
    """How often a table was vacuumed and analyzed by hand, as the server counts."""

    vacuum_count: int
    analyze_count: int


def is_counted(item: Planned, server: ServerFacts) -> bool:
    """Tell whether the server counts work on this table: 13 does not for a partitioned parent."""
    return server.track_counts and not (item.table.is_parent and server.major < 14)


def all_expected(
    items: Sequence[Planned], attempts: Mapping[str, Attempt], leaves: Leaves, server: ServerFacts
) -> dict[int, Counters]:
    """Return by oid the counters that prove the work of one database.

    ANALYZE of a parent goes on to its partitions, so that they bear witness for a parent that is not counted.
    """
    if not server.track_counts:
        return {}
    wanted = {i.table.oid: expected(i, attempts.get(i.id)) for i in items if is_counted(i, server)}
    for item in (item for item in items if not is_counted(item, server)):
        attempt = attempts.get(item.id)
        for leaf in witnesses(item, leaves) if attempt is not None and attempt.status == RAN else ():
            known = wanted.get(leaf.oid, Counters(leaf.vacuum_count, leaf.analyze_count))
            wanted[leaf.oid] = Counters(known.vacuum_count, known.analyze_count + 1)
    return wanted


def witnesses(item: Planned, leaves: Leaves) -> list[TableFacts]:
    """Return the partitions that ANALYZE of a parent analyzes too."""
    return [leaf for leaf in leaves.get((item.table.database, item.table.oid), ()) if leaf.may_maintain]


def parents_counters(
    items: Sequence[Planned],
    wanted: Mapping[int, Counters],
    found: Mapping[int, Counters],
    leaves: Leaves,
    server: ServerFacts,
) -> dict[int, Counters]:
    """Return what the partitions say about parents that are not counted themselves."""
    said = {}
    for item in (item for item in items if server.track_counts and not is_counted(item, server)):
        seen = [(wanted.get(leaf.oid), found.get(leaf.oid)) for leaf in witnesses(item, leaves)]
        if seen:
            moved = all(w and f and f.analyze_count >= w.analyze_count for w, f in seen)
            said[item.table.oid] = Counters(item.table.vacuum_count, item.table.analyze_count + moved)
    return said


def expected(item: Planned, attempt: Optional[Attempt]) -> Counters:
    """Return the counters that the table has when the attempt did what it should."""
    ran = attempt is not None and attempt.status == RAN
    return Counters(
        item.table.vacuum_count + (ran and item.need.vacuum), item.table.analyze_count + (ran and item.need.analyze)
    )


def is_proven(item: Planned, counters: Optional[Counters]) -> bool:
    """Tell whether the server's counters confirm that everything needed was done."""
    if counters is None:
        return False
    vacuumed = not item.need.vacuum or counters.vacuum_count > item.table.vacuum_count
    analyzed = not item.need.analyze or counters.analyze_count > item.table.analyze_count
    return vacuumed and analyzed


def is_half_proven(item: Planned, counters: Optional[Counters]) -> bool:
    """Tell whether the table was vacuumed, and not analyzed afterwards."""
    both = item.need.vacuum and item.need.analyze
    return both and counters is not None and counters.vacuum_count > item.table.vacuum_count


def step_of(
    item: Planned, attempt: Optional[Attempt], counters: Optional[Counters], after: Optional[TableFacts]
) -> Step:
    """Return the step of one planned table: done is what the counters prove.

    ``counters`` None: they cannot be read, or the server does not count; then the lack of any warning has to do.
    """
    if attempt is None:
        return Step(item.id, SKIPPED, 0.0, "not started")
    seconds = round(attempt.seconds, 3)
    if is_proven(item, counters):
        return Step(item.id, DONE, seconds, _done_detail(item, attempt, after))
    if attempt.status != RAN:
        return Step(item.id, FAILED if attempt.status == BROKEN else SKIPPED, seconds, attempt.message)
    if is_half_proven(item, counters):
        return Step(item.id, DONE, seconds, f"vacuumed, but not analyzed: {_said(attempt)}")
    if attempt.notices:
        return Step(item.id, SKIPPED, seconds, _said(attempt))
    if counters is not None:
        return Step(item.id, SKIPPED, seconds, "ended without a warning, but the server did not count it")
    return Step(item.id, DONE, seconds, "ended without a warning; the server's counters could not be asked")


def _said(attempt: Attempt) -> str:
    return "; ".join(attempt.notices[:3]) or "the server did not say why"


def _done_detail(item: Planned, attempt: Attempt, after: Optional[TableFacts]) -> str:
    parts = []
    if item.need.vacuum and after is not None and item.table.dead_rows:
        gone = max(item.table.dead_rows - after.dead_rows, 0)
        parts.append(f"{gone:,} of {item.table.dead_rows:,} dead rows removed")
    if item.need.freeze and after is not None and after.xid_age is not None:
        parts.append(f"oldest transaction is now {after.xid_age:,} old")
    if item.need.analyze:
        parts.append("analyzed")
    if attempt.companions:
        parts.append(f"in one statement with {count_of(attempt.companions, 'other')}")
    return ", ".join(parts)


def not_started(reason: str, seconds: float = 0.0, left: float = 0.0) -> Attempt:
    """Return the attempt that was never made: no time left (with the estimate), stopped, or what ended the run."""
    texts = {
        NO_TIME: f"not started: estimated {human_duration(seconds)}, {human_duration(max(left, 0))} left",
        STOPPED: "not started: the run was stopped",
    }
    return Attempt(NOT_STARTED, code=reason, message=texts.get(reason, "not started: the run ended early"))


def code_of(item: Planned, attempt: Optional[Attempt], step: Step, after: Optional[TableFacts]) -> str:
    """Return a stable word for why a step was not done, empty when it was.

    A warning of the server is in its own language, so the reason is told from what is true afterwards.
    """
    if step.status == DONE:
        return ""
    if attempt is None:
        return STOPPED
    if attempt.code:
        return attempt.code
    if after is not None and not after.may_maintain:
        return "insufficient_privilege"
    if not attempt.notices:
        return "not_confirmed"
    return "lock_timeout" if item.manner.skip_locked else "skipped_by_server"


def message(steps: Sequence[Step], planned: Sequence[Planned], codes: Mapping[str, str], freed: int) -> str:
    """Return the one line of a real run."""
    done = {step.id for step in steps if step.status == DONE}
    vacuumed = sum(1 for item in planned if item.id in done and item.need.vacuum)
    analyzed = sum(1 for item in planned if item.id in done and not item.need.vacuum)
    parts = [f"{count_of(vacuumed, 'table')} vacuumed"] if vacuumed else []
    parts += [f"{count_of(analyzed, 'table')} analyzed"] if analyzed else []
    for status, word in ((SKIPPED, "skipped"), (FAILED, "failed")):
        ids = [step.id for step in steps if step.status == status]
        if ids:
            why = ", ".join(sorted({codes.get(step_id, "") for step_id in ids} - {""}))
            parts.append(f"{len(ids)} {word}" + (f" ({why})" if why else ""))
    parts += [f"{human_size(freed)} given back"] if freed > 0 else []
    return ", ".join(parts) or "nothing was done"
