# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Replication: standbys and how far behind, the standby's own view, slots, and the archive."""

from __future__ import annotations

from typing import Iterator, Optional

from .postgres_health_facts import Judge, Row, Said
from .redact import printable
from .samples import Sample
from .units import count_of, human_duration, human_size


def look_at_standbys(judge: Judge) -> Iterator[Said]:
    """Yield who follows this server and how far behind."""
    rows = [row for row in judge.facts.rows["replication"] if row["kind"] == "physical"]
    hidden = sum(1 for row in judge.facts.rows["replication"] if row["state"] is None)
    unseen = judge.facts.lacks(f"the state of {count_of(hidden, 'standby', 'standbys')} cannot be seen")
    streaming = [row for row in rows if row["state"] == "streaming"]
    yield Sample("database.standbys", len(streaming), "count")
    yield from _expected(judge, len(streaming), unseen if hidden else "")
    behind = [(row["lag_bytes"], f"{_who(row)} is {human_size(row['lag_bytes'] or 0)} behind") for row in rows]
    late = [(_late(row), _late_words(row)) for row in rows if row["replays"]]
    for row in rows:
        labels, seconds = {"standby": printable(row["name"], 60) or "?"}, _late(row)
        if row["lag_bytes"] is not None:
            yield Sample("database.replication.lag_bytes", row["lag_bytes"], "bytes", labels)
        if row["replays"] and seconds is not None:
            yield Sample("database.replication.lag", seconds, "seconds", labels)
    if rows:
        visible = [(value, text) for value, text in behind if value is not None]
        fine = f"{count_of(len(rows), 'standby follows', 'standbys follow')} closely"
        yield from judge.many("replication_lag_bytes", visible, "bytes", fine, unseen if hidden else "")
        if late or hidden:  # who only stores WAL (pg_receivewal) replays none: its bytes are judged
            yield from judge.many("replication_lag", late, "s", fine, unseen if hidden else "")


def _late(row: Row) -> Optional[float]:
    """Return how many seconds a standby is behind; None: nobody knows, for it answers late or not at all."""
    known: Optional[float] = row["lag_seconds"]
    return 0.0 if known is None and row["lag_bytes"] == 0 else known


def _late_words(row: Row) -> str:
    seconds, size = _late(row), human_size(row["lag_bytes"] or 0)
    if seconds is None:
        return f"{_who(row)} is {size} behind, and has not told for how long: look whether it replays"
    return f"{_who(row)} is {human_duration(seconds)} behind"


def _expected(judge: Judge, streaming: int, unseen: str) -> Iterator[Said]:
    expected = judge.policy.expected_standbys
    if expected is None:
        return
    if unseen and streaming < expected:
        yield from judge.unknown("standbys", unseen)
        return
    words = f"{count_of(streaming, 'standby streams', 'standbys stream')}, {expected} expected"
    yield from judge.one("standbys", max(0, expected - streaming), "count", words)


def _who(row: Row) -> str:
    name = printable(row["name"], 60) or f"pid {row['pid']}"
    return f"standby {name}" + (f" ({row['client']})" if row["client"] else "")


def look_at_synchronous(judge: Judge) -> Iterator[Said]:
    """Yield whether commits wait for somebody who is not there."""
    row = judge.facts.rows["synchronous"][0]
    if not row["names"]:
        return
    if row["hidden"] and not row["standbys"]:
        yield from judge.unknown("synchronous_standbys", judge.facts.lacks("who is synchronous cannot be seen"))
        return
    words = count_of(row["standbys"], "synchronous standby", "synchronous standbys")
    if not row["standbys"]:
        words = f"commits wait: no synchronous standby of {printable(row['names'], 100)} is there"
    yield from judge.one("synchronous_standbys", row["standbys"], "count", words)


def look_at_own_replay(judge: Judge) -> Iterator[Said]:
    """Yield, on a standby, whether it receives, and how far behind it is."""
    row = judge.facts.rows["standby"][0]
    receiving = bool(row["receivers"])
    yield from _receiver(judge, row)
    yield from judge.one(
        "replay_paused", int(row["paused"]), "count",
        "replay is paused: pg_wal_replay_resume() goes on" if row["paused"] else "replay is not paused",
    )  # fmt: skip
    caught_up = receiving and not row["behind_bytes"]
    seconds: Optional[float] = 0.0 if caught_up else row["replayed_age"]
    if seconds is not None:
        yield Sample("database.replay_lag", max(0.0, seconds), "seconds")
    yield from judge.one("replay_lag", seconds, "s", _replay_words(row, caught_up))


def _receiver(judge: Judge, row: Row) -> Iterator[Said]:
    if not row["receivers"] and row["conninfo"] == "":
        words = "no primary is set (primary_conninfo is empty): it lives from the archive"
        yield from judge.one("wal_receiver", 1, "count", words)
    elif row["receivers"] and row["status"] is None:
        yield from judge.unknown("wal_receiver", judge.facts.lacks("what the receiver does cannot be seen"))
    else:
        streams = int(row["status"] == "streaming")
        sender = f" from {printable(row['sender'], 80)}" if row["sender"] else ""
        words = f"it receives WAL{sender}" if streams else "it receives no WAL: look at the primary and the network"
        yield from judge.one("wal_receiver", streams, "count", words)


def _replay_words(row: Row, caught_up: bool) -> str:
    if caught_up:
        return "everything that was received is replayed"
    if row["replayed_age"] is None:
        return "nothing has been replayed since the start: how far behind it is cannot be told"
    behind = f"{human_size(row['behind_bytes'] or 0)} to replay, " if row["behind_bytes"] else ""
    return f"{behind}the last transaction that was replayed is {human_duration(row['replayed_age'])} old"


def look_at_slots(judge: Judge) -> Iterator[Said]:
    """Yield the replication slots that hold back WAL, are used by nobody, or are lost."""
    rows = judge.facts.rows["slots"]
    named = [(row, f"replication slot {printable(row['name'], 64)}") for row in rows]
    fine = f"{count_of(len(rows), 'replication slot')}, nothing wrong with it" if rows else "no replication slot"
    for row, _name in named:
        labels = {"slot": printable(row["name"], 64)}
        if row["retained_bytes"] is not None:
            yield Sample("database.slot.retained_bytes", max(0.0, row["retained_bytes"]), "bytes", labels)
    yield from judge.many(
        "slots_inactive", [(int(not row["active"]), _inactive(row, name)) for row, name in named], "count", fine
    )
    held = [(max(0.0, row["retained_bytes"] or 0.0), row, name) for row, name in named]
    readings = [
        (size, f"{name} holds back {human_size(size)} of WAL" + ("" if row["active"] else ", and nobody uses it"))
        for size, row, name in held
    ]
    yield from judge.many("slots_retained", readings, "bytes", fine)
    yield from judge.many("slots_lost", [(_is_lost(row), _lost(row, name)) for row, name in named], "count", fine)
    safe = [
        (row["safe_bytes"], f"{name} can fall {human_size(row['safe_bytes'])} further behind before it is lost")
        for row, name in named
        if row["safe_bytes"] is not None and not _is_lost(row)
    ]
    yield from judge.many("slots_safe", safe, "bytes", fine)


def _inactive(row: Row, name: str) -> str:
    since = f" for {human_duration(row['inactive_seconds'])}" if row["inactive_seconds"] else ""
    return f"{name} ({row['kind']}) is used by nobody{since}: drop it if its reader is gone for good"


def _is_lost(row: Row) -> int:
    return int(row["wal_status"] in ("lost", "unreserved") or row["invalid"] is not None)


def _lost(row: Row, name: str) -> str:
    if row["wal_status"] == "unreserved":
        return f"{name} is about to be lost: WAL that it needs goes with the next checkpoint"
    why = f" ({row['invalid']})" if row["invalid"] else ""
    return f"{name} is lost{why}: its reader must be made anew"


def look_at_archiver(judge: Judge) -> Iterator[Said]:
    """Yield whether WAL gets into the archive."""
    row = judge.facts.rows["archiver"][0]
    if row["mode"] == "off":
        yield from judge.one("archiver", 0, "s", "archiving is off (archive_mode)")
        return
    nothing_for = max(1.0, row["seconds"] or 0.0)
    if row["no_command"]:
        words = (
            f"archive_mode is {row['mode']}, but archive_command is empty: nothing is archived, and WAL piles up: "
            "set archive_command (or archive_library) and reload"
        )
        yield Sample("database.archiver.failing", nothing_for, "seconds")
        yield from judge.broken("archiver", nothing_for, "s", words)  # it does not mend itself, as a failure may
    elif row["failing"]:
        words = (
            f"archiving fails ({printable(row['failed_wal'] or '?', 40)}), nothing was archived for "
            f"{human_duration(nothing_for)}; {count_of(row['failures'], 'failure')} in all: read the server's log"
        )
        yield Sample("database.archiver.failing", nothing_for, "seconds")
        yield from judge.one("archiver", nothing_for, "s", words)
    elif row["never"]:
        # A command that hangs is no failure to the server.
        words = (
            "nothing was archived yet, and nothing failed: no WAL file was full, or archive_command hangs: "
            "SELECT pg_switch_wal(), and look again"
        )
        yield from judge.unknown("archiver", words)
    else:
        yield Sample("database.archiver.failing", 0.0, "seconds")
        yield from judge.one("archiver", 0.0, "s", f"archiving works, the last file {human_duration(nothing_for)} ago")


def look_at_archive_backlog(judge: Judge) -> Iterator[Said]:
    """Yield how many WAL files wait for the archive."""
    archiver = judge.facts.rows.get("archiver", ())
    if archiver and archiver[0]["mode"] == "off":
        return
    files = judge.facts.rows["archive_backlog"][0]["files"]
    yield Sample("database.archiver.backlog", files, "count")
    words = f"{count_of(files, 'WAL file waits', 'WAL files wait')} for the archive"
    yield from judge.one("archive_backlog", files, "count", words)
