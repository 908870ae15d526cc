# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Decide what is to be done about the sessions of a server, and tell what was done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping, Optional

from .errors import PreconditionFailed
from .result import DONE, FAILED, SKIPPED, UNKNOWN, Decision, Finding, Outcome, Step, render_decision
from .sessions import Activity
from .sessions_choice import PLANNED, Choice, choose, limited, planned
from .sessions_policy import REFUSE, Policy
from .sessions_report import Limits, decision_line, findings_of, matching, outcome_line, session_row

TERMINATED, CANCELLED, LEFT, NOT_ALLOWED = "terminated", "cancelled", "skipped", "not_permitted"
STILL_RUNNING, STILL_THERE, UNVERIFIED = "still_running", "still_there", "unverified"
_STATUS = {
    **dict.fromkeys((TERMINATED, CANCELLED), DONE),
    **dict.fromkeys((LEFT, NOT_ALLOWED), SKIPPED),
    **dict.fromkeys((STILL_RUNNING, STILL_THERE, UNVERIFIED), FAILED),
}
_UNREAD = Finding("sessions", UNKNOWN, "the sessions could not be read again after the run")


@dataclass(frozen=True)
class Ending:
    """What became of one planned session, and how long that took."""

    choice: Choice
    outcome: str
    detail: str
    duration_seconds: float

    @property
    def step(self) -> Step:
        """Return the step of the result."""
        return Step(self.choice.id, _STATUS[self.outcome], round(self.duration_seconds, 3), self.detail)


def decide(activity: Activity, policy: Policy, limits: Limits) -> tuple[Decision, tuple[Choice, ...]]:
    """Return the decision, and the choices that it was made from: the planned ones are those of the plan, in order.

    Raises:
        PreconditionFailed: more sessions than the policy's ceilings allow (code ``blast_cap_exceeded``).
    """
    choices = choose(activity, policy)
    cap, wanted = policy.cap(activity.max_connections), len(planned(choices))
    if wanted > cap and policy.on_excess == REFUSE:
        raise _too_many(activity, choices, policy, limits)
    choices = limited(choices, cap, f"one run ends at most {cap}")
    return _decision(activity, choices, policy, limits), choices


def _decision(activity: Activity, choices: tuple[Choice, ...], policy: Policy, limits: Limits) -> Decision:
    return Decision(
        msg=decision_line(choices),
        plan=tuple(choice.action() for choice in planned(choices)),
        findings=findings_of(activity, choices, policy, limits),
        before=matching(choices, policy),
        after=matching(choices, policy, without=[PLANNED]),
        extra={"sessions": [session_row(choice) for choice in choices]},
    )


def _too_many(activity: Activity, choices: tuple[Choice, ...], policy: Policy, limits: Limits) -> PreconditionFailed:
    cap, wanted = policy.cap(activity.max_connections), len(planned(choices))
    left_alone = limited(choices, 0, f"nothing was done: {wanted} are more than the {cap} that one run may end")
    return PreconditionFailed(
        f"end sessions: the rules match {wanted} sessions, one run may end {cap} (max_sessions {policy.max_sessions}, "
        f"max_share {policy.max_share:g} of {activity.max_connections} connections); nothing was done",
        code="blast_cap_exceeded",
        hint="look at sessions: narrow the rules, raise the ceiling on purpose, or set on_excess: limit",
        details={"sessions": wanted, "cap": cap, "max_connections": activity.max_connections},
        partial=render_decision(_decision(activity, left_alone, policy, limits)),
    )


def outcome_of(
    choices: tuple[Choice, ...],
    endings: tuple[Ending, ...],
    policy: Policy,
    limits: Limits,
    activity: Optional[Activity],
) -> Outcome:
    """Return what a run brought about; ``activity`` is what was read afterwards, None when that was not possible."""
    now_matching = choose(activity, policy) if activity else ()
    by_id = {ending.choice.id: ending for ending in endings}
    return Outcome(
        msg=outcome_line([ending.outcome for ending in endings], choices_left_alone(choices)),
        steps=tuple(ending.step for ending in endings),
        findings=findings_of(activity, now_matching, policy, limits) if activity else (_UNREAD,),
        after=matching(now_matching, policy) if activity else {},
        extra={"sessions": [_row(choice, by_id) for choice in choices]},
    )


def choices_left_alone(choices: tuple[Choice, ...]) -> tuple[Choice, ...]:
    """Return the choices that are not in the plan."""
    return tuple(choice for choice in choices if choice.verdict != PLANNED)


def _row(choice: Choice, endings: Mapping[str, Ending]) -> dict[str, Any]:
    ending = endings.get(choice.id) if choice.verdict == PLANNED else None
    return session_row(choice) if ending is None else session_row(choice, ending.outcome, ending.detail)
