# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Log rotation: the plan, the steps, the findings and the summary in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Iterable, Optional, Sequence, TypeVar

from .log_rotation import DeletedFile, Holdings, Policy, Refusal, Survey
from .log_rotation_decide import CLEAN, COMPRESS, CREATE, PRUNE, REMOVE, REOPEN, ROTATE, SETTLE, Operation, Work
from .log_rotation_names import COPIED
from .redact import printable
from .result import DONE, FAILED, OK, SKIPPED, UNKNOWN, WARNING, Action, Finding, Step, threshold_status
from .units import count_of, human_duration, human_size

PLAN_LIMIT = 200  # operations that are listed one by one; above that they are summed up by directory
FILES_LIMIT = 200
FINDINGS_LIMIT = 20  # of one kind
DELETED_ELSEWHERE_WARNING = 1024**3  # bytes held by deleted files elsewhere on the file system
NOT_NEEDED = "not_needed"  # code of an operation that turned out to have nothing to do
CLOCK_TOLERANCE = 60.0  # seconds by which a stamp may lie ahead: two rotations of one second move it a little
UNREAD = Finding("logs", UNKNOWN, "the directory could not be looked at again after the run")

_Item = TypeVar("_Item")
_WORDS = {  # of what, to do what, what was done
    ROTATE: ("log", "rotate", "rotated"),
    COMPRESS: ("file", "compress", "compressed"),
    PRUNE: ("generation", "prune", "pruned"),
    REMOVE: ("idle log", "remove", "removed"),
    SETTLE: ("interrupted rotation", "finish", "finished"),
    CREATE: ("missing log", "create", "created"),
    CLEAN: ("leftover", "remove", "removed"),
}


@dataclass(frozen=True)
class Result:
    """What became of one operation; ``size`` in bytes and ``target`` are those of the file that is there now."""

    operation: Operation
    status: str
    detail: str = ""
    seconds: float = 0.0
    size: int = 0
    target: str = ""
    code: str = ""

    @property
    def freed(self) -> int:
        """Bytes that the operation gave back."""
        return freed(self.operation, self.size) if self.status == DONE else 0


def freed(operation: Operation, size_after: int) -> int:
    """Return the bytes that an operation gives back when it leaves ``size_after`` bytes."""
    if operation.kind == COMPRESS:
        return operation.size - size_after
    twin = operation.kind == SETTLE and not operation.path.endswith(COPIED)
    return operation.size if twin or operation.kind in (PRUNE, REMOVE) else 0


def actions(work: Work, policy: Policy) -> tuple[Action, ...]:
    """Return the plan; many operations of one kind in one directory become one line."""
    if len(work.operations) <= PLAN_LIMIT:
        return tuple(_action(operation, policy) for operation in work.operations)
    groups = _grouped(work.operations, lambda operation: operation)
    return tuple(_action(g[0], policy) if len(g) == 1 else _folded(id_, g, policy) for id_, g in groups.items())


def steps(results: Sequence[Result], planned: int) -> tuple[Step, ...]:
    """Return what became of the plan, folded as the plan was: one step for each outcome of a line."""
    if planned <= PLAN_LIMIT:
        return tuple(_step(_shown(result)) for result in results)
    found = []
    for id_, group in _grouped(results, lambda result: result.operation).items():
        if len(group) == 1:
            found.append(_step(_shown(group[0])))
            continue
        for status in (DONE, SKIPPED, FAILED):
            same = [_shown(result) for result in group if result.status == status]
            if same:
                example = (
                    f", for example {printable(same[0].operation.path)}: {same[0].detail}" if same[0].detail else ""
                )
                seconds = round(sum(result.seconds for result in same), 3)
                found.append(Step(id_, status, seconds, f"{len(same)} of {len(group)}{example}"))
    return tuple(found)


def files(work: Work, results: Iterable[Result] = ()) -> list[dict[str, Any]]:
    """Return the files one by one, those with trouble first, at most FILES_LIMIT of them."""
    outcome = {result.operation.id: result for result in results}
    rows = [_row(operation, outcome.get(operation.id)) for operation in work.operations if operation.kind != REOPEN]
    rows.sort(key=lambda row: (FAILED, SKIPPED, DONE, "planned").index(row["status"]))
    return rows[:FILES_LIMIT]


def planned_message(survey: Survey, work: Work) -> str:
    """Return the one line about a plan that is only shown, or about nothing to do."""
    left = _left_alone(survey, work)
    if not work.operations:
        logs = sum(1 for family in survey.families if family.live is not None)
        return f"nothing to do: {count_of(logs, 'log')}, none due{left}"
    counts = {kind: len(work.of(kind)) for kind in _WORDS}
    parts = [f"{count_of(n, _WORDS[kind][0])} to {_WORDS[kind][1]}" for kind, n in counts.items() if n]
    estimate = sum(freed(operation, operation.estimate) for operation in work.operations)
    return f"{', '.join(parts)}; about {human_size(estimate)} freed{left}"


def done_message(survey: Survey, work: Work, results: Sequence[Result]) -> str:
    """Return the one line about what was done."""
    parts = []
    for kind, (noun, _verb, done_word) in _WORDS.items():
        done = [result for result in results if result.operation.kind == kind and result.status == DONE]
        if done:
            before, after = sum(r.operation.size for r in done), sum(r.size for r in done)
            ratio = f" ({human_size(before)} became {human_size(after)})" if kind == COMPRESS else ""
            parts.append(f"{count_of(len(done), noun)} {done_word}{ratio}")
    total = sum(result.freed for result in results)
    trouble = [r for r in results if r.status != DONE and r.code != NOT_NEEDED]
    skipped = f", {len(trouble)} not done ({_shown(trouble[0]).detail})" if trouble else ""
    return f"{', '.join(parts) or 'nothing done'}; {human_size(total)} freed{skipped}{_left_alone(survey, work)}"


def findings(survey: Survey, work: Work, holdings: Holdings, policy: Policy, now: float) -> tuple[Finding, ...]:
    """Return everything that a person should know about the directory."""
    found = [*_capped("refused", WARNING, survey.refused), *_capped("held_open", WARNING, work.blocked)]
    found += _capped("held_open", UNKNOWN, work.unclear)
    found += _deleted(holdings)
    ahead = [g.order - now for g in survey.generations() if g.ours and g.order - now > CLOCK_TOLERANCE]
    if ahead:
        text = f"the newest generation is stamped {human_duration(max(ahead))} ahead of the clock: was it set back?"
        found.append(Finding("clock", WARNING, text, round(max(ahead)), "s"))
    if policy.max_total_size is not None:
        status = WARNING if work.total_size > policy.max_total_size else OK
        text = f"generations take about {human_size(work.total_size)} of {human_size(policy.max_total_size)}"
        found.append(Finding("total_size", status, text, work.total_size, "bytes", policy.max_total_size))
    live = [family.live for family in survey.families if family.live is not None]
    size = sum(entry.size for entry in live)
    text = f"{count_of(len(live), 'log')} with {human_size(size)}, {count_of(len(work.of(ROTATE)), 'log')} due"
    return (*found, Finding("logs", OK, text, size, "bytes"))


def trouble(results: Iterable[Result]) -> tuple[Finding, ...]:
    """Return findings about operations that were not done."""
    refusals: dict[str, list[Refusal]] = {SKIPPED: [], FAILED: []}
    for result in results:
        if result.status != DONE and result.code != NOT_NEEDED:
            refusals[result.status].append(Refusal(result.operation.path, result.detail))
    return (*_capped("not_done", WARNING, refusals[SKIPPED]), *_capped("not_done", "critical", refusals[FAILED]))


def _shown(result: Result) -> Result:
    return Result(result.operation, result.status, printable(result.detail, 300), result.seconds, result.size)


def _step(result: Result) -> Step:
    return Step(printable(result.operation.id), result.status, round(result.seconds, 3), result.detail)


def _action(operation: Operation, policy: Policy) -> Action:
    target = printable(operation.path)
    return Action(printable(operation.id), operation.kind, target, operation.reason, _command(operation, policy))


def _folded(id_: str, group: Sequence[Operation], policy: Policy) -> Action:
    size, example = human_size(sum(operation.size for operation in group)), group[0]
    reason = f"{count_of(len(group), 'file')} with {size}, for example {printable(example.path)}: {example.reason}"
    return Action(id_, example.kind, id_.split(":", 1)[1], reason, _command(example, policy))


def _command(operation: Operation, policy: Policy) -> str:
    path, log = printable(operation.path), printable(operation.log)
    name = f"{log}-<time>"
    if operation.kind == ROTATE and policy.reopening.method == "copytruncate":
        return f"cp {log} {name}; truncate {log}"
    compressor = {".gz": "gzip", ".zst": "zstd"}.get(policy.suffix, "")
    return {
        CLEAN: f"rm {path}",
        SETTLE: f"compare {path} with {log}, keep what is complete",
        CREATE: f"create {path}",
        REMOVE: f"rm {path}",
        PRUNE: f"rm {path}",
        ROTATE: f"mv {log} {name}" + (f"; create {log}" if policy.create else ""),
        REOPEN: operation.target,
        COMPRESS: f"{compressor} {name if operation.follows else path}",
    }[operation.kind]


def _grouped(items: Iterable[_Item], operation_of: Callable[[_Item], Operation]) -> dict[str, list[_Item]]:
    groups: dict[str, list[_Item]] = {}
    for item in items:
        operation = operation_of(item)
        directory = operation.path.rpartition("/")[0] if operation.kind != REOPEN else operation.path
        place = operation.path if operation.kind == REOPEN else f"{directory}/*" if directory else "*"
        groups.setdefault(printable(f"{operation.kind}:{place}"), []).append(item)
    return groups


def _row(operation: Operation, result: Optional[Result]) -> dict[str, Any]:
    return {
        "path": printable(operation.path),
        "action": operation.kind,
        "reason": operation.reason,
        "status": "planned" if result is None else result.status,
        "detail": "" if result is None else printable(result.detail, 300),
        "generation": printable(operation.target if result is None else result.target),
        "size_before": operation.size,
        "size_after": operation.estimate if result is None else result.size,
    }


def _left_alone(survey: Survey, work: Work) -> str:
    left = (*survey.refused, *work.blocked)
    return f", {len(left)} left alone ({printable(left[0].path, 80)}: {left[0].reason})" if left else ""


def _capped(check: str, status: str, refusals: Sequence[Refusal]) -> list[Finding]:
    found = [Finding(check, status, f"{printable(r.path)}: {r.reason}") for r in refusals[:FINDINGS_LIMIT]]
    if len(refusals) > FINDINGS_LIMIT:
        found.append(Finding(check, status, f"and {len(refusals) - FINDINGS_LIMIT} more", len(refusals), "files"))
    return found


def _deleted(holdings: Holdings) -> list[Finding]:
    found = []
    inside = [deleted for deleted in holdings.deleted if deleted.inside]
    for deleted in inside[:FINDINGS_LIMIT]:
        text = f"{printable(deleted.path)} is deleted, but {_who(deleted)} still holds {human_size(deleted.size)} of it"
        found.append(Finding("deleted_open", WARNING, text, deleted.size, "bytes"))
    if len(inside) > FINDINGS_LIMIT:
        rest = sum(deleted.size for deleted in inside[FINDINGS_LIMIT:])
        text = f"and {len(inside) - FINDINGS_LIMIT} more deleted files that are held open, {human_size(rest)}"
        found.append(Finding("deleted_open", WARNING, text, rest, "bytes"))
    elsewhere = sorted((d for d in holdings.deleted if not d.inside), key=lambda deleted: -deleted.size)
    if elsewhere and elsewhere[0].size:
        size = sum(deleted.size for deleted in elsewhere)
        text = (
            f"deleted files elsewhere on this file system still take {human_size(size)}; "
            f"the largest: {printable(elsewhere[0].path, 120)}, held by {_who(elsewhere[0])}"
        )
        limit = DELETED_ELSEWHERE_WARNING
        status = threshold_status(size, limit, None)
        found.append(Finding("deleted_open_elsewhere", status, text, size, "bytes", limit))
    if holdings.unseen:
        text = f"{count_of(holdings.unseen, 'process', 'processes')} hide their open files from this user"
        found.append(Finding("deleted_open", UNKNOWN, f"{text}: deleted files that they hold are not known"))
    elif not inside:
        found.append(Finding("deleted_open", OK, "no deleted file of this directory is held open", 0, "bytes"))
    return found


def _who(deleted: DeletedFile) -> str:
    shown = ", ".join(f"{printable(holder.command, 60)} (pid {holder.pid})" for holder in deleted.holders[:3])
    return shown + (f" and {len(deleted.holders) - 3} more" if len(deleted.holders) > 3 else "")


def state(survey: Survey, work: Work) -> dict[str, int]:
    """Return the small picture of the directory of which the diff is made."""
    return {
        "logs": sum(1 for family in survey.families if family.live is not None),
        "logs_due": len(work.of(ROTATE)),
        "generations": sum(1 for _generation in survey.generations()),
        "to_compress": len(work.of(COMPRESS)),
        "to_remove": len(work.of(PRUNE)) + len(work.of(REMOVE)),
        "leftovers": len(work.of(CLEAN)) + len(work.of(SETTLE)) + len(work.of(CREATE)),
    }


def predicted(survey: Survey, work: Work, policy: Policy) -> dict[str, int]:
    """Return the picture after all of the work."""
    logs = state(survey, work)["logs"] + len(work.of(CREATE)) - len(work.of(REMOVE))
    if not policy.create and policy.reopening.method != "copytruncate":
        logs -= len(work.of(ROTATE))
    idle = dict.fromkeys(("logs_due", "to_compress", "to_remove", "leftovers"), 0)
    return {"logs": logs, "generations": work.generations, **idle}


def total_size(survey: Survey) -> int:
    """Return the bytes of all logs and generations."""
    live = sum(family.live.size for family in survey.families if family.live is not None)
    return live + sum(generation.entry.size for generation in survey.generations())
