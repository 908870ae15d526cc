# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What a run did, read from the results of its tasks: one line per host and step, worst first."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, Hashable, Iterable, Iterator, Mapping, Optional, Sequence

from .journal import REPORT
from .redact import printable, redact_text
from .report import Need
from .report_given import verdict_of
from .result import CRITICAL, OK, UNKNOWN, WARNING
from .units import count_of

FAILED, UNREACHABLE = "failed", "unreachable"
PREDICTED, LEFT = "predicted", "left"
RANK = {OK: 0, UNKNOWN: 1, WARNING: 2, CRITICAL: 3, UNREACHABLE: 4, FAILED: 4}
_CONTRACT = frozenset({"plan", "steps", "findings", "status"})
_MSG_LIMIT = 600


@dataclass(frozen=True)
class Notice:
    """Something that is not right: the ``check`` or failure code it goes by, the sentence, and what to do next."""

    check: str
    status: str
    msg: str
    hint: str = ""
    command: str = ""


@dataclass(frozen=True)
class Line:
    """One step on one host. ``planned`` counts what a real run would do; ``details`` name it, or what was not done.

    ``read`` are the checks that were looked at, whatever came of them. ``area`` is the part of the product that was
    looked at, when the result is about one. ``needs`` is what a report says: see summary_report.
    """

    host: str
    step: str
    status: str
    msg: str
    changed: bool = False
    planned: int = 0
    done: int = 0
    skipped: int = 0
    failed: int = 0
    duration_seconds: float = 0.0
    notices: tuple[Notice, ...] = ()
    details: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    area: str = ""
    needs: tuple[Need, ...] = ()


@dataclass(frozen=True)
class DecisionPoint:
    """What a person decides: in which case (``checks`` and failure codes, or their beginnings), and what then."""

    when: str
    then: str
    checks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Summary:
    """The whole run. ``again`` is the command that repeats it for one host (``{host}`` stands for its name)."""

    runbook: str
    lines: tuple[Line, ...]
    check_mode: bool = False
    duration_seconds: float = 0.0
    decision_points: tuple[DecisionPoint, ...] = ()
    again: str = ""

    @property
    def status(self) -> str:
        """Return the worst verdict of all lines."""
        return worst(line.status for line in self.lines)

    @property
    def changed(self) -> bool:
        """Tell whether anything was changed, or would be in check mode."""
        return any(line.changed for line in self.lines)

    def areas(self) -> tuple[tuple[str, tuple[Line, ...]], ...]:
        """Return the areas that were looked at with their lines, each worst first."""
        names = dict.fromkeys(line.area for line in self.lines if line.area)
        by_area = {name: _worst_first(line for line in self.lines if line.area == name) for name in names}
        return tuple(sorted(by_area.items(), key=lambda entry: -RANK[entry[1][0].status]))

    def hosts(self) -> tuple[str, ...]:
        """Return the hosts, the worst first, else in the order in which they were met."""
        names = list(dict.fromkeys(line.host for line in self.lines))
        return tuple(sorted(names, key=lambda name: -RANK[self.status_of(name)]))

    def status_of(self, host: str) -> str:
        """Return the worst verdict of one host."""
        return worst(line.status for line in self.lines if line.host == host)

    def lines_of(self, host: str) -> tuple[Line, ...]:
        """Return one host's lines in the order of the run."""
        return tuple(line for line in self.lines if line.host == host)


@dataclass(frozen=True)
class Todo:
    """One thing that needs a person, on which hosts, and the next thing to do: in words, or as a command."""

    status: str
    step: str
    msg: str
    hosts: tuple[str, ...]
    next: str = ""
    command: str = ""


def worst(statuses: Iterable[str]) -> str:
    """Return the worst verdict.

    >>> worst(["ok", "critical", "failed"]), worst([])
    ('failed', 'ok')
    """
    return max(statuses, key=RANK.__getitem__, default=OK)


def _worst_first(lines: Iterable[Line]) -> tuple[Line, ...]:
    return tuple(sorted(lines, key=lambda line: -RANK[line.status]))


def items_of(result: Mapping[str, Any], failed: bool) -> list[tuple[Mapping[str, Any], bool]]:
    """Return the results of a loop's items, or the one result, each with whether it failed."""
    items = result.get("results")
    if isinstance(items, list) and items and all(isinstance(item, Mapping) for item in items):
        return [(item, bool(item.get("failed")) or "failure" in item) for item in items if not item.get("skipped")]
    return [(result, failed or "failure" in result)]


def parts_of(result: Mapping[str, Any], failed: bool) -> list[tuple[Mapping[str, Any], bool]]:
    """Return the results that are told apart, each with whether it failed: of a loop's items, of several areas.

    A foreign task's loop that went well is told as one: its items have nothing to say of their own.
    """
    items = items_of(result, failed)
    if len(items) > 1 and not any(bad or follows_contract(item) or "areas" in item for item, bad in items):
        return [(result, False)]
    found: list[tuple[Mapping[str, Any], bool]] = []
    for item, item_failed in items:
        areas = item.get("areas")
        if isinstance(areas, Mapping) and areas and all(isinstance(area, Mapping) for area in areas.values()):
            found += [(area, item_failed) for area in areas.values()]
        else:
            found.append((item, item_failed))
    return found


def follows_contract(result: Mapping[str, Any]) -> bool:
    """Tell whether a result has the keys of this collection's modules."""
    return result.keys() >= _CONTRACT or (isinstance(result.get("failure"), Mapping) and "code" in result["failure"])


def line_of(
    host: str, step: str, task: str, result: Mapping[str, Any], duration: float, failed: bool, planned: str = ""
) -> Optional[Line]:
    """Return the line of a result, or None when it tells nothing: a foreign task that went well and changed nothing.

    ``planned`` says what a plan means that was not carried out: PREDICTED (check mode) or LEFT (a look afterwards).
    """
    if follows_contract(result):
        return _contract_line(host, step, result, duration, failed, planned)
    if not failed and not result.get("changed"):
        return None
    text = _text(result.get("msg") or task) if failed else _text(task)
    notices = (Notice("task_failed", FAILED, text),) if failed else ()
    return Line(host, step, FAILED if failed else OK, text, not failed, duration_seconds=duration, notices=notices)


def unreachable_line(host: str, step: str, result: Mapping[str, Any], duration: float) -> Line:
    """Return the line of a host that does not answer."""
    lost = [item for item in _mappings(result.get("results")) if item.get("unreachable")] or [result]  # of a loop
    text = _text(lost[0].get("msg") or "no connection")
    return Line(host, step, UNREACHABLE, text, False, 0, 0, 0, 0, duration, (Notice(UNREACHABLE, UNREACHABLE, text),))


def _contract_line(
    host: str, step: str, result: Mapping[str, Any], duration: float, failed: bool, planned: str
) -> Line:
    steps, findings = _mappings(result.get("steps")), _mappings(result.get("findings"))
    plan = _mappings(result.get("plan")) if planned else []
    notices = _notices_of(result, findings, failed, left=bool(plan) and planned == LEFT)
    status = worst([_verdict(result.get("status", OK)), *(notice.status for notice in notices)])
    failures = [entry for entry in steps if entry.get("status") == "failed"]
    left_out = [entry for entry in steps if entry.get("status") in ("failed", "skipped")]
    area = _text(result.get("area"))
    report = area == REPORT and not failed  # it is about what others looked at
    return Line(
        host,
        step,
        FAILED if failed else worst([status, WARNING if failures else OK]),
        _message(result),
        changed=bool(result.get("changed")),
        planned=len(plan) if planned == PREDICTED else 0,
        done=sum(1 for entry in steps if entry.get("status") == "done"),
        skipped=len(left_out) - len(failures),
        failed=len(failures),
        duration_seconds=duration,
        notices=notices,
        details=(
            *(_text(f"{entry.get('action')} {entry.get('target')}: {entry.get('reason')}") for entry in plan),
            *(_text(f"{entry.get('status')} {entry.get('id')}: {entry.get('detail')}") for entry in left_out),
        ),
        read=tuple(dict.fromkeys(str(finding.get("check")) for finding in findings)),
        area="" if report else area,
        needs=_needs_of(result) if report else (),
    )


def _needs_of(result: Mapping[str, Any]) -> tuple[Need, ...]:
    return tuple(
        Need(
            verdict_of(need.get("status")),
            _text(need.get("area")),
            _text(need.get("where")),
            _text(need.get("msg")),
            command=_text(need.get("command")),
        )
        for need in _mappings(result.get("needs"))
    )


def _notices_of(
    result: Mapping[str, Any], findings: Sequence[Mapping[str, Any]], failed: bool, left: bool
) -> tuple[Notice, ...]:
    notices = [
        Notice(str(finding.get("check")), _verdict(finding.get("status")), _text(finding.get("msg")))
        for finding in findings
        if _verdict(finding.get("status")) != OK
    ]
    if left and all(RANK[notice.status] < RANK[WARNING] for notice in notices):
        notices.insert(0, Notice("work_left", WARNING, f"work is left: {_text(result.get('msg'))}"))
    if failed and ("failure" in result or not notices):
        failure = _failure(result)
        code, hint = str(failure.get("code") or "failed"), _text(failure.get("hint"))
        notices.insert(0, Notice(code, FAILED, _message(result), hint))
    return tuple(notices)


def _failure(result: Mapping[str, Any]) -> Mapping[str, Any]:
    failure = result.get("failure")
    return failure if isinstance(failure, Mapping) else {}


def _message(result: Mapping[str, Any]) -> str:
    """Return a result's sentence without the hint that a failed module appends to it."""
    hint = _failure(result).get("hint")
    return _text(str(result.get("msg") or "").removesuffix(f" ({hint})"))


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, (list, tuple)) else []


def _verdict(status: Any) -> str:
    return status if status in RANK else UNKNOWN


def _text(value: Any) -> str:
    return printable(redact_text(" ".join(str("" if value is None else value).split())), _MSG_LIMIT)


def todos(summary: Summary) -> tuple[Todo, ...]:
    """Return what needs a person, worst first.

    The same sentence of several hosts or steps is one entry, and so is the same check of an area: of its figures those
    of the first host are told.
    """
    found: dict[Hashable, list[tuple[Line, Notice]]] = {}
    seen: Counter[Hashable] = Counter()
    for line, notice in _notices(summary):
        kind = (line.area, notice.check, notice.status) if line.area else notice
        seen[line.host, kind] += 1
        found.setdefault((kind, seen[line.host, kind]) if line.area else kind, []).append((line, notice))
    entries = [_todo(summary, group) for group in found.values()]
    return tuple(sorted(entries, key=lambda todo: -RANK[todo.status]))


def _todo(summary: Summary, group: Sequence[tuple[Line, Notice]]) -> Todo:
    line, notice = group[0]
    hosts = tuple(dict.fromkeys(one.host for one, _notice in group))
    figures = " (figures of the first)" if any(other.msg != notice.msg for _line, other in group) else ""
    return Todo(
        notice.status,
        line.area or line.step,
        f"{notice.msg}{figures}",
        hosts,
        _next(summary, line, notice),
        _command(summary, line, notice, hosts),
    )


def _notices(summary: Summary) -> Iterator[tuple[Line, Notice]]:
    """Yield what is not right: not what a plan is about to mend, nor what another step has read again since."""
    for number, line in enumerate(summary.lines):
        if line.planned and line.status != FAILED and not line.needs:
            continue
        later = summary.lines[number + 1 :]
        others = (other for other in later if other.host == line.host and other.step != line.step)
        again = {check for other in others for check in other.read}
        yield from ((line, notice) for notice in line.notices if notice.check not in again)
        if line.failed and not line.notices:
            yield line, Notice("step_failed", WARNING, f"{count_of(line.failed, 'action')} failed: {line.msg}")


def _next(summary: Summary, line: Line, notice: Notice) -> str:
    """Return what a decision point says; what could not be judged needs one of its very name.

    A point names a check, a check of an area (``redis.memory``) or a whole area (``redis.*``); the nearest one counts.
    """
    names = [notice.check, *([f"{line.area}.{notice.check}", f"{line.area}.*"] if line.area else [])]
    for name in names[1:2] + names[:1]:
        for point in summary.decision_points:
            related = notice.status != UNKNOWN and any(name.startswith(f"{known}:") for known in point.checks)
            if related or name in point.checks:
                return point.then
    for point in summary.decision_points:
        if notice.status != UNKNOWN and names[-1] in point.checks:
            return point.then
    return notice.hint


def _command(summary: Summary, line: Line, notice: Notice, hosts: Sequence[str]) -> str:
    """Return the notice's own command, or the one that tries again what failed, or what a critical reading stopped."""
    if notice.command:
        return notice.command
    stopped = RANK[line.status] >= RANK[FAILED] and RANK[notice.status] >= RANK[CRITICAL]
    return summary.again.replace("{host}", ",".join(hosts)) if stopped else ""


def as_json(summary: Summary) -> dict[str, Any]:
    """Return the summary as plain data."""
    return {
        "runbook": summary.runbook,
        "status": summary.status,
        "check_mode": summary.check_mode,
        "changed": summary.changed,
        "duration_seconds": round(summary.duration_seconds, 3),
        "again": summary.again,
        "needs_a_person": [asdict(todo) for todo in todos(summary)],
        "hosts": {
            host: {"status": summary.status_of(host), "steps": [asdict(line) for line in summary.lines_of(host)]}
            for host in summary.hosts()
        },
    }
