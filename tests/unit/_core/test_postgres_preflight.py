from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone

import pytest

from plugins.module_utils._core.postgres_preflight import at_work, decide
from plugins.module_utils._core.postgres_preflight_facts import (
    MEMBERSHIPS,
    DatabaseEntry,
    Facts,
    Failure,
    Grants,
    Limits,
    Progressing,
    Server,
)
from plugins.module_utils._core.sessions import CLIENT, Activity, Ages, Rights, Session

NOW = datetime(2026, 3, 1, tzinfo=timezone.utc)
SERVER = Server("17.5", 170005, False, NOW, NOW, "shop", "77", "/data")
GRANTS = Grants("ops", False, dict.fromkeys(MEMBERSHIPS, True), 10, 10, 10, 10)
OWN = Session(1, CLIENT, role="ops", database="shop", application="oncall.runbooks postgresql_preflight_info", own=True)
QUIET = Activity((OWN,), Rights("ops", False, True, True), max_connections=100, reserved=3)
FIT = Facts(
    "db1:5432", None, SERVER, GRANTS, QUIET, (), (),
    (DatabaseEntry("shop", "app", 5 * 1024**3, True), DatabaseEntry("postgres", "postgres", 7 * 1024**2, True)),
)  # fmt: skip


def verdicts(facts, limits=None):
    return {finding.check: finding.status for finding in decide(facts, limits or Limits()).findings}


def message(facts, check, limits=None):
    (found,) = [finding.msg for finding in decide(facts, limits or Limits()).findings if finding.check == check]
    return found


def test_a_fit_server_has_nothing_but_ok():
    decision = decide(FIT, Limits())
    assert set(verdicts(FIT).values()) == {"ok"} and decision.plan == ()
    assert decision.msg == "db1:5432 is fit for work: PostgreSQL 17.5, primary, 2 databases, 5.0 GB"
    assert decision.extra["cannot"] == [] and decision.extra["connections"]["free"] == 96


def test_the_worst_finding_comes_first_in_the_line():
    facts = replace(FIT, server=replace(SERVER, in_recovery=True), grants=replace(GRANTS, maintainable=4))
    assert decide(facts, Limits()).msg == "it is a standby, and a primary was expected (and 1 more finding)"


VERSIONS = [
    (120020, "12.20", "critical", "warning"),
    (130023, "13.23", "warning", "warning"),
    (140000, "14.0", "warning", "ok"),
    (140003, "14.3", "warning", "ok"),
    (140004, "14.4", "ok", "ok"),
    (180001, "18.1", "ok", "ok"),
    (190000, "19.0", "warning", "ok"),
]


@pytest.mark.parametrize(("number", "version", "status", "end_of_life"), VERSIONS)
def test_versions(number, version, status, end_of_life):
    facts = replace(FIT, server=replace(SERVER, version=version, version_number=number))
    assert (verdicts(facts)["version"], verdicts(facts)["end_of_life"]) == (status, end_of_life)


@pytest.mark.parametrize(("day", "status"), [((2026, 11, 12), "ok"), ((2026, 11, 13), "warning")])
def test_the_end_of_life_is_judged_by_the_servers_clock(day, status):
    server = replace(SERVER, version_number=140019, now=datetime(*day, tzinfo=timezone.utc))
    assert verdicts(replace(FIT, server=server))["end_of_life"] == status


@pytest.mark.parametrize(
    ("in_recovery", "expect", "status"),
    [(False, "primary", "ok"), (False, "standby", "critical"), (True, "primary", "critical"), (True, "any", "ok")],
)
def test_the_role_of_the_server_is_what_was_expected_or_critical(in_recovery, expect, status):
    facts = replace(FIT, server=replace(SERVER, in_recovery=in_recovery))
    assert verdicts(facts, Limits(expect=expect))["server_role"] == status


LACKS = [
    ({"maintainable": 4}, 17, "maintenance", "6 of 10 tables will not be vacuumed: grant pg_maintain"),
    ({"maintainable": 4}, 16, "maintenance", "use their owner"),
    ({"reindexable": 9}, 17, "reindex", "indexes of 1 of 10 tables will not be rebuilt"),
    (
        {"readable": 5, "memberships": {}},
        17,
        "reindex",
        "5 of 10 tables will not be estimated for bloat: grant pg_read_all",
    ),
    ({"readable": 5, "memberships": {}}, 13, "reindex", "grant SELECT on them"),
    (
        {"memberships": {"pg_monitor": True}},
        17,
        "sessions",
        "other roles' sessions are not ended: grant pg_signal_backend",
    ),
]


@pytest.mark.parametrize(("changes", "major", "step", "words"), LACKS)
def test_what_is_missing_is_said_with_what_is_needed(changes, major, step, words):
    facts = replace(FIT, grants=replace(GRANTS, **changes), server=replace(SERVER, version_number=major * 10000))
    assert verdicts(facts)[f"rights:{step}"] == "warning" and words in message(facts, f"rights:{step}")
    assert step in {lack["step"] for lack in decide(facts, Limits()).extra["cannot"]}


def test_a_superuser_lacks_nothing():
    facts = replace(FIT, grants=replace(GRANTS, superuser=True, memberships={}))
    assert decide(facts, Limits()).extra["cannot"] == []
    assert decide(facts, Limits()).extra["connections"]["free"] == 99


def test_who_is_at_work_is_told_once_and_by_what_weighs_most():
    dump = Session(2, CLIENT, role="b", database="shop", application="pg_dump")
    sender = Session(3, "walsender", role="b", application="pg_basebackup")
    vacuum = Session(4, "autovacuum worker", database="shop")
    run = Session(5, CLIENT, role="ops", database="other", application="oncall.runbooks postgresql_maintenance")
    worker = Session(6, "parallel worker", application="vacuumdb", leader=7)
    activity = replace(QUIET, sessions=(OWN, dump, sender, vacuum, run, worker))
    progress = (
        Progressing(3, "base backup", phase="streaming"),
        Progressing(4, "VACUUM", "public.t", "scanning heap"),
        Progressing(5, "VACUUM", "public.u"),
        Progressing(9, "ANALYZE"),
    )
    facts = replace(FIT, activity=activity, progress=progress, locked=(5,))
    told = {work.session.pid: (work.activity, work.lock) for work in at_work(facts)}
    assert told == {
        5: ("holds a lock of this collection", True),
        3: ("base backup", False),
        4: ("VACUUM", False),
        9: ("ANALYZE", False),
        2: ("pg_dump", False),
    }
    assert verdicts(facts)["own_runs"] == "critical" and verdicts(facts)["others_at_work"] == "warning"
    assert message(facts, "others_at_work").endswith("1 autovacuum worker")
    assert verdicts(facts, Limits(own_runs="warning"))["own_runs"] == "warning"


def test_autovacuum_alone_is_routine():
    vacuum = Session(4, "autovacuum worker", database="shop")
    facts = replace(FIT, activity=replace(QUIET, sessions=(OWN, vacuum)), progress=(Progressing(4, "VACUUM"),))
    assert verdicts(facts)["others_at_work"] == "ok"


@pytest.mark.parametrize(
    ("used", "status"), [(86, "ok"), (87, "warning"), (93, "warning"), (94, "critical"), (99, "critical")]
)
def test_few_free_connections(used, status):
    others = tuple(Session(pid, CLIENT, role="app", database="shop") for pid in range(2, used + 1))
    facts = replace(FIT, activity=replace(QUIET, sessions=(OWN, *others)))
    assert verdicts(facts)["free_connections"] == status


def test_the_oldest_transaction_is_a_clients_and_not_our_own():
    sender = Session(2, "walsender", ages=Ages(transaction=9e9))
    client = Session(3, CLIENT, role="app", database="shop", state="active", ages=Ages(transaction=4000.0))
    own = replace(OWN, ages=Ages(transaction=5000.0))
    facts = replace(FIT, activity=replace(QUIET, sessions=(own, sender, client)))
    assert verdicts(facts)["oldest_transaction"] == "warning"
    assert decide(facts, Limits()).extra["oldest_transaction"]["pid"] == 3
    assert verdicts(facts, Limits(transaction_critical=3600.0))["oldest_transaction"] == "critical"
    hidden = Session(4, None, role="app", database="shop")
    unseen = replace(FIT, activity=replace(QUIET, sessions=(OWN, hidden)))
    assert verdicts(unseen)["oldest_transaction"] == "unknown"


def test_a_server_that_does_not_answer_has_one_finding():
    failure = Failure("authentication_failed", "connect to db1: refused", "check login_user")
    decision = decide(Facts("db1:5432", unreachable=failure), Limits())
    assert [finding.check for finding in decision.findings] == ["reachable"]
    assert decision.msg == "connect to db1: refused (check login_user)" and not decision.extra["reachable"]
    assert decision.extra["unreachable"]["code"] == "authentication_failed"


@pytest.mark.parametrize("name", ["server", "grants", "activity", "progress", "locked", "databases"])
def test_what_could_not_be_read_is_unknown_and_says_why(name):
    facts = replace(FIT, **{name: None}, failures={name: Failure("insufficient_privilege", "permission denied")})
    assert verdicts(facts)[name] == "unknown" and "permission denied" in message(facts, name)
    assert set(verdicts(facts).values()) == {"ok", "unknown"}


def test_a_database_of_unknown_size_makes_the_sum_unknown():
    facts = replace(FIT, databases=(*FIT.databases, DatabaseEntry('x"\x1b', "app", None, False)))
    assert verdicts(facts)["database_size"] == "unknown" and "\x1b" not in message(facts, "rights:readings")
