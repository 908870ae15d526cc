# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""log_errors_info: sources, limits and the state of the last run; the state file is the one thing that it may write."""

from __future__ import annotations

from typing import Any, Mapping, Optional, Sequence

from .._core.errors import CommandFailed, InvalidValue
from .._core.limits import read_limits
from .._core.log_errors import (
    DEFAULT_LIMITS,
    Compared,
    Policy,
    compare_groups,
    group_row,
    judge,
    learn,
    samples_of,
    source_row,
)
from .._core.log_lines import ACCESS, AUTO, FORMATS, JSON
from .._core.log_state import BadState, State, parse_state, render_state
from .._core.number import parse_number
from .._core.result import DONE, FAILED, UNKNOWN, Action, Decision, Finding, Outcome, Step, partial_result
from .._core.samples import LOGS, render_samples
from .._core.units import parse_size, rfc3339
from .._core.verdict import headline
from .._io.log_sources import Ask, Harvest, LogReader, LogSource
from .._io.log_state import load_state, save_state
from .._io.window import zone
from .ranges import positive_duration
from .run import Operation, Task
from .spec import ArgumentSpec

_SAVE = "state:save"


def log_errors_spec() -> ArgumentSpec:
    """Return the module's options."""
    source = {
        "name": {"type": "str", "required": True},
        "paths": {"type": "list", "elements": "str", "default": []},
        "journal": {"type": "bool", "default": False},
        "journal_units": {"type": "list", "elements": "str", "default": []},
        "journal_directory": {"type": "path"},
        "format": {"type": "str", "choices": list(FORMATS), "default": AUTO},
        "timezone": {"type": "str"},
        "level_field": {"type": "str", "default": ""},
        "message_field": {"type": "str", "default": ""},
        "time_field": {"type": "str", "default": ""},
        "ignore": {"type": "list", "elements": "str", "default": []},
    }
    return ArgumentSpec(
        {
            "sources": {"type": "list", "elements": "dict", "required": True, "options": source},
            "previous": {"type": "dict", "default": {}},
            "state_file": {"type": "path"},
            "since": {"type": "str", "default": "24h"},
            "max_bytes": {"type": "str", "default": "512MB"},
            "max_entries": {"type": "int", "default": 50000},
            "timeout": {"type": "str", "default": "60s"},
            "limits": {"type": "dict", "default": {}},
            "usual": {"type": "dict", "default": {}},
            "minimum_runs": {"type": "int", "default": 3},
            "minimum_count": {"type": "int", "default": 5},
            "minimum_requests": {"type": "int", "default": 100},
            "top": {"type": "int", "default": 20},
        }
    )


class LogErrors(Operation):
    """Read what is new in the logs, compare it with what is usual, and remember both."""

    def __init__(self, task: Task) -> None:
        params = task.params
        self._task = task
        self._sources = read_log_sources(params["sources"])
        self._policy = Policy(
            limits=read_limits(params["limits"], DEFAULT_LIMITS),
            minimum_runs=_least(params, "minimum_runs"),
            minimum_count=_least(params, "minimum_count"),
            minimum_requests=_least(params, "minimum_requests"),
            top=_least(params, "top", 0),
        )
        self._ask = Ask(
            max_bytes=parse_size(params["max_bytes"], "max_bytes"),
            max_entries=_least(params, "max_entries"),
            timeout=positive_duration(params, "timeout"),
            since=positive_duration(params, "since"),
            minimum_requests=self._policy.minimum_requests,
            usual=_usual(params["usual"]),
        )
        self._state_file: Optional[str] = params["state_file"]
        if self._state_file and params["previous"]:
            raise InvalidValue("previous and state_file are both given", hint="the state comes from one of them")
        self._previous = self._given_state(params["previous"])

    def decide(self) -> Decision:
        """Read and judge; with a state file the plan is to save how far that was."""
        state, findings = self._previous, []
        if self._state_file:
            try:
                state = parse_state(load_state(self._state_file))
            except BadState as error:
                findings.append(Finding("state", UNKNOWN, f"{error}: everything is read as for the first time"))
        now = self._task.clock.now()
        harvest = LogReader(state, self._ask, self._task.clock, self._task.commands).read(self._sources)
        memories = {facts.name: learn(facts) for facts in harvest.facts}
        after = render_state(State(now, harvest.files, harvest.cursors, memories))
        return self._decision(harvest, findings, state, after)

    def apply(self, decision: Decision) -> Outcome:
        """Save the state."""
        started = self._task.clock.monotonic()
        if self._state_file:
            self._save(self._state_file, decision)
        step = Step(_SAVE, DONE, round(self._task.clock.monotonic() - started, 3), "saved")
        return Outcome(decision.msg, (step,), decision.findings, after=decision.after)

    def _save(self, path: str, decision: Decision) -> None:
        try:
            save_state(path, decision.extra["state"])
        except CommandFailed as error:
            error.partial = partial_result(decision, [Step(_SAVE, FAILED, 0.0, error.message)])
            raise

    def _given_state(self, raw: Any) -> State:
        try:
            return parse_state(raw)
        except BadState as error:
            raise InvalidValue(f"previous: {error}", hint="give the state that the last run returned") from error

    def _decision(self, harvest: Harvest, findings: list[Finding], state: State, after: Mapping[str, Any]) -> Decision:
        rows, samples, groups = [], [], []
        for facts in harvest.facts:
            compared = compare_groups(facts, self._policy)
            found = judge(facts, compared, self._policy)
            findings += found
            samples += samples_of(facts, compared)
            rows.append(source_row(facts, found))
            groups += compared
        extra = {
            "area": LOGS,
            "samples": render_samples(samples),
            "sources": rows,
            "groups": [group_row(row) for row in _top(groups, self._policy.top)],
            "state": after,
        }
        if not self._state_file:
            return Decision(headline(findings), findings=tuple(findings), extra=extra)
        before = {"read_until": None if state.at is None else rfc3339(state.at)}
        action = Action(_SAVE, "save_state", self._state_file, "the next run goes on from here")
        return Decision(headline(findings), (action,), tuple(findings), before, {"read_until": after["at"]}, extra)


def _top(groups: Sequence[Compared], most: int) -> list[Compared]:
    def rank(row: Compared) -> tuple[bool, int]:
        return (not (row.comparison and row.comparison.unusual), -row.group.count)

    return sorted(groups, key=rank)[:most]


def read_log_sources(raw: Sequence[Mapping[str, Any]]) -> tuple[LogSource, ...]:
    """Return the sources of the inventory.

    Raises:
        InvalidValue: one cannot be read, or means nothing; the message names it.
    """
    if not raw:
        raise InvalidValue("sources is empty: there is nothing to read")
    sources = tuple(_source(one, f"sources[{number}]") for number, one in enumerate(raw))
    names = [source.name for source in sources]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidValue(f"sources names {', '.join(twice)} twice", hint="each source needs a name of its own")
    return sources


def _source(raw: Mapping[str, Any], place: str) -> LogSource:
    name = raw["name"]
    if not name.strip() or not name.isprintable() or len(name) > 60 or "|" in name:
        raise InvalidValue(f"{place}.name must be one line of at most 60 characters without |, not {name!r}")
    relative = [path for path in raw["paths"] if not path.startswith("/") or "\0" in path]
    if relative:
        raise InvalidValue(f"{place}.paths must be absolute, not {relative[0]!r}")
    journal = raw["journal"] or bool(raw["journal_units"])
    if not raw["paths"] and not journal:
        raise InvalidValue(f"{place} has neither paths nor journal_units", hint="give one of them")
    if raw["journal_directory"] and not journal:
        raise InvalidValue(f"{place}.journal_directory is given without journal or journal_units")
    odd = [unit for unit in raw["journal_units"] if not unit.strip() or not unit.isprintable()]
    if odd or "" in raw["ignore"]:
        raise InvalidValue(f"{place}.{'journal_units' if odd else 'ignore'} holds an empty text")
    fields = [option for option in ("level_field", "message_field", "time_field") if raw[option]]
    if fields and raw["format"] not in (AUTO, JSON):
        raise InvalidValue(f"{place}.{fields[0]} is for JSON, and {place}.format is {raw['format']}")
    if raw["format"] == ACCESS and not raw["paths"]:
        raise InvalidValue(f"{place}.format is {ACCESS}, which is read from paths only")
    return LogSource(
        name=name,
        paths=tuple(raw["paths"]),
        journal=journal,
        units=tuple(raw["journal_units"]),
        directory=raw["journal_directory"],
        form=raw["format"],
        zone=None if raw["timezone"] is None else _zone(raw["timezone"], place),
        level_field=raw["level_field"],
        message_field=raw["message_field"],
        time_field=raw["time_field"],
        ignore=tuple(raw["ignore"]),
    )


def _zone(name: str, place: str) -> Any:
    try:
        return zone(name)
    except InvalidValue as error:
        raise InvalidValue(f"{place}.{error.message}", hint=error.hint) from error


def _least(params: Mapping[str, Any], option: str, least: int = 1) -> int:
    number = int(params[option])
    if number < least:
        raise InvalidValue(f"{option} must be at least {least}, not {number}")
    return number


def _usual(raw: Mapping[str, Any]) -> dict[str, float]:
    usual = {}
    for key, value in raw.items():
        number = parse_number(value)
        if number is None or number < 0:
            raise InvalidValue(f"usual[{key!r}] must be a number of errors per hour, not {value!r}")
        usual[str(key)] = number
    return usual
