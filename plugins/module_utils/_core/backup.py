# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What a repository of backups holds: copies, and the proofs that they restore; all of it is said by tags."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import Iterable, Mapping, Optional
from urllib.parse import quote, unquote

from .errors import InvalidValue, PreconditionFailed
from .result import CRITICAL, OK
from .timestamps import parse_own, parse_rfc3339
from .units import count_of, rfc3339

MARK = "oncall-runbooks"
POSTGRESQL, REDIS, CONFIG = "postgresql", "redis", "config"
KINDS = (POSTGRESQL, REDIS, CONFIG)
PROOF = "proof"
MANIFEST = "manifest.json"
CLOCK_TOLERANCE = 300.0  # seconds that another host's clock may be ahead


@dataclass(frozen=True)
class Snapshot:
    """One snapshot as the repository lists it. ``time`` is the clock of the host that wrote it."""

    id: str
    time: datetime
    host: str
    tags: tuple[str, ...]
    paths: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """Whose copy it is: the product, the host by its inventory name, the kind, and the name (of a database)."""

    product: str
    host: str
    kind: str
    name: str

    def label(self) -> str:
        """Return the source for messages.

        >>> Source("shop", "db1", "postgresql", "app").label()
        'shop postgresql app of db1'
        """
        return f"{self.product} {self.kind} {self.name} of {self.host}"


@dataclass(frozen=True)
class Copy:
    """One copy. ``taken`` is the moment whose state it holds, by the source's own clock where it has one.

    ``form`` says how the payload lies in it, ``server`` is the system identifier of the source ("" where there is
    none), ``size_bytes`` that of the payload before deduplication. ``stored`` is when the repository got it, in seconds
    since the epoch: of two copies of the same second it tells the newer one.
    """

    id: str
    source: Source
    taken: datetime
    form: str = ""
    server: str = ""
    size_bytes: Optional[int] = None
    stored: float = field(default=0.0, compare=False)

    @property
    def order(self) -> tuple[datetime, float, str]:
        """Return what puts copies in the order of their age."""
        return self.taken, self.stored, self.id


@dataclass(frozen=True)
class Proof:
    """What a verification found out about one copy: ``verdict`` ok, critical (it does not restore) or unknown."""

    id: str
    of: str
    source: Source
    verdict: str
    at: datetime


@dataclass(frozen=True)
class Catalog:
    """All copies and proofs, the oldest first. ``strangers`` are snapshots that somebody else put there.

    ``unreadable``: beginnings of ids of damaged snapshots; nobody can tell whether they were copies.
    """

    copies: tuple[Copy, ...] = ()
    proofs: tuple[Proof, ...] = ()
    strangers: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()

    def ids(self) -> frozenset[str]:
        """Return the ids of all snapshots that could be read."""
        return frozenset((*(copy.id for copy in self.copies), *(proof.id for proof in self.proofs), *self.strangers))

    def until(self, now: datetime, tolerance: float = CLOCK_TOLERANCE) -> Catalog:
        """Return what can be believed at a moment: without good proofs that are stamped later, by a wrong clock.

        One of them would hide everything that is found out until then. A bad one stays: it can do no such harm.
        ``tolerance`` in seconds.
        """
        limit = now + timedelta(seconds=tolerance)
        return replace(self, proofs=tuple(one for one in self.proofs if one.at <= limit or one.verdict != OK))

    def of(self, source: Source) -> tuple[Copy, ...]:
        """Return the copies of one source, the oldest first."""
        return tuple(copy for copy in self.copies if copy.source == source)

    def sources(self) -> tuple[Source, ...]:
        """Return every source that has a copy, sorted."""
        return tuple(sorted({copy.source for copy in self.copies}, key=Source.label))

    def proof_of(self, copy: Copy) -> Optional[Proof]:
        """Return the newest proof that could judge the copy; one that could not look says nothing about it."""
        found = [proof for proof in self.proofs if proof.of == copy.id and proof.verdict in (OK, CRITICAL)]
        return max(found, key=lambda proof: proof.at, default=None)

    def verdict_of(self, copy: Copy) -> str:
        """Return ``proven``, ``bad`` or ``unproven``."""
        proof = self.proof_of(copy)
        return "unproven" if proof is None else "proven" if proof.verdict == OK else "bad"

    def pick(self, source: Source, at: Optional[datetime] = None) -> Copy:
        """Return the newest copy that is not known to be bad, taken at or before ``at``.

        Raises:
            PreconditionFailed: no copy of this source at all (code ``no_copy``), or none old enough
                (``no_copy_old_enough``), or all of them are bad (``no_good_copy``).
        """
        copies = self.of(source)
        if not copies:
            known = ", ".join(one.label() for one in self.sources()) or "nothing"
            raise PreconditionFailed(
                f"no copy of {source.label()}; the repository has {known}{self._hidden()}",
                code="no_copy",
                hint="check product, host and name",
            )
        old_enough = [copy for copy in copies if at is None or copy.taken <= at]
        if not old_enough:
            oldest = rfc3339(min(copy.taken for copy in copies))
            raise PreconditionFailed(
                f"no copy of {source.label()} at or before {rfc3339(at) if at else ''}; the oldest is of {oldest}"
                f"{self._hidden()}",
                code="no_copy_old_enough",
                hint="choose a later time, or look into the physical backups for an earlier one",
            )
        good = [copy for copy in old_enough if self.verdict_of(copy) != "bad"]
        if not good:
            raise PreconditionFailed(
                f"every copy of {source.label()} that is old enough was found to be bad{self._hidden()}",
                code="no_good_copy",
                hint="choose a later time, or give the snapshot's id to use one all the same",
            )
        return max(good, key=lambda copy: copy.order)

    def _hidden(self) -> str:
        """Return what to add where a copy is missing: it may be one of those that nobody can read."""
        if not self.unreadable:
            return ""
        return f"; {count_of(len(self.unreadable), 'snapshot')} cannot be read: {', '.join(self.unreadable[:5])}"

    def by_id(self, copy_id: str) -> Copy:
        """Return the copy with this id, or an unambiguous beginning of it.

        Raises:
            PreconditionFailed: there is none, or there are several.
        """
        found = [copy for copy in self.copies if copy.id.startswith(copy_id)] if copy_id else []
        if len(found) != 1:
            count = "no copy" if not found else f"{len(found)} copies"
            raise PreconditionFailed(f"{count} with the id {copy_id!r}", code="no_copy", hint="see backup_catalog_info")
        return found[0]


def make_tags(values: Mapping[str, str]) -> tuple[str, ...]:
    """Return tags for key-value pairs: percent-encoded, because a comma would split a tag.

    >>> make_tags({"name": "a,b c"})
    ('oncall-runbooks', 'name=a%2Cb%20c')
    """
    return (MARK, *(f"{key}={quote(value, safe=':+')}" for key, value in values.items()))


def copy_tags(copy: Copy) -> tuple[str, ...]:
    """Return the tags of a copy that is about to be written."""
    size = "" if copy.size_bytes is None else str(copy.size_bytes)
    about = {"taken": rfc3339(copy.taken), "form": copy.form, "server": copy.server, "size": size}
    return make_tags({**_source_tags(copy.source), **{key: value for key, value in about.items() if value}})


def proof_tags(proof: Proof) -> tuple[str, ...]:
    """Return the tags of a proof; its kind is ``proof``, the kind of the copy is in ``proves``."""
    source = _source_tags(proof.source)
    about = {"proves": proof.source.kind, "of": proof.of, "verdict": proof.verdict, "taken": rfc3339(proof.at)}
    return make_tags({**source, "kind": PROOF, **about})


def _source_tags(source: Source) -> dict[str, str]:
    return {"kind": source.kind, "product": source.product, "name": source.name}


def read_catalog(snapshots: Iterable[Snapshot]) -> Catalog:
    """Return what some snapshots are; one with our mark that cannot be read counts as a stranger, never as a copy."""
    copies, proofs, strangers = [], [], []
    for snapshot in snapshots:
        tags = read_tags(snapshot.tags)
        try:
            if tags.get("kind") == PROOF:
                proofs.append(_proof(snapshot, tags))
            else:
                copies.append(_copy(snapshot, tags))
        except (KeyError, ValueError):
            strangers.append(snapshot.id)
    return Catalog(
        tuple(sorted(copies, key=lambda copy: copy.order)),
        tuple(sorted(proofs, key=lambda proof: (proof.at, proof.id))),
        tuple(strangers),
    )


def read_tags(tags: Iterable[str]) -> dict[str, str]:
    """Return the key-value pairs of some tags; empty without our mark."""
    found = list(tags)
    if MARK not in found:
        return {}
    pairs = (tag.partition("=") for tag in found if "=" in tag)
    return {key: unquote(value) for key, _equals, value in pairs}


def _copy(snapshot: Snapshot, tags: Mapping[str, str]) -> Copy:
    if tags["kind"] not in KINDS:
        raise ValueError(tags["kind"])
    size = tags.get("size", "")
    return Copy(
        id=snapshot.id,
        source=Source(tags["product"], snapshot.host, tags["kind"], tags["name"]),
        taken=parse_own(tags["taken"]),
        form=tags.get("form", ""),
        server=tags.get("server", ""),
        size_bytes=int(size) if size else None,
        stored=snapshot.time.timestamp(),
    )


def _proof(snapshot: Snapshot, tags: Mapping[str, str]) -> Proof:
    source = Source(tags["product"], snapshot.host, tags["proves"], tags["name"])
    return Proof(snapshot.id, tags["of"], source, tags["verdict"], parse_own(tags["taken"]))


def parse_at(text: str, option: str) -> datetime:
    """Return the moment that a person asked for, in UTC: as in backup names, or RFC 3339.

    >>> parse_at("20260918-040000", "at").isoformat()
    '2026-09-18T04:00:00+00:00'
    >>> parse_at("2026-09-18T06:00:00+02:00", "at").isoformat()
    '2026-09-18T04:00:00+00:00'

    Raises:
        InvalidValue: it is neither, or says no time zone.
    """
    try:
        return datetime.strptime(text, "%Y%m%d-%H%M%S").replace(tzinfo=timezone.utc)
    except ValueError:
        pass
    moment = parse_rfc3339(text)
    if moment is None:
        raise InvalidValue(
            f"{option}: {text!r} is no moment",
            hint="write YYYYMMDD-HHMMSS (UTC) or RFC 3339 with a time zone, for example 2026-09-18T04:00:00Z",
        )
    return moment
