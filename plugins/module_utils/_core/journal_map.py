# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What one task's result leaves in the journal. Texts are redacted, made printable and cut; numbers are bounded."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Iterable, Iterator, Mapping, Optional, Sequence

from .journal import VERDICTS, FindingRow, SampleRow, State, StepRow, canonical_labels
from .number import number_of
from .redact import printable, redact_text, redact_value
from .result import DONE, FAILED, OK, SKIPPED, UNKNOWN
from .summary import follows_contract

PLANNED, UNREACHABLE = "planned", "unreachable"
STATE_KEYS = ("counters", "breakers", "state", "signatures")
MOST_STEPS, MOST_FINDINGS, MOST_SAMPLES, MOST_STATE_BYTES = 1000, 300, 2000, 65536
_TEXT, _DETAIL, _NAME = 600, 1000, 200
_METRIC = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,199}")
_SECRET_NAME = re.compile(r"(^|_)pass$|password|passwd|passphrase|secret|token|api_?key|private_key|credential", re.I)
# Modules that tell no area of their own.
_AREAS = (
    ("postgresql_backup", "backups"),
    ("backup", "backups"),
    ("config_", "backups"),
    ("redis_backup", "backups"),
    ("redis_restore", "backups"),
    ("pgbackrest", "backups"),
    ("postgresql", "database"),
    ("redis", "redis"),
    ("security", "security"),
    ("log_", "logs"),
    ("host", "host"),
    ("service", "host"),
    ("runbook_lock", "host"),
)


@dataclass(frozen=True)
class TaskFacts:
    """Which task a result is of, and how it went. ``at`` is when it ended; ``secrets`` are never to be stored."""

    run_id: str
    at: float
    host: str
    task: str
    action: str
    play: str = ""
    phase: str = ""
    step: str = ""
    duration_seconds: float = 0.0
    failed: bool = False
    unreachable: bool = False
    check_mode: bool = False
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @property
    def module(self) -> str:
        """Return the action's name without its collection."""
        return self.action.rpartition(".")[2]


@dataclass(frozen=True)
class Records:
    """What a result leaves."""

    steps: tuple[StepRow, ...] = ()
    findings: tuple[FindingRow, ...] = ()
    samples: tuple[SampleRow, ...] = ()
    states: tuple[State, ...] = ()


def records_of(facts: TaskFacts, result: Mapping[str, Any]) -> Records:
    """Return the records of one result, of this collection's modules or of any other.

    Of a result with ``areas`` (name to result) the findings, samples and states are those of its areas.
    """
    if facts.unreachable or "censored" in result or not follows_contract(result):
        return Records(steps=_foreign(facts, result))
    parts = _parts(facts, result)
    findings = [row for area, _prefix, part in parts for row in _findings(facts, area, part)]
    samples, refused = _samples(facts, [row for _area, _prefix, part in parts for row in _rows(part, "samples")])
    if refused or len(findings) > MOST_FINDINGS:
        findings = [*findings[: MOST_FINDINGS - 1], _limit(facts, parts[0][0], len(findings), refused)]
    return Records(
        steps=_steps(facts, result),
        findings=tuple(findings),
        samples=samples,
        states=tuple(row for _area, prefix, part in parts for row in _states(facts, prefix, part)),
    )


def area_of(module: str) -> str:
    """Return the area of a module that tells none.

    >>> area_of("postgresql_backup_verify"), area_of("postgresql_reindex"), area_of("kpi_evaluate")
    ('backups', 'database', '')
    """
    return next((area for beginning, area in _AREAS if module.startswith(beginning)), "")


def secrets_among(arguments: Any, found: Optional[set[str]] = None) -> tuple[str, ...]:
    """Return the values of options that are secret by their name, at any depth; at least 3 characters long.

    >>> secrets_among({"login_password": "s3cret", "name": "shop", "x": [{"api_token": "t0ken", "b": 1}]})
    ('s3cret', 't0ken')
    """
    found = set() if found is None else found
    if isinstance(arguments, Mapping):
        for name, value in arguments.items():
            if isinstance(value, str) and len(value) >= 3 and _SECRET_NAME.search(str(name)):
                found.add(value)
            else:
                secrets_among(value, found)
    elif isinstance(arguments, (list, tuple)):
        for value in arguments:
            secrets_among(value, found)
    return tuple(sorted(found))


def _parts(facts: TaskFacts, result: Mapping[str, Any]) -> list[tuple[str, str, Mapping[str, Any]]]:
    """Return area, name of the states and result of each part."""
    areas = result.get("areas")
    if isinstance(areas, Mapping) and areas:
        return [
            (_text(part.get("area") or name, _NAME), str(name), part)
            for name, part in areas.items()
            if isinstance(part, Mapping)
        ] or [(area_of(facts.module), facts.module, {})]
    return [(_text(result.get("area") or area_of(facts.module), _NAME), facts.module, result)]


def _foreign(facts: TaskFacts, result: Mapping[str, Any]) -> tuple[StepRow, ...]:
    """Return the step of a task of another collection, or none when it went well and changed nothing."""
    if not (facts.failed or facts.unreachable or result.get("changed")):
        return ()
    if "censored" in result:
        detail = "hidden (no_log)"
    else:
        detail = _text(result.get("msg"), _DETAIL, facts.secrets) if facts.failed or facts.unreachable else ""
    status = FAILED if facts.failed or facts.unreachable else PLANNED if facts.check_mode else DONE
    code = UNREACHABLE if facts.unreachable else _code(result) or ("task_failed" if facts.failed else "")
    return (_step(facts, facts.module, "", status, detail, facts.duration_seconds, code),)


def _steps(facts: TaskFacts, result: Mapping[str, Any]) -> tuple[StepRow, ...]:
    if facts.module == "runbook_lock" and not facts.failed and result.get("status") == OK:
        return ()  # taken and given back as always
    plan = {str(action.get("id")): action for action in _rows(result, "plan")}
    rows = [_done(facts, plan.get(str(step.get("id")), {}), step) for step in _rows(result, "steps")]
    if not rows and not facts.failed:
        rows = [_planned(facts, action) for action in plan.values()]
    if len(rows) > MOST_STEPS:
        left = len(rows) - MOST_STEPS + 1
        rows = [*rows[: MOST_STEPS - 1], _step(facts, "more", "", SKIPPED, f"{left} more steps are not kept")]
    if facts.failed:
        detail = _text(result.get("msg"), _DETAIL, facts.secrets)
        rows.append(_step(facts, facts.module, "", FAILED, detail, facts.duration_seconds, _code(result)))
    return tuple(rows)


def _done(facts: TaskFacts, action: Mapping[str, Any], step: Mapping[str, Any]) -> StepRow:
    status = str(step.get("status"))
    return _step(
        facts,
        action.get("action") or str(step.get("id")).partition(":")[0],
        action.get("target") or str(step.get("id")).partition(":")[2],
        status if status in (DONE, SKIPPED, FAILED) else FAILED,
        step.get("detail"),
        number_of(step.get("duration_seconds")) or 0.0,
    )


def _planned(facts: TaskFacts, action: Mapping[str, Any]) -> StepRow:
    return _step(facts, action.get("action"), action.get("target"), PLANNED, action.get("reason"))


def _step(
    facts: TaskFacts, action: Any, target: Any, status: str, detail: Any, duration: float = 0.0, code: str = ""
) -> StepRow:
    secrets = facts.secrets
    return StepRow(
        run_id=facts.run_id,
        at=facts.at,
        host=_text(facts.host, _NAME),
        play=_text(facts.play, _NAME, secrets),
        phase=_text(facts.phase, _NAME),
        step=_text(facts.step, _NAME),
        task=_text(facts.task, _NAME, secrets),
        action=_text(action, _NAME, secrets),
        target=_text(target, _TEXT, secrets),
        status=status,
        changed=status == DONE and not facts.check_mode,
        duration_seconds=round(duration, 3),
        detail=_text(detail, _DETAIL, secrets),
        code=_text(code, _NAME),
    )


def _findings(facts: TaskFacts, area: str, result: Mapping[str, Any]) -> Iterator[FindingRow]:
    for raw in _rows(result, "findings"):
        value = raw.get("value")
        yield FindingRow(
            run_id=facts.run_id,
            at=facts.at,
            host=_text(facts.host, _NAME),
            area=area,
            check_name=_text(raw.get("check"), _NAME, facts.secrets),
            status=str(raw.get("status")) if raw.get("status") in VERDICTS else UNKNOWN,
            value=number_of(value),
            value_text=_text(value, _NAME, facts.secrets),
            unit=_text(raw.get("unit"), 40),
            warning=number_of(raw.get("warning")),
            critical=number_of(raw.get("critical")),
            msg=_text(raw.get("msg"), _TEXT, facts.secrets),
        )


def _limit(facts: TaskFacts, area: str, findings: int, samples: int) -> FindingRow:
    """Return the finding that says what was not kept: nothing is left out silently."""
    left = findings - MOST_FINDINGS + 1
    texts = [f"{left} more findings"] if left > 0 else []
    texts += [f"{samples} samples that are no readings, or too many"] if samples else []
    msg = f"not kept of {facts.module}: {' and '.join(texts)}"
    host = _text(facts.host, _NAME)
    return FindingRow(
        facts.run_id, facts.at, host, area, "journal_limit", UNKNOWN, None, "", "count", None, None, msg
    )  # fmt: skip


def _samples(facts: TaskFacts, rows: Sequence[Mapping[str, Any]]) -> tuple[tuple[SampleRow, ...], int]:
    """Return one reading for each series, the last that is given, and how many were refused."""
    found: dict[tuple[str, str], SampleRow] = {}
    refused = 0
    for raw in rows:
        row = _sample(facts, raw)
        if row is None or (len(found) >= MOST_SAMPLES and (row.metric, row.labels) not in found):
            refused += 1
        else:
            found[row.metric, row.labels] = row
    return tuple(found.values()), refused


def _sample(facts: TaskFacts, raw: Mapping[str, Any]) -> Optional[SampleRow]:
    value, metric, labels = number_of(raw.get("value")), str(raw.get("metric")), raw.get("labels") or {}
    if value is None or not _METRIC.fullmatch(metric) or not isinstance(labels, Mapping) or len(labels) > 16:
        return None
    texts = {_text(name, 100): _text(text, _NAME, facts.secrets) for name, text in labels.items()}
    unit = _text(raw.get("unit"), 40)
    return SampleRow(metric, _text(facts.host, _NAME), canonical_labels(texts), unit, facts.at, value)


def _states(facts: TaskFacts, prefix: str, result: Mapping[str, Any]) -> Iterator[State]:
    for key in STATE_KEYS:
        if not result.get(key):
            continue
        text = json.dumps(redact_value(result[key], facts.secrets), sort_keys=True, default=str, allow_nan=True)
        if len(text.encode()) <= MOST_STATE_BYTES:  # cut, it would be no value any more
            yield State(_text(facts.host, _NAME), _text(f"{prefix}.{key}", _NAME), facts.at, text)


def _rows(result: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    value = result.get(key)
    return [row for row in value if isinstance(row, Mapping)] if isinstance(value, (list, tuple)) else []


def _code(result: Mapping[str, Any]) -> str:
    failure = result.get("failure")
    return str(failure.get("code") or "failed") if isinstance(failure, Mapping) else ""


def _text(value: Any, limit: int, secrets: Iterable[str] = ()) -> str:
    text = "" if value is None else str(value)
    # Cut first: what is a secret in a text of megabytes takes long to find, and is not kept.
    return printable(" ".join(redact_text(text[: limit * 20], secrets).split()), limit)
