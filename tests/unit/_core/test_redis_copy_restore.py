from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone

import pytest

from plugins.module_utils._core.backup import Copy, Source
from plugins.module_utils._core.errors import InvalidValue, PreconditionFailed
from plugins.module_utils._core.redis_copy_restore import (
    AofLayout,
    LiveServer,
    Replica,
    RestorePolicy,
    RestoreRecord,
    check_commands,
    plan_restore,
    plan_undo,
    read_record,
    refuse,
)
from tests.unit._core.test_redis_copy import MANIFEST

LIVE = LiveServer(True, "master", 6379, 42, "/var/lib/redis", "dump.rdb", None, (), 10)
POLICY = RestorePolicy("c1", False, False)
COPY = Copy("ab" * 32, Source("shop", "c1", "redis", "redis"), datetime(2026, 9, 18, 4, tzinfo=timezone.utc))
RECORD = RestoreRecord("1", "ab", "t", "t", "restored", ("dump.rdb",), ("dump.rdb",), 10)


@pytest.mark.parametrize(
    ("live", "policy", "code"),
    [
        (LIVE, POLICY, None),
        (replace(LIVE, role="slave"), POLICY, "is_standby"),
        (replace(LIVE, replicas=(Replica("r", 1),)), POLICY, "replicas_attached"),
        (replace(LIVE, replicas=(Replica("r", 1),)), replace(POLICY, fence_replicas=True), None),
        (replace(LIVE, port=6380), POLICY, "fingerprint_mismatch"),
        (replace(LIVE, directory="/srv/other"), POLICY, "fingerprint_mismatch"),
        (replace(LIVE, port=6380), replace(POLICY, other_place=True), None),
    ],
)
def test_only_the_target_that_was_meant_is_overwritten(live, policy, code):
    if code is None:
        refuse(policy, live, MANIFEST)
        return
    with pytest.raises(PreconditionFailed) as failure:
        refuse(policy, live, MANIFEST)
    assert (failure.value.code, bool(failure.value.hint)) == (code, True)


@pytest.mark.parametrize(("directory", "port", "code"), [("", 6379, None), ("", 6380, "fingerprint_mismatch")])
def test_a_server_that_did_not_tell_its_folder_is_known_by_its_port(directory, port, code):
    manifest = replace(MANIFEST, server=replace(MANIFEST.server, directory=directory, port=port))
    if code is None:
        refuse(POLICY, LIVE, manifest)
        return
    with pytest.raises(PreconditionFailed):
        refuse(POLICY, LIVE, manifest)


def test_the_plan_of_a_running_server_keeps_stops_and_fences():
    live = replace(LIVE, replicas=(Replica("r", 1),), aof=AofLayout("appendonlydir", "appendonly.aof"))
    plan = plan_restore(COPY, "c1", live, ("stop it", "start it"), ()).plan
    assert [one.id for one in plan] == ["fetch", "prove", "keep", "fence:r:1", "stop", "place", "start", "verify"]
    assert "dump.rdb, appendonlydir" in plan[5].reason


def test_a_server_that_is_down_is_not_stopped():
    plan = plan_restore(COPY, "c1", replace(LIVE, running=False), ("stop", "start"), ()).plan
    assert [one.id for one in plan] == ["fetch", "prove", "place", "start", "verify"]


def test_the_rdb_becomes_the_base_of_an_append_only_file():
    assert AofLayout("", "a.aof").files() == {"a.aof": None}
    files = AofLayout("d", "a.aof").files()
    assert files == {"d/a.aof.1.base.rdb": None, "d/a.aof.manifest": "file a.aof.1.base.rdb seq 1 type b\n"}


def test_a_record_comes_back_as_it_was():
    fenced = replace(RECORD, fenced=("r:1", "::1:2"), masters=("m 6379", "m 6379"))
    for record in (RECORD, fenced):
        assert read_record(record.to_json()) == record
    assert [one.label() for one in map(Replica.of, fenced.fenced)] == ["r:1", "::1:2"]
    older = json.loads(RECORD.to_json())
    del older["masters"]
    assert read_record(json.dumps(older)) == RECORD
    for text in ("", "{}", "[]", '{"format": 1, "moved": [], "placed": [], "fenced": []}'):
        with pytest.raises(ValueError):
            read_record(text)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "..", "", "a/b"])
def test_a_record_cannot_name_what_lies_elsewhere(name):
    for lists in ({"moved": (name,)}, {"placed": (name,)}):
        with pytest.raises(ValueError):
            read_record(replace(RECORD, **lists).to_json())


def test_without_a_restore_there_is_nothing_to_undo():
    assert plan_undo(RECORD.with_state("undone"), LIVE, ("stop", "start")).plan == ()
    with pytest.raises(PreconditionFailed) as failure:
        plan_undo(None, LIVE, ("stop", "start"))
    assert failure.value.code == "no_kept_restore"


def test_a_restore_that_was_undone_already_is_named():
    (finding,) = plan_undo(RECORD.with_state("undone"), LIVE, ("stop", "start")).findings
    assert (finding.check, finding.status) == ("already_undone", "ok") and "force: true" in finding.msg


def test_a_restore_that_moved_nothing_is_taken_back_without_a_restart():
    plan = plan_undo(replace(RECORD, state="begun", moved=()), LIVE, None).plan
    assert [(one.id, one.action) for one in plan] == [("place", "forget"), ("verify", "compare")]


def test_a_fenced_replica_is_noted_with_whom_it_followed():
    fenced = RECORD.with_fenced(Replica("r", 1), "m 6379").with_fenced(Replica("s", 2), "m 6379")
    assert fenced.fenced_replicas() == [(Replica("r", 1), "m 6379"), (Replica("s", 2), "m 6379")]
    assert replace(fenced, masters=()).fenced_replicas(unknown="?")[1] == (Replica("s", 2), "?")


@pytest.mark.parametrize(("target", "whose"), [("c1", "its"), ("c2", "c1's")])
def test_the_host_that_is_overwritten_and_the_one_that_was_copied_are_named(target, whose):
    assert f"replace the data of {target} with {whose} state of" in plan_restore(COPY, target, LIVE, ("", ""), ()).msg


def test_how_to_stop_and_start_must_be_said():
    assert check_commands([], [], "redis.service")[0] == ["systemctl", "stop", "--", "redis.service"]
    assert check_commands(["a"], ["b"], "") == (["a"], ["b"])
    for stop, start in ((["a"], []), ([], ["b"]), ([], [])):
        with pytest.raises(InvalidValue):
            check_commands(stop, start, "")
