"""Slow-query logging: the note in a comment, and what is decided from it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core.errors import PreconditionFailed
from plugins.module_utils._core.slow_log import Marker, read_markers, with_marker, without_marker
from plugins.module_utils._core.slow_log_decide import Facts, Noted, Place, Wish, decide

NOW = 1_000_000.0
MARKER = Marker("server", "", 250, None, NOW - 60, NOW + 840, "token")
SERVER = Place("server")
WISH = Wish(True, SERVER)
OFF = Facts(NOW, "shop", None, -1)


def on(marker: Marker = MARKER, stored: str | None = "250", database: str = "shop") -> Facts:
    return Facts(NOW, "shop", stored, -1, (Noted(marker, database, stored),))


def late(marker: Marker = MARKER) -> Marker:
    return replace(marker, until=NOW - 1)


# --- the note -----------------------------------------------------------------------------------------------------

comments = st.one_of(st.none(), st.text(min_size=1).filter(lambda text: not read_markers(text)))
markers = st.builds(
    Marker,
    scope=st.sampled_from(["server", "database", "role"]),
    name=st.text(),
    threshold=st.integers(0, 10**6),
    previous=st.one_of(st.none(), st.text()),
    since=st.floats(0, 4e9),
    until=st.floats(0, 4e9),
    token=st.text(),
)


@given(comments, markers)
def test_a_note_is_read_back_and_leaves_the_comment_as_it_was(comment: str | None, marker: Marker) -> None:
    noted = with_marker(comment, marker)
    assert read_markers(noted) == (marker,) and "\n" not in noted[len(comment or "") + 1 :]
    assert without_marker(noted, marker.scope, marker.name) == comment
    assert without_marker(noted, marker.scope, marker.name + "x") == noted


@given(comments, markers, markers)
def test_a_second_note_of_the_same_place_takes_the_first_one_s_place(
    comment: str | None, first: Marker, second: Marker
) -> None:
    second = replace(second, scope=first.scope, name=first.name)
    assert with_marker(with_marker(comment, first), second) == with_marker(comment, second)
    other = replace(second, name=first.name + "x")
    both = with_marker(with_marker(comment, first), other)
    assert set(read_markers(both)) == {first, other}
    assert without_marker(both, first.scope, first.name) == with_marker(comment, other)


@pytest.mark.parametrize(
    "text",
    [
        "[oncall.runbooks slow_log {}]",
        "[oncall.runbooks slow_log {not json}]",
        '[oncall.runbooks slow_log {"scope": "everything"}]',
        '[oncall.runbooks slow_log {"scope": "server", "name": "", "threshold": "x"}]',
        "[oncall.runbooks slow_log []]",
        "[oncall.runbooks slow_log",
    ],
)
def test_a_broken_note_is_left_alone(text: str) -> None:
    assert read_markers(text) == () and without_marker(text, "server", "") == text


# --- the decision -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "wish", "plan"),
    [
        (OFF, WISH, ["turn_on:server"]),
        (replace(OFF, effective=5000), WISH, ["turn_on:server"]),
        (replace(OFF, effective=250), WISH, []),
        (replace(OFF, effective=0), WISH, []),
        (OFF, replace(WISH, place=Place("role", "app")), ["turn_on:role:app"]),
        (on(), WISH, []),
        (on(), replace(WISH, extend=True), ["turn_on:server"]),
        (on(), replace(WISH, extend=True, seconds=60), []),
        (on(), replace(WISH, extend=True, seconds=60, threshold=1), ["turn_on:server"]),
        (on(late()), WISH, ["turn_on:server"]),
        (on(stored="9000"), WISH, ["turn_on:server"]),
        (on(late()), replace(WISH, place=Place("role", "app")), ["turn_off:server", "turn_on:role:app"]),
        (on(), replace(WISH, place=Place("role", "app")), ["turn_on:role:app"]),
        (on(), Wish(False, None), ["turn_off:server"]),
        (on(), Wish(False, SERVER), ["turn_off:server"]),
        (on(), Wish(False, Place("role", "app")), []),
        (on(late()), Wish(False, Place("role", "app")), ["turn_off:server"]),
        (on(stored="9000"), Wish(False, None), ["forget:server"]),
        (on(stored=None), Wish(False, None), ["forget:server"]),
        (OFF, Wish(False, None), []),
    ],
)
def test_what_is_done(facts: Facts, wish: Wish, plan: list[str]) -> None:
    decision = decide(facts, wish)
    assert [action.id for action in decision.plan] == plan
    assert decision.extra["logging"] == bool(decision.after["on"])
    assert (decision.before == decision.after) == (not plan or (plan == ["turn_on:server"] and bool(facts.noted)))


def test_another_threshold_is_refused_while_it_is_on() -> None:
    with pytest.raises(PreconditionFailed) as refused:
        decide(on(), replace(WISH, threshold=1000))
    assert refused.value.code == "already_on" and "1970-01-12" in refused.value.message


@pytest.mark.parametrize(
    ("previous", "command"),
    [
        (None, "ALTER SYSTEM RESET log_min_duration_statement"),
        ("7s", "ALTER SYSTEM SET log_min_duration_statement = '7s'"),
    ],
)
def test_what_was_there_before_is_put_back(previous: str | None, command: str) -> None:
    (action,) = decide(on(replace(MARKER, previous=previous)), Wish(False, None)).plan
    assert action.command == command


def test_who_has_a_setting_of_its_own_and_who_is_connected_is_told() -> None:
    whole = decide(replace(OFF, overrides=("role app",)), WISH).findings
    assert [(one.check, one.status) for one in whole] == [("overridden", "warning")] and "role app" in whole[0].msg
    some = decide(replace(OFF, sessions=3), replace(WISH, place=Place("role", "app"))).findings
    assert [(one.check, one.status, one.value) for one in some] == [("open_sessions", "warning", 3)]
