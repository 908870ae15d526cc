# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What a repository of backups is worth: how old its copies are, which of them are proven, what is missing."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Iterable, Iterator, Mapping, Optional, Union

from .backup import CLOCK_TOLERANCE, Catalog, Copy, Proof, Source
from .result import CRITICAL, OK, UNKNOWN, WARNING, Decision, Finding, worst
from .units import count_of, human_duration, rfc3339

# What these codes say is a reading; every other trouble is a mistake of whoever asks, and fails the module.
READINGS: Mapping[str, str] = {
    "repository_damaged": CRITICAL,
    "repository_unreachable": UNKNOWN,
    "host_key_refused": UNKNOWN,
    "repository_locked": UNKNOWN,
    "timed_out": UNKNOWN,
}


@dataclass(frozen=True)
class Limits:
    """How old the newest good copy and the newest proof may be, in seconds; None is no limit."""

    copy: Optional[float] = 26 * 3600.0
    proof: Optional[float] = 8 * 86400.0


@dataclass(frozen=True)
class Policy:
    """What is looked for. Without ``expected`` every source of the repository is judged, else these only.

    ``judge`` False: only listed. ``known``: ids of copies that were there before; None: whether there is a new one is
    not asked. ``tolerance``: seconds that the clock of a source may be ahead.
    """

    judge: bool = True
    limits: Limits = Limits()
    expected: Mapping[Source, Limits] = field(default_factory=dict)
    products: tuple[str, ...] = ()
    known: Optional[frozenset[str]] = None
    tolerance: float = CLOCK_TOLERANCE


@dataclass(frozen=True)
class Look:
    """What was seen. ``catalog`` None: the repository could not be listed, ``findings`` say why.

    ``facts``: of some copies, by id. ``stored_bytes`` None: not asked.
    """

    catalog: Optional[Catalog]
    findings: tuple[Finding, ...] = ()
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    stored_bytes: Optional[int] = None


@dataclass(frozen=True)
class _Judged:
    """One source against its limits; ``newest`` is the newest copy that is not known to be bad."""

    source: Source
    copies: tuple[Copy, ...]
    newest: Optional[Copy]
    proof: Optional[Proof]
    findings: tuple[Finding, ...]


def chosen_sources(catalog: Catalog, policy: Policy) -> tuple[Source, ...]:
    """Return the sources that are judged, sorted: those expected, or all that there are."""
    if not policy.judge:
        return ()
    sources = set(policy.expected) or set(catalog.sources())
    return tuple(
        sorted((one for one in sources if not policy.products or one.product in policy.products), key=Source.label)
    )


def newest_copies(catalog: Catalog, policy: Policy) -> tuple[Copy, ...]:
    """Return the newest good copy of each source that is judged."""
    found = (_newest_good(catalog, source) for source in chosen_sources(catalog, policy))
    return tuple(copy for copy in found if copy is not None)


def report(look: Look, policy: Policy, now: datetime) -> Decision:
    """Return what there is to say; there is never a plan."""
    if look.catalog is None:
        unknown = tuple(
            Finding("backup_age", UNKNOWN, f"{source.label()}: nobody can tell, the repository could not be read")
            for source in chosen_sources(Catalog(), policy)
        )
        findings = look.findings + unknown
        return Decision(msg=look.findings[0].msg, findings=findings, extra=_extra(look, (), Catalog(), now))
    catalog = look.catalog
    judged = tuple(_judge(catalog, source, policy, now) for source in chosen_sources(catalog, policy))
    catalog = catalog.until(now, policy.tolerance)
    of_sources = tuple(finding for one in judged for finding in one.findings) or _nothing_to_judge(policy)
    findings = look.findings + unreadable_findings(catalog) + of_sources
    return Decision(msg=_line(catalog, judged, findings), findings=findings, extra=_extra(look, judged, catalog, now))


def source_findings(catalog: Catalog, source: Source, limits: Limits, now: datetime) -> tuple[Finding, ...]:
    """Return what there is to say about one source: its ages, and whether it has a copy that restores."""
    return _judge(catalog, source, Policy(limits=limits), now).findings


def unreadable_findings(catalog: Catalog, status: str = CRITICAL) -> tuple[Finding, ...]:
    """Return a finding when the repository lists snapshots that cannot be read."""
    if not catalog.unreadable:
        return ()
    number = len(catalog.unreadable)
    names = ", ".join(catalog.unreadable[:5])
    msg = f"{count_of(number, 'snapshot')} cannot be read, and nobody can tell what is in it: {names}"
    return (Finding("snapshots_unreadable", status, msg, number, "snapshots"),)


def _judge(everything: Catalog, source: Source, policy: Policy, now: datetime) -> _Judged:
    catalog = everything.until(now, policy.tolerance)
    copies, newest, proof = catalog.of(source), _newest_good(catalog, source), _newest_proof(catalog, source)
    limits = policy.expected.get(source, policy.limits)
    if not copies:
        missing = Finding("copy_missing", CRITICAL, f"{source.label()}: the repository has no copy of it", 0, "copies")
        return _Judged(source, copies, None, None, (missing,))
    ahead = [one.at for one in everything.proofs if one not in catalog.proofs and one.source == source]
    proof_age = _proof_age(source, proof, limits.proof, now, bool(ahead))
    findings = [_copy_age(source, newest, limits.copy, now), proof_age]
    if catalog.verdict_of(copies[-1]) == "bad":
        msg = f"{source.label()}: the newest copy, of {rfc3339(copies[-1].taken)}, does not restore"
        findings.append(Finding("copy_bad", CRITICAL, msg))
    if policy.known is not None and not any(copy.id not in policy.known for copy in copies):
        msg = f"{source.label()}: no new copy was made, the newest is of {rfc3339(copies[-1].taken)}"
        findings.append(Finding("no_new_copy", CRITICAL, msg))
    if copies[-1].taken > now + timedelta(seconds=policy.tolerance):
        findings.append(_future(f"{source.label()}: a copy", copies[-1].taken, now, policy.tolerance))
    if ahead:
        findings.append(_future(f"{source.label()}: a proof that does not count", max(ahead), now, policy.tolerance))
    return _Judged(source, copies, newest, proof, tuple(findings))


def _nothing_to_judge(policy: Policy) -> tuple[Finding, ...]:
    """Return that there is no backup at all, unless the copies were only to be listed."""
    if not policy.judge:
        return ()
    of = f" of {', '.join(policy.products)}" if policy.products else ""
    return (Finding("copy_missing", CRITICAL, f"the repository has no copy{of} at all", 0, "copies"),)


def expected_sources(variables: Mapping[str, Mapping[str, Any]], hosts: Iterable[str]) -> list[dict[str, str]]:
    """Return what the inventory wants copied of these hosts, as the option ``expected`` takes it.

    A host without ``backup_product`` has no backups.

    >>> inventory = {"db1": {"backup_product": "shop", "backup_databases": ["app"]}, "app1": {"backup_redis": True}}
    >>> expected_sources(inventory, inventory)
    [{'product': 'shop', 'host': 'db1', 'kind': 'postgresql', 'name': 'app'}]
    """
    return [
        {"product": variables[host]["backup_product"], "host": host, "kind": kind, "name": name}
        for host in hosts
        if variables[host].get("backup_product")
        for kind, name in _wanted_copies(variables[host])
    ]


def _wanted_copies(own: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield kind and name of each copy that a host's variables ask for, as the role backup makes them."""
    yield from (("postgresql", name) for name in own.get("backup_databases") or ())
    if own.get("backup_redis"):
        yield "redis", "redis"
    for entry in [*(own.get("backup_config") or ()), *(own.get("backup_uploads") or ())]:
        yield "config", entry["name"]


def _newest_good(catalog: Catalog, source: Source) -> Optional[Copy]:
    good = [copy for copy in catalog.of(source) if catalog.verdict_of(copy) != "bad"]
    return good[-1] if good else None


def _newest_proof(catalog: Catalog, source: Source) -> Optional[Proof]:
    """Return the newest proof that a copy restores; one that later turned out to be bad does not count."""
    proofs = [
        proof
        for copy in catalog.of(source)
        if catalog.verdict_of(copy) == "proven"
        for proof in [catalog.proof_of(copy)]
        if proof is not None
    ]
    return max(proofs, key=lambda proof: proof.at, default=None)


def _copy_age(source: Source, newest: Optional[Copy], limit: Optional[float], now: datetime) -> Finding:
    if newest is None:
        return Finding("backup_age", CRITICAL, f"{source.label()}: none of its copies restores", unit="s")
    return _age("backup_age", f"{source.label()}: the newest copy is", newest.taken, limit, now)


def _proof_age(source: Source, proof: Optional[Proof], limit: Optional[float], now: datetime, ahead: bool) -> Finding:
    if proof is None:
        status = OK if limit is None else UNKNOWN if ahead else CRITICAL
        msg = f"{source.label()}: no copy was ever proven to restore"
        if ahead:
            msg = f"{source.label()}: whether a copy was proven to restore cannot be told, a clock is or was wrong"
        return Finding("proof_age", status, msg, None, "s", critical=limit)
    return _age("proof_age", f"{source.label()}: the newest proof that a copy restores is", proof.at, limit, now)


def _age(check: str, what: str, since: datetime, limit: Optional[float], now: datetime) -> Finding:
    age = (now - since).total_seconds()
    msg = f"{what} {human_duration(max(age, 0))} old"
    stale = limit is not None and age > limit
    if limit is not None and stale:
        msg = f"{msg}: stale, at most {human_duration(limit)} is allowed"
    return Finding(check, CRITICAL if stale else OK, msg, round(age, 3), "s", critical=limit)


def _future(what: str, at: datetime, now: datetime, tolerance: float) -> Finding:
    ahead = (at - now).total_seconds()
    msg = f"{what} of {rfc3339(at)} is {human_duration(ahead)} ahead of this host's clock"
    return Finding("clock_skew", WARNING, msg, round(ahead, 3), "s", warning=tolerance)


def _line(catalog: Catalog, judged: tuple[_Judged, ...], findings: tuple[Finding, ...]) -> str:
    bad = [finding for finding in findings if finding.status != OK]
    copies = sum(len(one.copies) for one in judged) if judged else len(catalog.copies)
    seen = f"{count_of(len(judged) or len(catalog.sources()), 'source')}, {count_of(copies, 'copy', 'copies')}"
    first = sorted(bad, key=lambda finding: finding.status != worst(one.status for one in bad))
    return (
        f"{seen}; {count_of(len(bad), 'finding')}: {first[0].msg}"
        if bad
        else f"{seen}{': fresh and proven' if judged else ''}"
    )


# --- the result's own keys --------------------------------------------------------------------------------------


def _extra(look: Look, judged: tuple[_Judged, ...], catalog: Catalog, now: datetime) -> dict[str, Any]:
    copies = {copy.id for copy in catalog.copies}
    orphans = [proof.id for proof in catalog.proofs if proof.of not in copies]
    return {
        "sources": [_source_row(one, look, catalog, now) for one in judged],
        "copies": [_copy_row(copy, catalog, now) for copy in catalog.copies],
        "strangers": list(catalog.strangers),
        "orphaned_proofs": orphans,
        "stored_bytes": look.stored_bytes,
    }


def _about(source: Source) -> dict[str, str]:
    return {"product": source.product, "host": source.host, "kind": source.kind, "name": source.name}


def _source_row(one: _Judged, look: Look, catalog: Catalog, now: datetime) -> dict[str, Any]:
    newest, proof = one.newest, one.proof
    return {
        **_about(one.source),
        "status": worst(finding.status for finding in one.findings),
        "copies": len(one.copies),
        "newest": newest.id if newest else None,
        "newest_taken": rfc3339(newest.taken) if newest else None,
        "newest_verdict": catalog.verdict_of(newest) if newest else None,
        "age_seconds": _seconds(newest.taken if newest else None, now),
        "proven": proof.of if proof else None,
        "proven_at": rfc3339(proof.at) if proof else None,
        "proof_age_seconds": _seconds(proof.at if proof else None, now),
        "facts": dict(look.facts[newest.id]) if newest and newest.id in look.facts else None,
    }


def _copy_row(copy: Copy, catalog: Catalog, now: datetime) -> dict[str, Any]:
    proof = catalog.proof_of(copy)
    return {
        "id": copy.id,
        **_about(copy.source),
        "taken": rfc3339(copy.taken),
        "age_seconds": _seconds(copy.taken, now),
        "form": copy.form,
        "server": copy.server,
        "size_bytes": copy.size_bytes,
        "verdict": catalog.verdict_of(copy),
        "proof": proof.id if proof else None,
        "proof_at": rfc3339(proof.at) if proof else None,
    }


def _seconds(moment: Optional[datetime], now: datetime) -> Optional[float]:
    return None if moment is None else round((now - moment).total_seconds(), 3)


Fact = Union[str, int, float, bool, None, Mapping[str, Any]]


def summary_of_facts(manifest: Mapping[str, Any]) -> dict[str, Fact]:
    """Return the facts of a copy without its long lists: those are counted.

    >>> summary_of_facts({"format": 1, "tables": [{"rows": 2}, {"rows": 3}], "server": {"major": 18}})
    {'tables': 2, 'server': {'major': 18}, 'rows': 5}
    """
    short = {name: _counted(value) for name, value in manifest.items() if name != "format"}
    tables = manifest.get("tables")
    if isinstance(tables, (list, tuple)):
        short["rows"] = sum(int(table["rows"]) for table in tables if isinstance(table.get("rows"), int))
    return short


def _counted(value: Any) -> Fact:
    if isinstance(value, (list, tuple)):
        return len(value)
    fact: Fact = {name: _counted(one) for name, one in value.items()} if isinstance(value, Mapping) else value
    return fact
