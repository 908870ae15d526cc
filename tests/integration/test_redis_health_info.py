"""redis_health_info against real servers that were made ill: what it says, and what it may not know."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support.modules import run_failed, run_ok
from tests.support.redis_servers import TestRedis, fill, redis_servers, wait_for
from tools.embedded_postgres import free_port

MODULE = "redis_health_info"
PASSWORD = "redis-secret-91cd"
MIB = 1024**2
BUSY_HOST = {"latency": {"warning": 10, "critical": 20}}  # the limits of a server beside other tests
NEW_SERVER = {**BUSY_HOST, "uptime": False}


@pytest.fixture
def make_redis(tmp_path: Path) -> Iterator[Callable[..., TestRedis]]:
    with redis_servers(tmp_path / "servers") as make:
        yield make


def look(server: TestRedis, **options: Any) -> dict[str, Any]:
    return run_ok(MODULE, {**server.options, "pings": 3, **options})


def is_busy(server: TestRedis) -> bool:
    return "BUSY" in finding(look(server, timeout="2s"), "reachable")["msg"]


def finding(result: dict[str, Any], check: str) -> dict[str, Any]:
    (found,) = [one for one in result["findings"] if one["check"] == check]
    return found


def until(server: TestRedis, check: str, status: str, **options: Any) -> dict[str, Any]:
    """Look until a check says what it must come to say."""
    seen: dict[str, Any] = {}

    def says() -> bool:
        seen.update(finding(look(server, **options), check))
        return bool(seen["status"] == status)

    wait_for(says, f"{check} to be {status}, last {seen}")
    return seen


def moment_ago(server: TestRedis, result: dict[str, Any]) -> dict[str, Any]:
    """Return what a run returned as if that was two seconds ago, when the server has been there for longer."""
    wait_for(lambda: server.client().info("server")["uptime_in_seconds"] > 3, "the server to be three seconds old")
    at = (datetime.now(timezone.utc) - timedelta(seconds=2)).isoformat()
    return {**result["counters"], "at": at}


# --- the whole ----------------------------------------------------------------------------------------------------


def test_a_server_that_is_well(make_redis: Callable[..., TestRedis]) -> None:
    server = make_redis(password=PASSWORD)
    fill(server)
    result = look(server, limits=NEW_SERVER)
    assert result["status"] == "ok", result["msg"]
    assert result["changed"] is False and result["area"] == "redis"
    assert result["redis"]["databases"][0] == {"database": 0, "keys": 556, "expires": 50}
    assert result["redis"]["role"] == "master" and result["redis"]["version"]
    assert len(result["samples"]) < 40 and PASSWORD not in str(result)
    young = run_ok(MODULE, {**server.options, "limits": BUSY_HOST}, check=True)
    assert young["status"] == "warning"  # it was only just started
    unasked = finding(look(server), "latency")
    assert (unasked["warning"], unasked["critical"]) == (0.05, 0.5) and unasked["value"] > 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"pings": 0},
        {"timeout": "soon"},
        {"timeout": "0"},
        {"expected_replicas": -1},
        {"previous": {"evicted_keys": 1}},
        {"limits": {"role": {"warning": 1}}},
        {"limits": {"memroy": False}},
        {"redis_timeout": "x"},
    ],
)
def test_options_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    result = run_failed(MODULE, wrong)
    assert result["failure"]["code"] == "invalid_value" and next(iter(wrong)) in result["msg"]


# --- no answer ----------------------------------------------------------------------------------------------------


def unreachable(result: dict[str, Any], words: str) -> None:
    found = finding(result, "reachable")
    assert found["status"] == "critical" and words in found["msg"], found
    assert {one["status"] for one in result["findings"] if one["check"] != "reachable"} == {"unknown"}
    assert result["samples"] == [] and result["msg"].startswith("1 critical: ")


def test_nobody_is_there() -> None:
    unreachable(run_ok(MODULE, {"redis_port": free_port()}), "check address")
    unreachable(run_ok(MODULE, {"redis_unix_socket": "/nowhere/redis.sock"}), "/nowhere/redis.sock")


def test_a_wrong_password(make_redis: Callable[..., TestRedis]) -> None:
    server = make_redis(password=PASSWORD)
    result = look(server, redis_password="not-that-one-77")
    unreachable(result, "check redis_username and redis_password")
    assert "not-that-one-77" not in str(result)
    unreachable(run_ok(MODULE, {"redis_port": server.port}), "redis_password")


def test_a_server_that_is_stuck(make_redis: Callable[..., TestRedis]) -> None:
    server = make_redis()
    assert server.process is not None
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        unreachable(look(server, timeout="1s"), "stuck or too busy")
        assert time.monotonic() - begun < 5
    finally:
        os.kill(server.process.pid, signal.SIGCONT)


def test_a_server_that_is_busy_with_a_script(make_redis: Callable[..., TestRedis]) -> None:
    server = make_redis(lua_time_limit="50")

    def spin() -> None:
        with contextlib.suppress(redis.RedisError):
            server.client(socket_timeout=60).eval("while true do end", 0)

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        wait_for(lambda: is_busy(server), "the script to be called busy")
        unreachable(look(server), "BUSY")
    finally:
        server.client().script_kill()
        thread.join()


def test_a_host_without_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    found = finding(run_ok(MODULE, {}), "reachable")
    assert found["status"] == "unknown" and "python3-redis" in found["msg"]


@contextlib.contextmanager
def impostor(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that speaks as it likes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _address = listener.accept()
                    with connection, contextlib.suppress(OSError):
                        answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def endless(connection: socket.socket) -> None:
    connection.recv(4096)
    connection.sendall(b"$100000000000\r\n")
    while True:
        connection.sendall(b"x")
        time.sleep(0.05)


def numbers(connection: socket.socket) -> None:
    while connection.recv(4096):
        connection.sendall(b":7\r\n")


def web(connection: socket.socket) -> None:
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n\x1b[31m<html>")


@pytest.mark.parametrize(("answer", "words"), [(endless, "never ended"), (numbers, "no sense"), (web, "")])
def test_somebody_else_answers(answer: Callable[[socket.socket], None], words: str) -> None:
    begun = time.monotonic()
    with impostor(answer) as port:
        result = run_ok(MODULE, {"redis_port": port, "timeout": "1s"})
        unreachable(result, words)
    assert time.monotonic() - begun < 10 and result["msg"].isprintable()


# --- rights -------------------------------------------------------------------------------------------------------


NEEDED = ["+ping", "+info", "+config|get", "+slowlog|get"]


def with_rights(server: TestRedis, rights: list[str]) -> dict[str, Any]:
    server.client().execute_command("ACL", "SETUSER", "ops", "reset", "on", f">{PASSWORD}", *rights)
    return look(server, redis_username="ops", redis_password=PASSWORD)


def test_the_rights_that_are_documented_are_enough(make_redis: Callable[..., TestRedis]) -> None:
    assert "unknown" not in {one["status"] for one in with_rights(make_redis(), NEEDED)["findings"]}


@pytest.mark.parametrize(
    ("missing", "blind"),
    [
        ("+ping", {"latency"}),
        ("+config|get", {"save_age"}),
        ("+slowlog|get", {"slow_log", "slowest_command"}),
        ("+info", {"memory", "memory_host", "clients", "last_save", "uptime", "loading", "replication_link"}),
    ],
)
def test_without_a_right_its_checks_are_unknown(
    make_redis: Callable[..., TestRedis], missing: str, blind: set[str]
) -> None:
    result = with_rights(make_redis(), [right for right in NEEDED if right != missing])
    for check in blind:
        found = finding(result, check)
        assert found["status"] == "unknown" and f"ACL SETUSER ops {missing}" in found["msg"]
    assert finding(result, "reachable")["status"] == "ok"
    unknown = {one["check"] for one in result["findings"] if one["status"] == "unknown"}
    assert unknown == blind or (missing == "+info" and unknown > blind)


def test_a_server_without_config(make_redis: Callable[..., TestRedis]) -> None:
    server = make_redis(rename_command='CONFIG ""')
    found = finding(look(server), "save_age")
    assert found["status"] == "unknown" and "does not offer CONFIG" in found["msg"]


# --- memory -------------------------------------------------------------------------------------------------------


def populate(server: TestRedis, keys: int, size: int, prefix: str = "key") -> None:
    server.client(socket_timeout=60).execute_command("DEBUG", "POPULATE", keys, prefix, size)


def test_memory_that_is_full(make_redis: Callable[..., TestRedis]) -> None:
    server = make_redis(maxmemory=str(20 * MIB))
    with pytest.raises(redis.RedisError, match="maxmemory"):
        for number in range(40):
            server.client().set(f"big:{number}", b"x" * MIB)
    result = look(server)
    found = finding(result, "memory")
    assert found["status"] == "critical" and found["value"] > 90 and "noeviction" in found["msg"]
    assert found["msg"] in result["msg"]


def test_a_cache_that_is_full_and_evicts(make_redis: Callable[..., TestRedis]) -> None:
    server = make_redis(maxmemory=str(20 * MIB), maxmemory_policy="allkeys-lru")
    before = look(server)
    assert finding(before, "evictions")["value"] == 0
    for number in range(60):
        server.client().set(f"big:{number}", b"x" * MIB)
    result = look(server, previous=moment_ago(server, before))
    assert finding(result, "memory")["status"] == "ok"
    evicted = finding(result, "evictions")
    assert evicted["status"] == "warning" and evicted["value"] > 60 and "since the last run" in evicted["msg"]
    assert result["counters"]["evicted_keys"] >= 40
    assert "since its start" in finding(look(server), "evictions")["msg"]


def test_memory_of_the_host(make_redis: Callable[..., TestRedis]) -> None:
    found = finding(look(make_redis(), limits={"memory_host": {"warning": 0.0001, "critical": 0.001}}), "memory_host")
    assert found["status"] == "critical" and 0 < found["value"] < 5


def test_memory_in_fragments(make_redis: Callable[..., TestRedis]) -> None:
    server = make_redis()
    populate(server, 400_000, 600)
    assert finding(look(server), "fragmentation")["status"] == "ok"
    remove = "for i = 0, 399999 do if i % 2 == 0 then redis.call('DEL', 'key:' .. i) end end"
    server.client(socket_timeout=120).eval(remove, 0)
    found = until(server, "fragmentation", "warning")
    assert found["value"] >= 1.5 and "activedefrag" in found["msg"]


# --- clients ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def connections(server: TestRedis, number: int) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _n in range(number)]


def test_clients_up_to_the_limit(make_redis: Callable[..., TestRedis]) -> None:
    server = make_redis(maxclients="20")
    with connections(server, 17):
        found = until(server, "clients", "critical")
    assert found["value"] >= 90 and "of 20 clients" in found["msg"]


def test_connections_that_were_rejected(make_redis: Callable[..., TestRedis]) -> None:
    server = make_redis(maxclients="3")
    before = look(server)
    assert finding(before, "rejected_connections")["value"] == 0
    with connections(server, 3), connections(server, 1) as [late]:
        assert b"max number of clients" in late.recv(200)
    wait_for(server.answers, "a free connection")
    found = finding(look(server, previous=moment_ago(server, before)), "rejected_connections")
    assert found["status"] == "critical" and "since the last run" in found["msg"]


def test_clients_that_wait(make_redis: Callable[..., TestRedis]) -> None:
    server = make_redis()
    with connections(server, 3) as waiting:
        for one in waiting:
            one.sendall(b"BLPOP nothing 0\r\n")
        found = until(server, "blocked_clients", "warning", limits={"blocked_clients": {"warning": 3}})
    assert found["value"] == 3


def test_lookups_that_find_nothing(make_redis: Callable[..., TestRedis]) -> None:
    server = make_redis()
    before = look(server)
    assert [one for one in before["findings"] if one["check"] == "hit_ratio"] == []
    pipeline = server.client().pipeline(transaction=False)
    for number in range(1200):
        pipeline.get(f"nothing:{number}")
    pipeline.execute()
    found = finding(look(server, previous=moment_ago(server, before)), "hit_ratio")
    assert (found["status"], found["value"]) == ("warning", 0)


def test_answers_that_are_slow(make_redis: Callable[..., TestRedis]) -> None:
    server = make_redis()
    over = threading.Event()

    def hold_up() -> None:
        client = server.client(socket_timeout=60)
        while not over.is_set():
            client.execute_command("DEBUG", "SLEEP", 0.15)

    thread = threading.Thread(target=hold_up)
    thread.start()
    try:
        found = until(server, "latency", "warning", pings=10)
    finally:
        over.set()
        thread.join()
    assert found["value"] >= 0.05


def test_slow_commands(make_redis: Callable[..., TestRedis]) -> None:
    server = make_redis()
    before = look(server)
    server.client(socket_timeout=60).execute_command("DEBUG", "SLEEP", 1.1)
    server.client().config_set("slowlog-log-slower-than", 0)
    for number in range(12):
        server.client().set(f"mail:person{number}@customer.example", "private-word")
    server.client().config_set("slowlog-log-slower-than", 10000)
    result = look(server, previous=before["counters"])
    found = finding(result, "slow_log")
    assert found["status"] == "warning" and found["value"] >= 12
    slowest = finding(result, "slowest_command")
    assert slowest["status"] == "warning" and "DEBUG" in slowest["msg"] and slowest["value"] > 1
    shapes = {one["command"] for one in result["redis"]["slow_commands"]}
    assert "SET mail:? and 1 more" in shapes
    assert "customer.example" not in str(result) and "private-word" not in str(result)
    again = look(server, previous=result["counters"])
    assert finding(again, "slow_log")["status"] == "ok"
    assert (finding(again, "slowest_command")["status"], finding(again, "slowest_command")["value"]) == ("ok", 0)


def test_a_slow_log_that_is_switched_off(make_redis: Callable[..., TestRedis]) -> None:
    found = finding(look(make_redis(slowlog_log_slower_than="-1")), "slow_log")
    assert found["status"] == "unknown" and "CONFIG SET slowlog-log-slower-than" in found["msg"]


# --- the disk -----------------------------------------------------------------------------------------------------


@pytest.fixture
def lost_folder(make_redis: Callable[..., TestRedis], tmp_path: Path) -> Callable[..., TestRedis]:
    """A server whose folder was removed from under it: not even root can write there."""

    def start(**settings: str) -> TestRedis:
        folder = tmp_path / "data"
        folder.mkdir()
        server = make_redis(dir=str(folder), logfile=str(tmp_path / "redis.log"), **settings)
        shutil.rmtree(folder)
        return server

    return start


def test_a_save_that_fails(lost_folder: Callable[..., TestRedis]) -> None:
    server = lost_folder()
    assert finding(look(server), "last_save")["status"] == "ok"
    server.client().bgsave()
    found = until(server, "last_save", "critical")
    assert "last save has failed" in found["msg"]


def test_changes_that_were_never_saved(make_redis: Callable[..., TestRedis]) -> None:
    server = make_redis(save="86400 1000000")
    assert finding(look(server), "save_age")["status"] == "ok"
    server.client().set("a", "b")
    found = until(server, "save_age", "critical", limits={"save_age": {"warning": 1, "critical": 1}})
    assert "1 change since" in found["msg"] and found["value"] >= 1
    server.client().save()
    assert finding(look(server, limits={"save_age": {"warning": 0, "critical": 0}}), "save_age")["status"] == "ok"


def test_an_append_only_file_that_cannot_be_rewritten(lost_folder: Callable[..., TestRedis]) -> None:
    server = lost_folder(appendonly="yes")
    assert finding(look(server), "append_only_file")["msg"] == "the append-only file is written"
    with contextlib.suppress(redis.RedisError):
        server.client().bgrewriteaof()
    found = until(server, "append_only_file", "critical")
    assert "last rewrite failed" in found["msg"]


def test_a_server_that_loads_its_data(make_redis: Callable[..., TestRedis]) -> None:
    server = make_redis(loading_process_events_interval_bytes="1024")
    populate(server, 5000, 100)
    server.client().config_set("key-load-delay", 3000)

    def reload() -> None:
        with contextlib.suppress(redis.RedisError):
            server.client(socket_timeout=60).execute_command("DEBUG", "RELOAD")

    thread = threading.Thread(target=reload)
    thread.start()
    result: dict[str, Any] = {}

    def loads() -> bool:  # a look that met the beginning had its answers to PING before it
        result.update(look(server))
        return [finding(result, check)["status"] for check in ("loading", "latency")] == ["critical", "unknown"]

    wait_for(loads, "the server to load")
    assert "loads its data" in result["msg"]
    assert server.process is not None
    server.process.kill()
    thread.join()


# --- replication and cluster --------------------------------------------------------------------------------------


@pytest.fixture
def pair(make_redis: Callable[..., TestRedis]) -> tuple[TestRedis, TestRedis]:
    master = make_redis("master", password=PASSWORD)
    replica = make_redis("replica", password=PASSWORD, replicaof=f"127.0.0.1 {master.port}")
    wait_for(lambda: replica.client().info("replication")["master_link_status"] == "up", "the replica to follow")
    wait_for(lambda: master.client().info("replication")["slave0"]["state"] == "online", "the replica to be online")
    return master, replica


def test_master_and_replica_that_are_well(pair: tuple[TestRedis, TestRedis]) -> None:
    master, replica = pair
    above = look(master, expected_role="master", expected_replicas=1, limits=NEW_SERVER)
    assert above["status"] == "ok", above["msg"]
    assert above["redis"]["replicas"][0]["state"] == "online"
    assert {"role", "replicas", "replication_link", "replication_lag", "replication_lag_bytes"} <= {
        one["check"] for one in above["findings"]
    }
    below = look(replica, expected_role="replica", limits=NEW_SERVER)
    assert below["status"] == "ok" and below["redis"]["role"] == "replica", below["msg"]


def test_a_role_that_is_not_the_expected_one(pair: tuple[TestRedis, TestRedis]) -> None:
    master, replica = pair
    assert finding(look(master, expected_role="replica"), "role")["status"] == "critical"
    assert finding(look(replica, expected_role="master"), "role")["status"] == "critical"


def test_a_replica_that_is_not_there(pair: tuple[TestRedis, TestRedis]) -> None:
    master, replica = pair
    assert finding(look(master, expected_replicas=2), "replicas")["status"] == "warning"
    replica.stop()
    found = until(master, "replicas", "critical", expected_replicas=1)
    assert (found["value"], found["unit"]) == (0, "count")


def test_a_replica_that_lost_its_master(pair: tuple[TestRedis, TestRedis]) -> None:
    master, replica = pair
    master.stop()
    found = until(replica, "replication_link", "critical")
    assert f"no link to master 127.0.0.1:{master.port}" in found["msg"]


def test_a_replica_that_falls_behind(pair: tuple[TestRedis, TestRedis]) -> None:
    master, replica = pair
    assert replica.process is not None
    os.kill(replica.process.pid, signal.SIGSTOP)
    try:
        for number in range(24):
            master.client().set(f"big:{number}", b"x" * MIB)
        result = look(master)
        behind = finding(result, "replication_lag_bytes")
        assert behind["status"] == "warning" and behind["value"] > 20 * MIB
        late = until(master, "replication_lag", "warning", limits={"replication_lag": {"warning": 2}})
        assert late["value"] >= 2
    finally:
        os.kill(replica.process.pid, signal.SIGCONT)


def test_a_master_that_is_silent(pair: tuple[TestRedis, TestRedis]) -> None:
    master, replica = pair
    assert master.process is not None
    os.kill(master.process.pid, signal.SIGSTOP)
    try:
        found = until(replica, "replication_lag", "warning", limits={"replication_lag": {"warning": 2}})
        assert "last heard of master" in found["msg"]
    finally:
        os.kill(master.process.pid, signal.SIGCONT)


def test_a_cluster_without_its_slots(make_redis: Callable[..., TestRedis]) -> None:
    server = make_redis(cluster_enabled="yes", cluster_port=str(free_port()))
    found = finding(look(server), "cluster")
    assert found["status"] == "critical" and "0 of 16384 slots" in found["msg"]
    server.client().execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    assert until(server, "cluster", "ok")["msg"].startswith("cluster is ok, 16384")
    blind = finding(with_rights(server, NEEDED), "cluster")
    assert blind["status"] == "unknown" and "+cluster|info" in blind["msg"]
