# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Errors in logs: what was read of each source against its limits and against what is usual."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Iterator, Mapping, Optional, Sequence

from .limits import Limit
from .log_access import Worst
from .log_groups import Group
from .log_usual import Comparison, Memory, Usual, compare
from .redact import printable
from .result import OK, UNKNOWN, Finding, worst
from .samples import LOGS, Sample
from .units import count_of, human_duration, human_size, rfc3339

DEFAULT_LIMITS: Mapping[str, Limit] = {
    "error_percent": Limit(0.1),
    "error_percent_5min": Limit(0.5, 1),
    "latency_p95": Limit(2, 5),
    "errors_per_hour": Limit(),
    "error_spike": Limit(3, 10),
    "new_errors": Limit(5),
    "unread": Limit(1),
}
_NAMED = 20
_SHORTEST_HOURS = 1 / 60


@dataclass(frozen=True)
class Requests:
    """What an access log says: requests, failed ones (5xx), the worst five minutes, 95 % were as fast as ``p95``."""

    total: int
    failed: int
    worst: Optional[Worst]
    p95: Optional[float]


@dataclass(frozen=True)
class SourceFacts:
    """What was read of one source. ``hours`` is the time that it is about, None when the log does not say.

    ``units`` are how many files or journals could be read; ``skipped`` bytes will never be, ``left`` by the next run.
    """

    name: str
    units: int
    hours: Optional[float]
    lines: int = 0
    size: int = 0
    errors: int = 0
    warnings: int = 0
    ignored: int = 0
    other: int = 0
    skipped: int = 0
    left: int = 0
    groups: Sequence[Group] = ()
    requests: Optional[Requests] = None
    wants_requests: bool = False
    problems: Sequence[str] = ()
    memory: Memory = field(default_factory=Memory)
    first_sight: bool = False
    usual: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Policy:
    """Limits, None for a check that is off; how many runs make a usual level; how many errors or requests count."""

    limits: Mapping[str, Optional[Limit]]
    minimum_runs: int = 3
    minimum_count: int = 5
    minimum_requests: int = 100
    top: int = 20


@dataclass(frozen=True)
class Compared:
    """A group beside its usual level."""

    group: Group
    per_hour: Optional[float]
    comparison: Optional[Comparison]


def hours_of(seconds: Optional[float]) -> Optional[float]:
    """Return hours to divide by: at least a minute."""
    return None if seconds is None else max(seconds / 3600, _SHORTEST_HOURS)


def compare_groups(facts: SourceFacts, policy: Policy) -> list[Compared]:
    """Return every group beside its usual level, where there is one; what is unusual first, then what is frequent."""
    rows = []
    for group in facts.groups:
        rate = None if facts.hours is None else group.count / facts.hours
        comparison = None
        given = facts.usual.get(group.id, facts.usual.get(group.pattern))
        if rate is not None and facts.hours is not None and (given is not None or _is_known(facts, policy)):
            usual = facts.memory.groups.get(group.id)
            if given is not None:
                usual = Usual(given, 0.0, policy.minimum_runs, 0.0)
            comparison = compare(rate, facts.hours, usual, group.count, policy.minimum_count)
        rows.append(Compared(group, rate, comparison))
    return sorted(rows, key=lambda row: (not (row.comparison and row.comparison.unusual), -row.group.count))


def _is_known(facts: SourceFacts, policy: Policy) -> bool:
    return facts.memory.runs >= policy.minimum_runs


def learn(facts: SourceFacts) -> Memory:
    """Return what is usual after this run; what was read in part, or is the first hour of a log, teaches nothing."""
    if facts.hours is None or (facts.first_sight and facts.hours < 1):
        return facts.memory
    if facts.units == 0 or facts.skipped or facts.left:
        return facts.memory
    return facts.memory.after({group.id: group.count for group in facts.groups}, facts.errors, facts.hours)


def judge(facts: SourceFacts, groups: Sequence[Compared], policy: Policy) -> tuple[Finding, ...]:
    """Return the findings of one source; of one that could not be read at all there is nothing but that."""
    judge_ = _Judge(facts, policy)
    found = list(judge_.readable())
    if facts.units:
        found += judge_.unread()
        found += judge_.requests()
        found += judge_.errors()
        found += judge_.unusual(groups)
    return tuple(found)


class _Judge:
    def __init__(self, facts: SourceFacts, policy: Policy) -> None:
        self._facts = facts
        self._policy = policy

    def _finding(
        self, check: str, value: Optional[float], unit: str, words: str, status: str = ""
    ) -> Iterator[Finding]:
        limit = self._policy.limits.get(check)
        if limit is not None:
            name = self._facts.name
            rounded = None if value is None else round(value, 4)
            msg = printable(f"{name}: {words}")
            yield Finding(
                f"{check}:{name}", status or limit.judge(value), msg, rounded, unit, limit.warning, limit.critical
            )

    def readable(self) -> Iterator[Finding]:
        facts = self._facts
        check = f"readable:{facts.name}"
        for problem in facts.problems[:_NAMED]:
            yield Finding(check, UNKNOWN, printable(f"{facts.name}: {problem}"))
        if len(facts.problems) > _NAMED:
            yield Finding(check, UNKNOWN, f"{facts.name}: {len(facts.problems) - _NAMED} more that cannot be read")
        if not facts.problems:
            words = f"{count_of(facts.lines, 'line')} of {count_of(facts.units, 'log')}, {human_size(facts.size)}"
            yield Finding(check, OK, f"{facts.name}: {words} read", facts.units, "count")

    def unread(self) -> Iterator[Finding]:
        facts = self._facts
        parts = [f"{human_size(facts.skipped)} of older lines were not read (max_bytes)"] if facts.skipped else []
        parts += [f"{human_size(facts.left)} are left for the next run (timeout)"] if facts.left else []
        words = " and ".join(parts) or "everything was read"
        yield from self._finding("unread", facts.skipped + facts.left, "bytes", words)

    def requests(self) -> Iterator[Finding]:
        requests, least = self._facts.requests, self._policy.minimum_requests
        if requests is None and not self._facts.wants_requests:
            return
        total = requests.total if requests else 0
        if requests is None or total < least:
            for check in ("error_percent", "error_percent_5min"):
                words = f"{count_of(total, 'request')}, too few for a rate (minimum_requests is {least})"
                yield from self._finding(check, None, "%", words)
        else:
            percent = 100 * requests.failed / total
            words = f"{percent:.3g} % of {total} requests failed ({requests.failed} with 5xx)"
            yield from self._finding("error_percent", percent, "%", words)
            yield from self._worst(requests.worst, least)
        p95 = requests.p95 if requests else None
        words = "the log holds no request times" if p95 is None else f"95 % of the requests took at most {p95:.3g} s"
        yield from self._finding("latency_p95", p95, "s", words)

    def _worst(self, found: Optional[Worst], least: int) -> Iterator[Finding]:
        if found is None:
            words = f"no five minutes have {least} requests, too few for a rate"
            yield from self._finding("error_percent_5min", None, "%", words)
            return
        when = f"in the five minutes from {rfc3339(found.start)}"
        words = f"at worst {found.percent:.3g} % of {found.requests} requests failed {when}"
        yield from self._finding("error_percent_5min", found.percent, "%", words)

    def errors(self) -> Iterator[Finding]:
        facts = self._facts
        if facts.hours is None:
            words = f"{count_of(facts.errors, 'error')}, but nothing says in how much time: the next run knows"
            yield from self._finding("errors_per_hour", None, "per_hour", words)
            return
        rate = facts.errors / facts.hours
        words = f"{count_of(facts.errors, 'error')} in {human_duration(facts.hours * 3600)}"
        yield from self._finding("errors_per_hour", rate, "per_hour", words)

    def unusual(self, groups: Sequence[Compared]) -> Iterator[Finding]:
        facts, least = self._facts, self._policy.minimum_runs
        if facts.hours is None or not _is_known(facts, self._policy):
            after = f"is not known yet, after {facts.memory.runs} of {least} runs with previous or state_file"
            yield from self._finding("error_spike", None, "ratio", f"what is usual {after}")
            yield from self._finding("new_errors", None, "count", f"which errors are new {after}")
        yield from self._each("error_spike", self._spikes(groups), "ratio", "no error is more frequent than usual")
        yield from self._each("new_errors", self._new(groups), "count", "no new error")

    def _each(self, check: str, found: Iterator[tuple[float, str]], unit: str, well: str) -> Iterator[Finding]:
        limit = self._policy.limits.get(check)
        bad = [(value, words) for value, words in found if limit is not None and limit.judge(value) != OK]
        for value, words in bad[:_NAMED]:
            yield from self._finding(check, value, unit, words)
        if len(bad) > _NAMED:
            value = max(value for value, _words in bad[_NAMED:])
            yield from self._finding(check, value, unit, f"{len(bad) - _NAMED} more kinds of errors like these")
        if not bad and self._facts.hours is not None and _is_known(self._facts, self._policy):
            yield from self._finding(check, 0, unit, well, OK)

    def _spikes(self, groups: Sequence[Compared]) -> Iterator[tuple[float, str]]:
        facts = self._facts
        if facts.hours is not None and _is_known(facts, self._policy):
            rate, least = facts.errors / facts.hours, self._policy.minimum_count
            total = compare(rate, facts.hours, facts.memory.total, facts.errors, least)
            if total.unusual and total.times is not None:
                yield total.times, f"{rate:.4g} errors/h, {total.times:.3g} times the usual {total.usual:.3g}"
        for row in groups:
            compared = row.comparison
            if compared is not None and compared.unusual and compared.times is not None:
                times = f"{compared.times:.3g} times the usual {compared.usual:.3g}"
                yield compared.times, f"{row.per_hour:.4g}/h, {times}: {_short(row.group)}"

    def _new(self, groups: Sequence[Compared]) -> Iterator[tuple[float, str]]:
        for row in groups:
            if row.comparison is not None and row.comparison.new and row.comparison.unusual:
                yield row.group.count, f"new, {count_of(row.group.count, 'time')}: {_short(row.group)}"


def _short(group: Group) -> str:
    return printable(group.pattern, 160)


def samples_of(facts: SourceFacts, groups: Sequence[Compared]) -> Iterator[Sample]:
    """Yield the readings of one source for the journal: none of one that could not be read."""
    if not facts.units:
        return
    labels = {"source": facts.name}
    yield Sample(f"{LOGS}.lines", facts.lines, "count", labels)
    if facts.hours is not None:
        yield Sample(f"{LOGS}.errors", round(facts.errors / facts.hours, 4), "per_hour", labels)
        yield Sample(f"{LOGS}.warnings", round(facts.warnings / facts.hours, 4), "per_hour", labels)
    new = sum(1 for row in groups if row.comparison is not None and row.comparison.new)
    yield Sample(f"{LOGS}.new_errors", new, "count", labels)
    requests = facts.requests
    if requests is not None and requests.total:
        yield Sample(f"{LOGS}.requests", requests.total, "count", labels)
        yield Sample(f"{LOGS}.error_percent", round(100 * requests.failed / requests.total, 4), "percent", labels)
        if requests.worst is not None:
            yield Sample(f"{LOGS}.error_percent_5min", round(requests.worst.percent, 4), "percent", labels)
        if requests.p95 is not None:
            yield Sample(f"{LOGS}.latency.p95", requests.p95, "seconds", labels)


def source_row(facts: SourceFacts, findings: Sequence[Finding]) -> dict[str, Any]:
    """Return one source as it stands in a result."""
    requests = facts.requests
    worst_5min = requests.worst if requests else None
    return {
        "name": facts.name,
        "status": worst(finding.status for finding in findings),
        "logs": facts.units,
        "hours": None if facts.hours is None else round(facts.hours, 4),
        "lines": facts.lines,
        "bytes": facts.size,
        "skipped_bytes": facts.skipped,
        "left_bytes": facts.left,
        "errors": facts.errors,
        "warnings": facts.warnings,
        "ignored": facts.ignored,
        "ungrouped": facts.other,
        "errors_per_hour": None if facts.hours is None else round(facts.errors / facts.hours, 4),
        "requests": requests.total if requests else None,
        "failed_requests": requests.failed if requests else None,
        "error_percent": round(100 * requests.failed / requests.total, 4) if requests and requests.total else None,
        "worst_5min_percent": round(worst_5min.percent, 4) if worst_5min else None,
        "worst_5min_start": rfc3339(worst_5min.start) if worst_5min else None,
        "p95_seconds": requests.p95 if requests else None,
        "problems": [printable(problem) for problem in facts.problems[:_NAMED]],
    }


def group_row(row: Compared) -> dict[str, Any]:
    """Return one group as it stands in a result."""
    group, compared = row.group, row.comparison
    return {
        "id": group.id,
        "source": group.source,
        "level": group.level,
        "pattern": group.pattern,
        "example": group.example,
        "count": group.count,
        "per_hour": None if row.per_hour is None else round(row.per_hour, 4),
        "usual_per_hour": None if compared is None or compared.usual is None else round(compared.usual, 4),
        "times_usual": None if compared is None or compared.times is None else round(compared.times, 3),
        "new": None if compared is None else compared.new,
        "unusual": None if compared is None else compared.unusual,
        "first_seen": _moment(group.first),
        "last_seen": _moment(group.last),
    }


def _moment(at: Optional[datetime]) -> Optional[str]:
    return None if at is None else rfc3339(at)
