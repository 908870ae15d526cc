# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""postgresql_slow_log: options to a wish, and its fulfilment step by step."""

from __future__ import annotations

import uuid
from typing import Any, Mapping, Optional

from .._core.errors import InvalidValue, OpsError
from .._core.redact import printable
from .._core.result import DONE, FAILED, Action, Decision, Outcome, Step, partial_result
from .._core.slow_log import DATABASE, ROLE, SERVER, Marker
from .._core.slow_log_decide import LONGEST_SECONDS, TURN_ON, Facts, Noted, Place, Wish, decide, findings, result_of
from .._core.units import count_of, human_duration, parse_duration
from .._io.postgres import connect
from .._io.slow_log import SlowLog, ring
from .postgres import postgres_target
from .run import Operation, Task
from .spec import ArgumentSpec

_LARGEST_THRESHOLD_MS = 2**31 - 1


def slow_log_spec() -> ArgumentSpec:
    """Return the module's own options."""
    return ArgumentSpec(
        {
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "scope": {"type": "str", "choices": [SERVER, DATABASE, ROLE]},
            "role": {"type": "str"},
            "threshold": {"type": "str", "default": "250ms"},
            "duration": {"type": "str", "default": "15m"},
            "extend": {"type": "bool", "default": False},
        },
        required_if=(("scope", ROLE, ["role"]),),
    )


class PostgresSlowLog(Operation):
    """Turn slow-query logging on for a bounded time, or off."""

    def __init__(self, task: Task) -> None:
        self._clock = task.clock
        self._target = postgres_target(task.params, "postgresql_slow_log")
        wish = _wish(task.params)
        self._database = connect(self._target)
        self._work = SlowLog(self._target, self._database, self._clock)
        place = wish.place
        if place is not None and place.scope == DATABASE:
            place = Place(DATABASE, self._database.dbname)
        self._wish = Wish(wish.on, place, wish.threshold, wish.seconds, wish.extend)
        self._facts: Optional[Facts] = None

    def decide(self) -> Decision:
        """Read what is on and noted, and return what is to be done."""
        self._facts = self._work.read(self._wish.place, self._wish.on)
        return decide(self._facts, self._wish)

    def apply(self, decision: Decision) -> Outcome:
        """Carry out the plan under the lock, on what is true then."""
        steps: list[Step] = []
        with self._work.locked():
            for action in decision.plan:
                begun = self._clock.monotonic()
                try:
                    detail = self._carry_out(action)
                except OpsError as error:
                    steps.append(Step(action.id, FAILED, self._clock.monotonic() - begun, error.message))
                    error.partial = partial_result(decision, steps)
                    raise
                steps.append(Step(action.id, DONE, self._clock.monotonic() - begun, detail))
        return self._outcome(decision, steps)

    def _carry_out(self, action: Action) -> str:
        noted = {one.place.id: one for one in self._work.noted()}
        if action.action == TURN_ON and self._wish.place is not None:
            return self._turn_on(self._wish.place, noted.get(action.target))
        return self._work.turn_off(noted[action.target]) if action.target in noted else "somebody was faster"

    def _turn_on(self, place: Place, earlier: Optional[Noted]) -> str:
        facts = self._work.read(place, turn_on=True)
        kept = earlier is not None and facts.stored == str(earlier.marker.threshold)
        marker = Marker(
            scope=place.scope,
            name=place.name,
            threshold=self._wish.threshold,
            previous=earlier.marker.previous if earlier is not None and kept else facts.stored,
            since=facts.now,
            until=facts.now + self._wish.seconds,
            token=uuid.uuid4().hex,
        )
        guard = self._work.turn_on(place, marker, earlier.database if earlier else None)
        if earlier is not None:
            ring(earlier.marker)
        return f"the process {guard} on this host turns it off after {human_duration(self._wish.seconds)}"

    def _outcome(self, decision: Decision, steps: list[Step]) -> Outcome:
        facts = self._work.read(self._wish.place, self._wish.on)
        left = [one.marker.until for one in facts.noted]
        on = any(action.action == TURN_ON for action in decision.plan)
        off = count_of(sum(1 for action in decision.plan if action.action != TURN_ON), "place")
        place = self._wish.place
        where = f" of {printable(place.words, 80)}" if place else ""
        msg = f"slow-query logging turned off in {off}"
        if on:
            seconds = human_duration(self._wish.seconds)
            msg = f"slow-query logging{where} from {self._wish.threshold} ms on, turned off by itself in {seconds}"
        return Outcome(
            msg,
            tuple(steps),
            tuple(findings(facts, self._wish, on)),
            {"on": sorted(one.place.id for one in facts.noted)},
            result_of(left, self._wish, bool(left)),
        )

    def close(self) -> None:
        """Close the session."""
        self._database.close()


def _wish(params: Mapping[str, Any]) -> Wish:
    on = params["state"] == "present"
    threshold = parse_duration(params["threshold"], "threshold")
    seconds = parse_duration(params["duration"], "duration")
    if not 1 <= seconds <= LONGEST_SECONDS:
        raise InvalidValue(
            f"duration must be between 1 s and {human_duration(LONGEST_SECONDS)}, not {params['duration']}",
            hint="it is meant for a look; what should always be logged belongs into the server's configuration",
        )
    if threshold * 1000 > _LARGEST_THRESHOLD_MS:
        raise InvalidValue(f"threshold must be below 24 d, not {params['threshold']}")
    if params["role"] and params["scope"] != ROLE:
        raise InvalidValue("role is only for scope: role", hint="set scope: role")
    scope = params["scope"] or (SERVER if on else None)
    place = None if scope is None else Place(scope, params["role"] or "")
    return Wish(on, place, round(threshold * 1000), seconds, params["extend"])
