# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""The server and the connected database: start, settings, checkpoints, autovacuum, sequences, indexes, statements."""

from __future__ import annotations

from typing import Iterator, Optional

from .counters import Growth
from .postgres_health_facts import NO_START, Judge, Row, Said
from .redact import printable, redact_query
from .samples import Sample
from .slow_log import read_markers
from .units import count_of, human_duration

_CRASH_SECONDS, _ENOUGH_CHECKPOINTS, _FEW_CALLS = 60.0, 5, 100
_FORBIDDEN = "<insufficient privilege>"


def look_at_uptime(judge: Judge) -> Iterator[Said]:
    """Yield since when the server runs; a crash of one of its processes starts the others anew, the first one stays."""
    row = judge.facts.server or {}
    uptime, checkpointer = row["uptime"], judge.facts.start["checkpointer_age"]
    crashed = checkpointer is not None and uptime - checkpointer > _CRASH_SECONDS
    seconds = checkpointer if crashed else uptime
    yield Sample("database.uptime", max(0.0, seconds), "seconds")
    words = f"the server was started {human_duration(seconds)} ago"
    if crashed:
        words = (
            f"the server's processes were started anew {human_duration(seconds)} ago, though it runs for "
            f"{human_duration(uptime)}: one of them crashed, or recovery took long: read its log"
        )
    yield from judge.one("uptime", max(0.0, seconds), "s", words)


def look_at_pending_restart(judge: Judge) -> Iterator[Said]:
    """Yield the settings that only a restart brings into force."""
    names = [printable(row["name"], 63) for row in judge.facts.rows["pending_restart"]]
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    words = f"{count_of(len(names), 'setting waits', 'settings wait')} for a restart: {', '.join(names[:10])}{more}"
    yield from judge.one("pending_restart", len(names), "count", words if names else "no setting waits for a restart")


def look_at_checkpoints(judge: Judge) -> Iterator[Said]:
    """Yield how many checkpoints came because of too much WAL, not because it was time."""
    row = judge.facts.rows["checkpoints"][0]
    requested, timed = ((f"checkpoints_{kind}", row[kind]) for kind in ("requested", "timed"))
    share = judge.share(requested, timed, row["age"])
    judged = share.judged(_ENOUGH_CHECKPOINTS)
    if judged is None:
        yield from judge.unknown("checkpoints", share.why_not("checkpoint", "checkpoints"))
        return
    percent, number, since = judged
    yield Sample("database.checkpoints.requested_percent", percent, "percent")
    words = f"{percent:.0f} % of {number} checkpoints since {since} were requested, not timed: see max_wal_size"
    yield from judge.one("checkpoints", percent, "%", words)


def look_at_autovacuum(judge: Judge) -> Iterator[Said]:
    """Yield whether autovacuum is on, and has workers left."""
    row = judge.facts.rows["autovacuum"][0]
    off = "autovacuum is off (autovacuum, track_counts): nothing is vacuumed by itself"
    yield from judge.one("autovacuum", int(row["enabled"]), "count", "autovacuum is on" if row["enabled"] else off)
    if not (judge.facts.server or {}).get("sees_all"):
        yield from judge.unknown("autovacuum_workers", judge.facts.lacks("autovacuum's workers cannot be seen"))
        return
    percent = 100.0 * row["busy"] / max(1, row["workers"])
    yield Sample("database.autovacuum.busy_percent", percent, "percent")
    words = f"{row['busy']} of {count_of(row['workers'], 'autovacuum worker')} busy"
    yield from judge.one("autovacuum_workers", percent, "%", words)


def look_at_overdue(judge: Judge) -> Iterator[Said]:
    """Yield the tables of the connected database that autovacuum should have vacuumed long ago."""
    readings = [
        (row["times"], f"{printable(row['name'], 130)} in {judge.facts.where}: "
         f"{count_of(row['dead_rows'], 'dead row')}, {row['times']:.1f} times what autovacuum waits for: "
         "see the database-maintenance runbook")
        for row in judge.facts.rows["overdue"]
    ]  # fmt: skip
    most = max((row["times"] for row in judge.facts.rows["overdue"]), default=0.0)
    yield Sample("database.autovacuum.overdue", most, "ratio", {"database": judge.facts.database})
    fine = f"no table of {judge.facts.where} is overdue for autovacuum"
    yield from judge.many("autovacuum_overdue", readings, "ratio", fine, judge.facts.not_looked_at)


def look_at_sequences(judge: Judge) -> Iterator[Said]:
    """Yield the sequences of the connected database that come to their end."""
    rows = judge.facts.rows["sequences"]
    hidden, number = rows[0]["hidden"], rows[0]["sequences"]
    used = [row for row in rows if row["name"] is not None]
    readings = [
        (row["used_percent"], f"sequence {printable(row['name'], 130)} in {judge.facts.where} is "
         f"{row['used_percent']:.0f} % used up: widen its column to bigint")
        for row in used
    ]  # fmt: skip
    yield Sample(
        "database.sequence.used_percent",
        max((row["used_percent"] for row in used), default=0.0),
        "percent",
        {"database": judge.facts.database},
    )
    blind = (
        f"{count_of(hidden, 'sequence')} of {number} in {judge.facts.where} cannot be read: "
        f"GRANT pg_read_all_data (14+), or SELECT on them, to {judge.facts.role}"
    )
    fine = f"{count_of(number, 'sequence')} in {judge.facts.where}, none near its end"
    unseen = [blind] * bool(hidden) + [judge.facts.not_looked_at] * bool(judge.facts.not_looked_at)
    yield from judge.many("sequences", readings, "%", fine, "; ".join(unseen))


def look_at_indexes(judge: Judge) -> Iterator[Said]:
    """Yield the indexes of the connected database that nobody uses because they are not valid."""
    readings = [
        (1.0, f"index {printable(row['name'], 130)} on {printable(row['on_table'], 130)} in {judge.facts.where} is "
         "invalid: see the database-maintenance runbook")
        for row in judge.facts.rows["invalid_indexes"]
    ]  # fmt: skip
    yield Sample("database.invalid_indexes", len(readings), "count", {"database": judge.facts.database})
    fine = f"no invalid index in {judge.facts.where}"
    yield from judge.many("invalid_indexes", readings, "count", fine, judge.facts.not_looked_at)


def look_at_statements(judge: Judge) -> Iterator[Said]:
    """Yield the mean of all statements, and the slowest ones."""
    totals = judge.facts.rows["statements"][0]
    calls = judge.growth("statement_calls", totals["calls"], totals["age"])
    seconds = judge.growth("statement_seconds", totals["seconds"], totals["age"])
    if calls is None or seconds is None:
        yield from judge.unknown("query_mean", NO_START)
    else:
        yield Sample("database.queries", calls.per(1), "per_second")
        yield from _mean(judge, calls, seconds)
    top = judge.facts.rows["top_statements"]
    readings = [(row["mean_seconds"], _statement(row)) for row in top]
    yield from judge.many("slow_statements", readings, "s", "no statement is slow on average")


def _mean(judge: Judge, calls: Growth, seconds: Growth) -> Iterator[Said]:
    if not calls.count:
        yield from judge.unknown("query_mean", f"no statement ended since {calls.since}")
        return
    # However few: a database that is stuck ends few statements, and slow ones.
    mean, number = seconds.count / calls.count, count_of(int(calls.count), "statement")
    yield Sample("database.query_mean", mean, "seconds")
    few = "only " if calls.count < _FEW_CALLS else ""
    words = f"a statement takes {mean * 1000:.1f} ms on average ({few}{number} since {calls.since})"
    yield from judge.one("query_mean", mean, "s", words)


def _statement(row: Row) -> str:
    mean, calls = human_duration(row["mean_seconds"]), count_of(row["calls"], "call")
    where = f" in {printable(row['database'], 63)}" if row["database"] else ""
    return f"{mean} on average over {calls}{where}: {shown_statement(row)}"


def shown_statement(row: Row) -> str:
    """Return a statement's shape without literals, or why there is none."""
    query: Optional[str] = row["query"]
    if query == _FORBIDDEN:
        return "hidden: needs pg_read_all_stats"
    return printable(redact_query(query or ""))


def look_at_slow_log(judge: Judge) -> Iterator[Said]:
    """Yield whether slow statements are still logged although the time that was set for it is over."""
    readings: list[tuple[Optional[float], str]] = []
    for row in judge.facts.rows["slow_log"]:
        for marker in read_markers(row["comment"]):
            late, where = (
                row["now"] - marker.until,
                f"{marker.words()} (noted at database {printable(row['database'], 63)})",
            )
            words = f"slow-query logging of {where} should have been turned off {human_duration(max(0.0, late))} ago: "
            readings.append((max(0.0, late), f"{words}run postgresql_slow_log with state=absent"))
    on = [value for value, _text in readings if not value]
    fine = f"slow-query logging is on in {count_of(len(on), 'place')}, and will be turned off" if on else ""
    yield from judge.many("slow_log", readings, "s", fine or "no slow-query logging is left on past its time")
