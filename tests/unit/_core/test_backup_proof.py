"""Judgements about restored databases: each difference is seen, and nothing that was not seen is called good."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime, timezone
from typing import Any

import pytest

from plugins.module_utils._core.backup import Source
from plugins.module_utils._core.backup_load import LoadError
from plugins.module_utils._core.backup_manifest import (
    Checksum,
    DatabaseState,
    Manifest,
    Sentinel,
    SequenceState,
    ServerState,
    TableState,
)
from plugins.module_utils._core.backup_proof import (
    Amcheck,
    Restored,
    age_when_copied,
    amcheck_finding,
    data_age,
    failure_finding,
    host_trouble,
    judge,
    tablespaces_finding,
)

NOW = datetime(2026, 11, 21, 12, tzinfo=timezone.utc)
APP = Source("shop", "db1", "postgresql", "app")
ORDERS = TableState("public", "orders", 10, 8192, Checksum("all", 10, "77"))
STATE = DatabaseState(
    server=ServerState("17.6", 17, "7001", False, "0/1", "UTF8", "C", "C", "libc"),
    owner="app",
    size_bytes=1 << 20,
    schema_hash="s",
    grants_hash="g",
    definitions={"table": "t", "constraint": "c"},
    tables=(ORDERS, TableState("public", "big", 5, 1 << 30, None)),
    sequences=(SequenceState("public", "up", 20), SequenceState("public", "down", -20), SequenceState("a", "b", None)),
    extensions={"hstore": "1.8", "plpgsql": "1.0"},
    objects={"table": 2, "constraint": 1},
    roles=("app", "postgres"),
    tablespace="pg_default",
    tablespaces=(),
)
MANIFEST = Manifest(
    **{name: getattr(STATE, name) for name in asdict(STATE)},
    product="shop",
    host="db1",
    database="app",
    taken_at="2026-11-21T11:00:00Z",
    form="directory",
    globals="complete",
    sentinel=Sentinel("1", "2026-11-21T10:59:58.500000Z"),
)
GOOD = Restored(
    state=STATE,
    roles=frozenset({"app", "postgres", "other"}),
    load_errors=(),
    globals_errors=(),
    uncreatable={},
    locale_note="",
    unvalidated=(),
    invalid_indexes=(),
    sentinel_found=True,
    amcheck=Amcheck(3, 2),
)


def statuses(restored: Restored, manifest: Manifest = MANIFEST) -> Mapping[str, str]:
    return {finding.check: finding.status for finding in judge(manifest, restored, NOW)}


def state(**changes: Any) -> Restored:
    return replace(GOOD, state=replace(STATE, **changes))


def test_what_came_back_as_it_was_is_good() -> None:
    found = statuses(GOOD)
    assert set(found.values()) == {"ok"}
    assert set(found) == {"roles", "restore", "tables", "rows", "checksums", "sequences", "extensions", "schema",
                          "grants", "constraints", "indexes", "sentinel", "data_age"}  # fmt: skip


ERROR = LoadError("7; 0 16385 TABLE DATA public orders app", "COPY failed")


@pytest.mark.parametrize(
    ("restored", "bad"),
    [
        (replace(GOOD, roles=frozenset({"postgres"})), {"roles"}),
        (replace(GOOD, globals_errors=(LoadError("ALTER ROLE x", "no"),)), {"roles"}),
        (replace(GOOD, load_errors=(ERROR,)), {"restore"}),
        (state(tables=()), {"tables"}),
        (state(tables=(*STATE.tables, replace(ORDERS, name="more"))), {"tables"}),
        (state(tables=(replace(ORDERS, rows=9), STATE.tables[1])), {"rows"}),
        (state(tables=(ORDERS, replace(STATE.tables[1], rows=6))), {"rows"}),
        (state(tables=(replace(ORDERS, checksum=Checksum("all", 10, "78")), STATE.tables[1])), {"checksums"}),
        (state(tables=(replace(ORDERS, checksum=None), STATE.tables[1])), {"checksums"}),
        (state(sequences=()), {"sequences"}),
        (state(sequences=(replace(STATE.sequences[0], last_value=19), *STATE.sequences[1:])), {"sequences"}),
        (state(sequences=(replace(STATE.sequences[0], last_value=None), *STATE.sequences[1:])), {"sequences"}),
        (state(extensions={"plpgsql": "1.0"}), {"extensions"}),
        (state(extensions={**STATE.extensions, "cube": "1.5"}), {"extensions"}),
        (state(schema_hash="x"), {"schema"}),
        (state(definitions={**STATE.definitions, "view": "v"}, schema_hash="x"), {"schema"}),
        (state(grants_hash="x"), {"grants"}),
        (replace(state(definitions={"table": "t", "constraint": "x"}), unvalidated=("fk",)), {"schema", "constraints"}),
        (replace(GOOD, invalid_indexes=("i",)), {"indexes"}),
        (replace(GOOD, sentinel_found=False), {"sentinel"}),
    ],
)  # fmt: skip
def test_each_difference_is_critical(restored: Restored, bad: set[str]) -> None:
    assert {check for check, status in statuses(restored).items() if status == "critical"} == bad


def test_the_extension_that_every_new_database_has_is_no_difference() -> None:
    manifest = replace(MANIFEST, extensions={"hstore": "1.8"})
    assert {one.check: one.status for one in judge(manifest, GOOD, NOW)}["extensions"] == "ok"


def test_a_sequence_that_went_on_during_the_copy_is_no_difference() -> None:
    ahead = (SequenceState("public", "up", 25), SequenceState("public", "down", -25), SequenceState("a", "b", 1))
    assert statuses(state(sequences=ahead))["sequences"] == "ok"
    back = (SequenceState("public", "up", 20), SequenceState("public", "down", -19), SequenceState("a", "b", 1))
    assert statuses(state(sequences=back))["sequences"] == "critical"


@pytest.mark.parametrize(
    ("restored", "check"),
    [
        (state(extensions={**STATE.extensions, "hstore": "1.9"}), "extensions"),
        (replace(GOOD, unvalidated=("fk on orders",)), "constraints"),
        (replace(GOOD, locale_note="no such locale"), "locale"),
        (state(server=replace(STATE.server, major=18)), "server"),
    ],
)
def test_what_this_host_does_otherwise_is_a_warning(restored: Restored, check: str) -> None:
    found = statuses(restored)
    assert found.pop(check) == "warning"
    assert set(found.values()) == {"ok"}


MISSING = {"hstore": "extension hstore is not installed on this host: install its package for 17"}


def test_what_fails_for_want_of_an_extension_is_unknown() -> None:
    restored = replace(
        GOOD, uncreatable=MISSING, load_errors=(ERROR,),
        state=replace(STATE, extensions={"plpgsql": "1.0"}, tables=(replace(ORDERS, rows=0), STATE.tables[1]),
                      schema_hash="x", grants_hash="x"),
    )  # fmt: skip
    found = statuses(restored)
    assert "critical" not in found.values()
    assert {"restore", "extensions", "rows", "schema", "grants"} <= {c for c, s in found.items() if s == "unknown"}
    findings = judge(MANIFEST, restored, NOW)
    assert any("install its package" in finding.msg for finding in findings)


def test_a_missing_extension_does_not_excuse_a_table_that_was_loaded() -> None:
    restored = replace(
        GOOD, uncreatable=MISSING, load_errors=(replace(ERROR, entry="7; 0 1 TABLE DATA public tags app"),),
        state=replace(STATE, extensions={"plpgsql": "1.0"}, tables=(replace(ORDERS, rows=0), STATE.tables[1])),
    )  # fmt: skip
    assert statuses(restored)["rows"] == "critical"


def test_a_copy_without_a_sentinel_is_as_old_as_its_stamp() -> None:
    without = replace(MANIFEST, sentinel=None)
    assert "sentinel" not in statuses(replace(GOOD, sentinel_found=None), without)
    assert (data_age(without, NOW), data_age(MANIFEST, NOW)) == (3600, 3601.5)
    assert age_when_copied(MANIFEST) == 1.5


@pytest.mark.parametrize(
    ("found", "status"),
    [
        (Amcheck(3, 2), "ok"),
        (Amcheck(3, 2, ("index i: broken",)), "critical"),
        (Amcheck(unavailable="none"), "unknown"),
    ],
)
def test_amcheck(found: Amcheck, status: str) -> None:
    assert [finding.status for finding in amcheck_finding(found)] == [status]
    assert amcheck_finding(None) == ()


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("repository_damaged", "critical"),
        ("incomplete", "critical"),
        ("verification_failed", "critical"),
        ("manifest_unreadable", "critical"),
        ("not_enough_space", "unknown"),
        ("repository_unreachable", "unknown"),
        ("timed_out", "unknown"),
        ("anything_new", "unknown"),
    ],
)
def test_only_what_speaks_of_the_copy_condemns_it(code: str, status: str) -> None:
    assert failure_finding(code, "x").status == status


@pytest.mark.parametrize(
    "said",
    [
        'could not extend file "base/1/2": No space left on device',
        'could not extend file "base/16384/16419": wrote only 4096 of 8192 bytes at block 779',
        'could not read block 7 in file "base/1/2": Input/output error',
    ],
)
def test_trouble_of_the_host_is_told_from_that_of_the_copy(said: str) -> None:
    assert host_trouble([ERROR]) == ""
    assert said in host_trouble([ERROR, replace(ERROR, message=said)])


def test_tablespaces_that_a_restore_needs_are_named() -> None:
    assert tablespaces_finding(MANIFEST) == ()
    (finding,) = tablespaces_finding(replace(MANIFEST, tablespace="fast", tablespaces=("pg_default", "slow")))
    assert finding.status == "ok" and finding.value == 2 and "fast; slow" in finding.msg
