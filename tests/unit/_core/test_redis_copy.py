from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core.errors import PreconditionFailed, VerificationFailed
from plugins.module_utils._core.redis_copy import (
    DatabaseState,
    KeyState,
    Loaded,
    Observed,
    Payload,
    RedisManifest,
    RedisServerState,
    digest_value,
    encode_key,
    judge,
    judge_against_live,
    read_redis_manifest,
    steady,
)
from plugins.module_utils._core.redis_copy_rdb import read_rdb_check, read_rdb_header

NOW = 1_800_000_000_000
KEY = KeyState(0, "a", "string", None, "d1")
ENDING = KeyState(0, "b", "string", NOW + 60_000, "d2")
OVER = KeyState(0, "c", "string", NOW - 60_000, "d3")
SERVER = RedisServerState("7.0.15", "run", "master", 6379, "/var/lib/redis", "dump.rdb", 1000, {"save": ""})
LOADED = Loaded("7.0.15", 10, 0, (DatabaseState(0, 10, 3),), (KEY, ENDING), "digest")
MANIFEST = RedisManifest(
    "shop",
    "c1",
    "redis",
    "2026-09-18T04:00:00Z",
    "file",
    SERVER,
    Payload(100, "sha", 10, 10),
    Observed((DatabaseState(0, 10, 3),), 0),
    (KEY,),
    LOADED,
)


def statuses(findings):
    return {finding.check: finding.status for finding in findings}


def test_a_manifest_comes_back_as_it_was():
    for one in (MANIFEST, replace(MANIFEST, loaded=None)):
        assert read_redis_manifest(one.to_json()) == one


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 2}', '{"format": 1}', MANIFEST.to_json()[:200]])
def test_a_manifest_that_cannot_be_read_is_said_so(text):
    with pytest.raises(PreconditionFailed) as failure:
        read_redis_manifest(text)
    assert failure.value.code == "manifest_unreadable"


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (LOADED, {"keys": "ok", "lasting_keys": "ok", "sample": "ok", "digest": "ok"}),
        (replace(LOADED, keys=9), {"keys": "critical"}),
        (replace(LOADED, keys=8, expired=2), {"keys": "ok", "digest": None}),
        (replace(LOADED, keys=None, expired=None), {"keys": "unknown"}),
        (replace(LOADED, databases=(DatabaseState(0, 10, 4),)), {"lasting_keys": "critical"}),
        (replace(LOADED, databases=(DatabaseState(1, 10, 3),)), {"lasting_keys": "critical"}),
        (replace(LOADED, databases=(DatabaseState(0, 7, 0),)), {"lasting_keys": "ok"}),
        (replace(LOADED, sample=(KEY,)), {"sample": "critical"}),
        (replace(LOADED, sample=(replace(KEY, digest="x"), ENDING)), {"sample": "critical"}),
        (replace(LOADED, sample=(replace(KEY, type="list"), ENDING)), {"sample": "critical"}),
        (replace(LOADED, sample=(replace(KEY, expires_at_ms=NOW + 9), ENDING)), {"sample": "critical"}),
        (replace(LOADED, sample=(KEY, replace(ENDING, expires_at_ms=NOW + 60_001))), {"sample": "critical"}),
        (replace(LOADED, digest="other"), {"digest": "critical"}),
        (replace(LOADED, digest=""), {"digest": None}),
        (replace(LOADED, version="7.2.1", digest="other"), {"digest": None}),
    ],
)
def test_what_is_loaded_must_be_what_was_copied(now, expected):
    found = statuses(judge(MANIFEST, now, NOW))
    assert {check: found.get(check) for check in expected} == expected


def test_a_key_whose_time_is_over_is_not_missed():
    manifest = replace(MANIFEST, loaded=replace(LOADED, sample=(KEY, OVER)))
    (finding,) = [one for one in judge(manifest, replace(LOADED, sample=(KEY,)), NOW) if one.check == "sample"]
    assert (finding.status, finding.msg) == (
        "ok",
        "1 of 1 sampled key equal in type, value and end, 1 over meanwhile",
    )


def test_an_old_server_knows_the_end_of_a_key_only_roughly():
    old = replace(MANIFEST, server=replace(SERVER, version="6.2.1"))
    for late, status in ((1500, "ok"), (2500, "critical")):
        now = replace(LOADED, sample=(KEY, replace(ENDING, expires_at_ms=NOW + 60_000 + late)))
        assert statuses(judge(old, now, NOW))["sample"] == status


def test_facts_that_were_only_observed_leave_room():
    manifest = replace(
        MANIFEST,
        loaded=None,
        sample=(KEY, ENDING),
        payload=Payload(1, "s", 10, None),
        observed=Observed((DatabaseState(0, 10, 0),), 2),
    )
    for keys, status in ((8, "ok"), (12, "ok"), (13, "critical"), (7, "critical")):
        assert statuses(judge(manifest, replace(LOADED, keys=keys), NOW))["keys"] == status
    one_differs = replace(LOADED, sample=(KEY,))
    assert statuses(judge(manifest, one_differs, NOW))["sample"] == "warning"
    assert statuses(judge(manifest, replace(LOADED, sample=()), NOW))["sample"] == "critical"


def test_clients_that_write_again_make_no_bad_restore_of_a_good_one():
    now = replace(LOADED, sample=(KEY,), databases=(DatabaseState(0, 11, 3),))
    found = statuses(judge(MANIFEST, now, NOW, served=True))
    assert (found["sample"], found["lasting_keys"], found["keys"]) == ("warning", "warning", "ok")
    assert statuses(judge(MANIFEST, replace(now, keys=0), NOW, served=True))["keys"] == "critical"


@pytest.mark.parametrize(
    ("total", "changes", "status"),
    [(10, 0, "ok"), (9, 0, "critical"), (0, 0, "critical"), (8, 2, "ok"), (12, 2, "ok"), (13, 2, "critical")],
)
def test_the_rdb_may_differ_from_the_server_by_what_changed_and_no_more(total, changes, status):
    manifest = replace(
        MANIFEST, observed=Observed((DatabaseState(0, 10, 3),), changes), loaded=replace(LOADED, keys=total)
    )
    assert statuses(judge_against_live(manifest))["live_keys"] == status


@pytest.mark.parametrize(
    ("sample", "changes", "status"),
    [
        ((KEY, ENDING), 0, "ok"),
        ((replace(KEY, digest="x"), ENDING), 0, "critical"),
        ((replace(KEY, digest="x"), ENDING), 5, "warning"),
        ((replace(KEY, digest="x"), replace(ENDING, digest="y")), 5, "critical"),
        ((ENDING,), 0, "critical"),
        ((KEY,), 0, "ok"),  # it may have ended
    ],
)
def test_keys_that_stood_still_must_be_in_the_rdb(sample, changes, status):
    manifest = replace(
        MANIFEST,
        sample=(KEY, ENDING),
        observed=Observed((DatabaseState(0, 10, 3),), changes),
        loaded=replace(LOADED, sample=sample),
    )
    assert statuses(judge_against_live(manifest))["live_sample"] == status


def test_an_rdb_that_nobody_counted_is_not_called_good():
    manifest = replace(MANIFEST, loaded=None, payload=Payload(1, "s", 10, None))
    assert statuses(judge_against_live(manifest)) == {"live_keys": "unknown"}


def test_only_what_was_the_same_twice_stood_still():
    assert steady([KEY, ENDING], [ENDING, replace(KEY, digest="x")]) == (ENDING,)


@given(st.binary(min_size=1))
def test_every_key_can_be_named(key):
    text = encode_key(key)
    assert text.isprintable()
    assert KeyState(0, text, "string", None, "").raw_key() == key


@given(st.dictionaries(st.binary(), st.binary()), st.randoms())
def test_a_digest_does_not_depend_on_the_order_of_what_has_none(value, random):
    items = list(value.items())
    random.shuffle(items)
    assert digest_value("hash", dict(items)) == digest_value("hash", value)
    assert digest_value("set", {key for key, _value in items}) == digest_value("set", set(value))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("list", [b"a", b"b"]), ("list", [b"b", b"a"])),
        (("list", [b"ab", b"c"]), ("list", [b"a", b"bc"])),
        (("list", [b"a"]), ("set", {b"a"})),
        (("string", b""), ("list", [])),
        (("hash", {b"a": b"b"}), ("hash", {b"b": b"a"})),
        (("zset", [b"m", b"1"]), ("zset", [b"m", b"2"])),
    ],
)
def test_different_values_have_different_digests(one, other):
    assert digest_value(*one) != digest_value(*other)


HEADER = b"REDIS0010\xfa\x09redis-ver\x067.0.15\xfa\x0aredis-bits\xc0@\xfa\x05ctime\xc2\xe6|\x01k\xfe\x00"


def test_the_header_says_when_the_state_was():
    header = read_rdb_header(HEADER)
    assert (header.version, header.fields["redis-ver"], header.ctime) == (10, "7.0.15", 1795259622)


@pytest.mark.parametrize("start", [b"", b"REDI", b"REDIS00x0", b"SQLite format 3\x00", b"\x00" * 100])
def test_what_is_no_rdb_is_refused(start):
    with pytest.raises(VerificationFailed) as failure:
        read_rdb_header(start)
    assert failure.value.code == "rdb_damaged"


@given(st.binary(max_size=60), st.integers(0, len(HEADER)))
def test_a_damaged_header_ends_in_a_header_or_in_our_error(noise, cut):
    try:
        header = read_rdb_header(HEADER[:cut] + noise)
    except VerificationFailed:
        return
    assert header.version >= 0


def test_a_header_that_is_cut_still_says_what_came_whole():
    assert read_rdb_header(HEADER[:30]).fields == {"redis-ver": "7.0.15"}


GOOD = "[offset 27] AUX FIELD redis-ver = '7.0.15'\n[offset 167] \\o/ RDB looks OK! \\o/\n[info] 5 keys read\n"


@pytest.mark.parametrize(
    ("rc", "output", "good", "supported"),
    [
        (0, GOOD, True, True),
        (1, GOOD, False, True),
        (0, "", False, True),
        (1, "--- RDB ERROR DETECTED ---\n[offset 9] Unexpected EOF reading RDB file\n", False, True),
        (1, "[offset 9] Can't handle RDB format version 99\n", False, False),
    ],
)
def test_the_checker_must_say_in_words_and_by_its_exit_that_all_is_well(rc, output, good, supported):
    check = read_rdb_check(rc, output)
    assert (check.good, check.supported) == (good, supported)
    assert check.message


def test_the_checker_counts():
    assert read_rdb_check(0, GOOD).keys == 5
