"""What a repository is worth, by its tags alone: missing, stale, bad and never proven are all critical."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from plugins.module_utils._core.backup import Catalog, Copy, Proof, Source
from plugins.module_utils._core.backup_catalog import (
    Limits,
    Look,
    Policy,
    expected_sources,
    newest_copies,
    report,
    summary_of_facts,
)
from plugins.module_utils._core.result import Decision, Finding

NOW = datetime(2026, 11, 21, 12, tzinfo=timezone.utc)
APP = Source("shop", "db1", "postgresql", "app")
CACHE = Source("shop", "cache1", "redis", "main")
DAY = Limits(copy=86400, proof=7 * 86400)


def copy(hours: float, source: Source = APP) -> Copy:
    return Copy(f"copy-{source.name}-{hours:g}", source, NOW - timedelta(hours=hours), "directory", "7001", 5)


def proof(about: Copy, verdict: str = "ok", hours: float = 1) -> Proof:
    return Proof(f"proof-{about.id}-{hours:g}", about.id, about.source, verdict, NOW - timedelta(hours=hours))


def judged(copies: list[Copy], proofs: list[Proof], **policy: Any) -> Decision:
    ordered = tuple(sorted(copies, key=lambda one: one.taken))
    return report(Look(Catalog(ordered, tuple(proofs))), Policy(**{"limits": DAY, **policy}), NOW)


def bad(decision: Decision) -> dict[str, str]:
    return {finding.check: finding.status for finding in decision.findings if finding.status != "ok"}


NEW, OLD = copy(2), copy(50)


@pytest.mark.parametrize(
    ("copies", "proofs", "expected"),
    [
        ([NEW], [proof(NEW)], {}),
        ([OLD], [proof(OLD)], {"backup_age": "critical"}),
        ([NEW], [], {"proof_age": "critical"}),  # a verification that never ran
        ([NEW], [proof(NEW, "unknown")], {"proof_age": "critical"}),  # or could not look
        ([copy(500), NEW], [proof(copy(500), hours=400)], {"proof_age": "critical"}),
        ([OLD, NEW], [proof(NEW, "critical"), proof(OLD)], {"backup_age": "critical", "copy_bad": "critical"}),
        ([OLD], [proof(OLD, hours=9), proof(OLD, "critical", 1)],
         {"backup_age": "critical", "proof_age": "critical", "copy_bad": "critical"}),
        ([copy(-3)], [proof(copy(-3))], {"clock_skew": "warning"}),
        ([copy(-0.05)], [proof(copy(-0.05))], {}),
        # A good proof of the future counts for nothing, until its time comes; a bad one does no harm.
        ([NEW], [proof(NEW, hours=-9600)], {"proof_age": "unknown", "clock_skew": "warning"}),
        ([NEW], [proof(NEW, hours=-9600), proof(NEW)], {"clock_skew": "warning"}),
        ([NEW], [proof(NEW, hours=-9600), proof(NEW, "critical")],
         {"backup_age": "critical", "proof_age": "unknown", "copy_bad": "critical", "clock_skew": "warning"}),
        ([NEW], [proof(NEW, "critical", -9600), proof(NEW)],
         {"backup_age": "critical", "proof_age": "critical", "copy_bad": "critical"}),
    ],
)  # fmt: skip
def test_verdicts(copies: list[Copy], proofs: list[Proof], expected: dict[str, str]) -> None:
    assert bad(judged(copies, proofs)) == expected


def test_what_is_expected_and_not_there_is_critical_and_what_is_not_expected_is_not_judged() -> None:
    decision = judged([NEW, copy(999, Source("shop", "gone1", "redis", "main"))], [proof(NEW)],
                      expected={APP: DAY, CACHE: DAY})  # fmt: skip
    assert [(finding.check, finding.msg) for finding in decision.findings if finding.status != "ok"] == [
        ("copy_missing", "shop redis main of cache1: the repository has no copy of it")
    ]
    assert "copy_missing" not in bad(judged([NEW], [proof(NEW)]))
    assert [row["name"] for row in decision.extra["sources"]] == ["app", "main"]
    assert len(decision.extra["copies"]) == 2


def test_an_expected_source_has_limits_of_its_own() -> None:
    assert bad(judged([NEW], [proof(NEW)], expected={APP: Limits(3600, 60)})) == {
        "backup_age": "critical",
        "proof_age": "critical",
    }
    assert bad(judged([OLD], [], expected={APP: Limits(None, None)})) == {}


def test_a_source_without_a_new_copy_is_critical_whatever_the_clocks_say() -> None:
    assert bad(judged([NEW], [proof(NEW)], known=frozenset({NEW.id}))) == {"no_new_copy": "critical"}
    assert bad(judged([NEW], [proof(NEW)], known=frozenset())) == {}


def test_a_list_is_no_judgement() -> None:
    decision = judged([OLD], [], judge=False, expected={CACHE: DAY})
    assert decision.findings == () and len(decision.extra["copies"]) == 1 and decision.msg == "1 source, 1 copy"


def test_other_products_are_left_out() -> None:
    other = copy(999, Source("other", "db1", "postgresql", "app"))
    assert bad(judged([NEW, other], [proof(NEW)], products=("shop",))) == {}
    assert "backup_age" in bad(judged([NEW, other], [proof(NEW)]))


@pytest.mark.parametrize(
    ("copies", "policy", "expected"),
    [
        ([], {}, {"copy_missing": "critical"}),
        ([], {"products": ("shop",)}, {"copy_missing": "critical"}),
        ([NEW], {"products": ("other",)}, {"copy_missing": "critical"}),
        ([NEW], {"products": ("other",), "expected": {APP: DAY}}, {"copy_missing": "critical"}),
        ([], {"judge": False}, {}),
    ],
)
def test_no_backup_at_all_is_never_ok(copies: list[Copy], policy: dict[str, Any], expected: dict[str, str]) -> None:
    assert bad(judged(copies, [proof(one) for one in copies], **policy)) == expected


def test_no_backup_at_all_names_the_product() -> None:
    assert judged([], [], products=("shop",)).findings[0].msg == "the repository has no copy of shop at all"


INVENTORY = {
    "db1": {"backup_product": "shop", "backup_databases": ["app", "log"], "backup_config": [{"name": "pg"}]},
    "cache1": {"backup_product": "shop", "backup_redis": True},
    "app1": {"backup_product": "shop", "backup_redis": False, "backup_uploads": [{"name": "uploads", "paths": ["/x"]}]},
    "other": {"backup_databases": ["app"], "backup_redis": True},
    "empty": {"backup_product": "shop", "backup_databases": None},
}


def test_what_the_inventory_wants_copied_is_expected() -> None:
    found = [tuple(one.values()) for one in expected_sources(INVENTORY, INVENTORY)]
    assert found == [
        ("shop", "db1", "postgresql", "app"),
        ("shop", "db1", "postgresql", "log"),
        ("shop", "db1", "config", "pg"),
        ("shop", "cache1", "redis", "redis"),
        ("shop", "app1", "config", "uploads"),
    ]
    assert expected_sources(INVENTORY, ["cache1"]) == [
        {"product": "shop", "host": "cache1", "kind": "redis", "name": "redis"}
    ]


def test_an_expected_source_of_another_product_says_nothing_when_the_repository_cannot_be_read() -> None:
    trouble = Finding("repository", "unknown", "no answer", "repository_unreachable")
    policy = Policy(expected={APP: DAY, Source("other", "db1", "postgresql", "app"): DAY}, products=("shop",))
    assert len(report(Look(None, (trouble,)), policy, NOW).findings) == 2


def test_a_repository_that_could_not_be_read_says_nothing_about_its_sources() -> None:
    trouble = Finding("repository", "unknown", "no answer", "repository_unreachable")
    decision = report(Look(None, (trouble,)), Policy(expected={APP: DAY}), NOW)
    assert [finding.status for finding in decision.findings] == ["unknown", "unknown"]
    assert decision.msg == "no answer" and decision.extra["copies"] == []


def test_the_row_of_a_source_tells_the_newest_good_copy_and_the_last_proof() -> None:
    broken = copy(1)
    look = Look(Catalog((OLD, NEW, broken), (proof(OLD, hours=5), proof(broken, "critical"))), facts={NEW.id: {"a": 1}})
    (row,) = report(look, Policy(limits=DAY), NOW).extra["sources"]
    assert (row["newest"], row["newest_verdict"], row["age_seconds"]) == (NEW.id, "unproven", 7200.0)
    assert (row["proven"], row["proof_age_seconds"], row["facts"]) == (OLD.id, 5 * 3600.0, {"a": 1})
    assert newest_copies(look.catalog or Catalog(), Policy()) == (NEW,)


def test_a_snapshot_that_cannot_be_read_is_critical() -> None:
    decision = report(Look(Catalog((NEW,), (proof(NEW),), unreadable=("0ab6827c",))), Policy(limits=DAY), NOW)
    assert bad(decision) == {"snapshots_unreadable": "critical"}


def test_orphans_and_strangers_are_listed() -> None:
    lost = proof(OLD)
    extra = report(Look(Catalog((NEW,), (lost,), ("s",))), Policy(), NOW).extra
    assert (extra["orphaned_proofs"], extra["strangers"]) == ([lost.id], ["s"])


def test_long_lists_in_the_facts_are_counted() -> None:
    facts = {"format": 1, "sequences": [1, 2], "tables": [], "owner": "x"}
    assert summary_of_facts(facts) == {"sequences": 2, "tables": 0, "owner": "x", "rows": 0}


def test_the_values_of_settings_stay_in_the_copy() -> None:
    belongings = {"connection_limit": 9, "settings": [{"name": "app.key", "value": "hush"}]}
    assert summary_of_facts({"belongings": belongings}) == {"belongings": {"connection_limit": 9, "settings": 1}}
