# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""End sessions by rules: options to policy, policy and facts to a plan, the plan to work."""

from __future__ import annotations

from typing import Any, Mapping

from .._core.errors import DatabaseFailed, VerificationFailed
from .._core.result import FAILED, Decision, Outcome, render_outcome
from .._core.sessions import Activity
from .._core.sessions_choice import Choice, planned
from .._core.sessions_decide import Ending, decide, outcome_of
from .._core.sessions_policy import ACTIONS, LIMIT, MATCHES, OBSERVE, REFUSE, parse_policy
from .._core.sessions_report import Limits
from .._core.units import count_of, parse_duration
from .._io.postgres import advisory_lock, connect, require_unlocked
from .._io.sessions import ServerSessions
from .._io.sessions_ladder import Ladder
from .postgres import postgres_target
from .run import Operation, Task
from .spec import ArgumentSpec

LOCK = "postgresql_sessions"
_NAMES = {"type": "list", "elements": "str"}
_RULE = {
    "name": {"type": "str", "required": True},
    "match": {"type": "str", "required": True, "choices": list(MATCHES)},
    "older_than": {"type": "str", "required": True},
    "action": {"type": "str", "choices": list(ACTIONS), "default": OBSERVE},
    "roles": _NAMES,
    "exclude_roles": _NAMES,
    "databases": _NAMES,
    "exclude_databases": _NAMES,
    "applications": _NAMES,
    "exclude_applications": _NAMES,
    "clients": _NAMES,
    "exclude_clients": _NAMES,
}


def sessions_spec() -> ArgumentSpec:
    """Return the module's own options."""
    return ArgumentSpec(
        {
            "rules": {"type": "list", "elements": "dict", "required": True, "options": _RULE},
            "protect_roles": {**_NAMES, "default": []},
            "protect_applications": {**_NAMES, "default": []},
            "include_superusers": {"type": "bool", "default": False},
            "max_sessions": {"type": "int", "default": 10},
            "max_share": {"type": "float", "default": 0.25},
            "on_excess": {"type": "str", "choices": [REFUSE, LIMIT], "default": REFUSE},
            "grace": {"type": "str", "default": "10s"},
            "terminate_timeout": {"type": "str", "default": "30s"},
            "connections_warning": {"type": "float", "default": 80},
            "connections_critical": {"type": "float", "default": 95},
            "transaction_warning": {"type": "str", "default": "1h"},
            "transaction_critical": {"type": "str", "default": "1d"},
            "wait_warning": {"type": "str", "default": "1s"},
            "wait_critical": {"type": "str", "default": "1m"},
        }
    )


class Sessions(Operation):
    """The operation of postgresql_sessions."""

    def __init__(self, task: Task) -> None:
        self._clock = task.clock
        self._policy = parse_policy(task.params)
        self._limits = _limits(task.params)
        self._database = connect(postgres_target(task.params, LOCK))
        self._port = ServerSessions(self._database)
        self._activity: Activity
        self._choices: tuple[Choice, ...] = ()

    def decide(self) -> Decision:
        """Read all sessions at one moment and return which are to be ended.

        Raises:
            LockBusy: another run is at work, and there is something to do.
            PreconditionFailed: the rules match more sessions than one run may end.
        """
        self._activity = self._port.read()
        decision, self._choices = decide(self._activity, self._policy, self._limits)
        if decision.plan:
            require_unlocked(self._database, LOCK)
        return decision

    def apply(self, decision: Decision) -> Outcome:
        """End the planned sessions, verify each, and read again who is there.

        Raises:
            LockBusy: another run is at work; nothing was done.
            DatabaseFailed: the server was lost; what was done until then is in ``partial``.
            VerificationFailed: a session did not react; all that was done is in ``partial``.
        """
        ladder = Ladder(self._port, self._clock, self._policy, self._activity.rights)
        try:
            with advisory_lock(self._database, LOCK):
                ladder.climb(planned(self._choices))
                outcome = self._outcome(ladder.endings(), self._port.read())
        except DatabaseFailed as error:
            error.partial = render_outcome(decision, self._outcome(ladder.endings(), None))
            raise
        _refuse_false_success(decision, outcome)
        return outcome

    def close(self) -> None:
        """Close the session of our own."""
        self._database.close()

    def _outcome(self, endings: tuple[Ending, ...], activity: Any) -> Outcome:
        return outcome_of(self._choices, endings, self._policy, self._limits, activity)


def _limits(params: Mapping[str, Any]) -> Limits:
    seconds = ("transaction_warning", "transaction_critical", "wait_warning", "wait_critical")
    return Limits(
        connections_warning=params["connections_warning"],
        connections_critical=params["connections_critical"],
        **{name: parse_duration(params[name], name) for name in seconds},
    )


def _refuse_false_success(decision: Decision, outcome: Outcome) -> None:
    """Fail when a session is still what it was.

    Raises:
        VerificationFailed: with the whole result in ``partial``.
    """
    left = [step for step in outcome.steps if step.status == FAILED]
    if left:
        raise VerificationFailed(
            f"end sessions: {count_of(len(left), 'session')} did not react: "
            + ", ".join(f"{step.id} ({step.detail})" for step in left[:5]),
            hint="a process that waits for the disk or the network reacts late: look again, then at the server's host",
            partial=render_outcome(decision, outcome),
        )
