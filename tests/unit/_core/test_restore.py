from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core.backup import Copy, Source
from plugins.module_utils._core.backup_load import LoadError
from plugins.module_utils._core.backup_manifest import (
    Belongings,
    Manifest,
    Right,
    ServerState,
    Setting,
    TableState,
    read_manifest,
)
from plugins.module_utils._core.errors import OpsError
from plugins.module_utils._core.restore import (
    Exchange,
    already_restored,
    plan_clean,
    plan_restore,
    plan_undo,
    restore_actions,
    unmarked_leftovers,
)
from plugins.module_utils._core.restore_check import (
    check_copy,
    check_needs,
    check_server,
    check_space,
    check_tablespaces,
    check_use,
    check_wish,
    home_tablespace,
)
from plugins.module_utils._core.restore_facts import DatabaseFacts, ServerFacts, SessionFacts, Wish
from plugins.module_utils._core.restore_loss import LiveState, LiveTable, load_failure, measure
from plugins.module_utils._core.restore_marker import (
    KEPT,
    LIVE,
    LOADING,
    READY,
    UNDONE,
    Marker,
    derived_name,
    split_comment,
    with_marker,
)
from plugins.module_utils._core.restore_roles import role_statements
from plugins.module_utils._core.units import rfc3339

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=timezone.utc)
TAKEN = datetime(2026, 9, 18, 4, 0, tzinfo=timezone.utc)
COPY = Copy("cafe01", Source("shop", "db1", "postgresql", "shop"), TAKEN, "directory", "7001", 100)
WISH = Wish("restored", "shop", "shop", "shop", keep=7 * 86400.0)


def marker(role: str, days_ago: float = 1.0, **changes: Any) -> Marker:
    values = {"at": rfc3339(NOW - timedelta(days=days_ago)), "snapshot": "cafe01", "taken": rfc3339(TAKEN), **changes}
    return Marker(role, "shop", **values)


def database(oid: int, name: str, found: Marker | None = None, **changes: Any) -> DatabaseFacts:
    return DatabaseFacts(oid, name, "owner", **{"owned": True, "tablespace": "pg_default", "marker": found, **changes})


def server(*databases: DatabaseFacts, **changes: Any) -> ServerFacts:
    values: dict[str, Any] = {
        "version": "18.1",
        "major": 18,
        "in_recovery": False,
        "read_only": False,
        "system_identifier": "7001",
        "role": "owner",
        "superuser": False,
        "may_create": True,
        "maintenance_database": "postgres",
        "databases": databases or (database(1, "shop"),),
        "roles": frozenset({"owner"}),
        "extensions": frozenset({"plpgsql"}),
        **changes,
    }
    return ServerFacts(**values)


def manifest(**changes: Any) -> Manifest:
    state = ServerState("18.1", 18, "7001", False, "0/1", "UTF8", "C", "C", "libc")
    values: dict[str, Any] = {
        "server": state,
        "owner": "owner",
        "size_bytes": 1000,
        "schema_hash": "",
        "grants_hash": "",
        "definitions": {},
        "tables": (TableState("public", "orders", 10, 0), TableState("public", "gone", 5, 0)),
        "sequences": (),
        "extensions": {"plpgsql": "1.0"},
        "objects": {},
        "roles": ("owner",),
        "tablespace": "pg_default",
        "tablespaces": (),
        "product": "shop",
        "host": "db1",
        "database": "shop",
        "taken_at": rfc3339(TAKEN),
        "form": "directory",
        "globals": "complete",
        **changes,
    }
    return Manifest(**values)


# --- markers and names ------------------------------------------------------------------------------------------


@given(st.none() | st.text(), st.sampled_from([LOADING, READY, LIVE, KEPT, UNDONE]), st.text(), st.booleans())
def test_what_is_written_into_a_comment_is_read_back(own: str | None, role: str, target: str, nested: bool) -> None:
    previous = Marker(LIVE, target, "a", "b", "c") if nested else None
    written = Marker(role, target, "2026-11-21T04:00:00Z", "cafe", "2026-11-21T03:00:00Z", previous)
    assert split_comment(with_marker(own, written)) == (own, written)


@pytest.mark.parametrize(
    "comment",
    ["the shop", "", "[oncall.runbooks restore] ", "[oncall.runbooks restore] {}", "x [oncall.runbooks restore] {}",
     '[oncall.runbooks restore] {"role": "king"}', "[oncall.runbooks restore] [1]",
     '[oncall.runbooks restore] {"role": "live", "number": "x", "previous": null}', "[oncall.runbooks restore] null"],
)  # fmt: skip
def test_what_only_looks_like_a_marker_is_the_persons_own_text(comment: str) -> None:
    assert split_comment(comment) == (comment, None)


@given(st.text(min_size=1), st.sampled_from(["restored", "kept", "undone"]), st.booleans())
def test_names_are_free_and_short_enough_for_the_server(target: str, word: str, dated: bool) -> None:
    target = target.encode("utf-8", "ignore").decode() or "x"
    moment = TAKEN if dated else None
    first = derived_name(target, word, (), moment)
    second = derived_name(target, word, (first,), moment)
    assert first != second and max(len(first.encode()), len(second.encode())) <= 63


# --- what must be true before -----------------------------------------------------------------------------------


def code_of(call: Any, *arguments: Any) -> str:
    with pytest.raises(OpsError) as failure:
        call(*arguments)
    assert failure.value.hint
    return failure.value.code


@pytest.mark.parametrize(
    ("facts", "wish", "code"),
    [
        ({"in_recovery": True}, {}, "is_standby"),
        ({"read_only": True}, {}, "read_only"),
        ({"may_create": False}, {}, "insufficient_privilege"),
        ({"databases": (database(1, "shop", owned=False),)}, {}, "insufficient_privilege"),
        ({}, {"fingerprint": {"system_identifier": "1"}}, "fingerprint_mismatch"),
        ({"system_identifier": ""}, {"fingerprint": {"system_identifier": "7001"}}, "fingerprint_mismatch"),
        ({}, {"fingerprint": {"database": "other"}}, "fingerprint_mismatch"),
        ({}, {"fingerprint": {"colour": "red"}}, "invalid_value"),
    ],
)
def test_a_server_that_must_not_be_touched(facts: dict[str, Any], wish: dict[str, Any], code: str) -> None:
    assert code_of(check_server, server(**facts), replace(WISH, **wish)) == code


def test_a_server_that_may_be_touched() -> None:
    check_server(server(), replace(WISH, fingerprint={"system_identifier": 7001, "database": "shop"}))


@pytest.mark.parametrize("target", ["postgres", "template0", "template1", "admin"])
def test_reserved_names_are_refused(target: str) -> None:
    assert code_of(check_wish, replace(WISH, target=target, confirm=target), "admin") == "invalid_value"


def test_a_wrong_word_is_refused_and_a_missing_one_waits() -> None:
    assert code_of(check_wish, replace(WISH, confirm="shpo"), "postgres") == "confirmation_missing"
    check_wish(replace(WISH, confirm=None), "postgres")


def test_where_the_copy_comes_from() -> None:
    assert check_copy(server(), WISH, COPY, manifest()).status == "ok"
    assert check_copy(server(system_identifier=""), WISH, COPY, manifest()).status == "unknown"
    other = replace(COPY, server="1")
    assert code_of(check_copy, server(), WISH, other, manifest()) == "fingerprint_mismatch"
    assert check_copy(server(), replace(WISH, allow_other_server=True), other, manifest()).status == "warning"
    assert code_of(check_copy, server(major=17), WISH, COPY, manifest()) == "server_too_old"


def test_everything_that_is_missing_is_named() -> None:
    with pytest.raises(OpsError) as failure:
        check_needs(server(), manifest(roles=("a", "owner", "b"), extensions={"plpgsql": "1", "postgis": "3"}))
    assert failure.value.code == "role_missing"
    assert failure.value.details == {"roles": ["a", "b"], "extensions": ["postgis"]}
    assert code_of(check_needs, server(), manifest(extensions={"postgis": "3"})) == "extension_missing"
    check_needs(server(), manifest())


SPACES = {"pg_default": False, "fast": True, "slow": True, "closed": False}
HERE = database(1, "shop", tablespace="fast")


@pytest.mark.parametrize(
    ("live", "changes", "wanted", "home"),
    [
        (HERE, {}, [], "fast"),
        (HERE, {"tablespaces": ("fast",), "tablespace": "gone"}, [], "fast"),
        (HERE, {"tablespaces": ("fast", "slow")}, ["ok"], "fast"),
        (HERE, {"tablespaces": ("gone", "pg_default")}, "tablespace_missing", "fast"),
        (HERE, {"tablespaces": ("closed",)}, "insufficient_privilege", "fast"),
        (HERE, {"tablespaces": ("pg_default",)}, "insufficient_privilege", "fast"),
        (None, {}, [], "pg_default"),
        (None, {"tablespace": ""}, [], "pg_default"),
        (None, {"tablespace": "slow"}, ["ok"], "slow"),
        (None, {"tablespace": "gone"}, "tablespace_missing", "gone"),
        (None, {"tablespace": "closed"}, "insufficient_privilege", "closed"),
        (None, {"tablespaces": ("pg_default",)}, [], "pg_default"),
    ],
)
def test_tablespaces_must_be_there(
    live: DatabaseFacts | None, changes: dict[str, Any], wanted: list[str] | str, home: str
) -> None:
    facts, copied = server(tablespaces=SPACES), manifest(**changes)
    assert home_tablespace(WISH, copied, live) == home
    if isinstance(wanted, str):
        assert code_of(check_tablespaces, facts, WISH, copied, live) == wanted
    else:
        assert [finding.status for finding in check_tablespaces(facts, WISH, copied, live)] == wanted


def test_the_grant_that_people_paste_names_what_it_says() -> None:
    facts, copied = server(tablespaces={'my "disk"': False}, role="on call"), manifest(tablespaces=('my "disk"',))
    with pytest.raises(OpsError) as failure:
        check_tablespaces(facts, WISH, copied, HERE)
    assert str(failure.value.hint).startswith('GRANT CREATE ON TABLESPACE "my ""disk""" TO "on call", or')


def test_tablespaces_that_are_not_asked_for_are_told() -> None:
    anywhere, copied = replace(WISH, tablespaces=False), manifest(tablespace="gone", tablespaces=("fast", "lost"))
    (here,) = check_tablespaces(server(tablespaces=SPACES), anywhere, copied, HERE)
    (away,) = check_tablespaces(server(tablespaces=SPACES), anywhere, copied, None)
    assert (here.status, here.value, away.status, away.value) == ("warning", 1, "warning", 3)
    assert "lost goes into fast" in here.msg and "fast, gone, lost goes into pg_default" in away.msg
    assert check_tablespaces(server(), anywhere, manifest(), HERE) == ()


def test_copies_of_before_tablespaces_were_read() -> None:
    facts = json.loads(manifest(tablespaces=("fast",)).to_json())
    assert read_manifest(json.dumps(facts)).tablespaces == ("fast",)
    del facts["tablespace"], facts["tablespaces"]
    older = read_manifest(json.dumps(facts))
    assert (older.tablespace, older.tablespaces) == ("", ()) and home_tablespace(WISH, older, None) == "pg_default"


def test_what_belongs_to_a_database_is_read_back_from_its_copy() -> None:
    rights = (Right("CONNECT", "", False), Right("CREATE", "app", True))
    for belongings in (Belongings(42, rights, (Setting("app", "work_mem", "9MB"),), "the shop"),
                       Belongings(-1, None, (), None)):  # fmt: skip
        assert read_manifest(manifest(belongings=belongings).to_json()).belongings == belongings
    older = json.loads(manifest().to_json())
    del older["belongings"]
    assert read_manifest(json.dumps(older)).belongings is None


def test_a_right_that_does_not_exist_is_no_part_of_a_statement() -> None:
    belongings = Belongings(-1, (Right("CONNECT", "app", False),), (), None)
    text = manifest(belongings=belongings).to_json()
    forged = text.replace('"CONNECT"', '"CONNECT ON DATABASE x TO public; --"')
    assert forged != text
    with pytest.raises(OpsError, match="no right to a database") as failure:
        read_manifest(forged)
    assert failure.value.code == "manifest_unreadable"


@pytest.mark.parametrize("live", [True, False])
def test_what_belongs_to_the_copied_database_counts_only_when_there_is_no_live_one(live: bool) -> None:
    belongings = Belongings(-1, None, (), None)
    exchange = plan_restore(server(database(1, "shop" if live else "x")), WISH, COPY).exchange("shop", NOW, belongings)
    assert exchange.carry_over is live and exchange.belongings == (None if live else belongings)


def test_who_is_in_the_way() -> None:
    sessions = (SessionFacts(4711, "app", "shop-web", "10.0.0.9"),)
    assert code_of(check_use, server(prepared=1), WISH) == "target_in_use"
    assert code_of(check_use, server(sessions=sessions), replace(WISH, writers="refuse")) == "target_in_use"
    check_use(server(sessions=sessions), WISH)


@pytest.mark.parametrize(("free", "status"), [(None, "unknown"), (1100, "ok")])
def test_room(free: int | None, status: str) -> None:
    assert check_space(server(free_bytes=free), manifest()).status == status


def test_room_that_a_leftover_takes_counts_as_free() -> None:
    assert check_space(server(free_bytes=100), manifest(), 1000).status == "ok"


def test_too_little_room() -> None:
    assert code_of(check_space, server(free_bytes=1099), manifest()) == "not_enough_space"


# --- plans ------------------------------------------------------------------------------------------------------


def words(plan: Any, wish: Wish = WISH) -> list[str]:
    return [action.action for action in restore_actions(plan, wish, COPY, {})]


WHOLE = ["fetch", "create", "load", "analyze", "verify", "swap"]


@pytest.mark.parametrize(
    ("databases", "wish", "expected"),
    [
        ((), {}, WHOLE),
        ((database(2, "l", marker(LOADING)),), {}, ["drop", *WHOLE]),
        ((database(2, "r", marker(READY)),), {}, ["verify", "swap"]),
        ((database(2, "r", marker(READY)),), {"swap": False}, []),
        ((database(2, "r", marker(READY)),), {"force": True}, WHOLE),
        ((database(2, "r", marker(READY, snapshot="beef")),), {}, WHOLE),
        ((), {"swap": False}, WHOLE[:-1]),
    ],
)
def test_what_a_restore_does(databases: Any, wish: dict[str, Any], expected: list[str]) -> None:
    wanted = replace(WISH, **wish)
    assert words(plan_restore(server(database(1, "shop"), *databases), wanted, COPY), wanted) == expected


def test_databases_of_other_targets_are_nobodys_leftovers() -> None:
    stranger = database(2, "x", replace(marker(LOADING), target="other"))
    assert plan_restore(server(database(1, "shop"), stranger), WISH, COPY).leftovers == ()


def test_the_names_of_a_swap_are_free() -> None:
    taken = (database(2, "shop_kept_1"), database(3, "shop_restored_20260918040000"))
    plan = plan_restore(server(database(1, "shop"), *taken), WISH, COPY)
    assert (plan.aside, plan.kept) == ("shop_restored_20260918040000_2", "shop_kept_2")
    (finding,) = unmarked_leftovers(server(database(1, "shop"), *taken), WISH)
    assert finding.value == "shop_restored_20260918040000"


def test_a_second_swap_keeps_the_marker_of_the_first() -> None:
    first = marker(LIVE, snapshot="beef")
    exchange = plan_restore(server(database(1, "shop", first)), WISH, COPY).exchange("shop", NOW)
    assert exchange.live_marker is not None and exchange.live_marker.previous == first
    assert exchange.coming_marker is not None and exchange.coming_marker.snapshot == "cafe01"


def test_the_same_copy_twice_needs_force() -> None:
    live = server(database(1, "shop", marker(LIVE)))
    assert already_restored(live, WISH, COPY) is not None
    assert already_restored(live, replace(WISH, force=True), COPY) is None
    assert already_restored(live, replace(WISH, swap=False), COPY) is None
    assert already_restored(live, WISH, replace(COPY, id="beef")) is None
    assert already_restored(server(), WISH, COPY) is None


def test_undoing_takes_the_newest_and_the_second_time_nothing() -> None:
    first = database(2, "shop_kept_1", marker(KEPT, 3))
    second = database(3, "shop_kept_2", marker(KEPT, 1, previous=marker(LIVE, 3)))
    plan = plan_undo(server(database(1, "shop", marker(LIVE, 1)), first, second), WISH)
    assert plan is not None and plan.kept == second and plan.undone == "shop_undone_20260918040000"
    exchange = plan.exchange(NOW)
    assert exchange.coming_marker == marker(LIVE, 3) and not exchange.carry_over
    after = server(database(3, "shop", marker(LIVE, 3)), first, database(1, "shop_undone", marker(UNDONE, 0)))
    assert plan_undo(after, WISH) is None
    again = plan_undo(after, replace(WISH, force=True))
    assert again is not None and again.kept == first


def swapped(facts: ServerFacts, exchange: Exchange) -> ServerFacts:
    """Return the server after a swap; who comes in is there, or is made now."""
    assert exchange.live is not None
    others = [one for one in facts.databases if one.name not in (exchange.coming, exchange.target)]
    oid = next((one.oid for one in facts.databases if one.name == exchange.coming), 100 + len(facts.databases))
    left = replace(exchange.live, name=exchange.live_name, marker=exchange.live_marker)
    return replace(facts, databases=(*others, left, database(oid, exchange.target, exchange.coming_marker)))


def test_a_clock_that_is_set_back_does_not_change_which_restore_is_the_newest() -> None:
    def restored(facts: ServerFacts, copy: str, at: datetime) -> ServerFacts:
        return swapped(facts, plan_restore(facts, WISH, replace(COPY, id=copy)).exchange("shop", at))

    def undone(facts: ServerFacts, at: datetime, **wish: Any) -> ServerFacts | None:
        plan = plan_undo(facts, replace(WISH, **wish))
        return None if plan is None else swapped(facts, plan.exchange(at))

    earlier = NOW - timedelta(minutes=50)
    first = restored(server(database(1, "shop")), "cafe01", NOW)
    twice = restored(first, "beef02", earlier)
    back = undone(twice, earlier)
    assert back is not None and back.find("shop") == first.find("shop")
    assert undone(back, earlier) is None
    whole = undone(back, earlier, force=True)
    assert whole is not None and whole.find("shop") == database(1, "shop")
    once_more = restored(whole, "beef03", earlier - timedelta(minutes=9))
    assert undone(once_more, earlier) is not None
    kept = plan_clean(twice, replace(WISH, keep=0.0), NOW + timedelta(days=1))[0]
    assert [one.name for one in kept] == ["shop_kept_1"]


def test_what_an_earlier_restore_kept_is_not_what_the_newest_one_replaced() -> None:
    dropped = server(database(9, "shop", marker(LIVE, 1)), database(2, "shop_kept_1", marker(KEPT, 3)))
    with pytest.raises(OpsError) as failure:
        plan_undo(dropped, WISH)
    assert failure.value.code == "no_kept_database" and "shop_kept_1" in str(failure.value.hint)
    retold = server(database(9, "shop"), database(2, "shop_kept_1", marker(KEPT, 3)))
    plan = plan_undo(retold, WISH)
    assert plan is not None and plan.kept.name == "shop_kept_1"


def test_there_must_be_something_to_undo() -> None:
    assert code_of(plan_undo, server(), WISH) == "no_kept_database"
    assert code_of(plan_undo, server(database(1, "other")), WISH) == "database_missing"


@pytest.mark.parametrize(
    ("wish", "dropped"),
    [
        ({}, ["loading", "kept_1"]),
        ({"keep_last": False}, ["loading", "kept_1", "kept_2"]),
        ({"keep": 1e9}, ["loading"]),
    ],
)
def test_cleaning_up_spares_what_is_young_and_the_last_one(wish: dict[str, Any], dropped: list[str]) -> None:
    facts = server(
        database(1, "shop", marker(LIVE, 8)),
        database(2, "kept_1", marker(KEPT, 20)),
        database(3, "kept_2", marker(KEPT, 8)),
        database(4, "undone", marker(UNDONE, 6)),
        database(5, "loading", marker(LOADING, 30)),
        database(6, "stranger", None),
    )
    drop, stay = plan_clean(facts, replace(WISH, **wish), NOW)
    assert [one.name for one in drop] == dropped and len(drop) + len(stay) == 4


# --- what is lost, and why a load failed ------------------------------------------------------------------------


def test_the_loss_is_measured_table_by_table() -> None:
    rows = (LiveTable("public", "orders", 12), LiveTable("public", "new", 3), LiveTable("public", "big", None))
    loss = measure(manifest(), LiveState((*rows, LiveTable("own", "mark", 9))), NOW, ("own", "mark"))
    found = {table["name"]: table["difference"] for table in loss.tables}
    assert found == {"orders": 2, "new": 3, "gone": -5, "big": None}
    assert (loss.rows, loss.not_counted, loss.measured) == (5, 1, True)
    assert loss.finding().status == "warning" and "not counted" in loss.finding().msg


def test_a_loss_that_cannot_be_measured_is_unknown() -> None:
    loss = measure(manifest(), LiveState(unreachable="it is gone"), NOW)
    assert loss.finding().status == "unknown" and loss.tables == () and "it is gone" in loss.finding().msg


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("could not extend file: No space left on device", "disk_full"),
        ("server closed the connection unexpectedly", "server_gone"),
        ('role "x" does not exist', "role_missing"),
        ("permission denied for schema x", "insufficient_privilege"),
        ('could not set "default_tablespace" to "x": ERROR: invalid value', "tablespace_missing"),
        ('relation "x" already exists', "load_failed"),
    ],
)
def test_one_error_of_a_load_is_enough(message: str, code: str) -> None:
    failure = load_failure((LoadError("TABLE x", message), LoadError("", "more")), "shop_restored")
    assert failure.code == code and "and 1 more" in failure.message and len(failure.details["errors"]) == 2


# --- roles ------------------------------------------------------------------------------------------------------

GLOBALS = r'''
\restrict abc
CREATE ROLE app;
ALTER ROLE app WITH LOGIN PASSWORD 'SCRAM-SHA-256$4096:x;y';
CREATE ROLE "odd ""one""";
ALTER ROLE "odd ""one""" WITH NOLOGIN;
CREATE ROLE grandparent;
CREATE ROLE parent;
CREATE ROLE stranger;
ALTER ROLE app SET search_path TO 'x';
ALTER ROLE app IN DATABASE shop SET work_mem TO '1MB';
GRANT parent TO app WITH INHERIT TRUE GRANTED BY postgres;
GRANT grandparent TO parent GRANTED BY postgres;
GRANT app TO stranger GRANTED BY postgres;
\unrestrict abc
'''


def test_only_the_missing_roles_are_made_with_their_groups() -> None:
    found = [one.sql for one in role_statements(GLOBALS, ["app", 'odd "one"', "there"], ["there", "postgres"])]
    assert found == [
        "CREATE ROLE app",
        "ALTER ROLE app WITH LOGIN PASSWORD 'SCRAM-SHA-256$4096:x;y'",
        'CREATE ROLE "odd ""one"""',
        'ALTER ROLE "odd ""one""" WITH NOLOGIN',
        "CREATE ROLE grandparent",
        "CREATE ROLE parent",
        "ALTER ROLE app SET search_path TO 'x'",
        "GRANT parent TO app WITH INHERIT TRUE",
        "GRANT grandparent TO parent",
    ]


def test_roles_that_are_there_stay_as_they_are() -> None:
    assert role_statements(GLOBALS, ["app", "parent"], ["app", "parent", "grandparent"]) == ()
    assert role_statements("", ["app"], []) == ()
