"""What retention removes, for any repository: never the last good copy, never what is not its own."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core.backup import Catalog, Copy, Proof, Source
from plugins.module_utils._core.backup_retention import (
    Cap,
    Facts,
    Policy,
    Selection,
    actions_of,
    check_policy,
    decide,
    parse_cap,
    select,
)
from plugins.module_utils._core.errors import InvalidValue, PreconditionFailed

NOW = datetime(2026, 11, 21, 12, tzinfo=timezone.utc)
APP = Source("shop", "db1", "postgresql", "app")
DAILY = {"hour": 0, "day": 2, "week": 0, "month": 0}


def policy(**changes: Any) -> Policy:
    return Policy(**{"products": ("shop",), "periods": DAILY, "max_removals": Cap(share=1.0), **changes})


def copy(hours: float, source: Source = APP, name: str = "") -> Copy:
    return Copy(f"{name}{source.product}-{source.name}-{hours:g}-".ljust(64, "0"), source, NOW - timedelta(hours=hours))


def proof(about: Copy, verdict: str, name: str = "") -> Proof:
    return Proof(f"proof{name}-{about.id}", about.id, about.source, verdict, about.taken + timedelta(minutes=30))


def catalog(*copies: Copy, proofs: tuple[Proof, ...] = (), strangers: tuple[str, ...] = ()) -> Catalog:
    return Catalog(tuple(sorted(copies, key=lambda one: (one.taken, one.id))), proofs, strangers)


def gone(selection: Selection) -> set[float]:
    return {round((NOW - removal.copy.taken).total_seconds() / 3600, 3) for removal in selection.removals}


# --- any repository ---------------------------------------------------------------------------------------------


@st.composite
def catalogs(draw: st.DrawFn) -> Catalog:
    sources = [Source(product, "db1", "postgresql", name) for product in ("shop", "other") for name in ("a", "b")]
    copies: list[Copy] = []
    proofs: list[Proof] = []
    for source in sources:
        minutes = draw(st.lists(st.integers(0, 90 * 24 * 60), unique=True, max_size=14))
        for minute in minutes:
            one = copy(minute / 60, source)
            copies.append(one)
            for number, verdict in enumerate(
                draw(st.lists(st.sampled_from(["ok", "critical", "unknown"]), max_size=2))
            ):
                proofs.append(proof(one, verdict, str(number)))
    proofs += [proof(copy(999, source), "ok", "orphan") for source in sources if draw(st.booleans())]
    return catalog(*copies, proofs=tuple(proofs), strangers=("s" * 64,))


policies = st.builds(
    lambda hour, day, week, month, within, proven, bad, newer: policy(
        periods={"hour": hour, "day": day, "week": week, "month": month},
        within=within,
        proven=proven,
        bad=bad,
        protect_newer_than=newer,
    ),
    *(st.integers(0, 4) for _unused in range(4)),
    st.sampled_from([0, 3600.0, 5 * 86400.0]),
    st.integers(1, 3),
    st.sampled_from([0, 86400.0, 40 * 86400.0]),
    st.sampled_from([None, NOW - timedelta(days=3)]),
)


@given(catalogs(), policies)
def test_what_must_never_go_stays(known: Catalog, rules: Policy) -> None:
    going = set(select(known, rules, NOW).ids())
    assert "s" * 64 not in going
    for source in known.sources():
        copies = known.of(source)
        good = [one for one in copies if known.verdict_of(one) != "bad"]
        proven = [one for one in good if known.verdict_of(one) == "proven"]
        untouchable = [copies[-1], *good[-1:], *proven[-rules.proven :]]
        if rules.protect_newer_than:
            untouchable += [one for one in copies if one.taken >= rules.protect_newer_than]
        if source.product != "shop":
            untouchable = list(copies)
        assert not going & {one.id for one in untouchable}
    assert not any(one.id in going for one in known.proofs if one.source.product != "shop")


@given(catalogs(), policies)
def test_copies_and_their_proofs_go_together(known: Catalog, rules: Policy) -> None:
    going = set(select(known, rules, NOW).ids())
    copies = {one.id for one in known.copies}
    for one in known.proofs:
        if one.source.product == "shop":
            assert (one.id in going) == (one.of in going or one.of not in copies)


@given(catalogs(), policies)
def test_bad_copies_never_count(known: Catalog, rules: Policy) -> None:
    """Without the bad ones the very same good ones go."""
    bad = {one.id for one in known.copies if known.verdict_of(one) == "bad"}
    cleaned = Catalog(tuple(one for one in known.copies if one.id not in bad), known.proofs, known.strangers)
    with_bad = {removal.copy.id for removal in select(known, rules, NOW).removals}
    assert with_bad - bad == {removal.copy.id for removal in select(cleaned, rules, NOW).removals}


@given(catalogs(), policies)
def test_a_second_run_finds_nothing_to_do(known: Catalog, rules: Policy) -> None:
    going = set(select(known, rules, NOW).ids())
    rest = Catalog(
        tuple(one for one in known.copies if one.id not in going),
        tuple(one for one in known.proofs if one.id not in going),
        known.strangers,
    )
    assert select(rest, rules, NOW).ids() == ()


@given(catalogs(), policies)
def test_a_bad_copy_goes_only_after_a_newer_good_one_and_its_time(known: Catalog, rules: Policy) -> None:
    for removal in select(known, rules, NOW).removals:
        if known.verdict_of(removal.copy) == "bad":
            newer = [one for one in known.of(removal.copy.source) if one.taken > removal.copy.taken]
            assert any(known.verdict_of(one) != "bad" for one in newer)
            assert (NOW - removal.copy.taken).total_seconds() >= rules.bad


@given(catalogs(), policies)
def test_the_plan_names_each_snapshot_that_goes_once(known: Catalog, rules: Policy) -> None:
    decision, selection = decide(Facts("/repo", known), rules, NOW)
    assert len({action.id for action in decision.plan}) == len(decision.plan)
    listed = [one for _action, ids in actions_of(selection) for one in ids]
    assert sorted(listed) == sorted(selection.ids()) and len(set(listed)) == len(listed)
    removing = [action.id for action in decision.plan if action.action.startswith("remove")]
    assert removing == [action for action, _ids in actions_of(selection)]


# --- cases ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("periods", "hours", "expected"),
    [
        ({"day": 2}, [1, 2, 25, 26, 49], {2, 26, 49}),  # the newest of each of two days
        ({"day": 2}, [1, 240, 480], {480}),  # days without a copy do not count
        ({"hour": 2}, [0.5, 0.75, 1.5, 2.5], {0.75, 2.5}),
        ({"week": 1, "day": 1}, [1, 24, 24 * 7], {24, 24 * 7}),
        ({"month": 2}, [1, 24 * 10, 24 * 25, 24 * 30], {240, 720}),  # 21 November, 11 November, 27 and 22 October
    ],
)
def test_periods(periods: dict[str, int], hours: list[float], expected: set[float]) -> None:
    assert gone(select(catalog(*map(copy, hours)), policy(periods=periods), NOW)) == expected


def test_within_is_counted_from_the_newest_copy_and_not_from_today() -> None:
    """A source that is copied no more keeps what it has."""
    known = catalog(*(copy(24 * days) for days in (100, 101, 140)))
    assert gone(select(known, policy(periods={}, within=30 * 86400), NOW)) == {24 * 140}


def test_the_last_proven_ones_stay_however_old() -> None:
    old = [copy(24 * days) for days in (300, 200, 150)]
    known = catalog(*(copy(hours) for hours in (1, 25, 49)), *old, proofs=tuple(proof(one, "ok") for one in old))
    assert gone(select(known, policy(proven=2), NOW)) == {49, 24 * 300}


@pytest.mark.parametrize(("bad_for", "expected"), [(0, {24 * 3}), (4 * 86400.0, set())])
def test_a_bad_copy_is_kept_for_its_time(bad_for: float, expected: set[float]) -> None:
    bad = copy(24 * 3)
    known = catalog(copy(1), bad, proofs=(proof(bad, "critical"),))
    assert gone(select(known, policy(bad=bad_for), NOW)) == expected


def test_where_every_copy_is_bad_nothing_goes_and_it_is_critical() -> None:
    copies = [copy(24.0 * days) for days in range(1, 6)]
    known = catalog(*copies, proofs=tuple(proof(one, "critical") for one in copies))
    decision, _selection = decide(Facts("/repo", known), policy(periods={"day": 1}), NOW)
    assert decision.plan == ()
    assert [(finding.check, finding.status) for finding in decision.findings] == [("no_good_copy", "critical")]


def test_the_proof_of_a_copy_that_cannot_be_read_is_no_orphan() -> None:
    unreadable = copy(5)
    known = catalog(copy(1), proofs=(proof(unreadable, "ok"),), strangers=(unreadable.id,))
    assert select(known, policy(), NOW).ids() == ()


def test_a_copy_from_the_future_stops_it_unless_allowed() -> None:
    known = catalog(*(copy(hours) for hours in (-1, 25, 49, 73)))
    with pytest.raises(PreconditionFailed, match="from the future") as failure:
        decide(Facts("/repo", known), policy(), NOW)
    assert failure.value.code == "clock_skew"
    decision, _selection = decide(Facts("/repo", known), policy(future_allowed=True), NOW)
    assert len([action for action in decision.plan if action.action == "remove"]) == 2
    assert decide(Facts("/repo", catalog(copy(-0.05))), policy(), NOW)[0].plan == ()  # a clock may be 3 minutes ahead


def test_a_snapshot_that_cannot_be_read_stops_it() -> None:
    known = Catalog((copy(49), copy(25), copy(1)), unreadable=("0ab6827c",))
    with pytest.raises(PreconditionFailed, match="0ab6827c") as failure:
        decide(Facts("/repo", known), policy(), NOW)
    assert failure.value.code == "repository_damaged"


def test_the_future_of_another_product_is_none_of_our_business() -> None:
    other = Source("other", "db1", "postgresql", "app")
    assert decide(Facts("/repo", catalog(copy(-50, other), copy(1))), policy(), NOW)[0].plan == ()


def test_more_than_one_run_may_remove_is_refused_without_confirmation() -> None:
    known = catalog(*(copy(24.0 * days) for days in range(1, 11)))
    with pytest.raises(PreconditionFailed, match="would remove 8 of 10 copies, one run may remove 5") as failure:
        decide(Facts("/repo", known), policy(max_removals=Cap(share=0.5)), NOW)
    assert failure.value.code == "blast_cap_exceeded" and "confirm=/repo" in str(failure.value.hint)
    decision, _selection = decide(Facts("/repo", known), policy(max_removals=Cap(number=5), confirmed=True), NOW)
    assert decision.after["copies"] == 2


def test_a_product_that_is_not_there_is_told() -> None:
    decision, _selection = decide(Facts("/repo", catalog(copy(1))), policy(products=("shpo",)), NOW)
    assert [(finding.check, finding.status) for finding in decision.findings] == [("no_copy", "warning")]
    assert "it has shop" in decision.findings[0].msg


def test_copies_of_other_hosts_are_left_alone() -> None:
    elsewhere = Source("shop", "db2", "postgresql", "app")
    known = catalog(*(copy(24.0 * days, source) for days in range(1, 5) for source in (APP, elsewhere)),
                    proofs=(proof(copy(999, elsewhere), "ok"),))  # fmt: skip
    decision, selection = decide(Facts("/repo", known), policy(hosts=("db1", "db9")), NOW)
    assert {removal.copy.source for removal in selection.removals} == {APP} and selection.orphans == ()
    assert [finding.msg for finding in decision.findings if finding.check == "no_copy"] == [
        "the repository has no copy of host db9; it has db1, db2"
    ]


def test_locks_are_removed_only_where_something_else_is() -> None:
    known = catalog(*(copy(24.0 * days) for days in range(1, 4)))
    plan = decide(Facts("/repo", known, locks=2), policy(), NOW)[0].plan
    assert [action.action for action in plan] == ["unlock", "remove", "prune"]
    assert decide(Facts("/repo", catalog(copy(1)), locks=2), policy(), NOW)[0].plan == ()


@pytest.mark.parametrize("text", ["", "x", "-1", "101%", "1.5", "%", "²"])
def test_a_limit_that_cannot_be_read(text: str) -> None:
    with pytest.raises(InvalidValue, match="max_removals"):
        parse_cap(text, "max_removals")


@pytest.mark.parametrize(
    "changes",
    [{"periods": {"day": 0}}, {"proven": 0}, {"products": ()}, {"periods": {"day": -1}}],
)
def test_a_policy_that_is_a_mistake(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue):
        check_policy(policy(**changes))
