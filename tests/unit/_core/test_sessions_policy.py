from __future__ import annotations

from dataclasses import replace

import pytest

from plugins.module_utils._core.errors import InvalidValue
from plugins.module_utils._core.sessions import CLIENT, Ages, Blocked, Session, Tree
from plugins.module_utils._core.sessions_policy import (
    ALWAYS_PROTECTED_APPLICATIONS,
    Clients,
    Names,
    Policy,
    Rule,
    parse_policy,
)

WEB = Session(
    7, CLIENT, role="app", superuser=False, database="shop", application="web", client="10.0.0.9",
    state="idle", ages=Ages(connected=900, state=400, query=500),
)  # fmt: skip
RULE = {
    "name": "r", "match": "idle", "older_than": "5m", "action": "terminate",
    **{key: None for name in ("roles", "databases", "applications", "clients") for key in (name, f"exclude_{name}")},
}  # fmt: skip
OPTIONS = {
    "rules": [RULE], "protect_roles": [], "protect_applications": [], "include_superusers": False, "max_sessions": 10,
    "max_share": 0.25, "on_excess": "refuse", "grace": "10s", "terminate_timeout": "30s",
}  # fmt: skip

LASTED = [
    ("idle", WEB, 400),
    ("idle", replace(WEB, state="active"), None),
    ("idle", replace(WEB, ages=Ages(state=300)), None),
    ("idle", replace(WEB, ages=Ages(query=9999)), None),
    ("idle_in_transaction", replace(WEB, state="idle in transaction"), 400),
    ("idle_in_transaction", replace(WEB, state="idle in transaction (aborted)"), 400),
    ("idle_in_transaction", WEB, None),
    ("active_longer_than", replace(WEB, state="active"), 500),
    ("active_longer_than", replace(WEB, state="fastpath function call"), 500),
    ("active_longer_than", WEB, None),
    ("transaction_longer_than", replace(WEB, state="active", ages=Ages(transaction=301)), 301),
    ("transaction_longer_than", WEB, None),
    ("blocking_root", WEB, None),
]


@pytest.mark.parametrize(("match", "session", "seconds"), LASTED)
def test_what_counts_as_the_time_of_each_kind_of_rule(match, session, seconds):
    assert Rule("r", match, 300).lasted(session, None) == seconds


@pytest.mark.parametrize(
    ("wait", "transaction", "seconds"), [(400, None, 400), (400, 350, 350), (400, 10, None), (None, 999, None)]
)
def test_a_root_has_not_blocked_for_longer_than_its_transaction_lasts(wait, transaction, seconds):
    tree = Tree(7, (Blocked(Session(8, CLIENT), (7,), wait),))
    session = replace(WEB, ages=Ages(transaction=transaction))
    assert Rule("r", "blocking_root", 300).lasted(session, tree) == seconds


@pytest.mark.parametrize(
    ("names", "name", "admitted"),
    [
        (Names(), "", True),
        (Names(("",)), "", True),
        (Names(("app",)), "App", False),
        (Names(("a?p*",)), "app_web\nx", True),
        (Names(("[*]",)), "*", True),
        (Names(("[*]",)), "x", False),
        (Names(None, ("app*",)), "application", False),
    ],
)
def test_names_are_matched_whole_and_exactly(names, name, admitted):
    assert names.admits(name) is admitted


@pytest.mark.parametrize(
    ("clients", "client", "admitted"),
    [
        (Clients(), None, True),
        (Clients(("local",)), None, True),
        (Clients(("local",)), "127.0.0.1", False),
        (Clients(("*",)), None, False),
        (Clients(("10.0.0.0/8",)), "10.255.0.1", True),
        (Clients(("10.0.0.0/8",)), "2001:db8::1", False),
        (Clients(("2001:db8::/32",)), "2001:db8::1", True),
        (Clients(("10.0.0.5",)), "10.0.0.5", True),
        (Clients(("10.0.0.5",)), "10.0.0.50", False),
        (Clients(("10.0.0.*",)), "10.0.0.50", True),
        (Clients(None, ("local", "10.0.*")), None, False),
        (Clients(("10.0.0.0/8",), ("10.0.3.17",)), "10.0.3.17", False),
    ],
)
def test_clients_are_matched_as_networks_patterns_or_the_socket(clients, client, admitted):
    assert clients.admits(client) is admitted


PROTECTED = [
    (replace(WEB, own=True), {}, "own session"),
    (replace(WEB, superuser=True), {}, "superuser"),
    (replace(WEB, superuser=True), {"include_superusers": True}, None),
    (replace(WEB, slot="cdc"), {"include_superusers": True}, "slot cdc"),
    (replace(WEB, holds_backup=True), {"include_superusers": True}, "online backup"),
    (replace(WEB, application="pgBackRest [backup]"), {}, "application pgBackRest"),
    (replace(WEB, application="ONCALL.runbooks x"), {}, "application ONCALL"),
    (replace(WEB, application="Billing 7"), {"protect_applications": ("billing*",)}, "application Billing"),
    (replace(WEB, role="rdsadmin"), {}, "role"),
    (replace(WEB, role="etl_7"), {"protect_roles": ("etl_*",)}, "role"),
    (WEB, {"protect_roles": ("etl_*",), "protect_applications": ("billing*",)}, None),
]


@pytest.mark.parametrize(("session", "changes", "words"), PROTECTED)
def test_who_is_protected(session, changes, words):
    reason = Policy((), **changes).protection(session)
    assert (reason is None) if words is None else (words in reason)


def test_protecting_more_never_protects_less():
    policy = Policy((), protect_applications=("billing",), protect_roles=("x",), include_superusers=True)
    names = [pattern.rstrip("*") for pattern in ALWAYS_PROTECTED_APPLICATIONS]
    assert all(policy.protection(replace(WEB, application=name)) for name in names)


@pytest.mark.parametrize(
    ("rule", "changes", "words"),
    [
        ({"older_than": "a while"}, {}, r"rules\[0\].older_than"),
        ({"older_than": "0"}, {}, r"rules\[0\].older_than: it must be more than 0"),
        ({"name": " "}, {}, r"rules\[0\].name"),
        ({"action": "cancel"}, {}, "no effect on a session that is idle"),
        ({"match": "idle_in_transaction", "action": "cancel"}, {}, "idle in a transaction"),
        ({"match": "transaction_longer_than", "action": "cancel"}, {}, "in one transaction"),
        ({"match": "active_longer_than", "action": "cancel"}, {"grace": "0s"}, "grace"),
        ({"databases": []}, {}, r"rules\[0\].databases: an empty list means nobody"),
        ({"clients": ["10.0.0.1/8"]}, {}, "10.0.0.1/8"),
        ({"clients": ["web*"]}, {}, r"web\*"),
        ({"exclude_clients": ["localhost"]}, {}, "localhost"),
        ({}, {"max_sessions": 0}, "max_sessions"),
        ({}, {"max_share": 0.0}, "max_share"),
        ({}, {"max_share": 1.5}, "max_share"),
        ({}, {"grace": "-1"}, "grace"),
        ({}, {"terminate_timeout": "0"}, "terminate_timeout"),
        ({}, {"rules": [RULE, RULE]}, "two rules are named 'r'"),
    ],
)
def test_what_means_nothing_is_refused_by_name(rule, changes, words):
    with pytest.raises(InvalidValue, match=words) as refused:
        parse_policy({**OPTIONS, "rules": [{**RULE, **rule}], **changes})
    assert refused.value.hint


def test_options_become_a_policy():
    wanted = {"clients": ["local", "10.0.0.0/8", "fe80::*"], "exclude_roles": ["x"], "roles": ["a*"]}
    policy = parse_policy({**OPTIONS, "rules": [{**RULE, **wanted}], "grace": "0"})
    (rule,) = policy.rules
    assert (rule.older_than, rule.roles, rule.clients.wanted) == (300, Names(("a*",), ("x",)), tuple(wanted["clients"]))
    assert (policy.cap(100), policy.cap(20), policy.grace) == (10, 5, 0)
