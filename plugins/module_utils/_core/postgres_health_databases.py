# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What is counted by database: cache, transactions, deadlocks, temporary files, sizes and ages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator, Optional

from .counters import Growth
from .postgres_health_facts import NO_START, Judge, Row, Said, Share
from .redact import printable
from .samples import Sample
from .units import count_of, human_duration, human_size

_ENOUGH_TRANSACTIONS, _SAMPLED = 100, 20
_HOUR = 3600.0
_XID_END = 2.0**31
_COUNTED = ("commits", "rollbacks", "reads", "hits", "deadlocks", "temp_files", "temp_bytes", "conflicts")


@dataclass(frozen=True)
class _Asked:
    """A share: of ``counters`` the first one's, of at least ``enough``."""

    check: str
    counters: tuple[str, str]
    enough: float
    noun: str
    words: str
    metric: str
    fine: str


_CACHE = _Asked("cache_hit", ("hits", "reads"), 1000, "block", "came from the cache", "database.cache_hit_percent",
                "the cache serves the databases well")  # fmt: skip
_ROLLBACKS = _Asked("rollbacks", ("rollbacks", "commits"), _ENOUGH_TRANSACTIONS, "transaction", "rolled back",
                    "database.rollback_percent", "few transactions are rolled back")  # fmt: skip
_GROWN = tuple[Row, str, dict[str, Optional[Growth]]]


def look_at_databases(judge: Judge) -> Iterator[Said]:
    """Yield what is judged by database."""
    rows = [row for row in judge.facts.rows["databases"] if row["counted"]]
    grown = [(row, printable(row["name"], 63), _grown(judge, row)) for row in rows]
    for look in (_cache, _deadlocks, _temporary, _transactions, _rollbacks, _conflicts):
        yield from look(judge, grown)
    yield from _sizes(judge)
    yield from _checksums(judge)


def _grown(judge: Judge, row: Row) -> dict[str, Optional[Growth]]:
    return {name: judge.growth(f"{name}/{row['name']}", row[name], row["statistics_age"]) for name in _COUNTED}


def _since(grown: Growth) -> str:
    return f"since {grown.since}"


def _no_start(judge: Judge, check: str) -> Iterator[Said]:
    yield from judge.unknown(check, NO_START)


def _cache(judge: Judge, grown: list[_GROWN]) -> Iterator[Said]:
    yield from _shares(judge, grown, _CACHE)


def _shares(judge: Judge, grown: list[_GROWN], asked: _Asked) -> Iterator[Said]:
    """Yield for each database what the first of two counters has of both; unknown where none has enough of them."""
    readings: list[tuple[Optional[float], str]] = []
    shares = [_share(judge, row, asked) for row, _name, _counts in grown]
    for number, (share, (_row, name, _counts)) in enumerate(zip(shares, grown)):
        judged = share.judged(asked.enough)
        if judged is None:
            continue
        percent, _of, since = judged
        readings.append((percent, f"{name}: {percent:.1f} % of the {asked.noun}s {asked.words} since {since}"))
        if number < _SAMPLED:
            yield Sample(asked.metric, percent, "percent", {"database": name})
    if readings:
        left = len(grown) - len(readings)
        others = f"; {count_of(left, 'other')} did too little to tell" if left else ""
        yield from judge.many(asked.check, readings, "%", f"{asked.fine}{others}")
        return
    busiest = max(shares, key=lambda share: share.counted, default=Share(()))
    yield from judge.unknown(asked.check, busiest.why_not(asked.noun, f"{asked.noun}s"))


def _share(judge: Judge, row: Row, asked: _Asked) -> Share:
    part, rest = ((f"{counter}/{row['name']}", row[counter]) for counter in asked.counters)
    return judge.share(part, rest, row["statistics_age"])


def _deadlocks(judge: Judge, grown: list[_GROWN]) -> Iterator[Said]:
    yield from _hourly(judge, "deadlocks", grown, "deadlocks", "deadlock")


def _conflicts(judge: Judge, grown: list[_GROWN]) -> Iterator[Said]:
    if judge.facts.in_recovery:
        yield from _hourly(judge, "recovery_conflicts", grown, "conflicts", "query cancelled for the replay")


def _hourly(judge: Judge, check: str, grown: list[_GROWN], counter: str, noun: str) -> Iterator[Said]:
    readings: list[tuple[Optional[float], str]] = []
    for number, (_row, name, counts) in enumerate(grown):
        growth = counts[counter]
        if growth is None:
            continue
        # Less than an hour is not multiplied up: one in a minute is one, not sixty in an hour.
        rate = growth.count / max(growth.seconds, _HOUR) * _HOUR
        plural = noun.replace("query", "queries", 1) if noun.startswith("query") else f"{noun}s"
        readings.append((rate, f"{name}: {count_of(int(growth.count), noun, plural)} {_since(growth)}"))
        if number < _SAMPLED:
            yield Sample(f"database.{check}", rate, "per_hour", {"database": name})
    if not readings:
        yield from _no_start(judge, check)
        return
    yield from judge.many(check, readings, "per_hour", f"no {noun} worth a word")


def _temporary(judge: Judge, grown: list[_GROWN]) -> Iterator[Said]:
    readings: list[tuple[Optional[float], str]] = []
    for number, (_row, name, counts) in enumerate(grown):
        size, files = counts["temp_bytes"], counts["temp_files"]
        if size is None or files is None:
            continue
        rate = size.count / max(size.seconds, _HOUR) * _HOUR
        written = f"{human_size(size.count)} in {count_of(int(files.count), 'temporary file')}"
        readings.append((rate, f"{name}: {written} {_since(size)}: see work_mem and the slow statements"))
        if number < _SAMPLED:
            yield Sample("database.temp_bytes", rate, "per_hour", {"database": name})
    if not readings:
        yield from _no_start(judge, "temp_bytes")
        return
    yield from judge.many("temp_bytes", readings, "per_hour", "few temporary files")


def _transactions(judge: Judge, grown: list[_GROWN]) -> Iterator[Said]:
    rates, spikes = [], []
    for number, (row, name, counts) in enumerate(grown):
        commits = counts["commits"]
        if commits is None or not commits.seconds:
            continue
        rate = commits.per(1)
        rates.append((rate, f"{name}: {rate:.1f} commits a second {_since(commits)}"))
        if number < _SAMPLED:
            yield Sample("database.commits", rate, "per_second", {"database": name})
        usual = _usual(judge, row)
        if usual and commits.seconds < usual[1] and commits.count >= _ENOUGH_TRANSACTIONS:
            times = rate / usual[0]
            spikes.append((times, f"{name}: {rate:.1f} commits a second, {times:.1f} times what is usual"))
    if not rates:
        yield from _no_start(judge, "transactions")
        if judge.policy.previous is not None:
            yield from _no_start(judge, "transaction_spike")
        return
    yield from judge.many("transactions", rates, "per_second", f"most in {max(rates)[1]}")
    if judge.policy.previous is not None:
        yield from judge.many("transaction_spike", spikes, "ratio", "as many transactions as usual")


def _usual(judge: Judge, row: Row) -> Optional[tuple[float, float]]:
    """Return commits per second since the statistics began, and for how many seconds that is."""
    age = row["statistics_age"] or judge.facts.start["statistics_age"]
    return (row["commits"] / age, age) if age and row["commits"] else None


def _rollbacks(judge: Judge, grown: list[_GROWN]) -> Iterator[Said]:
    yield from _shares(judge, grown, _ROLLBACKS)


def _sizes(judge: Judge) -> Iterator[Said]:
    databases = [row for row in judge.facts.rows["databases"] if row["size_bytes"] != 0]
    known = [(float(row["size_bytes"]), printable(row["name"], 63)) for row in databases if row["size_bytes"]]
    for size, name in known[:_SAMPLED]:
        yield Sample("database.size_bytes", size, "bytes", {"database": name})
    total = sum(size for size, _name in known)
    unseen = len(databases) - len(known)
    hidden = judge.facts.lacks(f"the size of {count_of(unseen, 'database')} cannot be seen") if unseen else ""
    fine = f"{count_of(len(known), 'database')}, {human_size(total)}"
    readings = [(size, f"{name}: {human_size(size)}") for size, name in known]
    yield from judge.many("database_size", readings, "bytes", fine, hidden)


def _checksums(judge: Judge) -> Iterator[Said]:
    if not (judge.facts.server or {}).get("checksums"):
        words = "data checksums are off, broken pages go unseen: pg_checksums --enable on the stopped server"
        yield from judge.unknown("checksum_failures", words)
        return
    counts = [(row["checksum_failures"] or 0, printable(row["name"], 63)) for row in judge.facts.rows["databases"]]
    readings = [
        (
            float(number),
            f"{name}: {count_of(number, 'page')} with a wrong checksum: see the database-corruption runbook",
        )
        for number, name in counts
    ]
    yield from judge.many("checksum_failures", readings, "count", "no page with a wrong checksum")


def look_at_ages(judge: Judge) -> Iterator[Said]:
    """Yield how near each database is to the end of its transaction numbers."""
    for check, column, noun in (
        ("xid_age", "xid_age", "transaction ids"),
        ("multixact_age", "multixact_age", "multixact ids"),
    ):
        readings: list[tuple[Optional[float], str]] = []
        for number, row in enumerate(judge.facts.rows["ages"]):
            percent, name = 100.0 * row[column] / _XID_END, printable(row["name"], 63)
            words = f"{name}: {percent:.0f} % of the {noun} are used up ({row[column] / 1e6:.0f} million): vacuum it"
            readings.append((percent, words))
            if number < _SAMPLED:
                yield Sample(f"database.{check}_percent", percent, "percent", {"database": name})
        yield from judge.many(check, readings, "%", f"far from the end of the {noun}")


def look_at_prepared(judge: Judge) -> Iterator[Said]:
    """Yield the prepared transactions that were forgotten."""
    readings = [
        (row["seconds"], f"prepared transaction {printable(row['name'], 100)} of {printable(row['owner'], 63)} in "
         f"{printable(row['database'], 63)} is {human_duration(row['seconds'])} old: commit it or roll it back")
        for row in judge.facts.rows["prepared"]
    ]  # fmt: skip
    yield from judge.many("prepared_transactions", readings, "s", "no prepared transaction is forgotten")
