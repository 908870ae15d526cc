# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Which copies of a repository may go: a policy over good copies only, with things that no policy takes away."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Iterable, Mapping, Optional

from .backup import Catalog, Copy, Proof, Source
from .errors import InvalidValue, PreconditionFailed
from .result import CRITICAL, OK, WARNING, Action, Decision, Finding
from .units import count_of, human_duration, rfc3339

# Calendar periods in UTC, as strftime writes them; weeks are those of ISO 8601. The same as restic's own.
PERIODS: Mapping[str, str] = {"hour": "%Y-%m-%d %H", "day": "%Y-%m-%d", "week": "%G-W%V", "month": "%Y-%m"}
UNLOCK, PRUNE = "unlock", "prune"


@dataclass(frozen=True)
class Cap:
    """How much one run may remove: a number of copies, or a share of those that there are (0 to 1)."""

    number: Optional[int] = None
    share: Optional[float] = None

    def of(self, copies: int) -> int:
        """Return the limit for this many copies."""
        return self.number if self.number is not None else int((self.share or 0) * copies)


@dataclass(frozen=True)
class Policy:
    """What is kept. Durations in seconds.

    ``hosts``: whose copies may go; none is all. ``periods``: how many hours, days, weeks and months keep their newest
    good copy; only those that have one count. ``within`` is counted back from a source's newest good copy.
    ``tolerance``: how far ahead a source's clock may be.
    """

    products: tuple[str, ...]
    periods: Mapping[str, int]
    hosts: tuple[str, ...] = ()
    within: float = 0
    proven: int = 2
    bad: float = 0
    protect_newer_than: Optional[datetime] = None
    max_removals: Cap = Cap(share=0.5)
    confirmed: bool = False
    prune: bool = True
    future_allowed: bool = False
    tolerance: float = 300

    def covers(self, source: Source) -> bool:
        """Tell whether copies of this source may go at all."""
        return source.product in self.products and (not self.hosts or source.host in self.hosts)


@dataclass(frozen=True)
class Facts:
    """The repository as it is. ``locks``: of living and dead runs together. ``stored_bytes`` None: not asked."""

    location: str
    catalog: Catalog
    locks: int = 0
    stored_bytes: Optional[int] = None


@dataclass(frozen=True)
class Removal:
    """A copy that goes, with the proofs about it."""

    copy: Copy
    proofs: tuple[str, ...]
    reason: str

    @property
    def ids(self) -> tuple[str, ...]:
        """Return the snapshots, the copy first: a proof that stays without its copy does no harm."""
        return (self.copy.id, *self.proofs)


@dataclass(frozen=True)
class Selection:
    """What goes and what stays, with the reasons; ``orphans`` are proofs whose copy is gone already."""

    removals: tuple[Removal, ...] = ()
    orphans: tuple[Proof, ...] = ()
    kept: tuple[tuple[Copy, str], ...] = ()

    def ids(self) -> tuple[str, ...]:
        """Return every snapshot that goes, copies before proofs."""
        copies = tuple(removal.copy.id for removal in self.removals)
        proofs = tuple(one for removal in self.removals for one in removal.proofs)
        return (*copies, *proofs, *(proof.id for proof in self.orphans))


def parse_cap(text: str, option: str) -> Cap:
    """Return a limit for ``20`` copies or ``50%`` of them.

    >>> parse_cap("50%", "max_removals").of(9), parse_cap("3", "max_removals").of(9)
    (4, 3)

    Raises:
        InvalidValue: it is neither.
    """
    bare = text.strip()
    number = bare[:-1].strip() if bare.endswith("%") else bare
    if not (number.isascii() and number.isdigit()) or (bare.endswith("%") and int(number) > 100):
        raise InvalidValue(
            f"{option} must be a number of copies or a share such as 50%, not {text!r}",
            hint=f"write {option} as 20 or 50%",
        )
    return Cap(share=int(number) / 100) if bare.endswith("%") else Cap(number=int(number))


def check_policy(policy: Policy) -> Policy:
    """Return the policy.

    Raises:
        InvalidValue: it is a mistake: it keeps nothing by age, or no proven copy.
    """
    if any(number < 0 for number in policy.periods.values()):
        raise InvalidValue("keep_hourly to keep_monthly cannot be negative", hint="0 keeps none of that period")
    if not any(policy.periods.values()) and policy.within <= 0:
        raise InvalidValue(
            "the policy keeps nothing", hint="give at least one of keep_hourly to keep_monthly, or keep_within"
        )
    if policy.proven < 1:
        raise InvalidValue("keep_proven must be at least 1", hint="a copy that was proven to restore always stays")
    if not policy.products:
        raise InvalidValue("products is empty", hint="name the products whose copies may be removed")
    return policy


def select(catalog: Catalog, policy: Policy, now: datetime) -> Selection:
    """Return what goes and what stays of the products that the policy names; all else is not even looked at."""
    removals: list[Removal] = []
    kept: list[tuple[Copy, str]] = []
    for source in catalog.sources():
        if not policy.covers(source):
            continue
        reasons = _reasons_to_keep(catalog, source, policy, now)
        for copy in catalog.of(source):
            if copy.id in reasons:
                kept.append((copy, reasons[copy.id]))
            else:
                proofs = tuple(proof.id for proof in catalog.proofs if proof.of == copy.id)
                removals.append(Removal(copy, proofs, _reason_to_go(catalog, copy)))
    return Selection(tuple(removals), _orphans(catalog, policy), tuple(kept))


def _orphans(catalog: Catalog, policy: Policy) -> tuple[Proof, ...]:
    """Return proofs without a copy; a snapshot that we cannot read may be the copy."""
    there = {copy.id for copy in catalog.copies} | set(catalog.strangers)
    return tuple(proof for proof in catalog.proofs if proof.of not in there and policy.covers(proof.source))


def _reason_to_go(catalog: Catalog, copy: Copy) -> str:
    if catalog.verdict_of(copy) == "bad":
        return "does not restore, and there is a newer one that is not known to be bad"
    return "no rule keeps it"


def _reasons_to_keep(catalog: Catalog, source: Source, policy: Policy, now: datetime) -> dict[str, str]:
    """Return the ids of the copies that stay, each with the first reason that was found."""
    newest_first = list(reversed(catalog.of(source)))
    good = [copy for copy in newest_first if catalog.verdict_of(copy) != "bad"]
    reasons: dict[str, str] = {newest_first[0].id: "the newest of its source"}
    if good:
        reasons.setdefault(good[0].id, "the newest that is not known to be bad")
    for number, copy in enumerate(_proven(catalog, good)[: policy.proven]):
        reasons.setdefault(copy.id, f"proven to restore (number {number + 1} from the newest)")
    limit = policy.protect_newer_than
    for copy in newest_first:
        if limit is not None and copy.taken >= limit:
            reasons.setdefault(copy.id, f"not older than {rfc3339(limit)}")
    for copy_id, reason in _by_age(good, policy):
        reasons.setdefault(copy_id, reason)
    for copy, reason in _bad_that_stay(catalog, newest_first, policy, now):
        reasons.setdefault(copy.id, reason)
    return reasons


def _proven(catalog: Catalog, copies: Iterable[Copy]) -> list[Copy]:
    return [copy for copy in copies if catalog.verdict_of(copy) == "proven"]


def _by_age(good: list[Copy], policy: Policy) -> Iterable[tuple[str, str]]:
    """Yield the copies that the policy keeps, by id, with the rule; ``good`` has the newest first."""
    if good and policy.within > 0:
        since = good[0].taken - timedelta(seconds=policy.within)
        for copy in good:
            if copy.taken >= since:
                yield copy.id, f"within {human_duration(policy.within)} of the newest"
    for period, form in PERIODS.items():
        newest_of: dict[str, Copy] = {}
        for copy in good:
            newest_of.setdefault(copy.taken.strftime(form), copy)
        for label, copy in list(newest_of.items())[: policy.periods.get(period, 0)]:
            yield copy.id, f"newest of the {period} {label}"


def _bad_that_stay(
    catalog: Catalog, newest_first: list[Copy], policy: Policy, now: datetime
) -> Iterable[tuple[Copy, str]]:
    newer_good = False
    for copy in newest_first:
        if catalog.verdict_of(copy) != "bad":
            newer_good = True
        elif not newer_good:
            yield copy, "does not restore, but nothing better has been made since"
        elif (now - copy.taken).total_seconds() < policy.bad:
            yield copy, f"does not restore; kept for {human_duration(policy.bad)} to find out why"


def decide(facts: Facts, policy: Policy, now: datetime) -> tuple[Decision, Selection]:
    """Return the decision, and the selection that it was made from.

    Raises:
        PreconditionFailed: snapshots that cannot be read (``repository_damaged``), copies from the future
            (``clock_skew``), more to remove than one run may (``blast_cap_exceeded``).
    """
    _refuse_damage(facts.catalog)
    if not policy.future_allowed:
        _refuse_the_future(facts.catalog, policy, now)
    selection = select(facts.catalog, policy, now)
    _refuse_too_much(facts, policy, selection)
    plan = _plan(facts, policy, selection)
    copies, proofs = len(facts.catalog.copies), len(facts.catalog.proofs)
    before = {"copies": copies, "proofs": proofs, "stored_bytes": facts.stored_bytes}
    gone = len(selection.removals)
    after = {"copies": copies - gone, "proofs": proofs - len(selection.ids()) + gone, "stored_bytes": None}
    findings = _findings(facts.catalog, policy)
    decision = Decision(
        msg=_line(selection, policy),
        plan=plan,
        findings=findings,
        before=before,
        after=after if plan else before,
        extra={"kept": [_row(copy, reason) for copy, reason in selection.kept]},
    )
    return decision, selection


def _refuse_damage(catalog: Catalog) -> None:
    """A snapshot that cannot be read may be a copy that should count, or a proof."""
    if catalog.unreadable:
        raise PreconditionFailed(
            f"remove copies: {count_of(len(catalog.unreadable), 'snapshot')} cannot be read: "
            f"{', '.join(catalog.unreadable[:5])}",
            code="repository_damaged",
            hint="run restic check; take a damaged snapshot out by hand when it is known what it was",
            details={"snapshots": list(catalog.unreadable)},
        )


def _refuse_the_future(catalog: Catalog, policy: Policy, now: datetime) -> None:
    limit = now + timedelta(seconds=policy.tolerance)
    ahead = [copy for copy in catalog.copies if policy.covers(copy.source) and copy.taken > limit]
    if ahead:
        first = ahead[-1]
        raise PreconditionFailed(
            f"remove copies: {count_of(len(ahead), 'copy', 'copies')} from the future, the newest is of "
            f"{rfc3339(first.taken)} ({first.source.label()}), and here it is {rfc3339(now)}",
            code="clock_skew",
            hint="correct the clock that is wrong; then, if the copies are as they should be, allow_clock_skew=true",
            details={"copies": [copy.id for copy in ahead]},
        )


def _refuse_too_much(facts: Facts, policy: Policy, selection: Selection) -> None:
    there = len(selection.kept) + len(selection.removals)
    cap, wanted = policy.max_removals.of(there), len(selection.removals)
    if wanted > cap and not policy.confirmed:
        raise PreconditionFailed(
            f"the policy would remove {wanted} of {count_of(there, 'copy', 'copies')}, one run may remove {cap}",
            code="blast_cap_exceeded",
            hint=f"see the plan with max_removals=100% in check mode; if all of it may go, confirm={facts.location}",
            details={"copies": [removal.copy.id for removal in selection.removals]},
        )


def _plan(facts: Facts, policy: Policy, selection: Selection) -> tuple[Action, ...]:
    if not selection.ids():
        return ()
    actions = []
    if facts.locks:
        reason = f"{count_of(facts.locks, 'lock')} in the repository; those of living runs stay"
        actions.append(Action(UNLOCK, UNLOCK, facts.location, reason, "restic unlock"))
    for removal in selection.removals:
        target = f"{removal.copy.source.label()}, {rfc3339(removal.copy.taken)}"
        actions.append(Action(_action_id(removal.copy.id), "remove", target, removal.reason, _forget(removal.ids)))
    for proof in selection.orphans:
        target = f"proof of {proof.source.label()}, {rfc3339(proof.at)}"
        actions.append(
            Action(_action_id(proof.id), "remove_proof", target, "the copy that it was about is gone",
                   _forget((proof.id,)))
        )  # fmt: skip
    if policy.prune:
        actions.append(Action(PRUNE, PRUNE, facts.location, "give back the room of what was removed", "restic prune"))
    return tuple(actions)


def _action_id(snapshot: str) -> str:
    return f"remove:{snapshot}"


def _forget(ids: tuple[str, ...]) -> str:
    return f"restic forget {' '.join(ids)}"


def actions_of(selection: Selection) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return for each action that removes something its id and its snapshots, in the plan's order."""
    copies = tuple((_action_id(removal.copy.id), removal.ids) for removal in selection.removals)
    return copies + tuple((_action_id(proof.id), (proof.id,)) for proof in selection.orphans)


def _findings(catalog: Catalog, policy: Policy) -> tuple[Finding, ...]:
    findings: list[Finding] = []
    sources = catalog.sources()
    findings += _missing("", policy.products, {source.product for source in sources})
    findings += _missing(
        "host ", policy.hosts, {source.host for source in sources if source.product in policy.products}
    )
    for source in catalog.sources():
        if policy.covers(source):
            findings.append(_good_copies(catalog, source))
    return tuple(findings)


def _missing(what: str, asked: Iterable[str], there: set[str]) -> Iterable[Finding]:
    """Yield what was asked for and is not there: it may be a slip of the pen."""
    known = f"; it has {', '.join(sorted(there))}" if there else ""
    for name in asked:
        if name not in there:
            yield Finding("no_copy", WARNING, f"the repository has no copy of {what}{name}{known}")


def _good_copies(catalog: Catalog, source: Source) -> Finding:
    copies = catalog.of(source)
    good = [copy for copy in copies if catalog.verdict_of(copy) != "bad"]
    proven = len(_proven(catalog, good))
    if not good:
        msg = f"no good copy of {source.label()}: all {len(copies)} do not restore; none of them is removed"
        return Finding("no_good_copy", CRITICAL, msg, 0, "copies")
    msg = f"{source.label()}: {len(good)} good of {count_of(len(copies), 'copy', 'copies')}, {proven} proven"
    return Finding("good_copies", OK, msg, len(good), "copies")


def _line(selection: Selection, policy: Policy) -> str:
    if not selection.ids():
        return (
            f"nothing to remove, {count_of(len(selection.kept), 'copy', 'copies')} of {', '.join(policy.products)} kept"
        )
    return f"{_counted(selection)} to remove, {count_of(len(selection.kept), 'copy', 'copies')} kept"


def _counted(selection: Selection) -> str:
    copies = count_of(len(selection.removals), "copy", "copies")
    orphans = f" and {count_of(len(selection.orphans), 'orphaned proof')}" if selection.orphans else ""
    return copies + orphans


def done_line(selection: Selection, freed_bytes_text: str) -> str:
    """Return the one line of a run that removed everything it had planned to."""
    kept = count_of(len(selection.kept), "copy", "copies")
    return f"{_counted(selection)} removed, {kept} kept{freed_bytes_text}"


def _row(copy: Copy, reason: str) -> dict[str, str]:
    source = copy.source
    about = {"product": source.product, "host": source.host, "kind": source.kind, "name": source.name}
    return {"id": copy.id, **about, "taken": rfc3339(copy.taken), "reason": reason}
