from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core.sessions import CLIENT, NEEDS_STATS, NOT_TRACKED, Session, blocking_trees


def waiter(pid, *blockers, waiting=1.0, leader=None):
    return Session(pid, CLIENT, blockers=blockers, waiting=waiting, leader=leader)


def idle(pid):
    return Session(pid, CLIENT)


def blocked_by(trees):
    return {root: [blocked.session.pid for blocked in tree.blocked] for root, tree in trees.items()}


TREES = [
    ("nobody waits", [idle(1), idle(2)], {}),
    ("one waits", [idle(1), waiter(2, 1)], {1: [2]}),
    ("a chain has one root", [idle(1), waiter(2, 1, waiting=9), waiter(3, 2), waiter(4, 3)], {1: [2, 3, 4]}),
    ("two roots share a victim", [idle(1), idle(2), waiter(3, 1, 2)], {1: [3], 2: [3]}),
    ("the longest wait comes first", [idle(1), waiter(2, 1, waiting=1), waiter(3, 1, waiting=5)], {1: [3, 2]}),
    ("a deadlock has no root", [waiter(1, 2), waiter(2, 1)], {}),
    ("behind a deadlock there is no root", [waiter(1, 2), waiter(2, 1), waiter(3, 1)], {}),
    ("a prepared transaction is root 0", [waiter(1, 0)], {0: [1]}),
    ("a root that cannot be seen", [waiter(1, 77)], {77: [1]}),
    ("a worker counts as its leader", [idle(1), idle(2), waiter(3, 1, leader=2)], {1: [2]}),
    ("a leader and its worker wait once", [idle(1), idle(9), waiter(2, 1), waiter(3, 9, leader=2)], {1: [2], 9: [2]}),
    ("a worker that waits for its own leader", [idle(1), waiter(2, 1, leader=1)], {}),
]


@pytest.mark.parametrize(("sessions", "expected"), [case[1:] for case in TREES], ids=[case[0] for case in TREES])
def test_the_trees_of_who_waits_for_whom(sessions, expected):
    assert blocked_by(blocking_trees(tuple(sessions))) == expected


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(0, 12)), max_size=30))
def test_a_root_waits_for_nobody_and_a_victim_for_somebody(edges):
    blockers = {pid: tuple(b for p, b in edges if p == pid) for pid in range(1, 13)}
    sessions = tuple(Session(pid, CLIENT, blockers=behind, waiting=1.0) for pid, behind in blockers.items())
    waiting = {pid for pid, behind in blockers.items() if set(behind) - {pid}}
    for root, tree in blocking_trees(sessions).items():
        assert root not in waiting and tree.blocked
        reached = {blocked.session.pid for blocked in tree.blocked}
        assert reached <= waiting
        assert all(set(blocked.blockers) & (reached | {root}) for blocked in tree.blocked)


@pytest.mark.parametrize(
    ("session", "text"),
    [
        (Session(1, CLIENT, state="idle", query="SELECT 'x' -- y"), "SELECT ?"),
        (Session(1, CLIENT, state="idle", query="SELECT\x1b[31m \x00"), "SELECT\\x1b[31m \\x00"),
        (Session(1, CLIENT, state="idle"), ""),
        (Session(1, None), NEEDS_STATS),
        (Session(1, CLIENT, state="disabled", query=""), NOT_TRACKED),
    ],
)
def test_a_query_is_shown_without_literals_and_without_control_characters(session, text):
    assert session.shown_query() == text


def test_a_label_is_safe_to_print_and_says_what_kind_of_process_it_is():
    assert Session(1, CLIENT, role='a"\n', database="d", application="\x1b]0;x").label() == 'pid 1 a"\\n@d (\\x1b]0;x)'
    assert Session(2, "autovacuum worker", database="shop").label() == "pid 2 @shop (autovacuum worker)"
    assert Session(3, None).label() == "pid 3"
