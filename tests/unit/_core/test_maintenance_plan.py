"""The plan and the schedule as a whole: order, coverage, statements, estimates."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugins.module_utils._core.errors import InvalidValue
from plugins.module_utils._core.maintenance_facts import (
    MATVIEW,
    PARENT,
    TABLE,
    Facts,
    Holder,
    Running,
    ServerFacts,
    TableFacts,
)
from plugins.module_utils._core.maintenance_need import FREEZE, STATISTICS, Need
from plugins.module_utils._core.maintenance_plan import (
    Planned,
    current_pages,
    leaves_of_parents,
    pages_to_read,
    survey,
)
from plugins.module_utils._core.maintenance_policy import Manner, Override, Policy, check_supported
from plugins.module_utils._core.maintenance_schedule import (
    BATCH_PAGES,
    BATCH_TABLES,
    Choice,
    Rate,
    Unit,
    backoff,
    choose,
    cost_ceiling,
    estimate,
    estimate_table,
    units_of,
)
from plugins.module_utils._core.maintenance_statement import statement

NOW = datetime(2026, 11, 21, 2, 0, tzinfo=timezone.utc)

moments = st.none() | st.integers(0, 1000).map(lambda hours: NOW - timedelta(hours=hours))
counts = st.integers(0, 100_000)


@st.composite
def tables(draw: st.DrawFn, oid: int) -> TableFacts:
    """Any table that a server could tell of."""
    kind = draw(st.sampled_from([TABLE, TABLE, TABLE, MATVIEW, PARENT]))
    ages = {"xid_age": draw(st.integers(0, 2**31 - 1)), "multixact_age": draw(st.integers(0, 2**31 - 1))}
    pages = draw(st.integers(0, 10**6))
    return TableFacts(
        database=draw(st.sampled_from(["shop", "crm"])),
        oid=oid,
        schema=draw(st.sampled_from(["public", "audit", "pg_catalog"])),
        name=f"t{oid}",
        target=f"public.t{oid}",
        kind=kind,
        temporary=draw(st.integers(0, 20)) == 0,
        catalog=draw(st.integers(0, 5)) == 0,
        parent_oid=draw(st.none() | st.integers(1, oid - 1)) if oid > 1 else None,
        may_maintain=draw(st.integers(0, 3)) > 0,
        pages=pages,
        all_visible_pages=draw(st.integers(0, pages)),
        index_pages=draw(st.integers(0, 1000)),
        rows=draw(st.integers(-1, 10**6)),
        live_rows=draw(counts),
        dead_rows=draw(counts),
        modified_rows=draw(counts),
        inserted_rows=draw(counts),
        last_vacuum=draw(moments),
        last_analyze=draw(moments),
        last_autoanalyze=draw(moments),
        vacuum_seconds=draw(st.none() | st.floats(0, 1000)),
        columns=draw(st.integers(1, 50)),
        **({} if kind == PARENT else ages),
    )


holders = st.builds(
    Holder,
    kind=st.sampled_from(["session", "slot", "prepared", "standby"]),
    name=st.just("somebody"),
    age=st.integers(0, 2**31 - 1),
    since=moments,
    database=st.sampled_from([None, "shop"]),
    catalog_only=st.booleans(),
)
policies = st.builds(
    Policy,
    manner=st.builds(Manner, vacuum=st.booleans(), analyze=st.booleans(), skip_locked=st.booleans()),
    exclude=st.sampled_from([(), ("t1",), ("audit.*",)]),
    all_tables=st.booleans(),
    limit=st.none() | st.integers(1, 10),
    system_catalogs=st.booleans(),
)


@st.composite
def surroundings(draw: st.DrawFn) -> Facts:
    number = draw(st.integers(0, 25))
    return Facts(
        server=ServerFacts(version=draw(st.sampled_from([130023, 150018, 180004]))),
        now=NOW,
        tables=tuple(draw(tables(oid)) for oid in range(1, number + 1)),
        holders=tuple(draw(st.lists(holders, max_size=3))),
        running=tuple(
            draw(st.lists(st.builds(Running, st.just(1), st.just("shop"), st.just(1), st.just("x")), max_size=1))
        ),
    )


@settings(deadline=None)
@given(surroundings(), policies)
def test_a_plan_is_the_same_each_time_and_its_order_is_total(facts: Facts, policy: Policy) -> None:
    plan = survey(facts, policy)
    shuffled = replace(facts, tables=tuple(reversed(facts.tables)))
    assert survey(shuffled, policy) == plan
    ids = [item.id for item in plan.planned]
    assert len(ids) == len(set(ids))
    urgencies = [item.need.urgency for item in plan.planned]
    assert urgencies == sorted(urgencies)
    for first, second in zip(plan.planned, plan.planned[1:]):
        assert first.need.urgency < second.need.urgency or first.pages >= second.pages


@settings(deadline=None)
@given(surroundings(), policies)
def test_nothing_is_planned_that_may_not_be_done(facts: Facts, policy: Policy) -> None:
    plan = survey(facts, policy)
    assert policy.limit is None or len(plan.planned) <= policy.limit
    for item in plan.planned:
        assert item.table.may_maintain and not item.table.temporary and policy.wants(item.table)
        assert item.need.vacuum or item.need.analyze
        assert not (item.table.is_parent and item.need.vacuum)
        assert policy.manner.vacuum or not item.need.vacuum
    planned = {item.table.oid for item in plan.planned}
    assert not planned & {passed.table.oid for passed in plan.passed_over}
    dangerous = {t.oid for t in facts.tables if (t.xid_age or 0) >= 200_000_000 and not facts.holders}
    if policy.manner.vacuum:
        assert dangerous <= planned | {passed.table.oid for passed in plan.passed_over}


@settings(deadline=None)
@given(surroundings(), policies)
def test_the_statements_cover_the_plan_exactly(facts: Facts, policy: Policy) -> None:
    plan = survey(facts, policy)
    units = units_of(plan.planned)
    assert sorted(item.id for unit in units for item in unit.tables) == sorted(item.id for item in plan.planned)
    assert [unit.tables[0].need.urgency for unit in units] == sorted(unit.tables[0].need.urgency for unit in units)
    for unit in units:
        same = {(i.table.database, i.manner, i.need.vacuum, i.need.freeze, i.need.analyze) for i in unit.tables}
        assert len(same) == 1 and len(unit.tables) <= BATCH_TABLES
        assert not unit.is_batch or unit.pages <= BATCH_PAGES
        assert not unit.is_batch or "SKIP_LOCKED" in unit.text(facts.server.major)


@settings(deadline=None)
@given(surroundings(), st.integers(1, 10**6))
def test_a_parent_takes_at_least_as_long_as_any_of_its_partitions(facts: Facts, pages_per_second: int) -> None:
    rate, leaves = Rate(pages=pages_per_second * 10, seconds=10), leaves_of_parents(facts.tables)
    for item in (item for item in survey(facts, Policy()).planned if item.table.is_parent):
        for leaf in leaves[item.table.database, item.table.oid]:
            alone = replace(item, table=leaf, pages=pages_to_read(leaf, item.need))
            assert estimate_table(item, rate) >= estimate_table(alone, rate)


@settings(deadline=None)
@given(surroundings(), policies, st.floats(0.1, 5000), st.integers(1, 4), st.integers(1, 10**6))
def test_by_the_estimates_the_time_is_never_exceeded(
    facts: Facts, policy: Policy, budget: float, jobs: int, pages_per_second: int
) -> None:
    """Play the run on several connections, each unit taking exactly as long as was estimated."""
    rate = Rate(pages=pages_per_second * 10, seconds=10)
    queue = list(units_of(survey(facts, policy).planned))
    free_at = [0.0] * jobs
    while queue:
        worker = free_at.index(min(free_at))
        choice = choose(queue, free_at[worker], budget, rate)
        if choice.unit is None:
            break
        queue.remove(choice.unit)
        free_at[worker] += estimate(choice.unit, rate)
        assert free_at[worker] <= budget
    assert all(min(free_at) + estimate(unit, rate) > budget for unit in queue)


def planned(pages: int = 1, urgency: int = 2, oid: int = 1, **changes: Any) -> Planned:
    table = TableFacts("shop", oid, "public", f"t{oid}", f"public.t{oid}", **changes)
    need = Need(urgency, "", vacuum=True)
    return Planned(f"vacuum:shop:t{oid}", table, need, Manner(), pages, "")


def test_the_largest_are_alone_and_first_and_the_small_ones_share() -> None:
    items = [planned(5000, oid=1), planned(2000, oid=2), *(planned(10, oid=n) for n in range(3, 203))]
    units = units_of(items)
    assert [len(unit.tables) for unit in units] == [1, 1, 64, 64, 64, 8]


def test_pg_statistic_comes_after_everything_that_is_analyzed() -> None:
    own = TableFacts("shop", 2, "pg_catalog", "pg_statistic", "pg_catalog.pg_statistic", catalog=True, rows=500)
    fresh = [TableFacts("shop", n, "public", f"t{n}", f"t{n}", rows=10, columns=10) for n in range(10, 20)]
    plan = survey(Facts(ServerFacts(180000), NOW, (own, *fresh)), Policy())
    assert plan.planned[-1].table is own and plan.planned[-1].need.urgency == STATISTICS
    assert not plan.planned[-1].need.analyze
    assert units_of(plan.planned)[-1].stage > units_of(plan.planned)[0].stage
    few = survey(Facts(ServerFacts(180000), NOW, (own, *fresh[:3])), Policy())
    assert own not in [item.table for item in few.planned]


def partition(oid: int, parent: int | None, **changes: Any) -> TableFacts:
    return TableFacts("shop", oid, "public", f"p{oid}", f"public.p{oid}", parent_oid=parent, **changes)


def test_a_parent_does_not_start_when_its_partitions_do_not_fit() -> None:
    parent = partition(1, None, kind=PARENT, pages=-1)
    leaves = (partition(oid, 1, pages=1_000_000, rows=8e7, live_rows=80_000_000) for oid in range(2, 102))
    (unit,) = units_of(survey(Facts(ServerFacts(180000), NOW, (parent, *leaves)), Policy()).planned)
    assert unit.pages == 100 * 30_000 + 30_000
    assert choose([unit], 0, 470, Rate()) == Choice()
    assert choose([unit], 0, 480, Rate()).unit is unit


def test_the_analyze_of_a_parent_samples_each_level_below_it() -> None:
    tree = (
        partition(1, None, kind=PARENT, pages=-1), partition(2, 1, kind=PARENT, pages=-1),
        partition(3, 2, pages=100, rows=900, live_rows=900), partition(4, 1, pages=50_000, rows=900, live_rows=900),
    )  # fmt: skip
    plan = survey(Facts(ServerFacts(180000), NOW, tree), Policy())
    assert {item.table.oid: item.pages for item in plan.planned} == {1: 30_000 + (100 + 100) + 30_000, 2: 100 + 100}


def test_excluded_tables_are_told_only_near_wraparound() -> None:
    near = TableFacts("shop", 1, "public", "a", "a", xid_age=160_000_000)
    dead = TableFacts("shop", 2, "public", "b", "b", dead_rows=10**6, rows=10)
    plan = survey(Facts(ServerFacts(180000), NOW, (near, dead)), Policy(exclude=("*",)))
    assert [(p.table.name, p.code, p.need.urgency) for p in plan.passed_over] == [("a", "excluded", FREEZE)]


@pytest.mark.parametrize(
    ("need", "manner", "major", "text"),
    [
        (Need(1, "", vacuum=True), Manner(), 15, "VACUUM a, b"),
        (Need(1, "", vacuum=True), Manner(), 16, "VACUUM (SKIP_DATABASE_STATS) a, b"),
        (Need(1, "", analyze=True), Manner(), 18, "ANALYZE a, b"),
        (Need(1, "", analyze=True), Manner(skip_locked=True, truncate=True), 18, "ANALYZE (SKIP_LOCKED) a, b"),
        (Need(1, "", vacuum=True, freeze=True, analyze=True), Manner(), 13, "VACUUM (FREEZE, ANALYZE) a, b"),
        (Need(1, "", vacuum=True), Manner(index_cleanup="auto"), 13, "VACUUM a, b"),
        (Need(1, "", vacuum=True), Manner(index_cleanup="auto"), 14, "VACUUM (INDEX_CLEANUP auto) a, b"),
        (
            Need(1, "", vacuum=True),
            Manner(truncate=False, index_cleanup="off", parallel=2, process_toast=False, buffer_usage_limit=2**21),
            17,
            "VACUUM (TRUNCATE false, INDEX_CLEANUP off, PARALLEL 2, PROCESS_TOAST false, SKIP_DATABASE_STATS, "
            "BUFFER_USAGE_LIMIT '2048 kB') a, b",
        ),
    ],
)
def test_statements(need: Need, manner: Manner, major: int, text: str) -> None:
    assert statement(need, manner, ["a", "b"], major) == text


@pytest.mark.parametrize(
    ("policy", "major", "refused"),
    [
        (Policy(manner=Manner(buffer_usage_limit=0)), 15, True),
        (Policy(manner=Manner(buffer_usage_limit=0)), 16, False),
        (Policy(manner=Manner(process_toast=True)), 13, True),
        (Policy(overrides=(Override("a", {}, {"process_toast": False}),)), 13, True),
        (Policy(overrides=(Override("a", {}, {"process_toast": None}),)), 13, False),
    ],
    ids=str,
)
def test_options_that_the_server_does_not_know(policy: Policy, major: int, refused: bool) -> None:
    if not refused:
        return check_supported(policy, ServerFacts(major * 10000))
    with pytest.raises(InvalidValue) as error:
        check_supported(policy, ServerFacts(major * 10000))
    assert error.value.code == "not_supported"
    return None


def test_the_rate_is_believed_until_it_is_measured() -> None:
    assert Rate().pages_per_second == 6400
    assert Rate(cost_ceiling=100).pages_per_second == 100
    assert Rate(cost_ceiling=100).plus(5000, 0.5).pages_per_second == 100
    assert Rate(cost_ceiling=100).plus(5000, 0.5).plus(1000, 1.5).pages_per_second == 3000
    assert cost_ceiling(0, 200) is None and cost_ceiling(2, 220) == pytest.approx(5000)


def test_the_servers_own_timing_counts_when_it_is_longer() -> None:
    slow = planned(64, vacuum_seconds=100.0)
    assert estimate(Unit((slow,)), Rate()) == pytest.approx(100, abs=0.1)
    assert estimate(Unit((planned(64_000, vacuum_seconds=1.0),)), Rate()) == pytest.approx(10, abs=0.1)


def test_choosing_waits_only_for_what_can_still_be_done() -> None:
    quick, later, huge = Unit((planned(1, oid=1),)), Unit((planned(1, oid=2),), 2, 50.0), Unit((planned(10**9, oid=3),))
    assert choose([huge, later, quick], 0, 100, Rate()).unit is quick
    waiting = choose([huge, later], 0, 100, Rate())
    assert (waiting.unit, waiting.wait) == (None, 50.0)
    assert choose([huge, later], 51, 100, Rate()).unit is later
    assert choose([huge], 0, 100, Rate()) == choose([], 0, 100, Rate())
    assert choose([huge], 0, None, Rate()).unit is huge


def test_pauses_grow_and_are_never_the_same_for_everybody() -> None:
    assert [backoff(n, 0.5) for n in (1, 2, 3, 10)] == [1, 2, 4, 60]
    assert (backoff(1, 0.0), backoff(1, 1.0)) == (0.5, 1.5)


@pytest.mark.parametrize(
    ("changes", "pages"),
    [
        ({"pages": 100, "all_visible_pages": 100, "rows": 1000, "live_rows": 1000}, 1),
        ({"pages": 100, "all_visible_pages": 100, "rows": 1000, "live_rows": 1000, "inserted_rows": 10}, 10),
        ({"pages": 100, "all_visible_pages": 90, "rows": 1000, "live_rows": 995, "dead_rows": 5, "index_pages": 7}, 22),
        ({"pages": 100, "all_visible_pages": 100, "rows": 1000, "live_rows": 2000, "dead_rows": 5000}, 700),
        ({"pages": 0, "rows": -1, "live_rows": 8000, "dead_rows": 1}, 100),
    ],
)
def test_pages_to_read(changes: dict[str, Any], pages: int) -> None:
    table = TableFacts("shop", 1, "public", "t", "t", **changes)
    assert pages_to_read(table, Need(2, "", vacuum=True)) == pages
    assert pages_to_read(table, Need(2, "", vacuum=True, freeze=True)) >= current_pages(table)
    assert 1 <= pages_to_read(table, Need(2, "", analyze=True)) <= 30_000
