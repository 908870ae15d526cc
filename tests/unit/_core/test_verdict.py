"""One line out of many readings."""

from __future__ import annotations

import itertools

import pytest

from plugins.module_utils._core.result import Finding
from plugins.module_utils._core.verdict import headline

SLOT = Finding("slot", "critical", "slot old_dr holds back 48 GB of WAL")
FULL = Finding("connections", "critical", "97 of 100 connections used")
POOL = Finding("pool", "warning", "91 % of the pool used")
LOCKS = Finding("locks", "warning", "1 session waits for a lock")
BLIND = Finding("slow", "unknown", "pg_stat_statements is missing")
FINE = Finding("xid", "ok", "xid age 10 %")


@pytest.mark.parametrize(
    ("findings", "line"),
    [
        ((), "nothing was looked at"),
        ((FINE,), "the one check is ok"),
        ((FINE,) * 27, "all 27 checks ok"),
        ((FINE, POOL, SLOT, FULL), f"2 critical: {SLOT.msg}; {FULL.msg}; and 1 warning"),
        ((BLIND, LOCKS, POOL), f"2 warnings: {LOCKS.msg}; {POOL.msg}; and 1 unknown"),
        ((FINE, BLIND), f"1 unknown: {BLIND.msg}"),
        ((SLOT, POOL, LOCKS, BLIND, BLIND), f"1 critical: {SLOT.msg}; and 2 warnings, 2 unknown"),
        ((SLOT,) * 5, f"5 critical: {SLOT.msg}; {SLOT.msg}; {SLOT.msg}; 2 more"),
    ],
)
def test_the_worst_is_in_words_and_the_others_are_counted(findings: tuple[Finding, ...], line: str) -> None:
    assert headline(findings) == line


def test_it_takes_an_iterator_and_the_order_of_the_verdicts_does_not_matter() -> None:
    lines = {headline(iter(order)) for order in itertools.permutations((SLOT, POOL, BLIND, FINE))}
    assert lines == {f"1 critical: {SLOT.msg}; and 1 warning, 1 unknown"}
