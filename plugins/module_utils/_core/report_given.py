# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What other modules returned (KPIs, forecasts, backups), as a report shows it."""

from __future__ import annotations

from typing import Any, Iterable, Iterator, Mapping, Optional, Sequence, TypeVar

from .backup import Source
from .errors import InvalidValue
from .journal import FindingRow
from .number import number_of
from .redact import printable
from .report import SEVERITY, Backup, Forecast, History, Kpi
from .report_format import duration
from .result import OK, UNKNOWN
from .timestamps import parse_rfc3339

_NAME = 120
_Judged = TypeVar("_Judged", Backup, Forecast, Kpi)


def epoch(text: Any) -> Optional[float]:
    """Return the epoch seconds of an RFC 3339 moment with its zone; None for nothing or anything else.

    >>> epoch("1970-01-01T01:00:00+01:00"), epoch("1970-01-01T00:00:00Z"), epoch(None), epoch("soon")
    (0.0, 0.0, None, None)
    """
    moment = parse_rfc3339(text)
    return None if moment is None else moment.timestamp()


def verdict_of(value: Any) -> str:
    """Return a verdict; what is none is unknown."""
    return value if value in SEVERITY else UNKNOWN


def shown(value: Any, limit: int = 300) -> str:
    """Return a text from outside for one line of the report."""
    return printable(" ".join(str("" if value is None else value).split()), limit)


def mappings(raw: Any, option: str) -> list[Mapping[str, Any]]:
    """Return a list of mappings.

    Raises:
        InvalidValue: it is something else.
    """
    if not isinstance(raw, (list, tuple)) or not all(isinstance(one, Mapping) for one in raw):
        raise InvalidValue(f"{option} must be a list of mappings, not {shown(raw, 60)!r}")
    return list(raw)


def read_backups(results: Iterable[Mapping[str, Any]], option: str = "backups") -> tuple[Backup, ...]:
    """Return the sources of results of M(backup_catalog_info), the worst first.

    A result without sources, of a repository that could not be read, becomes one entry that says so.

    Raises:
        InvalidValue: it is no such result.
    """
    found: list[Backup] = []
    for index, result in enumerate(results):
        if "sources" not in result:
            raise InvalidValue(
                f"{option}[{index}] is no result of backup_catalog_info: it has no sources",
                hint="register the module's result and give it as it is",
            )
        findings = mappings(result.get("findings") or [], f"{option}[{index}].findings")
        sources = mappings(result["sources"], f"{option}[{index}].sources")
        found += [_backup(source, findings) for source in sources]
        if not sources:
            status = verdict_of(result.get("status"))
            status = UNKNOWN if status == OK else status
            found.append(Backup("repository", "", "", status, 0, msg=shown(result.get("msg"))))
    return tuple(sorted(found, key=lambda one: (-SEVERITY[one.status], one.host, one.source)))


def _backup(source: Mapping[str, Any], findings: list[Mapping[str, Any]]) -> Backup:
    label = Source(*(str(source.get(part, "")) for part in ("product", "host", "kind", "name"))).label()
    own = [one for one in findings if str(one.get("msg", "")).startswith(f"{label}: ")]
    bad = [one for one in own if verdict_of(one.get("status")) != OK]
    limits = {str(one.get("check")): number_of(one.get("critical")) for one in own}
    return Backup(
        source=shown(f"{source.get('product')} {source.get('name')}", _NAME),
        host=shown(source.get("host"), _NAME),
        kind=shown(source.get("kind"), _NAME),
        status=verdict_of(source.get("status")),
        copies=int(number_of(source.get("copies")) or 0),
        taken=epoch(source.get("newest_taken")),
        proven=epoch(source.get("proven_at")),
        copy_limit=limits.get("backup_age"),
        proof_limit=limits.get("proof_age"),
        msg=shown("; ".join(str(one.get("msg")).removeprefix(f"{label}: ") for one in bad)),
    )


def read_kpis(rows: Iterable[Mapping[str, Any]], option: str = "kpis") -> tuple[Kpi, ...]:
    """Return the KPIs of a result of M(kpi_evaluate), the worst first.

    Raises:
        InvalidValue: it is no such result.
    """
    found = []
    for index, row in enumerate(rows):
        if not {"name", "status", "value"} <= set(row):
            raise InvalidValue(f"{option}[{index}] is no KPI of a result of kpi_evaluate", hint="give its key kpis")
        found.append(_kpi(row))
    return worst_first(found)


def _kpi(row: Mapping[str, Any]) -> Kpi:
    objective = row.get("objective")
    objective = objective if isinstance(objective, Mapping) else {}
    title = shown(row.get("title") or row["name"], _NAME)
    window = number_of(objective.get("window_seconds"))
    return Kpi(
        name=shown(row["name"], _NAME),
        title=title,
        status=verdict_of(row["status"]),
        msg=shown(row.get("msg")).removeprefix(f"{title}: "),
        unit=shown(row.get("unit"), 40),
        value=number_of(row["value"]),
        warning=number_of(row.get("warning")),
        critical=number_of(row.get("critical")),
        lower_is_worse=row.get("direction") == "lower_is_worse",
        owner=shown(row.get("owner"), _NAME),
        runbook=shown(row.get("runbook")),
        window="" if window is None else duration(window),
        attainment=number_of(objective.get("attained")),
        objective=number_of(objective.get("target")),
        budget_left=number_of(objective.get("budget_left_percent")),
    )


def read_forecasts(rows: Iterable[Mapping[str, Any]], option: str = "forecasts") -> tuple[Forecast, ...]:
    """Return the forecasts of a result of M(capacity_forecast), the worst first, and of those the soonest.

    Raises:
        InvalidValue: it is no such result.
    """
    found = []
    for index, row in enumerate(rows):
        if not {"name", "status", "days_to_limit"} <= set(row):
            raise InvalidValue(
                f"{option}[{index}] is no forecast of a result of capacity_forecast", hint="give its key forecasts"
            )
        found.append(_forecast(row))
    return worst_first(sorted(found, key=lambda one: float("inf") if one.days is None else one.days))


def _forecast(row: Mapping[str, Any]) -> Forecast:
    reach, plot, labels = (row.get(key) for key in ("days_to_limit", "plot", "labels"))
    reach = reach if isinstance(reach, Mapping) else {}
    plot = plot if isinstance(plot, Mapping) else {}
    names = [row.get("title") or row["name"], *(labels.values() if isinstance(labels, Mapping) else ())]
    ahead = [_row(plot, key) for key in ("mean", "lower", "upper")]
    return Forecast(
        name=shown(" ".join(map(str, names)), _NAME),
        host=shown(row.get("host"), _NAME),
        status=verdict_of(row["status"]),
        msg=shown(row.get("msg")),
        unit=shown(row.get("unit"), 40),
        value=number_of(row.get("level")),
        limit=number_of(row.get("limit")),
        days=number_of(reach.get("expected")),
        days_low=number_of(reach.get("earliest")),
        days_high=number_of(reach.get("latest")),
        runbook=shown(row.get("runbook")),
        history=History(tuple(_dated(_row(plot, "dates"), _row(plot, "values")))),
        expected=tuple(
            (at, low, mean, high)
            for (at, mean), low, high in zip(_dated(_row(plot, "forecast_dates"), ahead[0]), ahead[1], ahead[2])
            if number_of(low) is not None and number_of(high) is not None
        ),
    )


def _row(plot: Mapping[str, Any], key: str) -> Sequence[Any]:
    found = plot.get(key)
    return found if isinstance(found, (list, tuple)) else ()


def _dated(dates: Sequence[Any], values: Sequence[Any]) -> Iterator[tuple[float, float]]:
    """Yield values with their moments: noon of their days."""
    for date, raw in zip(dates, values):
        at, value = epoch(f"{date}T12:00:00Z"), number_of(raw)
        if at is not None and value is not None:
            yield at, value


def kpi_of_finding(finding: FindingRow) -> Kpi:
    """Return what the journal knows of a KPI."""
    title = finding.check_name.replace("_", " ")
    return Kpi(
        finding.check_name,
        title,
        finding.status,
        finding.msg,
        finding.unit,
        value=finding.value,
        warning=finding.warning,
        critical=finding.critical,
        lower_is_worse=None not in (finding.warning, finding.critical)
        and (finding.critical or 0) < (finding.warning or 0),
    )


def worst_first(found: Iterable[_Judged]) -> tuple[_Judged, ...]:
    """Return things that have a status, the worst first, else in their order."""
    return tuple(sorted(found, key=lambda one: -SEVERITY[one.status]))
