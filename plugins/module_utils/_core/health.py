# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""The areas of a host or product put together: one verdict for each, the worst first."""

from __future__ import annotations

from typing import Any, Iterable, Mapping, Optional, Sequence

from .errors import InvalidValue
from .result import CRITICAL, OK, UNKNOWN, WARNING, Decision, Finding, worst
from .samples import APIS, AVAILABILITY, BACKUPS, DATABASE, HOST, INGESTION, LOGS, REDIS, SECURITY
from .units import count_of

_ORDER = (CRITICAL, WARNING, UNKNOWN, OK)
_FAILING = {
    "never": frozenset[str](),
    "critical": frozenset({CRITICAL}),
    "warning": frozenset({CRITICAL, WARNING}),
    "unknown": frozenset({CRITICAL, WARNING, UNKNOWN}),
}
# What the last run left, and is given back as ``previous``.
_PREVIOUS = {DATABASE: "counters", HOST: "counters", REDIS: "counters", APIS: "breakers", LOGS: "state"}
# Nothing is there to look at before the inventory says what.
_NEED_OPTIONS = frozenset({AVAILABILITY, INGESTION, APIS, LOGS})
_NEED_LOGIN = frozenset({BACKUPS})
_OF_HOSTS = (HOST, LOGS, SECURITY, DATABASE, INGESTION, REDIS)
_OF_EVERY_HOST = (HOST, LOGS, SECURITY)
_OF_GROUP = {"database": (DATABASE, INGESTION), "cache": (REDIS,)}


def combine(results: Mapping[str, Mapping[str, Any]]) -> Decision:
    """Return what all areas say together; each result is the one that its own module would have given.

    The findings of all areas are in the order of the areas; ``areas`` keeps them apart.
    """
    told = {area: _told_readable(area, result) for area, result in results.items()}
    findings = tuple(Finding(**one) for result in told.values() for one in result["findings"])
    return Decision(areas_headline(told), findings=findings, extra={"areas": told})


def _told_readable(area: str, result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result that says of itself that the area could be looked at: else an earlier ``unread`` stays newest."""
    if any(one["check"] == _readable(area) for one in result["findings"]):
        return dict(result)
    fine = Finding(_readable(area), OK, f"{area} could be looked at")
    return {**result, "findings": [*result["findings"], dict(vars(fine))]}


def _readable(area: str) -> str:
    return f"{area}_readable"


def areas_headline(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return one line: what the worst areas say, and how the others are.

    >>> areas_headline({"host": {"status": "ok", "msg": "all well"}, "database": {"status": "critical", "msg": "full"}})
    'database: full; 1 area ok'
    """
    by_status = {status: [name for name in results if results[name]["status"] == status] for status in _ORDER}
    worst = next((status for status in _ORDER if by_status[status]), OK)
    if worst == OK:
        return f"{_areas(results)} ok" if results else "nothing was looked at"
    named = "; ".join(f"{name}: {results[name]['msg']}" for name in by_status[worst])
    others = [f"{_areas(by_status[status])} {status}" for status in _ORDER if status != worst and by_status[status]]
    return "; ".join([named, *others])


def _areas(names: Sequence[str] | Mapping[str, Any]) -> str:
    return count_of(len(names), "area")


def unread(area: str, code: str, msg: str, hint: str) -> Decision:
    """Return what is said of an area that could not be looked at as a whole."""
    words = f"{msg} ({hint})" if hint else msg
    finding = Finding(_readable(area), UNKNOWN, words)
    return Decision(words, findings=(finding,), extra={"unread": {"code": code, "hint": hint}})


def area_options(
    areas: Iterable[str],
    options: Mapping[str, Mapping[str, Any]],
    logins: Mapping[str, Mapping[str, Any]],
    states: Optional[Mapping[str, Any]] = None,
) -> dict[str, dict[str, Any]]:
    """Return the options of each area that is to be looked at.

    Those of the login come first, then what the last run left, then the area's own. An area about which the inventory
    says nothing is left out, where nothing can be looked at without.

    >>> area_options(["host", "logs"], {"host": {"window": "1s"}, "logs": {}}, {}, {"host.counters": {"oom": 1}})
    {'host': {'previous': {'oom': 1}, 'window': '1s'}}
    """
    found = {}
    for area in dict.fromkeys(areas):
        own, login = options.get(area) or {}, logins.get(area) or {}
        if (area in _NEED_OPTIONS and not own) or (area in _NEED_LOGIN and not login):
            continue
        left = (states or {}).get(f"{area}.{_PREVIOUS[area]}") if area in _PREVIOUS else None
        found[area] = {**login, **({"previous": left} if left else {}), **own}
    return found


def host_areas(variables: Mapping[str, Mapping[str, Any]], hosts: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return what the inventory says about the areas of each host, in its variables ``health_<area>``.

    >>> host_areas({"db1": {"health_database": {"pool_size": 60}}, "app1": {}}, ["db1", "app1"])
    {'db1': {'database': {'pool_size': 60}}}
    """
    found = {}
    for host in hosts:
        own = {area: variables[host].get(f"health_{area}") for area in _OF_HOSTS}
        if any(own.values()):
            found[host] = {area: options for area, options in own.items() if options}
    return found


def group_areas(groups: Iterable[str]) -> list[str]:
    """Return the areas that a host of these groups has.

    >>> group_areas(["cache", "berlin"])
    ['host', 'logs', 'security', 'redis']
    """
    return [*_OF_EVERY_HOST, *(area for group in dict.fromkeys(groups) for area in _OF_GROUP.get(group, ()))]


def unseen_areas(variables: Mapping[str, Mapping[str, Any]], hosts: Iterable[str]) -> list[str]:
    """Return the areas of the hosts that were not looked at: lost, failed, or left out of the run.

    A host that was looked at has its areas in ``__health_look``.

    >>> seen = {"group_names": ["app"], "__health_look": {"areas": {"host": {"status": "ok"}}}}
    >>> unseen_areas({"app1": seen, "cache1": {"group_names": ["cache"]}}, ["app1", "cache1"])
    ['host', 'security', 'redis']
    """
    found: list[str] = []
    for host in hosts:
        own = variables[host]
        if "areas" not in (own.get("__health_look") or {}):
            left_out = own.get("health_left_out") or ()
            wanted = [area for area in group_areas(own.get("group_names") or ()) if area not in left_out]
            found += area_options(wanted, {area: own.get(f"health_{area}") or {} for area in wanted}, {})
    return list(dict.fromkeys(found))


def verdicts(results: Iterable[Mapping[str, Any]], unseen: Iterable[str] = ()) -> dict[str, str]:
    """Return the verdict of each area over all results; one that was looked at nowhere is not there.

    Areas that are ``unseen`` somewhere are ``unknown`` at best.

    >>> verdicts([{"areas": {"host": {"status": "ok"}}}, {"area": "kpis", "status": "warning"}, {"skipped": True}])
    {'host': 'ok', 'kpis': 'warning'}
    """
    found: dict[str, list[str]] = {area: [UNKNOWN] for area in unseen}
    for result in results:
        parts = result.get("areas") or ({result["area"]: result} if result.get("area") else {})
        for area, part in parts.items():
            if "status" in part:
                found.setdefault(area, []).append(str(part["status"]))
    return {area: worst(statuses) for area, statuses in found.items()}


def bad_areas(results: Iterable[Mapping[str, Any]], fail_on: str) -> list[str]:
    """Return in words which areas are too bad for a run to end well.

    Raises:
        InvalidValue: ``fail_on`` is none of never, critical, warning, unknown.

    >>> bad_areas([{"areas": {"host": {"status": "warning"}, "logs": {"status": "critical"}}}], "critical")
    ['logs is critical']
    """
    if fail_on not in _FAILING:
        raise InvalidValue(f"health_fail_on must be one of {', '.join(_FAILING)}, not {fail_on!r}")
    return [f"{area} is {status}" for area, status in verdicts(results).items() if status in _FAILING[fail_on]]
