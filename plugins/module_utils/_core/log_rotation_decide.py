# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Log rotation: what is to be done about a directory of logs, from the facts and the policy alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Optional, Sequence

from .log_rotation import FREE, HELD, UNCLEAR, Entry, Family, Generation, Holdings, Policy, Refusal, Survey
from .log_rotation_names import generation_name
from .units import count_of, human_duration, human_size

CLEAN, SETTLE, CREATE, REMOVE, ROTATE, REOPEN, PRUNE, COMPRESS = (
    "clean", "settle", "create", "remove", "rotate", "reopen", "prune", "compress",
)  # fmt: skip
# The order of the work: what a killed run left comes first; a generation goes only after its successor is there, and
# before new space is needed.
ORDER = (CLEAN, SETTLE, CREATE, REMOVE, ROTATE, REOPEN, PRUNE, COMPRESS)
QUIET_SECONDS = 3600.0  # where nobody can tell whether a file is written to, it counts as finished after this long


@dataclass(frozen=True)
class Operation:
    """One thing to do to one file.

    ``follows`` is the id of the operation that must be done first, ``needs`` the number of new generations that the
    log must have got first; ``target`` is the file name that is made or kept. ``size`` and ``estimate`` are bytes
    before and (guessed) after.
    """

    kind: str
    path: str
    reason: str
    entry: Optional[Entry] = None
    target: str = ""
    size: int = 0
    estimate: int = 0
    follows: str = ""
    needs: int = 0
    log: str = ""

    @property
    def id(self) -> str:
        """Name the operation in the plan and the steps."""
        return f"{self.kind}:{self.path}"


@dataclass(frozen=True)
class Work:
    """All operations in order, and the logs that cannot be rotated now, with the reason."""

    operations: tuple[Operation, ...] = ()
    blocked: tuple[Refusal, ...] = ()
    unclear: tuple[Refusal, ...] = ()
    generations: int = 0
    total_size: int = 0  # what the generations will occupy, guessed

    def of(self, kind: str) -> tuple[Operation, ...]:
        """Return the operations of one kind."""
        return tuple(operation for operation in self.operations if operation.kind == kind)


@dataclass(frozen=True)
class _Part:
    """What one log needs, the generations that stay, and those of them that may go when all together are too large."""

    operations: tuple[Operation, ...] = ()
    blocked: tuple[Refusal, ...] = ()
    unclear: tuple[Refusal, ...] = ()
    kept: tuple[Generation, ...] = ()
    spare: tuple[Generation, ...] = ()


def is_due(family: Family, policy: Policy, now: float) -> str:
    """Return why a log is to be rotated, or "" when it is not."""
    live = family.live
    if live is None or live.size < max(policy.min_size, 1):
        return ""
    if policy.max_size is not None and live.size >= policy.max_size:
        return f"{human_size(live.size)}, limit {human_size(policy.max_size)}"
    if not family.generations:
        return f"never rotated, {human_size(live.size)}"
    # A clock that was set back must not stop the rotation: what lies in the future says nothing.
    past = [generation.moment for generation in family.generations if generation.moment <= now]
    if not past:
        return f"last rotated in the future, {human_size(live.size)}"
    age = now - max(past)
    return f"last rotated {human_duration(age)} ago, {human_size(live.size)}" if age >= policy.max_age else ""


def plan_work(
    survey: Survey,
    holdings: Holdings,
    policy: Policy,
    now: float,
    ratio: float,
    redundant: frozenset[str] = frozenset(),
) -> Work:
    """Return what is to be done.

    ``ratio`` is the guessed share of its size that a compressed file keeps; ``redundant`` are the paths of unfinished
    copies whose log still has all of their lines.
    """
    families = [_finished(family, redundant) for family in survey.families]
    parts = [_part(family, holdings, policy, now, ratio) for family in families]
    operations = [Operation(CLEAN, e.path, "left by a run that was killed", e) for e in survey.staging]
    operations += [
        _redundant(family, copy) for family in survey.families for copy in family.copied if copy.entry.path in redundant
    ]
    operations += _missing_logs(survey, policy)
    operations += [operation for part in parts for operation in part.operations]
    kept = [generation for part in parts for generation in part.kept]
    spare = [generation for part in parts for generation in part.spare]
    pruned, total = _prune_total(kept, spare, operations, policy, ratio)
    gone = {operation.path for operation in pruned}
    operations = [operation for operation in operations if operation.path not in gone] + pruned
    operations += _reopen(operations, holdings, policy)
    rank = {kind: position for position, kind in enumerate(ORDER)}
    return Work(
        tuple(sorted(operations, key=lambda operation: rank[operation.kind])),
        tuple(refusal for part in parts for refusal in part.blocked),
        tuple(refusal for part in parts for refusal in part.unclear),
        len(kept) - len(pruned) + sum(1 for operation in operations if operation.kind == ROTATE),
        total,
    )


def _finished(family: Family, redundant: frozenset[str]) -> Family:
    copies = tuple(copy for copy in family.copied if copy.entry.path not in redundant)
    return family if len(copies) == len(family.copied) else replace(family, copied=copies)


def _redundant(family: Family, copy: Generation) -> Operation:
    reason = "copied by a run that was killed before it truncated the log"
    return Operation(SETTLE, copy.entry.path, reason, copy.entry, log=family.log)


def _missing_logs(survey: Survey, policy: Policy) -> list[Operation]:
    """Return the logs that a run renamed and did not live to create again.

    What shows it is its working directory, or a newest generation that no finished run would have left plain.
    """
    killed = {entry.directory for entry in survey.staging}
    finished_is_plain = policy.delay_compress or not policy.suffix
    found = []
    for family in survey.families if policy.create else ():
        newest = next(iter(family.generations), None)
        if family.live is not None or newest is None or not newest.plain or newest.entry.size == 0:
            continue
        if family.directory in killed or not finished_is_plain:
            reason = "renamed by a run that was interrupted"
            found.append(Operation(CREATE, family.path, reason, newest.entry, log=family.log))
    return found


def _part(family: Family, holdings: Holdings, policy: Policy, now: float, ratio: float) -> _Part:
    leftovers = _leftovers(family)
    settled = _without(family, leftovers)
    live, blocked, unclear = _live(settled, family, holdings, policy, now)
    rotation = next((operation for operation in live if operation.kind == ROTATE), None)
    prunes = _prunes(settled, rotation, holdings, policy, now)
    left = _without(settled, prunes)
    kept = left.generations
    compressions, held, doubtful = _compressions(left, rotation, holdings, policy, now, ratio)
    # The newest generation of each log stays, whatever the limit of all together.
    spare = [g for g in (kept if rotation else kept[1:]) if g.ours or policy.prune_existing]
    operations = (*leftovers, *live, *prunes, *compressions)
    return _Part(operations, (*blocked, *held), (*unclear, *doubtful), kept, tuple(spare))


def _without(family: Family, operations: Sequence[Operation]) -> Family:
    """Return a family without the generations that some operations are about."""
    if not operations:
        return family
    gone = {operation.path for operation in operations}
    return replace(family, generations=tuple(g for g in family.generations if g.entry.path not in gone))


def _leftovers(family: Family) -> list[Operation]:
    if not family.copied and all(g.tail and g.entry.size for g in family.generations if g.ours):
        return []
    compressed = {_stem(generation): generation for generation in family.generations if not generation.plain}
    found = []
    for generation in (*family.generations, *family.copied):
        entry, twin = generation.entry, compressed.get(_stem(generation))
        if generation.ours and entry.size == 0:
            found.append(Operation(CLEAN, entry.path, "left empty by a run that was killed", entry))
        elif generation in family.copied:
            name = generation_name(family.log, generation.order)
            reason = "copied by a run that was killed after it truncated the log"
            found.append(Operation(SETTLE, entry.path, reason, entry, name, entry.size, entry.size, log=family.log))
        elif generation.plain and twin is not None and twin.entry.size > 0:
            reason = "already compressed by a run that was killed"
            found.append(Operation(SETTLE, entry.path, reason, entry, twin.entry.name, entry.size, log=family.log))
    return found


def _stem(generation: Generation) -> str:
    name = generation.entry.name
    return name[: len(name) - len(generation.tail)] if generation.ours else name


def _live(
    family: Family, found: Family, holdings: Holdings, policy: Policy, now: float
) -> tuple[list[Operation], list[Refusal], list[Refusal]]:
    live, reason = family.live, is_due(family, policy, now)
    if live is None:
        return [], [], []
    verdict = holdings.verdict(live.identity)
    idle = now - live.mtime
    if policy.prune_logs_age is not None and idle >= policy.prune_logs_age and verdict == FREE:
        text = f"not written for {human_duration(idle)}, limit {human_duration(policy.prune_logs_age)}"
        return [Operation(REMOVE, live.path, text, live, size=live.size)], [], []
    if not reason:
        return [], [], []
    obstacle = _obstacle(live, holdings, policy)
    if obstacle:
        return [], [Refusal(live.path, obstacle)], []
    name = generation_name(family.log, _next_stamp(found, now))
    rotate = Operation(ROTATE, live.path, reason, live, name, live.size, live.size, log=family.log)
    return [rotate], [], [Refusal(live.path, _doubt(live, holdings))] if verdict == UNCLEAR else []


def _doubt(live: Entry, holdings: Holdings) -> str:
    if live.device in holdings.shared:
        return "on a network file system: cannot tell whether another host has it open for writing"
    hiding = count_of(holdings.unseen, "process", "processes")
    return f"cannot tell whether one of {hiding} that hide their files has it"


def _next_stamp(family: Family, now: float) -> float:
    # Later than every stamp there is: names sort as they were written, also when the clock was set back.
    stamps = [generation.order for generation in (*family.generations, *family.copied) if generation.ours]
    return max([float(int(now)), *(stamp + 1 for stamp in stamps)])


def _obstacle(live: Entry, holdings: Holdings, policy: Policy) -> str:
    if policy.reopening.asks or holdings.verdict(live.identity) != HELD:
        return ""
    writers = holdings.writers(live.identity)
    names = ", ".join(f"{holder.command} (pid {holder.pid})" for holder in writers[:3])
    if policy.reopening.method == "none":
        return f"held open by {names or 'a process that cannot be seen'}, and reopen says no way to tell it"
    if not writers:
        return (
            "written by a process that cannot be seen: whether it appends is not known, truncating could leave a hole"
        )
    if not all(holder.appends for holder in writers):
        return f"written by {names} without O_APPEND: truncating would leave a hole; let it reopen the file instead"
    return ""


def _prunes(
    family: Family, rotation: Optional[Operation], holdings: Holdings, policy: Policy, now: float
) -> list[Operation]:
    eligible = [generation for generation in family.generations if generation.ours or policy.prune_existing]
    expected = (rotation is not None) + sum(1 for copy in family.copied if copy.entry.size)
    found = []
    for position, generation in enumerate(eligible):
        age, needs = now - generation.moment, 0
        if policy.prune_age is not None and age >= policy.prune_age:
            reason = f"rotated {human_duration(age)} ago, limit {human_duration(policy.prune_age)}"
        elif policy.keep and position + expected >= policy.keep:
            reason, needs = f"more than {count_of(policy.keep, 'generation')}", max(0, policy.keep - position)
        else:
            continue
        if holdings.verdict(generation.entry.identity) != HELD:
            found.append(replace(_prune(generation, reason), needs=needs, log=family.log))
    return found


def _prune(generation: Generation, reason: str) -> Operation:
    return Operation(PRUNE, generation.entry.path, reason, generation.entry, size=generation.entry.size)


def _compressions(
    family: Family, rotation: Optional[Operation], holdings: Holdings, policy: Policy, now: float, ratio: float
) -> tuple[list[Operation], list[Refusal], list[Refusal]]:
    found: list[Operation] = []
    held: list[Refusal] = []
    doubtful: list[Refusal] = []
    newest_first = _uncompressed(family, rotation, policy.suffix, ratio) if policy.suffix else []
    for operation, entry in newest_first[1:] if policy.delay_compress else newest_first:
        verdict = holdings.verdict(entry.identity)
        if operation.follows and (verdict == HELD or policy.reopening.method == "copytruncate"):
            verdict = FREE  # by then its writer was told, or never had it
        if verdict == FREE or (verdict == UNCLEAR and not operation.follows and now - entry.mtime >= QUIET_SECONDS):
            found.append(operation)
        elif verdict == UNCLEAR:
            doubtful.append(Refusal(operation.path, "cannot tell whether it is still written to: not compressed yet"))
        elif policy.reopening.asks:
            found.append(replace(operation, reason="not compressed, still written to"))
        else:
            held.append(Refusal(operation.path, "still written to, and reopen says no way to tell the process"))
    return found, held, doubtful


def _uncompressed(
    family: Family, rotation: Optional[Operation], suffix: str, ratio: float
) -> list[tuple[Operation, Entry]]:
    """Return the compression of what this run is about to leave, and of what earlier ones left, the newest first."""

    def compress(path: str, reason: str, entry: Entry, name: str, follows: str = "") -> tuple[Operation, Entry]:
        size, estimate = entry.size, int(entry.size * ratio)
        return Operation(COMPRESS, path, reason, entry, name + suffix, size, estimate, follows, 0, family.log), entry

    found = []
    if rotation is not None and rotation.entry is not None:
        found.append(compress(family.path, "rotated now", rotation.entry, rotation.target, rotation.id))
    for copy in family.copied:
        if copy.entry.size:
            path, name = copy.entry.path, generation_name(family.log, copy.order)
            found.append(compress(path, "copied by a run that was killed", copy.entry, name, f"{SETTLE}:{path}"))
    for generation in family.generations:
        if generation.plain:
            entry = generation.entry
            found.append(compress(entry.path, "not compressed", entry, entry.name))
    return found


def _prune_total(
    kept: Sequence[Generation],
    spare: Sequence[Generation],
    operations: Sequence[Operation],
    policy: Policy,
    ratio: float,
) -> tuple[list[Operation], int]:
    """Return the oldest generations that must go so that all together keep the limit, and the size of what is left."""
    compressed = {operation.path for operation in operations if operation.kind == COMPRESS and not operation.follows}
    guess = {g.entry.path: int(g.entry.size * (ratio if g.entry.path in compressed else 1.0)) for g in kept}
    fresh_ratio = 1.0 if policy.delay_compress or not policy.suffix else ratio
    total = sum(guess.values()) + sum(int(o.size * fresh_ratio) for o in operations if o.kind == ROTATE)
    pruned: list[Operation] = []
    for generation in sorted(spare, key=lambda generation: generation.moment):
        if policy.max_total_size is None or total <= policy.max_total_size:
            break
        reason = f"all generations together over {human_size(policy.max_total_size)}, this is among the oldest"
        pruned.append(_prune(generation, reason))
        total -= guess[generation.entry.path]
    return pruned, total


def _reopen(operations: Sequence[Operation], holdings: Holdings, policy: Policy) -> list[Operation]:
    if not policy.reopening.asks:
        return []
    touched = [o for o in operations if o.kind == ROTATE or (o.kind == COMPRESS and not o.follows)]
    held = [o for o in touched if o.entry is not None and holdings.verdict(o.entry.identity) != FREE]
    if not held:
        return []
    certain = all(o.entry is not None and holdings.verdict(o.entry.identity) == HELD for o in held)
    reason = f"{count_of(len(held), 'file')} {'held' if certain else 'perhaps held'} open for writing"
    return [Operation(REOPEN, policy.reopening.target, reason, target=policy.reopening.command)]


def candidates(survey: Survey, policy: Policy, now: float) -> tuple[list[Entry], list[Entry]]:
    """Return the logs that may have to be rotated or removed, and the generations that wait for compression."""
    logs = []
    for family in survey.families:
        live = family.live
        idle = policy.prune_logs_age is not None and live is not None and now - live.mtime >= policy.prune_logs_age
        if live is not None and (idle or is_due(family, policy, now)):
            logs.append(live)
    return logs, [generation.entry for generation in survey.generations() if generation.plain]
