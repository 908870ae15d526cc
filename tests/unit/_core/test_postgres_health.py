"""What is said about a database: readings that no test server can have, limits, names from outside, rates."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from plugins.module_utils._core.counters import Previous
from plugins.module_utils._core.limits import Limit, read_limits
from plugins.module_utils._core.postgres_health import LOOKS, decide, readings_for
from plugins.module_utils._core.postgres_health_facts import DEFAULT_LIMITS, Facts, Failure, Judge, Policy, Question
from plugins.module_utils._core.result import Decision, Finding
from plugins.module_utils._core.sessions import CLIENT, Activity, Ages, Rights, Session

NOW = datetime(2026, 11, 21, 12, tzinfo=timezone.utc)
SERVER = {
    "version": "18.1", "in_recovery": False, "now": NOW, "started": NOW - timedelta(days=9), "role": "ops",
    "sees_all": True, "uptime": 9 * 86400.0, "checksums": True,
}  # fmt: skip
START = {"checkpointer_age": 9 * 86400.0, "statistics_age": 90 * 86400.0}
EVIL = "x\x1b[31m\n<script>"


def policy(*checks: str, **more: Any) -> Policy:
    raw = {name: False for name in DEFAULT_LIMITS if name not in checks}
    return Policy(read_limits(raw, DEFAULT_LIMITS), **more)


def seen(reading: str, *rows: dict[str, Any], server: dict[str, Any] | None = None, **more: Any) -> Facts:
    server = SERVER if server is None else server
    return Facts("db1:5432", "shop", 18, server=server, rows={"start": [START], reading: list(rows)}, **more)


def said(decision: Decision, check: str) -> list[Finding]:
    return [one for one in decision.findings if one.check == check]


def one(facts: Facts, check: str, **more: Any) -> Finding:
    (found,) = said(decide(facts, policy(check, **more)), check)
    return found


def database(name: str = "shop", **counts: Any) -> dict[str, Any]:
    zero = dict.fromkeys(
        ("commits", "rollbacks", "reads", "hits", "deadlocks", "temp_files", "temp_bytes", "conflicts"), 0
    )
    row = {"name": name, "counted": True, "checksum_failures": 0, "statistics_age": 90 * 86400.0, "size_bytes": 8}
    return {**row, **zero, **counts}


def slot(**more: Any) -> dict[str, Any]:
    row = {"name": "dr", "kind": "physical", "active": True, "wal_status": "reserved", "safe_bytes": None}
    return {**row, "retained_bytes": 0.0, "invalid": None, "inactive_seconds": None, **more}


# --- the machinery ------------------------------------------------------------------------------------------------


def test_each_limit_belongs_to_one_look_and_each_look_is_asked_for() -> None:
    checks = [check for look in LOOKS for check in look.checks]
    assert sorted(checks) == sorted(DEFAULT_LIMITS)
    everything = policy(*DEFAULT_LIMITS)
    both = {*readings_for(everything, False), *readings_for(everything, True), "server"}
    assert both == {look.reading for look in LOOKS} | {"start"}
    assert readings_for(policy(), False) == () and readings_for(policy("slots_lost"), True) == ("slots",)


def test_bad_readings_are_named_worst_first_and_not_without_end() -> None:
    judge = Judge(Facts("x"), Policy({"sequences": Limit(75, 90)}))
    readings = [(float(percent), f"s{percent}") for percent in (10, *range(76, 100))]
    findings = list(judge.many("sequences", readings, "%", "fine"))
    assert [found.value for found in findings[:3]] == [99, 98, 97] and len(findings) == 21
    assert findings[-1].msg == "sequences: 4 more" and findings[-1].status == "warning"


def test_none_that_is_bad_gives_one_finding_with_the_worst_value_unless_some_are_hidden() -> None:
    judge = Judge(Facts("x"), Policy({"a": Limit(80, 90), "b": Limit(20, 10, lower_is_worse=True)}))
    assert [(f.status, f.value) for f in judge.many("a", [(1.0, ""), (3.5, "")], "%", "fine")] == [("ok", 3.5)]
    assert [(f.status, f.value) for f in judge.many("b", [(50.0, ""), (30.0, "")], "%", "fine")] == [("ok", 30)]
    assert [f.status for f in judge.many("a", [(1.0, "")], "%", "fine", "2 hidden")] == ["unknown"]
    assert [f.status for f in judge.many("a", [(95.0, "")], "%", "fine", "2 hidden")] == ["critical", "unknown"]
    assert [f.status for f in judge.many("a", [(None, "odd"), (1.0, "")], "%", "fine")] == ["unknown"]


def test_a_server_that_was_lost_half_way_is_critical_and_what_was_read_stays() -> None:
    lost = Failure("server_gone", "the connection was lost", "check the server")
    facts = replace(seen("slots", slot(active=False)), unreachable=lost, failures={"ages": lost})
    decision = decide(facts, policy("slots_inactive", "xid_age"))
    assert {found.check: found.status for found in decision.findings} == {
        "reachable": "critical", "slots_inactive": "warning", "xid_age": "unknown"
    }  # fmt: skip
    assert decision.msg.startswith("1 critical: the connection was lost (check the server)")


# --- readings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("age", "status"), [(2e8, "ok"), (5.4e8, "warning"), (1.1e9, "critical")])
def test_transaction_ids_that_are_used_up(age: float, status: str) -> None:
    row = {"name": "shop", "xid_age": age, "multixact_age": 0.0}
    found = one(seen("ages", row), "xid_age")
    assert found.status == status and (status == "ok" or ("shop" in found.msg and "million" in found.msg))
    assert one(seen("ages", {**row, "xid_age": 0.0, "multixact_age": 1.3e9}), "multixact_age").status == "critical"


@pytest.mark.parametrize(
    ("row", "check", "status", "words"),
    [
        (slot(retained_bytes=48 * 1024.0**3, active=False), "slots_retained", "critical", "holds back 48.0 GB of WAL"),
        (slot(retained_bytes=None), "slots_retained", "ok", "nothing wrong"),
        (slot(wal_status="unreserved"), "slots_lost", "critical", "about to be lost"),
        (slot(wal_status="lost", invalid="wal_removed"), "slots_lost", "critical", "lost (wal_removed)"),
        (slot(invalid="conflicts with recovery"), "slots_lost", "critical", "conflicts with recovery"),
        (slot(wal_status="extended"), "slots_lost", "ok", "nothing wrong"),
        (slot(safe_bytes=1e8), "slots_safe", "critical", "before it is lost"),
        (slot(safe_bytes=None), "slots_safe", "ok", "nothing wrong"),
        (slot(active=False, inactive_seconds=7200.0), "slots_inactive", "warning", "used by nobody for 2 h"),
    ],
)
def test_slots(row: dict[str, Any], check: str, status: str, words: str) -> None:
    found = one(seen("slots", row), check)
    assert found.status == status and words in found.msg


SEQUENCES = {"name": None, "used_percent": None, "sequences": 3, "hidden": 0}


@pytest.mark.parametrize(
    ("reading", "row", "check"),
    [("sequences", SEQUENCES, "sequences"), ("invalid_indexes", None, "invalid_indexes"),
     ("overdue", None, "autovacuum_overdue")],
)  # fmt: skip
def test_a_database_that_nobody_has_named_is_not_all_that_there_is(
    reading: str, row: dict[str, Any] | None, check: str
) -> None:
    def look(others: int, by_default: bool) -> Finding:
        server = {**SERVER, "other_databases": others}
        facts = seen(reading, *([row] if row else []), server=server, by_default=by_default)
        return one(facts, check)

    assert look(3, False).status == look(0, True).status == "ok" and "shop" in look(0, True).msg
    assert (look(3, True).status, look(3, True).value) == ("unknown", None)
    assert "only database shop was looked at" in look(3, True).msg and "3 others: set login_db" in look(3, True).msg
    assert "there is 1 other: set" in look(1, True).msg


def test_a_sequence_that_cannot_be_read_and_a_database_that_nobody_named_are_both_told() -> None:
    facts = seen("sequences", {**SEQUENCES, "hidden": 2}, server={**SERVER, "other_databases": 1}, by_default=True)
    found = one(facts, "sequences")
    assert found.status == "unknown" and "2 sequences of 3 in shop cannot be read" in found.msg
    assert found.msg.endswith("set login_db (in database_login)")


def test_the_grant_that_people_paste_names_the_role() -> None:
    facts = seen("sequences", {**SEQUENCES, "hidden": 2}, server={**SERVER, "role": "on call"})
    assert 'to "on call"' in one(facts, "sequences").msg


def test_a_crash_is_told_from_a_start() -> None:
    facts = seen("x")
    calm = one(facts, "uptime")
    assert calm.status == "ok" and "9 d" in calm.msg
    crashed = replace(facts, rows={"start": [{**START, "checkpointer_age": 120.0}]})
    assert one(crashed, "uptime").status == "warning" and "crashed" in one(crashed, "uptime").msg
    blind = replace(facts, rows={"start": [{**START, "checkpointer_age": None}]})
    assert one(blind, "uptime").status == one(replace(facts, rows={}), "uptime").status == "ok"


def test_counters_are_measured_since_the_last_run_and_anew_when_they_went_back() -> None:
    rows = seen("databases", database(deadlocks=10))
    hour_ago = {"deadlocks/shop": 4.0}
    last = Previous(NOW - timedelta(hours=1), hour_ago)
    found = one(rows, "deadlocks", previous=last)
    assert (found.value, found.status) == (6, "warning") and "the last run, 1 h ago" in found.msg
    back = one(rows, "deadlocks", previous=Previous(last.at, {"deadlocks/shop": 40.0}))
    assert back.status == "ok"
    reset = seen("databases", database(deadlocks=10, statistics_age=600.0))
    assert one(reset, "deadlocks", previous=last).msg.endswith("the statistics began, 10 min ago")
    # 15 and newer say nothing of the beginning: neither that of other statistics nor none may hide what is known
    silent = replace(seen("databases", database(deadlocks=10, statistics_age=None)), rows={
        "start": [{**START, "statistics_age": 60.0}], "databases": [database(deadlocks=10, statistics_age=None)]
    })  # fmt: skip
    assert one(silent, "deadlocks", previous=last).value == 6
    fell = one(silent, "deadlocks", previous=Previous(last.at, {"deadlocks/shop": 40.0}))
    assert (fell.value, fell.status) == (10, "warning") and "the statistics began, 1 min" in fell.msg
    nothing = replace(silent, rows={"databases": silent.rows["databases"]})
    assert one(nothing, "deadlocks").status == "unknown" and "previous" in one(nothing, "deadlocks").msg


def test_a_minute_is_not_multiplied_up_to_an_hour() -> None:
    last = Previous(NOW - timedelta(seconds=6), {"deadlocks/shop": 9.0})
    assert one(seen("databases", database(deadlocks=10)), "deadlocks", previous=last).value == 1


@pytest.mark.parametrize(
    ("counts", "check", "status", "words"),
    [
        (
            {"hits": 500, "reads": 499},
            "cache_hit",
            "unknown",
            "999 blocks since the statistics began, 90 d ago: too few",
        ),
        ({"hits": 7000, "reads": 3000}, "cache_hit", "critical", "70.0 %"),
        ({"commits": 50, "rollbacks": 49}, "rollbacks", "unknown", "99 transactions since"),
        ({"commits": 500, "rollbacks": 100}, "rollbacks", "warning", "16.7 %"),
        ({"checksum_failures": 1}, "checksum_failures", "critical", "1 page"),
        ({"checksum_failures": None}, "checksum_failures", "ok", "no page"),
    ],
)
def test_databases(counts: dict[str, Any], check: str, status: str, words: str) -> None:
    found = one(seen("databases", database(**counts)), check)
    assert found.status == status and words in found.msg


@pytest.mark.parametrize("check", ["cache_hit", "rollbacks"])
def test_a_share_of_a_quiet_time_is_that_of_all_times_and_nothing_is_ok_without_any(check: str) -> None:
    counts = {"hits": 9900, "reads": 100, "commits": 990, "rollbacks": 10}
    names = [f"{name}/shop" for name in counts]
    rows = seen("databases", database(**counts), database("new", hits=3, commits=3))
    quiet = Previous(NOW - timedelta(minutes=5), dict(zip(names, (9890.0, 99.0, 980.0, 9.0))))
    found = one(rows, check, previous=quiet)
    assert found.status == "ok" and found.value == {"cache_hit": 99, "rollbacks": 1}[check]
    assert found.msg.endswith("; 1 other did too little to tell")
    busy = Previous(NOW - timedelta(minutes=5), dict.fromkeys(names, 0.0))
    assert one(rows, check, previous=busy).value == {"cache_hit": 99, "rollbacks": 1}[check]
    bad = Previous(NOW - timedelta(minutes=5), dict(zip(names, (8990.0, 0.0, 900.0, 0.0))))
    worse = one(rows, check, previous=bad)
    assert worse.status in ("ok", "warning") and worse.value == {"cache_hit": 90.099, "rollbacks": 10}[check]


def test_without_a_beginning_of_the_statistics_no_rate_is_ok() -> None:
    for check in ("cache_hit", "rollbacks", "transactions", "deadlocks", "temp_bytes"):
        facts = replace(seen("x"), rows={"databases": [database(statistics_age=None, commits=900, hits=9000)]})
        found = one(facts, check)
        assert (found.status, found.value) == ("unknown", None) and "give the last run's counters" in found.msg, check
    for check, reading, row in (("checkpoints", "checkpoints", CHECKPOINTS), ("query_mean", "statements", STATEMENTS)):
        facts = replace(seen("x"), rows={reading: [{**row, "age": None}], "top_statements": []})
        assert one(facts, check).status == "unknown" and "give the last run's counters" in one(facts, check).msg


CHECKPOINTS = {"timed": 90, "requested": 10, "age": 90 * 86400.0}
STATEMENTS = {"calls": 1000.0, "seconds": 2000.0, "age": 90 * 86400.0}


@pytest.mark.parametrize(
    ("row", "last", "status", "value", "words"),
    [
        (CHECKPOINTS, (85, 0), "warning", 67, "67 % of 15 checkpoints since the last run"),
        (CHECKPOINTS, (89, 7), "ok", 10, "10 % of 100 checkpoints since the statistics began, 90 d ago"),
        ({"timed": 3, "requested": 1, "age": 60.0}, None, "unknown", None, "4 checkpoints since the statistics began"),
    ],
)
def test_checkpoints(
    row: dict[str, Any], last: tuple[int, int] | None, status: str, value: int | None, words: str
) -> None:
    counters = {"checkpoints_timed": last[0], "checkpoints_requested": last[1]} if last else None
    previous = Previous(NOW - timedelta(minutes=5), counters) if counters else None
    found = one(seen("checkpoints", row), "checkpoints", previous=previous)
    assert found.status == status and words in found.msg
    assert (found.value if found.value is None else round(float(found.value))) == value


@pytest.mark.parametrize(
    ("calls", "seconds", "status", "words"),
    [
        (60, 1800.0, "critical", "30000.0 ms on average (only 60 statements since the last run"),
        (1, 0.01, "ok", "10.0 ms on average (only 1 statement since"),
        (200, 30.0, "warning", "150.0 ms on average (200 statements since"),
        (0, 0.0, "unknown", "no statement ended since the last run, 5 min ago"),
    ],
)
def test_the_mean_of_statements_is_judged_however_few_there_were(
    calls: int, seconds: float, status: str, words: str
) -> None:
    counters = {"statement_calls": 1000.0 - calls, "statement_seconds": 2000.0 - seconds}
    rows = {"statements": [STATEMENTS], "top_statements": []}
    asked = policy("query_mean", previous=Previous(NOW - timedelta(minutes=5), counters))
    decision = decide(replace(seen("x"), rows=rows), asked)
    (found,) = said(decision, "query_mean")
    assert found.status == status and words in found.msg
    assert ("database.query_mean" in {one["metric"] for one in decision.extra["samples"]}) is bool(calls)


ARCHIVER = {
    "mode": "on", "failures": 0, "failed_wal": None, "no_command": False, "never": False, "failing": False,
    "seconds": 60.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("row", "status", "value", "words"),
    [
        ({}, "ok", 0, "archiving works, the last file 1 min ago"),
        ({"mode": "off", "no_command": True, "never": True}, "ok", 0, "archiving is off"),
        ({"failing": True, "failures": 2, "failed_wal": "00"}, "warning", 60, "archiving fails (00)"),
        ({"no_command": True}, "critical", 60, "archive_command is empty"),
        ({"no_command": True, "never": True, "seconds": None}, "critical", 1, "archive_command is empty"),
        ({"never": True}, "unknown", None, "nothing was archived yet, and nothing failed"),
        ({"never": True, "failing": True, "failures": 1}, "warning", 60, "archiving fails (?)"),
    ],
)
def test_the_archive(row: dict[str, Any], status: str, value: int | None, words: str) -> None:
    decision = decide(seen("archiver", {**ARCHIVER, **row}), policy("archiver"))
    (found,) = said(decision, "archiver")
    assert (found.status, found.value) == (status, value) and words in found.msg
    samples = [one["value"] for one in decision.extra["samples"] if one["metric"] == "database.archiver.failing"]
    assert samples == ([] if value is None or row.get("mode") == "off" else [value])


def test_a_level_that_is_never_reached_is_not_reached_by_an_archive_without_a_command_either() -> None:
    row = {**ARCHIVER, "no_command": True}
    limits = {name: False for name in DEFAULT_LIMITS}
    asked = {**limits, "archiver": {"critical": None}}
    (found,) = said(decide(seen("archiver", row), Policy(read_limits(asked, DEFAULT_LIMITS))), "archiver")
    assert found.status == "warning"


@pytest.mark.parametrize(
    ("row", "status", "lag", "words"),
    [
        ({"lag_seconds": 0.5, "lag_bytes": 10.0}, "ok", [0.5], "1 standby follows closely"),
        ({"lag_seconds": None, "lag_bytes": 0.0}, "ok", [0], "1 standby follows closely"),
        ({"lag_seconds": 301.0, "lag_bytes": 10.0}, "critical", [301], "standby db2 is 5 min 1 s behind"),
        ({"lag_seconds": None, "lag_bytes": 2e8}, "unknown", [], "MB behind, and has not told for how long"),
        ({"lag_seconds": None, "lag_bytes": 2e8, "replays": False}, None, [], ""),  # pg_receivewal
    ],
)
def test_how_long_a_standby_is_behind(row: dict[str, Any], status: str | None, lag: list[float], words: str) -> None:
    standby = {"pid": 7, "name": "db2", "client": None, "state": "streaming", "sync_state": "async",
               "kind": "physical", "replays": True}  # fmt: skip
    decision = decide(seen("replication", {**standby, **row}), policy("replication_lag"))
    found = said(decision, "replication_lag")
    assert [one.status for one in found] == ([status] if status else []) and all(words in one.msg for one in found)
    assert [one["value"] for one in decision.extra["samples"] if one["metric"] == "database.replication.lag"] == lag


def test_pages_without_checksums_are_unknown() -> None:
    found = one(seen("databases", database(), server={**SERVER, "checksums": False}), "checksum_failures")
    assert found.status == "unknown" and "pg_checksums --enable" in found.msg


def test_a_spike_is_against_what_is_usual() -> None:
    usual = database(commits=90 * 86400)
    last = Previous(NOW - timedelta(minutes=1), {"commits/shop": 90 * 86400.0 - 60 * 12})
    found = one(seen("databases", usual), "transaction_spike", previous=last)
    assert found.status == "warning" and "12.0 times what is usual" in found.msg and found.unit == "ratio"


def test_sessions_that_hold_and_what_is_left() -> None:
    mine = Session(1, CLIENT, own=True, role="ops", database="shop")
    others = [
        Session(pid, CLIENT, role="app", database="shop", application=EVIL, state="idle in transaction",
                ages=Ages(state=1000.0, transaction=2000.0), query="SELECT 'secret'")
        for pid in range(2, 97)
    ]  # fmt: skip
    activity = Activity((mine, *others), Rights("ops", False, False, True), 100, 3)
    decision = decide(replace(seen("x"), activity=activity), policy(
        "connections", "free_connections", "idle_in_transaction", "pool", pool_size=100
    ))  # fmt: skip
    assert said(decision, "connections")[0].status == said(decision, "free_connections")[0].status == "critical"
    assert said(decision, "pool")[0].status == "critical" and said(decision, "pool")[0].value == 95
    idle = said(decision, "idle_in_transaction")
    assert len(idle) == 21 and idle[-1].msg == "idle_in_transaction: 75 more" and "secret" not in str(decision)
    assert decision.msg.startswith("24 critical: 96 of 100 connections used (96 %)")
    assert "\x1b" not in str([found.msg for found in decision.findings])


# --- questions ----------------------------------------------------------------------------------------------------


def test_answers_become_findings_and_samples_with_safe_labels() -> None:
    question = Question("orders", "SELECT 1", "count", Limit(5, 9), "business", {"shop": "eu"})
    rows = [{"value": 7, "country": EVIL}, {"value": None, "country": "fr"}]
    facts = replace(seen("x"), rows={"question:orders": rows})
    decision = decide(facts, policy(questions=(question,)))
    assert [found.status for found in said(decision, "custom_orders")] == ["warning", "unknown"]
    (sample,) = [one for one in decision.extra["samples"] if one["metric"] == "business.orders"]
    assert sample["labels"] == {"shop": "eu", "country": "x\\x1b[31m\\n<script>"} and "\x1b" not in decision.msg


@pytest.mark.parametrize(
    ("value", "shown"),
    [(True, 1), (Decimal("7.5"), 7.5), ("7", 7), (None, None), ([7], None), (b"7", None), (float("inf"), None)],
)
def test_the_answer_to_a_question_may_be_true_or_false(value: object, shown: float | None) -> None:
    question = Question("orders", "SELECT 1", "count", Limit(50, 90), "business", {})
    decision = decide(replace(seen("x"), rows={"question:orders": [{"value": value}]}), policy(questions=(question,)))
    (finding,) = said(decision, "custom_orders")
    assert (finding.value, finding.status) == (shown, "unknown" if shown is None else "ok")


def test_what_the_role_lacks_can_be_pasted() -> None:
    facts = seen("x")
    assert facts.server is not None
    evil = replace(facts, server={**facts.server, "role": 'My "Ops"'})
    assert evil.lacks("sizes") == 'sizes: GRANT pg_monitor TO "My ""Ops"""'
