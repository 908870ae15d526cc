# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What would be lost with a Redis server: what it has not written to its disk, and what its replicas do not have."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Iterator, Mapping, Optional

from .number import parse_number
from .readings import Judge, Unread
from .redact import printable
from .redis_facts import RedisFacts
from .result import CRITICAL, OK, WARNING, Finding
from .units import count_of, human_duration, human_size

REPLICA = "replica"


def persistence_findings(facts: RedisFacts, judge: Judge, now: datetime) -> Iterator[Finding]:
    """Yield the verdicts on what is on the disk."""
    if isinstance(facts.info, Unread):
        for check in ("last_save", "save_age", "append_only_file"):
            yield from judge.unread(check, facts.info)
        return
    status = facts.text("rdb_last_bgsave_status")
    if not status:
        yield from judge.unread("last_save", facts.missing("rdb_last_bgsave_status"))
    elif status == "ok":
        yield from judge.fixed("last_save", OK, "the last save has worked")
    else:
        text = "the last save has failed: look at the server's log and its disk; it may refuse writes until one works"
        yield from judge.fixed("last_save", CRITICAL, text)
    yield from _save_age(facts, judge, now)
    yield from _append_only(facts, judge)


def _save_age(facts: RedisFacts, judge: Judge, now: datetime) -> Iterator[Finding]:
    changes, saved = facts.number("rdb_changes_since_last_save"), facts.number("rdb_last_save_time")
    if changes is None or saved is None:
        yield from judge.unread("save_age", facts.missing("rdb_changes_since_last_save", "rdb_last_save_time"))
        return
    if isinstance(facts.settings, Unread):
        yield from judge.unread("save_age", Unread(f"whether it shall save is not known: {facts.settings.reason}"))
        return
    if not facts.settings.get("save", "").strip():
        other = "the append-only file keeps its data" if facts.number("aof_enabled") else "nothing is kept on a disk"
        yield from judge.fixed("save_age", OK, f"saves are switched off, {other}")
        return
    micros = facts.number("server_time_usec")
    age = max(0.0, (micros / 1e6 if micros else now.timestamp()) - saved)
    text = f"saved {human_duration(age)} ago (or started then), {count_of(int(changes), 'change')} since"
    if changes <= 0:
        yield from judge.fixed("save_age", OK, text, round(age, 1), "s")
    else:
        yield from judge.reading("save_age", age, "s", text)


def _append_only(facts: RedisFacts, judge: Judge) -> Iterator[Finding]:
    enabled = facts.number("aof_enabled")
    if enabled is None:
        yield from judge.unread("append_only_file", facts.missing("aof_enabled"))
        return
    if not enabled:
        yield from judge.fixed("append_only_file", OK, "the append-only file is switched off")
        return
    states = {"write": facts.text("aof_last_write_status"), "rewrite": facts.text("aof_last_bgrewrite_status")}
    failed = [f"last {name}" for name, state in states.items() if state not in ("ok", "")]
    if failed:
        text = f"append-only file: the {' and the '.join(failed)} failed: look at the server's log and its disk"
        yield from judge.fixed("append_only_file", CRITICAL, text)
    else:
        yield from judge.fixed("append_only_file", OK, "the append-only file is written")


def replication_findings(
    facts: RedisFacts, judge: Judge, expected_role: str, expected_replicas: Optional[int]
) -> Iterator[Finding]:
    """Yield the verdicts on role, replicas and how far they are behind."""
    if isinstance(facts.info, Unread):
        asked = {"role": bool(expected_role), "replicas": expected_replicas is not None}
        for check, wanted in {**asked, "replication_link": True, "replication_lag": True}.items():
            if wanted:
                yield from judge.unread(check, facts.info)
        return
    role = REPLICA if facts.text("role") == "slave" else facts.text("role")
    if expected_role:
        well = role == expected_role
        text = f"it is a {role or 'server of no known role'}" + ("" if well else f", a {expected_role} is expected")
        yield from judge.fixed("role", OK if well else CRITICAL, text)
    if role == REPLICA:
        yield from _as_replica(facts, judge)
        return
    replicas = replicas_in(facts.info)
    if expected_replicas is not None:
        yield from _number(len([one for one in replicas if one.get("state") == "online"]), expected_replicas, judge)
    if replicas:
        yield from _as_master(facts, judge, replicas)


def replicas_in(info: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return what a master says about its replicas."""
    names = sorted(name for name in info if name.startswith("slave") and name[5:].isdigit())
    return [info[name] for name in names if isinstance(info[name], Mapping)]


def label_of(replica: Mapping[str, Any]) -> str:
    """Return address and port of a replica."""
    return printable(f"{replica.get('ip', '?')}:{replica.get('port', '?')}", 80)


def _number(online: int, expected: int, judge: Judge) -> Iterator[Finding]:
    status = OK if online >= expected else WARNING if online else CRITICAL
    text = f"{count_of(online, 'replica')} of {expected} expected"
    yield from judge.fixed("replicas", status, text, online, "count")


def _as_master(facts: RedisFacts, judge: Judge, replicas: list[Mapping[str, Any]]) -> Iterator[Finding]:
    here = facts.number("master_repl_offset")
    number = count_of(len(replicas), "replica")
    links: list[Finding] = []
    for one in replicas:
        if one.get("state") != "online":
            text = f"replica {label_of(one)} is not online: {printable(str(one.get('state')), 40)}"
            links += judge.fixed("replication_link", WARNING, text)
    yield from judge.each("replication_link", links, f"{number} online")
    lags: list[Finding] = []
    behind: list[Finding] = []
    for one in replicas:
        lag, offset = parse_number(one.get("lag")), parse_number(one.get("offset"))
        if lag is not None:
            text = f"replica {label_of(one)} was heard of {human_duration(max(0.0, lag))} ago"
            lags += judge.reading("replication_lag", max(0.0, lag), "s", text)
        if here is not None and offset is not None and one.get("state") == "online":
            missing = max(0.0, here - offset)
            text = f"replica {label_of(one)} is {human_size(missing)} behind"
            behind += judge.reading("replication_lag_bytes", missing, "bytes", text)
    yield from judge.each("replication_lag", lags, f"{number} heard of in time")
    yield from judge.each("replication_lag_bytes", behind, f"{number} have what was written")


def _as_replica(facts: RedisFacts, judge: Judge) -> Iterator[Finding]:
    master = printable(f"{facts.text('master_host')}:{facts.text('master_port')}", 80)
    last, down = facts.number("master_last_io_seconds_ago"), facts.number("master_link_down_since_seconds")
    if facts.text("master_link_status") == "up":
        yield from judge.fixed("replication_link", OK, f"linked to master {master}")
    elif facts.number("master_sync_in_progress"):
        yield from judge.fixed("replication_link", WARNING, f"is being filled from master {master}")
    else:
        since = f" for {human_duration(down)}" if down is not None and down >= 0 else ""
        yield from judge.fixed("replication_link", CRITICAL, f"no link to master {master}{since}")
    if last is not None and last >= 0:
        text = f"last heard of master {master} {human_duration(last)} ago"
        yield from judge.reading("replication_lag", last, "s", text)
    received, applied = facts.number("slave_read_repl_offset"), facts.number("slave_repl_offset")
    if received is not None and applied is not None:
        waiting = max(0.0, received - applied)
        text = f"{human_size(waiting)} received from the master and not applied yet"
        yield from judge.reading("replication_lag_bytes", waiting, "bytes", text)
