# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Rows of the journal as a table for people: times in UTC, the sentence last."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, Callable, Mapping, Optional, Sequence

from .units import count_of, human_duration, human_size

Column = tuple[str, Callable[[Mapping[str, Any]], str]]
_SHORTEST_LAST = 20


def table_lines(query: str, rows: Sequence[Mapping[str, Any]], width: Optional[int] = None) -> list[str]:
    """Return a table with its heading; the last column is cut where ``width`` (in characters) is given."""
    columns = COLUMNS[query]
    if not rows:
        return [f"no {query.replace('_', ' ')}"]
    cells = [
        [heading.upper() for heading, _text in columns],
        *([text(row) for _heading, text in columns] for row in rows),
    ]
    widths = [max(len(line[number]) for line in cells) for number in range(len(columns) - 1)]
    lines = []
    for line in cells:
        start = "  ".join(cell.ljust(size) for cell, size in zip(line, widths))
        room = max(width - len(start) - 2, _SHORTEST_LAST) if width else len(line[-1])
        last = line[-1] if len(line[-1]) <= room else line[-1][: room - 1] + "…"
        lines.append(f"{start}  {last}".rstrip())
    return lines


def moment(at: Optional[float]) -> str:
    """Return a time to the minute, in UTC.

    >>> moment(1795271780.5), moment(None)
    ('2026-11-21 14:36', '')
    """
    return "" if at is None else datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%d %H:%M")


def reading(value: Optional[float], unit: str) -> str:
    """Return a reading with its unit.

    >>> reading(2048, "bytes"), reading(90, "s"), reading(31.456, "%"), reading(4, "count"), reading(None, "s")
    ('2.0 kB', '1 min 30 s', '31.5 %', '4', '')
    """
    if value is None:
        return ""
    if unit == "bytes":
        return human_size(value)
    if unit in ("s", "seconds"):
        return human_duration(value) if value >= 1 else f"{value * 1000:.0f} ms"
    shown = f"{value:.0f}" if value == round(value) else f"{value:.1f}"
    return shown if unit in ("count", "") else f"{shown} {'%' if unit == 'percent' else unit}"


def _plain(name: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda row: str("" if row[name] is None else row[name])


def _moment(name: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda row: moment(row[name])


def _took(row: Mapping[str, Any]) -> str:
    return "" if row["ended_at"] is None else human_duration(max(row["ended_at"] - row["started_at"], 0))


def _value(row: Mapping[str, Any]) -> str:
    return reading(row["value"], row["unit"]) or row["value_text"]


def _mode(row: Mapping[str, Any]) -> str:
    return f"{row['status']} (check mode)" if row["check_mode"] else str(row["status"])


def _measured(name: str) -> Callable[[Mapping[str, Any]], str]:
    def text(row: Mapping[str, Any]) -> str:
        actual, target = row[f"{name}_seconds"], row[f"{name}_target_seconds"]
        promised = "" if target is None else f" of {human_duration(target)}"
        return "not measured" + promised if actual is None else human_duration(actual) + promised

    return text


def _labels(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in row["labels"].items())


def _of_samples(choose: Callable[[list[float]], float]) -> Callable[[Mapping[str, Any]], str]:
    return lambda row: reading(choose([one["value"] for one in row["samples"]]), row["unit"]) if row["samples"] else ""


def _of_days(name: str, choose: Callable[[list[float]], float]) -> Callable[[Mapping[str, Any]], str]:
    return lambda row: reading(choose([one[name] for one in row["days"]]), row["unit"]) if row["days"] else ""


def _newest(values: list[float]) -> float:
    return values[-1]


def _ended(name: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda row: moment(row[name]["started_at"]) if row[name] else "never"


COLUMNS: Mapping[str, tuple[Column, ...]] = {
    "runs": (
        ("began", _moment("started_at")),
        ("took", _took),
        ("runbook", _plain("runbook")),
        ("verdict", _mode),
        ("by", _plain("operator")),
        ("hosts", _plain("hosts")),
        ("changes", _plain("changed")),
        ("what", _plain("msg")),
    ),
    "last_runs": (
        ("runbook", _plain("runbook")),
        ("newest", _ended("newest")),
        ("verdict", lambda row: str(row["newest"]["status"])),
        ("last to its end", _ended("completed")),
        ("last good", _ended("good")),
        ("what", lambda row: str(row["newest"]["msg"])),
    ),
    "steps": (
        ("at", _moment("at")),
        ("host", _plain("host")),
        ("step", _plain("step")),
        ("action", _plain("action")),
        ("target", _plain("target")),
        ("status", _plain("status")),
        ("took", lambda row: human_duration(row["duration_seconds"])),
        ("detail", lambda row: f"{row['code']}: {row['detail']}" if row["code"] else str(row["detail"])),
    ),
    "findings": (
        ("at", _moment("at")),
        ("host", _plain("host")),
        ("area", _plain("area")),
        ("check", _plain("check_name")),
        ("status", _plain("status")),
        ("value", _value),
        ("what", _plain("msg")),
    ),
    "samples": (
        ("metric", _plain("metric")),
        ("host", _plain("host")),
        ("labels", _labels),
        ("readings", lambda row: str(len(row["samples"]))),
        ("from", lambda row: moment(row["samples"][0]["at"]) if row["samples"] else ""),
        ("newest", _of_samples(_newest)),
        ("lowest", _of_samples(min)),
        ("highest", _of_samples(max)),
    ),
    "days": (
        ("metric", _plain("metric")),
        ("host", _plain("host")),
        ("labels", _labels),
        ("days", lambda row: str(len(row["days"]))),
        ("from", lambda row: moment(row["days"][0]["day"] * 86400)[:10] if row["days"] else ""),
        ("newest", _of_days("last", _newest)),
        ("lowest", _of_days("minimum", min)),
        ("highest", _of_days("maximum", max)),
    ),
    "drills": (
        ("began", _moment("started_at")),
        ("drill", _plain("name")),
        ("status", _plain("status")),
        ("recovery", _measured("rto")),
        ("loss", _measured("rpo")),
        ("detail", _plain("detail")),
    ),
    "incidents": (
        ("incident", _plain("id")),
        ("severity", _plain("severity")),
        ("status", _plain("status")),
        ("detected", _moment("detected_at")),
        ("acknowledged", _moment("acknowledged_at")),
        ("mitigated", _moment("mitigated_at")),
        ("resolved", _moment("resolved_at")),
        ("timeline", lambda row: count_of(len(row["events"]), "line")),
        ("title", _plain("title")),
    ),
    "states": (
        ("host", _plain("host")),
        ("name", _plain("name")),
        ("at", _moment("at")),
        ("value", _plain("value")),
    ),
}
COLUMNS = {**COLUMNS, "latest_findings": COLUMNS["findings"]}
