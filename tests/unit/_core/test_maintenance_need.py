from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from plugins.module_utils._core.maintenance_facts import MATVIEW, PARENT, Facts, Holder, ServerFacts, TableFacts
from plugins.module_utils._core.maintenance_need import (
    CHANGED,
    DEAD,
    FREEZE,
    INSERTED,
    OVERDUE,
    InVain,
    Need,
    holder_in_the_way,
    need_of,
    parent_need,
)
from plugins.module_utils._core.maintenance_policy import Manner, Override, Policy, Thresholds, matches

NOW = datetime(2026, 11, 21, 2, 0, tzinfo=timezone.utc)
AUTO = "autovacuum"
YESTERDAY = NOW - timedelta(days=1)
SERVER = ServerFacts(version=180004)


def table(**changes: Any) -> TableFacts:
    """A table of 1,000 rows that needs nothing."""
    well = {
        "database": "shop", "oid": 1, "schema": "public", "name": "events", "target": "public.events", "rows": 1000.0,
        "live_rows": 1000, "pages": 20, "all_visible_pages": 20, "xid_age": 5, "multixact_age": 0,
        "last_vacuum": YESTERDAY, "last_analyze": YESTERDAY,
    }  # fmt: skip
    return TableFacts(**{**well, **changes})


def facts(*tables: TableFacts, **changes: Any) -> Facts:
    return Facts(**{"server": SERVER, "now": NOW, "tables": tables, **changes})


def need(subject: TableFacts, policy: Policy | None = None, **changes: Any) -> Any:
    return need_of(subject, facts(subject, **changes), policy or Policy())


@pytest.mark.parametrize(
    ("changes", "urgency"),
    [
        ({}, None),
        ({"dead_rows": 100}, None),
        ({"dead_rows": 101}, DEAD),
        ({"toast_dead_rows": 101, "toast_rows": 1000}, DEAD),
        ({"toast_dead_rows": 100, "toast_rows": 1000}, None),
        ({"inserted_rows": 1200}, None),
        ({"inserted_rows": 1201}, INSERTED),
        ({"modified_rows": 100}, None),
        ({"modified_rows": 101}, CHANGED),
        ({"last_analyze": None}, CHANGED),
        ({"last_analyze": None, "rows": -1.0, "live_rows": 0}, None),
        ({"last_analyze": None, "rows": -1.0, "live_rows": 0, "heap_bytes": 8192}, CHANGED),
        ({"last_analyze": None, "rows": 0.0, "live_rows": 0, "heap_bytes": 8192, "modified_rows": 2}, None),
        ({"kind": MATVIEW, "dead_rows": 101}, DEAD),
        ({"xid_age": 149_999_999}, None),
        ({"xid_age": 150_000_000}, FREEZE),
        ({"xid_age": 200_000_000}, OVERDUE),
        ({"multixact_age": 300_000_000}, FREEZE),
        ({"multixact_age": 400_000_000}, OVERDUE),
        ({"xid_age": 80_000, "options": {"autovacuum_freeze_max_age": "100000"}}, FREEZE),
        ({"dead_rows": 30, "options": {f"{AUTO}_vacuum_threshold": "20", f"{AUTO}_vacuum_scale_factor": "0"}}, DEAD),
        ({"dead_rows": 101, "options": {"autovacuum_vacuum_scale_factor": "0.9"}}, DEAD),
        ({"modified_rows": 12, "options": {f"{AUTO}_analyze_threshold": "1", f"{AUTO}_analyze_scale_factor": "0.01"}},
         CHANGED),
        ({"inserted_rows": 1201, "options": {"autovacuum_vacuum_insert_threshold": "-1"}}, INSERTED),
    ],
    ids=str,
)  # fmt: skip
def test_a_table_needs_what_the_thresholds_say(changes: dict[str, Any], urgency: int | None) -> None:
    found = need(table(**changes))
    assert (found.urgency if found else None) == urgency


def test_what_was_modified_is_analyzed_on_the_way() -> None:
    assert need(table(dead_rows=500, modified_rows=1)).analyze is True
    assert need(table(dead_rows=500, modified_rows=0)).analyze is False
    assert need(table(dead_rows=500, modified_rows=1), Policy(manner=Manner(analyze=False))).analyze is False


@pytest.mark.parametrize(
    ("manner", "changes", "expected"),
    [
        (Manner(vacuum=False), {"dead_rows": 500}, None),
        (Manner(vacuum=False), {"xid_age": 199_000_000}, None),
        (Manner(vacuum=False), {"modified_rows": 500}, (False, True)),
        (Manner(analyze=False), {"modified_rows": 500}, None),
        (Manner(freeze=True), {"dead_rows": 500}, (True, False)),
        (Manner(freeze=True), {}, None),
    ],
    ids=str,
)
def test_the_manner_takes_away(manner: Manner, changes: dict[str, Any], expected: Any) -> None:
    found = need(table(**changes), Policy(manner=manner))
    assert (None if found is None else (found.freeze, found.analyze)) == expected


def test_all_tables_means_all() -> None:
    found = need(table(), Policy(all_tables=True))
    assert (found.vacuum, found.analyze) == (True, True)
    assert need(table(dead_rows=500), Policy(all_tables=True)).urgency == DEAD


def test_pg_statistic_is_never_analyzed() -> None:
    own = table(schema="pg_catalog", name="pg_statistic", catalog=True, last_analyze=None, modified_rows=9999)
    assert need(own) is None
    assert need(table(**{**vars(own), "dead_rows": 5000})).analyze is False


@pytest.mark.parametrize(
    ("holder", "vacuumed", "in_the_way"),
    [
        (Holder("session", "x", 5, since=NOW - timedelta(hours=2), database="shop"), NOW - timedelta(hours=1), True),
        (Holder("session", "x", 5, since=NOW - timedelta(hours=1), database="shop"), NOW - timedelta(hours=2), False),
        (Holder("session", "x", 5, since=NOW - timedelta(hours=2), database="other"), NOW - timedelta(hours=1), False),
        (Holder("session", "x", 5, since=NOW - timedelta(hours=2), database="shop"), None, False),
        (Holder("slot", "x", 5), NOW - timedelta(hours=1), True),
        (Holder("slot", "x", 5), NOW - timedelta(hours=25), False),
        (Holder("slot", "x", 5, catalog_only=True), NOW - timedelta(hours=1), False),
        (Holder("standby", "x", 5), NOW - timedelta(hours=1), True),
        (Holder("standby", "x", 5, not_before=NOW - timedelta(minutes=5)), NOW - timedelta(minutes=4), True),
        (Holder("standby", "x", 5, not_before=NOW - timedelta(minutes=5)), NOW - timedelta(minutes=6), False),
        (Holder("standby", "x", 5, not_before=NOW - timedelta(hours=30)), NOW - timedelta(hours=25), False),
    ],
    ids=str,
)
def test_a_vacuum_in_vain_is_not_repeated(holder: Holder, vacuumed: datetime | None, in_the_way: bool) -> None:
    subject = table(dead_rows=500, last_vacuum=vacuumed)
    assert (holder_in_the_way(subject, [holder], NOW) is not None) is in_the_way
    found = need(subject, holders=(holder,))
    assert isinstance(found, InVain) is in_the_way


@pytest.mark.parametrize(
    ("age", "held", "in_vain"),
    [(199_000_000, 10, False), (199_000_000, 198_000_000, True), (1_900_000_000, 300_000_000, False)],
)
def test_a_freeze_that_cannot_lower_the_age_is_in_vain(age: int, held: int, in_vain: bool) -> None:
    holder = Holder("slot", "left behind", held)
    assert isinstance(need(table(xid_age=age), holders=(holder,)), InVain) is in_vain


def test_even_in_vain_statistics_are_brought_up_to_date() -> None:
    holder = Holder("session", "x", 5, since=NOW - timedelta(hours=25), database="shop")
    found = need(table(dead_rows=500, modified_rows=500), holders=(holder,))
    assert isinstance(found, Need) and (found.vacuum, found.analyze) == (False, True)


def test_the_first_override_that_matches_counts() -> None:
    overrides = (
        Override("public.ev*", {"dead_ratio": 0.9}, {}),
        Override("events", {"dead_ratio": 0.0}, {"truncate": False}),
    )
    thresholds, manner = Policy(overrides=overrides).for_table(table())
    assert (thresholds.dead_ratio, manner.truncate) == (0.9, None)


@pytest.mark.parametrize(
    ("pattern", "matched"),
    [("events", True), ("public.events", True), ("*.events", True), ("ev?nts", True), ("EVENTS", False),
     ("public", False), ("other.events", False), ("[e]vents", True)],
)  # fmt: skip
def test_patterns(pattern: str, matched: bool) -> None:
    assert matches(table(), pattern) is matched


# --- partitioned parents ----------------------------------------------------------------------------------------


def parent(**changes: Any) -> TableFacts:
    return table(**{"oid": 9, "kind": PARENT, "xid_age": None, "rows": 2000.0, "live_rows": 0, **changes})


def leaf(number: int, **changes: Any) -> TableFacts:
    return table(**{"oid": number, "name": f"events_{number}", "parent_oid": 9, **changes})


@pytest.mark.parametrize(
    ("above", "below", "due"),
    [
        ({}, {}, False),
        ({"last_analyze": None}, {}, True),
        ({"last_analyze": None}, {"rows": 0.0, "live_rows": 0}, False),
        ({}, {"modified_rows": 76}, True),
        ({}, {"modified_rows": 75}, False),
        ({}, {"modified_rows": 500, "may_maintain": False}, False),
        ({}, {"last_autoanalyze": NOW, "last_analyze": NOW}, True),
        ({}, {"last_autoanalyze": YESTERDAY}, False),
        ({"rows": 1000.0}, {"last_analyze": YESTERDAY + timedelta(seconds=1)}, True),
        ({"rows": 1990.0}, {"last_analyze": YESTERDAY + timedelta(seconds=1)}, False),
        ({"last_analyze": NOW - timedelta(days=31)}, {"last_analyze": NOW - timedelta(days=31)}, False),
        ({"last_analyze": NOW - timedelta(days=31)}, {"last_analyze": YESTERDAY}, True),
    ],
    ids=str,
)
def test_a_parent_is_due_when_its_partitions_changed(above: dict[str, Any], below: dict[str, Any], due: bool) -> None:
    leaves = [leaf(1, **below), leaf(2, **below)]
    assert (parent_need(parent(**above), leaves, facts(), Policy()) is not None) is due


def test_13_knows_less_about_parents() -> None:
    old = facts(server=ServerFacts(version=130023))
    unknown = {"last_analyze": None}
    assert parent_need(parent(**unknown), [leaf(1)], old, Policy()) is not None
    assert parent_need(parent(**unknown, has_statistics=True), [leaf(1)], old, Policy()) is None
    assert parent_need(parent(**unknown, has_statistics=True), [leaf(1, modified_rows=900)], old, Policy()) is not None


def test_a_need_that_was_met_is_gone() -> None:
    """Hysteresis: what the work leaves behind is below every threshold, also the lowest ones."""
    strict = Policy(thresholds=Thresholds(0, 0.0, 0, 0.0, 0, 0.0))
    assert need(table(), strict) is None
