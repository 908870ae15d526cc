"""What is rebuilt, what is dropped and what is left alone: tables of cases, and rules that hold for every input."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core.errors import PreconditionFailed
from plugins.module_utils._core.reindex import Done, decide, outcome_of, to_remember
from plugins.module_utils._core.reindex_bloat import Column, Measured
from plugins.module_utils._core.reindex_facts import (
    PGSTATTUPLE,
    DatabaseFacts,
    IndexFacts,
    Keys,
    Policy,
    Rights,
    Transaction,
    check_version,
)
from plugins.module_utils._core.reindex_leftover import stale_records
from plugins.module_utils._core.reindex_plan import LEFTOVER, bloat_of, blocker_of, survey
from plugins.module_utils._core.reindex_record import FreshSize, Rebuild
from plugins.module_utils._core.result import DONE, FAILED, SKIPPED, render_decision, render_outcome

MB = 1024**2
POLICY = Policy(min_wasted=MB, min_index_size=MB, bloat_ratio=0.4)
STRANGER = Rights(role="ops", superuser=False, owns=False, can_become_owner=False)


def an_index(name: str = "t_v", **more: Any) -> IndexFacts:
    """Return a bloated index: 100 MB for a hundred thousand integers."""
    facts: dict[str, Any] = {
        "database": "shop",
        "oid": 100,
        "schema": "app",
        "name": name,
        "sql_name": f"app.{name}",
        "table_oid": 10,
        "table_schema": "app",
        "table_name": "t",
        "table_sql_name": "app.t",
        "bytes": 100 * MB,
        "rows": 100_000.0,
        "columns": (Column(4.0),),
    }
    return IndexFacts(**{**facts, **more})


def a_database(*indexes: IndexFacts, **more: Any) -> DatabaseFacts:
    return DatabaseFacts(**{"name": "shop", "oid": 5, "indexes": indexes, **more})


def invalid(name: str = "broken", **more: Any) -> IndexFacts:
    return an_index(name, **{"valid": False, **more})


# --- one index at a time ------------------------------------------------------------------------------------------

PLANNED = {
    "bloated": (an_index(), {}, "REINDEX INDEX CONCURRENTLY app.t_v"),
    "invalid": (invalid(), {}, "REINDEX INDEX CONCURRENTLY app.broken"),
    "invalid and of any kind": (invalid(method="gin"), {}, "REINDEX INDEX CONCURRENTLY app.broken"),
    "not ready": (an_index(ready=False), {}, "REINDEX INDEX CONCURRENTLY app.t_v"),
    "a new index of ours": (
        invalid("t_v_ccnew", oid=7),
        {"rebuilds": (Rebuild(5, 10, 100, (7,)),)},
        "DROP INDEX CONCURRENTLY app.t_v_ccnew",
    ),
    "an old index of ours": (
        invalid("t_v_ccold3", oid=100),
        {"rebuilds": (Rebuild(5, 10, 100, (7,)),)},
        "DROP INDEX CONCURRENTLY app.t_v_ccold3",
    ),
}


@pytest.mark.parametrize("case", PLANNED)
def test_what_is_planned(case: str) -> None:
    index, more, command = PLANNED[case]
    decision, works = decide([a_database(index, **more)], POLICY)
    commands = [action.command for action in decision.plan if action.action != "forget"]
    assert commands == [command] and [work.command for work in works] == [action.command for action in decision.plan]


NOTHING = {
    "small": an_index(bytes=MB // 2),
    "full": an_index(rows=4_000_000.0),
    "of another kind": an_index(method="gin"),
    "partitioned": an_index(kind="I"),
    "partitioned and invalid": invalid(kind="I"),
    "half dropped": invalid(live=False),
    "rows not counted": an_index(rows=None),
    "statistics not readable": an_index(columns=(Column(None, unknown="not_readable"),)),
    "somebody's leftover": invalid("t_v_ccnew"),
    "somebody's old index": invalid("t_v_ccold"),
}


@pytest.mark.parametrize("case", NOTHING)
def test_what_is_neither_planned_nor_passed_over(case: str) -> None:
    found = survey([a_database(NOTHING[case])], POLICY)
    assert found.works == () and found.passed_over == ()


PASSED_OVER: dict[str, tuple[IndexFacts, dict[str, Any], dict[str, Any], str]] = {
    "excluded": (an_index(), {}, {"exclude": ("app.t",)}, "excluded"),
    "not included": (an_index(), {}, {"include": ("web.*",)}, "excluded"),
    "standby": (an_index(), {"standby": True}, {}, "read_only"),
    "catalog": (an_index(system=True), {}, {}, "not_supported"),
    "exclusion": (an_index(exclusion=True), {}, {}, "not_supported"),
    "somebody is at it": (an_index(worked_on_by=4711), {}, {}, "already_running"),
    "not owner": (an_index(owner="bob", rights=STRANGER), {}, {}, "insufficient_privilege"),
    "no schema": (an_index(rights=replace(STRANGER, owns=True, sees_schema=False)), {}, {}, "insufficient_privilege"),
    "old snapshot": (
        an_index(), {"transactions": (Transaction(1, age=601, has_snapshot=True),)}, {}, "old_transaction",
    ),
    "old lock": (
        an_index(),
        {"transactions": (Transaction(1, age=601, relations=frozenset({10})),)},
        {},
        "old_transaction",
    ),
    "prepared": (
        an_index(),
        {"transactions": (Transaction(None, gid="x", age=1, relations=frozenset({10})),)},
        {},
        "old_transaction",
    ),
    "no room": (an_index(), {"free_bytes": {"": MB}}, {}, "disk_full"),
    "over the limit": (an_index("u", oid=2, bytes=90 * MB), {}, {"limit": 0}, "limit_reached"),
}  # fmt: skip


@pytest.mark.parametrize("case", PASSED_OVER)
def test_what_is_passed_over_and_why(case: str) -> None:
    index, more, policy, code = PASSED_OVER[case]
    decision, _works = decide([a_database(index, **more)], replace(POLICY, **policy))
    assert decision.plan == () and [entry["code"] for entry in decision.extra["passed_over"]] == [code]
    assert decision.after == decision.before
    told = [finding for finding in decision.findings if finding.check == "bloated_index:shop:" + index.sql_name]
    assert bool(told) == (code != "excluded") and all(finding.status == "warning" for finding in told)


GOES_ON = {
    "young snapshot": {"transactions": (Transaction(1, age=599, has_snapshot=True),)},
    "lock on another table": {"transactions": (Transaction(1, age=9999, relations=frozenset({11})),)},
    "prepared without the table": {"transactions": (Transaction(None, gid="x", age=9e9),)},
    "age not visible": {"transactions": (Transaction(1, hidden=True, relations=frozenset({10})),)},
    "room": {"free_bytes": {"": 100 * MB}},
    "room elsewhere is full": {"free_bytes": {"/full": 0}},
}


@pytest.mark.parametrize("case", GOES_ON)
def test_what_does_not_stop_a_rebuild(case: str) -> None:
    assert len(decide([a_database(an_index(), **GOES_ON[case])], POLICY)[0].plan) == 1


def test_a_snapshot_does_not_stop_a_drop() -> None:
    transactions = (Transaction(1, age=9999, has_snapshot=True),)
    assert blocker_of(10, LEFTOVER, transactions, 600) is None


AS_WHOM = {
    "its owner": (Rights(role="bob", superuser=False), {}, None),
    "a superuser": (Rights(), {}, "bob"),
    "a member": (Rights(role="ops", superuser=False, owns=True), {}, "bob"),
    "a superuser, but the owner does not see the schema": (Rights(owner_sees_schema=False), {}, None),
    "one who maintains": (replace(STRANGER, maintains=True), {}, None),
    "a superuser and TOAST": (Rights(), {"toast": True}, None),
}


@pytest.mark.parametrize("case", AS_WHOM)
def test_as_whom_the_work_is_done(case: str) -> None:
    rights, more, role = AS_WHOM[case]
    _decision, (work,) = decide([a_database(an_index(owner="bob", rights=rights, **more))], POLICY)
    assert work.become == role


@pytest.mark.parametrize(("version", "planned"), [(130006, 0), (130007, 1), (140004, 1), (180000, 1)])
def test_a_superuser_does_not_call_functions_where_the_server_would_let_it(version: int, planned: int) -> None:
    index = an_index(owner="bob", calls_functions=True, rights=Rights(owner_sees_schema=False))
    assert len(decide([a_database(index, version=version)], POLICY)[0].plan) == planned


@pytest.mark.parametrize("version", [140000, 140001, 140002, 140003])
def test_unsafe_releases_are_refused(version: int) -> None:
    with pytest.raises(PreconditionFailed) as refused:
        check_version(version)
    assert refused.value.code == "unsafe_server_version" and f"14.{version % 10}" in refused.value.message


@pytest.mark.parametrize("version", [130000, 130023, 140004, 140023, 150000, 180004, 190000])
def test_other_releases_are_not(version: int) -> None:
    check_version(version)


# --- sizes --------------------------------------------------------------------------------------------------------


def test_a_known_size_counts_for_as_many_rows_as_there_are_now() -> None:
    index, size = an_index(), FreshSize(5, 100, 100 * MB, 100_000.0)
    assert bloat_of(index, a_database(index, fresh_sizes=(size,)), POLICY).wasted == 0
    fewer = replace(index, rows=50_000.0)
    assert bloat_of(fewer, a_database(fewer, fresh_sizes=(size,)), POLICY).wasted == 50 * MB
    partial = replace(fewer, partial=True)
    assert bloat_of(partial, a_database(partial, fresh_sizes=(size,)), POLICY).wasted == 0
    assert bloat_of(replace(index, oid=101), a_database(index, fresh_sizes=(size,)), POLICY).wasted > 90 * MB


def test_what_was_measured_counts_when_asked_for() -> None:
    policy = replace(POLICY, bloat_method=PGSTATTUPLE)
    index = an_index(rows=None)
    assert bloat_of(index, a_database(index), policy).unknown == "not_measured"
    seen = replace(index, measured=Measured(12_000, 60, 45.0))
    assert 0.49 < bloat_of(seen, a_database(seen), policy).ratio < 0.54


def test_a_size_that_does_not_come_down_is_to_be_remembered() -> None:
    index = an_index()
    _decision, (work,) = decide([a_database(index)], POLICY)
    after = a_database(replace(index, oid=200))
    done = Done(work, DONE, bytes_after=index.bytes)
    assert to_remember([done], [after], POLICY) == (("shop", FreshSize(5, 200, 100 * MB, 100_000.0)),)
    assert to_remember([replace(done, status=FAILED)], [after], POLICY) == ()
    assert to_remember([done], [a_database(replace(index, oid=200, bytes=3 * MB))], POLICY) == ()


def test_who_is_at_work_is_named() -> None:
    worker = Transaction(4711, "bob", "oncall.runbooks postgresql_reindex 1a2b", "active", age=90.0)
    (passed,) = survey([a_database(an_index(worked_on_by=4711), transactions=(worker,))], POLICY).passed_over
    assert passed.reason == (
        "pid 4711 (oncall.runbooks postgresql_reindex 1a2b, bob, active), open for 1 min 30 s is at work on it"
    )


# --- results ------------------------------------------------------------------------------------------------------


def test_an_outcome_tells_what_was_done_and_what_is_left() -> None:
    databases = [a_database(an_index(), invalid(oid=2, bytes=0), an_index("u", oid=3, table_oid=11))]
    decision, works = decide(databases, POLICY)
    done = [
        Done(works[0], FAILED, "duplicate_key", "no", seconds=1.0),
        Done(works[1], DONE, seconds=2.0, bytes_after=3 * MB),
        Done(works[2], SKIPPED, "lock_timeout", "locked", seconds=3.0),
    ]
    result = render_outcome(decision, outcome_of(done, [a_database(invalid(oid=2, bytes=0))], POLICY))
    assert result["changed"] and result["freed_bytes"] == 97 * MB and result["status"] == "critical"
    assert (
        result["msg"] == "1 index rebuilt, 1 failed (duplicate_key), 1 skipped (lock_timeout), 97.0 MB freed in 6.0 s"
    )
    assert result["after"] == {"leftover_indexes": 0, "invalid_indexes": 1, "bloated_indexes": 0}
    assert {finding["status"] for finding in result["findings"] if finding["check"].startswith("failed")} == {
        "critical",
        "warning",
    }


def test_a_lost_server_leaves_the_steps_and_no_reading() -> None:
    decision, (work,) = decide([a_database(an_index())], POLICY)
    outcome = outcome_of([Done(work, FAILED, "server_gone", "gone")], None, POLICY)
    assert outcome.after == {} and [finding.status for finding in outcome.findings] == ["critical"]
    assert not render_outcome(decision, outcome)["changed"]


def test_a_database_that_could_not_be_looked_at_is_unknown() -> None:
    decision, _works = decide([a_database()], POLICY, [("closed", "no pg_hba.conf entry")])
    assert [f.msg for f in decision.findings if f.status == "unknown" and f.check == "database:closed"] == [
        "closed could not be looked at: no pg_hba.conf entry"
    ]


def test_names_cannot_write_on_the_terminal() -> None:
    nasty = an_index("x", sql_name='app."\x1b[31m\nred"', database="sh\x07op")
    decision, _works = decide([a_database(nasty, name="sh\x07op")], POLICY)
    shown = [decision.msg, decision.plan[0].target, decision.plan[0].id, *(f.msg + f.check for f in decision.findings)]
    assert all(text.isprintable() for text in shown)
    assert decision.plan[0].command == 'REINDEX INDEX CONCURRENTLY app."\x1b[31m\nred"'


# --- rules that hold for every input ------------------------------------------------------------------------------


@st.composite
def databases(draw: st.DrawFn) -> DatabaseFacts:
    count = draw(st.integers(0, 6))
    indexes = []
    for oid in range(100, 100 + count):
        name = draw(st.sampled_from(["t_v", "u_w", "t_v_ccnew", "t_v_ccnew1", "t_v_ccold", "x"]))
        indexes.append(
            an_index(
                name=name if draw(st.booleans()) else f"i{oid}",
                sql_name=f"app.i{oid}",
                oid=oid,
                table_oid=draw(st.sampled_from([10, 11])),
                bytes=draw(st.integers(0, 300 * MB)),
                rows=draw(st.none() | st.floats(0, 5e6)),
                columns=draw(st.sampled_from([(Column(4.0),), (Column(None, unknown="not_readable"),)])),
                method=draw(st.sampled_from(["btree", "gin"])),
                kind=draw(st.sampled_from(["i", "i", "i", "I"])),
                valid=draw(st.booleans()),
                ready=draw(st.booleans()),
                live=draw(st.sampled_from([True, True, False])),
                unique=draw(st.booleans()),
                system=draw(st.sampled_from([False, False, True])),
                exclusion=draw(st.sampled_from([False, False, True])),
                worked_on_by=draw(st.sampled_from([None, None, 4711])),
                owner=draw(st.sampled_from(["postgres", "bob"])),
                rights=draw(st.sampled_from([Rights(), STRANGER, replace(STRANGER, maintains=True)])),
                age=draw(st.integers(0, 1000)),
                keys=draw(st.sampled_from([Keys(("1",)), Keys(("2",))])),
            )
        )
    oids = st.integers(98, 108)
    rebuild = st.builds(
        Rebuild,
        database_oid=st.sampled_from([5, 6]),
        table_oid=st.sampled_from([10, 11]),
        index_oid=oids,
        copies=st.lists(oids, max_size=2).map(tuple),
        known=st.lists(oids, max_size=4).map(tuple),
        started=st.just("2026-01-01T00:00:00Z"),
        record_oid=st.integers(1, 9),
    )
    sizes = st.builds(
        FreshSize, st.sampled_from([5, 6]), oids, st.integers(0, 300 * MB), st.floats(0, 5e6), st.integers(10, 19)
    )
    return a_database(
        *indexes,
        standby=draw(st.sampled_from([False, False, False, True])),
        rebuilds=tuple(draw(st.lists(rebuild, max_size=2, unique_by=lambda r: r.record_oid))),
        fresh_sizes=tuple(draw(st.lists(sizes, max_size=2, unique_by=lambda r: (r.index_oid,)))),
        transactions=tuple(
            draw(st.lists(st.builds(Transaction, st.just(1), age=st.sampled_from([1.0, 700.0]),
                                    has_snapshot=st.booleans()), max_size=1))
        ),
    )  # fmt: skip


policies = st.builds(
    lambda ratio, wasted, drop, mend: replace(
        POLICY, bloat_ratio=ratio, min_wasted=wasted, drop_leftovers=drop, rebuild_invalid=mend
    ),
    st.floats(0.05, 0.99),
    st.integers(0, 200 * MB),
    st.booleans(),
    st.booleans(),
)


@given(databases(), policies)
def test_nothing_is_planned_that_must_not_be_touched(database: DatabaseFacts, policy: Policy) -> None:
    records = {oid for rebuild in database.rebuilds for oid in (*rebuild.copies, rebuild.index_oid)}
    for work in survey([database], policy).works:
        index = work.index
        if work.kind == "record":
            assert work.command.startswith("SELECT pg_catalog.lo_unlink(") and not database.standby
            continue
        assert not (index.system or index.worked_on_by or database.standby or index.kind == "I")
        if work.command.startswith("DROP INDEX CONCURRENTLY "):
            assert work.kind == LEFTOVER and not index.usable and "_cc" in index.name
            assert index.oid in records or any(
                not rebuild.copies and index.oid not in rebuild.known for rebuild in database.rebuilds
            )
            assert index.rights.superuser or index.rights.owns or index.rights.can_become_owner
        else:
            assert work.command.startswith("REINDEX INDEX CONCURRENTLY ") and not index.exclusion and index.live
            assert index.rights != STRANGER


@given(databases(), policies)
def test_the_decision_does_not_depend_on_the_order_of_the_facts(database: DatabaseFacts, policy: Policy) -> None:
    turned = replace(database, indexes=tuple(reversed(database.indexes)))
    assert decide([database], policy)[0].plan == decide([turned], policy)[0].plan
    assert decide([database], policy) == decide([database], policy)


def carried_out(database: DatabaseFacts, policy: Policy) -> tuple[DatabaseFacts, list[Done]]:
    """Do to the facts what a real run does to a server."""
    indexes = {index.oid: index for index in database.indexes}
    forgotten: set[int] = set()
    done = []
    for work in survey([database], policy).works:
        done.append(Done(work, DONE, bytes_after=0))
        if work.kind == "record":
            forgotten.add(work.record_oid or 0)
            continue
        old = indexes.pop(work.index.oid)
        if work.kind != LEFTOVER:
            fresh = work.bloat.fresh or 0
            indexes[old.oid + 1000] = replace(old, oid=old.oid + 1000, valid=True, ready=True, bytes=fresh)
    after = replace(database, indexes=tuple(indexes.values()))
    forgotten |= {record.record_oid for record, _reason in stale_records(after)}
    kept = tuple(record for record in database.rebuilds if record.record_oid not in forgotten)
    sizes = tuple(size for size in database.fresh_sizes if size.record_oid not in forgotten)
    return replace(after, rebuilds=kept, fresh_sizes=sizes), done


@given(databases(), policies)
def test_the_real_run_does_the_plan_and_a_second_one_finds_nothing(database: DatabaseFacts, policy: Policy) -> None:
    decision, works = decide([database], policy)
    assert render_decision(decision)["changed"] == bool(works)
    after, done = carried_out(database, policy)
    outcome = outcome_of(done, [after], policy)
    assert [step.id for step in outcome.steps] == [action.id for action in decision.plan]
    remembered = tuple(size for _name, size in to_remember(done, [after], policy))
    settled = replace(after, fresh_sizes=after.fresh_sizes + remembered)
    assert survey([settled], policy).works == ()
