"""What is said about the facts of a Redis server: one table of cases for each check."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core.counters import Previous
from plugins.module_utils._core.errors import InvalidValue
from plugins.module_utils._core.readings import Unread
from plugins.module_utils._core.redis_facts import RedisFacts, SlowCommand, command_shape, parse_cluster, parse_slow_log
from plugins.module_utils._core.redis_health import LIMITS, Expected, Moment, decide, percentile, read_redis_limits
from plugins.module_utils._core.result import Decision, Finding

NOW = datetime(2026, 11, 21, 12, tzinfo=timezone.utc)
STAMP = NOW.timestamp()
MIB = 1024**2
GONE = Unread("user ops may not run INFO: ACL SETUSER ops +info")
HOUR_AGO = NOW - timedelta(hours=1)

INFO: dict[str, Any] = {
    "redis_version": "7.0.15",
    "role": "master",
    "uptime_in_seconds": 864000,
    "loading": 0,
    "used_memory": 100 * MIB,
    "used_memory_rss": 110 * MIB,
    "maxmemory": 1000 * MIB,
    "maxmemory_policy": "noeviction",
    "total_system_memory": 8000 * MIB,
    "mem_fragmentation_ratio": 1.1,
    "connected_clients": 10,
    "maxclients": 1000,
    "blocked_clients": 0,
    "evicted_keys": 0,
    "rejected_connections": 0,
    "keyspace_hits": 9500,
    "keyspace_misses": 500,
    "rdb_last_bgsave_status": "ok",
    "rdb_changes_since_last_save": 0,
    "rdb_last_save_time": STAMP - 100000,
    "aof_enabled": 0,
    "master_repl_offset": 200 * MIB,
    "db0": {"keys": 100, "expires": 5, "avg_ttl": 0},
}
REPLICA = {"ip": "192.0.2.7", "port": 6379, "state": "online", "offset": 200 * MIB, "lag": 0}
AS_REPLICA = {
    "role": "slave",
    "master_host": "192.0.2.1",
    "master_port": 6379,
    "master_link_status": "up",
    "master_last_io_seconds_ago": 1,
    "slave_read_repl_offset": 1000,
    "slave_repl_offset": 1000,
}
SETTINGS = {"save": "3600 1", "maxclients": "1000", "slowlog-log-slower-than": "10000"}
WELL = RedisFacts("127.0.0.1:6379", info=INFO, pings=(0.001,) * 10, settings=SETTINGS, slow=())


def look(
    limits: dict[str, Any] | None = None, previous: Previous | None = None, info: Any = None, **changes: Any
) -> Decision:
    expected = Expected(changes.pop("role", ""), changes.pop("replicas", None))
    merged = {**INFO, **info} if isinstance(info, dict) else info or INFO
    facts = replace(WELL, info=merged, **changes)
    return decide(facts, read_redis_limits(limits or {}), expected, Moment(NOW, previous))


def found(check: str, decision: Decision) -> list[Finding]:
    return [finding for finding in decision.findings if finding.check == check]


def without(*names: str) -> dict[str, Any]:
    return dict.fromkeys(names, "strange")


OPTIONAL = {"role", "replicas", "replication_link", "replication_lag", "replication_lag_bytes", "cluster"}


def test_a_server_that_is_well() -> None:
    decision = look()
    assert {finding.status for finding in decision.findings} == {"ok"}, decision.msg
    assert {finding.check for finding in decision.findings} == set(LIMITS) - OPTIONAL
    assert decision.extra["area"] == "redis" and decision.plan == ()


def test_a_slow_command_of_the_past_is_taken_back() -> None:
    (well,) = found("slowest_command", look())
    assert (well.status, well.value, well.msg) == ("ok", 0.0, "no slow command since an hour ago")


@pytest.mark.parametrize("changes", [{"slow": GONE}, {"settings": {**SETTINGS, "slowlog-log-slower-than": "-1"}}])
def test_without_a_slow_log_nobody_knows_the_slowest_command(changes: dict[str, Any]) -> None:
    decision = look(**changes)
    assert [one.status for name in ("slow_log", "slowest_command") for one in found(name, decision)] == ["unknown"] * 2


def test_master_and_replicas_that_are_well() -> None:
    decision = look(info={"slave0": REPLICA}, role="master", replicas=1)
    assert {finding.status for finding in decision.findings} == {"ok"}
    assert {finding.check for finding in decision.findings} == set(LIMITS) - {"cluster"}
    assert {finding.status for finding in look(info=AS_REPLICA, role="replica").findings} == {"ok"}


SLOW = (SlowCommand(7, STAMP - 60, 2.0, "HGETALL user:?"),)

BAD: list[tuple[str, dict[str, Any], str, str]] = [
    (
        "loading",
        {"info": {"loading": 1, "loading_loaded_perc": 40.5, "loading_eta_seconds": 90}},
        "critical",
        "40 % done",
    ),
    ("latency", {"pings": (0.001,) * 9 + (0.6,)}, "critical", "600.0 ms"),
    ("latency", {"pings": (0.05,)}, "warning", "50.0 ms"),
    ("memory", {"info": {"used_memory": 850 * MIB}}, "warning", "85 % of maxmemory"),
    ("memory", {"info": {"used_memory": 1000 * MIB}}, "critical", "writes are refused"),
    (
        "memory",
        {"info": {"used_memory": 990 * MIB, "maxmemory_policy": "volatile-lru", "db0": {"keys": 9, "expires": 0}}},
        "critical",
        "volatile-lru",
    ),
    ("memory_host", {"info": {"used_memory_rss": 7300 * MIB}}, "critical", "91 % of its host"),
    ("fragmentation", {"info": {"mem_fragmentation_ratio": 1.6}}, "warning", "activedefrag"),
    ("clients", {"info": {"connected_clients": 970}}, "critical", "970 of 1000"),
    ("blocked_clients", {"info": {"blocked_clients": 100}}, "warning", "100 clients wait"),
    ("last_save", {"info": {"rdb_last_bgsave_status": "err"}}, "critical", "last save has failed"),
    ("save_age", {"info": {"rdb_changes_since_last_save": 5}}, "critical", "5 changes since"),
    (
        "append_only_file",
        {"info": {"aof_enabled": 1, "aof_last_write_status": "err", "aof_last_bgrewrite_status": "err"}},
        "critical",
        "last write and the last rewrite failed",
    ),
    ("role", {"role": "replica"}, "critical", "it is a master, a replica is expected"),
    ("replicas", {"replicas": 1}, "critical", "0 replicas of 1"),
    ("replicas", {"replicas": 2, "info": {"slave0": REPLICA}}, "warning", "1 replica of 2"),
    ("replicas", {"replicas": 1, "info": {"slave0": {**REPLICA, "state": "wait_bgsave"}}}, "critical", "0 replicas"),
    ("replication_link", {"info": {"slave0": {**REPLICA, "state": "send_bulk"}}}, "warning", "send_bulk"),
    (
        "replication_lag",
        {"info": {"slave0": {**REPLICA, "lag": 12}}},
        "warning",
        "192.0.2.7:6379 was heard of 12 s ago",
    ),
    ("replication_lag_bytes", {"info": {"slave0": {**REPLICA, "offset": 90 * MIB}}}, "critical", "110.0 MB behind"),
    (
        "replication_link",
        {"info": {**AS_REPLICA, "master_link_status": "down", "master_link_down_since_seconds": 75}},
        "critical",
        "no link to master 192.0.2.1:6379 for 1 min 15 s",
    ),
    (
        "replication_link",
        {"info": {**AS_REPLICA, "master_link_status": "down", "master_sync_in_progress": 1}},
        "warning",
        "being filled",
    ),
    ("replication_lag", {"info": {**AS_REPLICA, "master_last_io_seconds_ago": 61}}, "critical", "1 min 1 s ago"),
    (
        "replication_lag_bytes",
        {"info": {**AS_REPLICA, "slave_read_repl_offset": 20 * MIB}},
        "warning",
        "not applied yet",
    ),
    ("slow_log", {"slow": SLOW * 12}, "warning", "at least 12 slow commands since an hour ago"),
    ("slowest_command", {"slow": SLOW}, "warning", "HGETALL user:? took 2.0 s"),
    ("cluster", {"cluster": {"cluster_state": "fail", "cluster_slots_assigned": "100"}}, "critical", "100 of 16384"),
    ("cluster", {"cluster": {"cluster_state": "ok", "cluster_slots_pfail": "3"}}, "warning", "3 suspected"),
    ("cluster", {"cluster": {}}, "critical", "no known state"),
    ("uptime", {"info": {"uptime_in_seconds": 60}}, "warning", "1 min ago"),
    ("evictions", {"info": {"evicted_keys": 864000}}, "warning", "60 a minute"),
    ("rejected_connections", {"info": {"rejected_connections": 24000}}, "critical", "100 an hour"),
    ("hit_ratio", {"info": {"keyspace_misses": 9500}}, "warning", "50.0 % of 19000 lookups"),
]


@pytest.mark.parametrize(("check", "changes", "status", "words"), BAD)
def test_a_server_that_is_not_well(check: str, changes: dict[str, Any], status: str, words: str) -> None:
    decision = look(**changes)
    (finding,) = found(check, decision)
    assert (finding.status, words in finding.msg) == (status, True), finding
    assert finding.msg in decision.msg or decision.msg.split()[0] != "1"


UNREADABLE: list[tuple[str, dict[str, Any]]] = [
    *((check, {"info": GONE}) for check in sorted(set(LIMITS) - OPTIONAL - {"slowest_command", "reachable"})
      if check not in ("latency", "slow_log")),
    *((check, {"info": GONE}) for check in ("replication_link", "replication_lag")),
    ("role", {"info": GONE, "role": "master"}),
    ("replicas", {"info": GONE, "replicas": 1}),
    ("loading", {"info": without("loading")}),
    ("memory", {"info": without("used_memory")}),
    ("memory_host", {"info": without("total_system_memory")}),
    ("fragmentation", {"info": without("mem_fragmentation_ratio")}),
    ("clients", {"info": without("connected_clients")}),
    ("clients", {"info": without("maxclients"), "settings": GONE}),
    ("blocked_clients", {"info": without("blocked_clients")}),
    ("evictions", {"info": without("evicted_keys")}),
    ("rejected_connections", {"info": without("rejected_connections")}),
    ("hit_ratio", {"info": without("keyspace_hits")}),
    ("last_save", {"info": {"rdb_last_bgsave_status": ""}}),
    ("save_age", {"info": without("rdb_last_save_time")}),
    ("save_age", {"settings": GONE}),
    ("append_only_file", {"info": without("aof_enabled")}),
    ("uptime", {"info": without("uptime_in_seconds")}),
    ("latency", {"pings": GONE}),
    ("slow_log", {"slow": GONE}),
    ("slow_log", {"settings": {**SETTINGS, "slowlog-log-slower-than": "-1"}}),
    ("cluster", {"cluster": GONE}),
]  # fmt: skip


@pytest.mark.parametrize(("check", "changes"), UNREADABLE)
def test_what_could_not_be_looked_at_is_unknown(check: str, changes: dict[str, Any]) -> None:
    (finding,) = found(check, look(**changes))
    assert finding.status == "unknown" and finding.value is None and finding.msg


def test_nothing_looks_as_before_when_there_is_no_answer() -> None:
    down = RedisFacts("127.0.0.1:6379", "connect to redis failed", "connection_failed")
    decision = decide(down, read_redis_limits({}), Expected(), Moment(NOW))
    statuses = {finding.check: finding.status for finding in decision.findings}
    assert statuses.pop("reachable") == "critical" and set(statuses.values()) == {"unknown"}
    assert decision.msg.startswith("1 critical: connect to redis failed") and decision.extra["samples"] == []
    missing = replace(down, code="driver_missing")
    assert found("reachable", decide(missing, LIMITS, Expected(), Moment(NOW)))[0].status == "unknown"


@pytest.mark.parametrize("check", sorted(LIMITS))
def test_a_check_that_is_switched_off_says_nothing(check: str) -> None:
    for _name, changes, _status, _words in BAD:
        assert found(check, look({check: False}, **changes)) == []
    down = RedisFacts("x", "no", "connection_failed")
    assert found(check, decide(down, read_redis_limits({check: False}), Expected(), Moment(NOW))) == []


def test_a_check_without_levels_takes_none() -> None:
    with pytest.raises(InvalidValue, match=r"limits\.role"):
        read_redis_limits({"role": {"warning": 1}})


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_cache_may_be_full(policy: str) -> None:
    (finding,) = found("memory", look(info={"used_memory": 1000 * MIB, "maxmemory_policy": policy}))
    assert (finding.status, finding.value) == ("ok", 100) and "see evictions" in finding.msg


def test_little_data_has_no_fragmentation_to_speak_of() -> None:
    small = {"used_memory": MIB, "mem_fragmentation_ratio": 13.0}
    assert found("fragmentation", look(info=small))[0].status == "ok"


def test_few_lookups_give_no_ratio() -> None:
    assert found("hit_ratio", look(info={"keyspace_hits": 1, "keyspace_misses": 998})) == []
    last = Previous(HOUR_AGO, {"keyspace_hits": 9500.0, "keyspace_misses": 499.0})
    assert found("hit_ratio", look(previous=last)) == []


def test_counters_are_measured_since_the_last_run() -> None:
    last = Previous(HOUR_AGO, {"evicted_keys": 1e6, "rejected_connections": 10.0})
    decision = look(info={"evicted_keys": 1e6 + 7200, "rejected_connections": 10}, previous=last)
    (evicted,) = found("evictions", decision)
    assert (evicted.status, evicted.value) == ("warning", 120) and "the last run" in evicted.msg
    assert found("rejected_connections", decision)[0].value == 0
    assert decision.extra["counters"]["evicted_keys"] == 1e6 + 7200


def test_slow_commands_are_new_since_the_last_run() -> None:
    last = Previous(HOUR_AGO, {"slow_log_id": 7.0})
    entries = (*SLOW, SlowCommand(8, STAMP - 5, 0.2, "KEYS ?"))
    (finding,) = found("slow_log", look(slow=entries, previous=last))
    assert finding.value == 1 and "KEYS ?" in finding.msg
    began_anew = look(slow=entries, previous=last, info={"uptime_in_seconds": 60})
    assert found("slow_log", began_anew)[0].value == 2
    old = (SlowCommand(1, STAMP - 7200, 9.0, "KEYS ?"),)
    assert found("slow_log", look(slow=old))[0].value == 0
    assert look(slow=entries).extra["counters"]["slow_log_id"] == 8


def test_the_servers_own_clock_counts() -> None:
    saved = {
        "rdb_changes_since_last_save": 1,
        "rdb_last_save_time": STAMP + 5000,
        "server_time_usec": (STAMP + 5010) * 1e6,
    }
    assert found("save_age", look(info=saved))[0].value == pytest.approx(10)


def test_saves_that_are_switched_off() -> None:
    off = {**SETTINGS, "save": ""}
    assert "nothing is kept" in found("save_age", look(settings=off))[0].msg
    assert "append-only file keeps" in found("save_age", look(settings=off, info={"aof_enabled": 1}))[0].msg


def test_samples_tell_servers_apart() -> None:
    samples = look(info={"slave0": REPLICA}).extra["samples"]
    assert {sample["labels"]["server"] for sample in samples} == {"127.0.0.1:6379"}
    by_metric = {sample["metric"]: sample for sample in samples}
    assert by_metric["redis.keys"]["labels"]["database"] == "0" and by_metric["redis.keys"]["value"] == 100
    assert by_metric["redis.hit_ratio"]["value"] == 95 and by_metric["redis.memory.used_percent"]["value"] == 10
    assert by_metric["redis.replication.lag"]["labels"]["replica"] == "192.0.2.7:6379"


@pytest.mark.parametrize(
    ("arguments", "shape"),
    [
        (["AUTH", "hunter2"], "AUTH ?"),
        (["get", "mail:a@b.example"], "GET mail:?"),
        (["MSET", "a", "b", "c"], "MSET ? and 2 more"),
        (["\x1b[2JX"], "\\x1b[2JX"),
        (["GET", "user4711:x"], "GET ?"),
    ],
)
def test_what_a_command_was_about_is_not_shown(arguments: list[str], shape: str) -> None:
    assert command_shape(arguments) == shape


@given(st.lists(st.text(), max_size=5))
def test_the_shape_of_a_command_is_short_and_printable(arguments: list[str]) -> None:
    shape = command_shape(arguments)
    assert shape.isprintable() and len(shape) < 120


@pytest.mark.parametrize("answer", [None, b"x", [1], [[1, 2, 3]], [[1, 2, 3, 4]], [[1, "2", 3, [b"GET"]]]])
def test_a_slow_log_that_makes_no_sense(answer: Any) -> None:
    assert parse_slow_log(answer) is None


def test_a_slow_log() -> None:
    (entry,) = parse_slow_log([[3, 1795262400, 1500000, [b"del", b"k:\xff"], b"127.0.0.1:1", b""]]) or ()
    assert entry == SlowCommand(3, 1795262400.0, 1.5, "DEL k:?")


def test_cluster_info() -> None:
    assert parse_cluster("cluster_state:ok\r\ncluster_slots_fail:0\r\nx\x1b\r\n") == {
        "cluster_state": "ok",
        "cluster_slots_fail": "0",
    }


@given(st.lists(st.floats(0, 100), min_size=1, max_size=50).map(tuple), st.floats(0.01, 1))
def test_a_percentile_was_really_seen(values: tuple[float, ...], share: float) -> None:
    assert percentile(values, share) in values and percentile(values, 1) == max(values)


NAMES = st.sampled_from([*INFO, "slave0", "db1", "cluster_enabled"])
VALUES = st.one_of(st.text(), st.none(), st.floats(), st.booleans(), st.dictionaries(st.text(), st.text()))


@given(st.dictionaries(NAMES, VALUES))
def test_no_info_of_the_world_breaks_the_verdict(strange: dict[str, Any]) -> None:
    decision = look(info=strange)
    assert decision.msg.isprintable() and all(finding.msg.isprintable() for finding in decision.findings)
