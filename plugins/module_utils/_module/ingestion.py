# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""ingestion_info: the sources of the inventory to queries and limits."""

from __future__ import annotations

from typing import Any, Mapping, Optional, Sequence

from .._core.errors import DatabaseFailed, InvalidValue, PreconditionFailed
from .._core.ingestion import DEFAULT_LIMITS, MEASURES, Source, Table, check_query
from .._core.ingestion_report import decide, unreachable
from .._core.limits import Limit, read_limits
from .._core.result import Decision
from .._core.units import parse_duration
from .._core.window import Window
from .._io.ingestion import Ask, read_sources
from .._io.window import zone
from .info import InfoOperation
from .postgres import postgres_target
from .ranges import positive_duration
from .run import Task
from .spec import ArgumentSpec
from .window import read_window

_TABLE_OPTIONS = ("time_column", "source_column", "source_value", "success_column", "success_values", "key_columns")


def ingestion_spec() -> ArgumentSpec:
    """Return the module's own options."""
    active = {
        "days": {"type": "list", "elements": "str", "default": ["daily"]},
        "start": {"type": "str", "required": True},
        "end": {"type": "str"},
        "duration": {"type": "str"},
        "timezone": {"type": "str"},
    }
    source = {
        "name": {"type": "str", "required": True},
        "queries": {"type": "dict", "default": {}, "options": {measure: {"type": "str"} for measure in MEASURES}},
        "schema": {"type": "str", "default": "public"},
        "table": {"type": "str"},
        "time_column": {"type": "str"},
        "source_column": {"type": "str"},
        "source_value": {"type": "str"},
        "success_column": {"type": "str"},
        "success_values": {"type": "list", "elements": "str"},
        "key_columns": {"type": "list", "elements": "str", "no_log": False},
        "timezone": {"type": "str", "default": "UTC"},
        "active": {"type": "list", "elements": "dict", "default": [], "options": active},
        "usual": {"type": "float"},
        "limits": {"type": "dict", "default": {}},
    }
    return ArgumentSpec(
        {
            "sources": {"type": "list", "elements": "dict", "required": True, "options": source},
            "window": {"type": "str", "default": "1h"},
            "limits": {"type": "dict", "default": {}},
            "max_clock_skew": {"type": "str", "default": "1m"},
            "timeout": {"type": "str", "default": "60s"},
        }
    )


class IngestionInfo(InfoOperation):
    """Look at what each source delivered."""

    def __init__(self, task: Task) -> None:
        params = task.params
        limits = read_limits(params["limits"], DEFAULT_LIMITS)
        self._sources = tuple(_source(raw, f"sources[{at}]", limits) for at, raw in enumerate(params["sources"]))
        _check_names(self._sources)
        self._ask = Ask(positive_duration(params, "window"), positive_duration(params, "timeout"))
        self._max_skew = parse_duration(params["max_clock_skew"], "max_clock_skew")
        self._target = postgres_target(params, "ingestion_info")
        self._clock = task.clock

    def decide(self) -> Decision:
        """Read every source in one connection; a database that does not answer is a reading too."""
        try:
            facts = read_sources(self._target, self._sources, self._ask, self._clock)
        except (DatabaseFailed, PreconditionFailed) as error:
            return unreachable(self._sources, error.words())
        return decide(facts, self._max_skew)


def _check_names(sources: Sequence[Source]) -> None:
    if not sources:
        raise InvalidValue("sources is empty: there is nothing to look at")
    names = [source.name for source in sources]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidValue(f"sources names {', '.join(twice)} twice", hint="each source needs a name of its own")


def _source(raw: Mapping[str, Any], place: str, limits: Mapping[str, Optional[Limit]]) -> Source:
    if not raw["name"].strip() or not raw["name"].isprintable() or len(raw["name"]) > 60:
        raise InvalidValue(f"{place}.name must be one line of at most 60 characters, not {raw['name']!r}")
    usual = raw["usual"]
    if usual is not None and not 0 < usual < float("inf"):
        raise InvalidValue(f"{place}.usual must be more than 0 events per hour, not {usual:g}", hint="leave it out")
    queries = {name: text for name, text in (raw["queries"] or {}).items() if text is not None}
    if not queries and raw["table"] is None:
        raise InvalidValue(f"{place} has neither queries nor a table", hint="give one of them")
    return Source(
        name=raw["name"],
        zone_name=raw["timezone"],
        zone=_zone(raw["timezone"], place),
        queries={name: check_query(text, f"{place}.queries.{name}") for name, text in queries.items()},
        table=_table(raw, place),
        active=_active(raw, place),
        usual=usual,
        limits=_limits(raw["limits"], limits, f"{place}.limits"),
    )


def _zone(name: str, place: str) -> Any:
    try:
        return zone(name)
    except InvalidValue as error:
        raise InvalidValue(f"{place}.{error.message}", hint=error.hint) from error


def _table(raw: Mapping[str, Any], place: str) -> Optional[Table]:
    given = [option for option in _TABLE_OPTIONS if raw[option] is not None]
    if raw["table"] is None:
        if given:
            raise InvalidValue(f"{place}.{given[0]} is about a table, and {place}.table is not given")
        return None
    if not raw["time_column"]:
        raise InvalidValue(f"{place}.time_column is missing: it says when an event of the table happened")
    for option, needs in (("source_value", "source_column"), ("success_values", "success_column")):
        if raw[option] is not None and raw[needs] is None:
            raise InvalidValue(f"{place}.{option} is given without {place}.{needs}")
    values = raw["success_values"]
    return Table(
        schema=raw["schema"],
        name=raw["table"],
        time_column=raw["time_column"],
        source_column=raw["source_column"],
        source_value=raw["name"] if raw["source_value"] is None else raw["source_value"],
        success_column=raw["success_column"],
        success_values=("true",) if values is None else tuple(values),
        key_columns=tuple(raw["key_columns"] or ()),
    )


def _active(raw: Mapping[str, Any], place: str) -> tuple[Window, ...]:
    windows = []
    for number, one in enumerate(raw["active"]):
        option = f"{place}.active"
        complete = {**one, "name": f"{option}[{number}]", "scope": (), "timezone": one["timezone"] or raw["timezone"]}
        _zone(complete["timezone"], f"{option}[{number}]")
        windows.append(read_window(complete, number, option))
    return tuple(windows)


def _limits(raw: Mapping[str, Any], general: Mapping[str, Optional[Limit]], option: str) -> dict[str, Optional[Limit]]:
    """Return the limits of one source: its own, else the module's; what is switched off stays so unless it is named."""
    defaults = {check: limit or DEFAULT_LIMITS[check] for check, limit in general.items()}
    own = read_limits(raw, defaults, option)
    return {check: limit if general[check] or check in raw else None for check, limit in own.items()}
