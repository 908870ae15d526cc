# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What every module returns: the contract of the collection as frozen values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Iterable, Mapping, Optional, Union

OK, WARNING, CRITICAL, UNKNOWN = "ok", "warning", "critical", "unknown"
_RANK = {OK: 0, UNKNOWN: 1, WARNING: 2, CRITICAL: 3}

DONE, SKIPPED, FAILED = "done", "skipped", "failed"

Value = Union[str, int, float, bool, None]


@dataclass(frozen=True)
class Action:
    """One thing that a real run will do; ``command`` is the exact text that will be carried out."""

    id: str
    action: str
    target: str
    reason: str
    command: str = ""


@dataclass(frozen=True)
class Step:
    """What became of one action (same ``id``)."""

    id: str
    status: str
    duration_seconds: float = 0.0
    detail: str = ""


@dataclass(frozen=True)
class Finding:
    """One reading against its limits. What could not be looked at is ``unknown``, never ``ok``."""

    check: str
    status: str
    msg: str
    value: Value = None
    unit: str = ""
    warning: Value = None
    critical: Value = None


def worst(statuses: Iterable[str]) -> str:
    """Return the worst of some verdicts: critical, then warning, then unknown, then ok.

    >>> worst(["ok", "unknown"]), worst(["unknown", "warning"]), worst([])
    ('unknown', 'warning', 'ok')
    """
    return max(statuses, key=_RANK.__getitem__, default=OK)


@dataclass(frozen=True)
class Decision:
    """What is to be done, decided from facts and policy alone: the same in check mode and in the real run.

    ``before`` and ``after`` are small mappings of which the diff is made; ``after`` is the prediction. ``extra`` holds
    the module's own result keys. ``msg`` is the one line for a plan that is only shown.
    """

    msg: str
    plan: tuple[Action, ...] = ()
    findings: tuple[Finding, ...] = ()
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What was really done about a decision, and what is true afterwards (read again, not predicted)."""

    msg: str
    steps: tuple[Step, ...] = ()
    findings: tuple[Finding, ...] = ()
    after: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def render_decision(decision: Decision) -> dict[str, Any]:
    """Return the module result of a run that changes nothing: check mode, or an empty plan."""
    return _render(decision, (), decision.findings, decision.after, decision.msg, {}, changed=bool(decision.plan))


def render_outcome(decision: Decision, outcome: Outcome) -> dict[str, Any]:
    """Return the module result of a real run; ``changed`` is true only when a step was done."""
    changed = any(step.status == DONE for step in outcome.steps)
    return _render(decision, outcome.steps, outcome.findings, outcome.after, outcome.msg, outcome.extra, changed)


def partial_result(decision: Decision, steps: Iterable[Step]) -> dict[str, Any]:
    """Return what was reached before a failure, for OpsError.partial: the plan and the steps so far."""
    return render_outcome(decision, Outcome(decision.msg, tuple(steps), decision.findings, decision.before))


def _render(
    decision: Decision,
    steps: tuple[Step, ...],
    findings: tuple[Finding, ...],
    after: Mapping[str, Any],
    msg: str,
    extra: Mapping[str, Any],
    changed: bool,
) -> dict[str, Any]:
    return {
        **decision.extra,
        **extra,
        "changed": changed,
        "msg": msg,
        "plan": [dict(vars(action)) for action in decision.plan],  # flat: asdict() would copy deeply, for thousands
        "steps": [dict(vars(step)) for step in steps],
        "findings": [dict(vars(finding)) for finding in findings],
        "status": worst(finding.status for finding in findings),
        "before": dict(decision.before),
        "after": dict(after),
    }


def threshold_status(value: Optional[float], warning: Optional[float], critical: Optional[float]) -> str:
    """Return the verdict for a value where more is worse; a value that is not known is ``unknown``.

    >>> [threshold_status(v, 80, 90) for v in (79.9, 80, 90, None)]
    ['ok', 'warning', 'critical', 'unknown']
    """
    if value is None:
        return UNKNOWN
    if critical is not None and value >= critical:
        return CRITICAL
    if warning is not None and value >= warning:
        return WARNING
    return OK
