from __future__ import annotations

import time
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core import log_groups
from plugins.module_utils._core.log_groups import Groups
from plugins.module_utils._core.log_levels import level_of_line, level_of_value
from plugins.module_utils._core.log_lines import Entry
from plugins.module_utils._core.log_patterns import (
    EXAMPLE_CHARACTERS,
    PATTERN_CHARACTERS,
    example_of,
    group_id,
    pattern_of,
)

AT = datetime(2026, 11, 21, 14, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("message", "pattern"),
    [
        ("2026-11-21 14:00:00.123 ERROR [worker-3] order 4711 failed", "ERROR [worker-<n>] order <n> failed"),
        ("[21/Nov/2026:14:00:00 +0000] order 1 failed", "order <n> failed"),
        ("Nov 21 14:00:00 db1 app[77]: refused", "db<n> app[<n>]: refused"),
        ("user 7f9c24e8-3b12-4fef-91e0-56ec1b5f2c3a gone", "user <uuid> gone"),
        ("no route to 10.0.0.7:5432, [::1]:6379 and 2001:db8::1", "no route to <ip>, [<ip>]:<n> and <ip>"),
        ("mail to ada.l+x@example.co.uk bounced", "mail to <mail> bounced"),
        ("no such user 'ada o''neill' at \"x y\"", "no such user <text> at <text>"),
        ("it can't be what it isn't", "it can't be what it isn't"),
        ("commit 9fceb02d0ae598e95dc970b74767f19372d61af8 at 0x7ffe12ab", "commit <hex> at <hex>"),
        ("deadbeef is a word, defaced too", "deadbeef is a word, defaced too"),
        ("session Zk9-abcDEF123456789012345678 expired", "session <id> expired"),
        ("GET /api/orders/4711/items/12 took 1.5 s, 99.9 %", "GET /api/orders/<n>/items/<n> took <n> s, <n> %"),
        ("\x1b[31mred\x1b[0m \x1b]0;title\x07alert", "red alert"),
        ("a\tb\r\n c", "a b c"),
    ],
)  # fmt: skip
def test_what_varies_is_masked(message: str, pattern: str) -> None:
    assert pattern_of(message) == pattern


@given(
    st.lists(st.sampled_from(["order", "%d", "failed:", "for user", "%s", "at", "/api/%d/x"]), min_size=1), st.data()
)
def test_messages_of_one_template_have_one_pattern(words: list[str], data: st.DataObject) -> None:
    template = " ".join(words).replace("%s", "'%s'")
    names = st.text("abcxyz é", max_size=20)

    def message() -> str:
        parts = template.split("%")
        filled = [parts[0]]
        for part in parts[1:]:
            value = data.draw(names) if part[0] == "s" else str(data.draw(st.integers(0, 10**12)))
            filled.append(value + part[1:])
        return "".join(filled)

    assert pattern_of(message()) == pattern_of(message())


@given(st.text(max_size=3000))
def test_any_text_becomes_one_short_printable_line(text: str) -> None:
    for made, limit in ((pattern_of(text), PATTERN_CHARACTERS), (example_of(text), EXAMPLE_CHARACTERS)):
        assert len(made) <= limit and made.isprintable()
    assert len(group_id("x", text)) == 12


@given(st.text(st.sampled_from("abc 0123456789.:-/'\"ef\x1b[m"), max_size=300))
def test_no_digit_of_a_number_is_left(text: str) -> None:
    assert not any(part.isdigit() for part in pattern_of(text).split())


@pytest.mark.parametrize(
    "text",
    ["a" * 60000, "1" * 60000, "a:" * 30000, "'" * 5000, '"' + "x" * 60000, "1.1." * 9000, "a@" * 9000, "a." * 9000,
     "-" * 60000, "\x1b[" * 9000, "\x1b]" * 9000, "0123:" * 9000, "aA1-" * 9000, "error " * 9000, "xerror" * 9000,
     "error=" * 9000, "no " * 9000, "_" * 60000, "eyJ" * 9000],
    ids=lambda text: repr(text[:6]),
)  # fmt: skip
def test_a_hostile_line_costs_no_time(text: str) -> None:
    started = time.process_time()
    pattern_of(text), example_of(text), level_of_line(text)
    assert time.process_time() - started < 0.5


def test_an_example_keeps_no_secret_and_no_address() -> None:
    jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcDEF"
    shown = example_of(
        f"login postgres://u:s3cret@h/d password=hunter2 Bearer {jwt} AKIAABCDEFGHIJKLMNOP ada@example.com\x1b[2J"
    )
    for secret in ("s3cret", "hunter2", jwt, "AKIAABCDEFGHIJKLMNOP", "ada@", "\x1b"):
        assert secret not in shown


# --- levels ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("2026-11-21 14:00:00,123 ERROR app: x", "error"),
        ("2026-11-21 14:00:00 INFO app: 3 ERROR rows", "info"),
        ("2026/11/21 14:00:00 [error] 7#7: *1 connect() failed", "error"),
        ("2026/11/21 14:00:00 [warn] 7#7: x", "warning"),
        ("2026-11-21 14:00:00.1 UTC [7] app@shop FATAL:  too many", "critical"),
        ("2026-11-21 14:00:00.1 UTC [7] STATEMENT:  SELECT error FROM x", "info"),
        ("2026-11-21 14:00:00.1 UTC [7] LOG:  could not receive data: error", "info"),
        ("time=x level=error msg=y", "error"),
        ('time=x level="warning" msg=y', "warning"),
        ("<11>Nov 21 14:00:00 db1 app: x", "error"),
        ("<14>Nov 21 14:00:00 db1 app: ERROR x", "info"),
        ("E1121 14:00:00.1 7 file.go:1] x", "error"),
        ("W1121 14:00:00.1 7 file.go:1] x", "warning"),
        ("error: cannot open", "error"),
        ("Nov 21 14:00:00 db1 app[7]: Unhandled rejection", "error"),
        ("TypeError: x is not a function", "error"),
        ("Traceback (most recent call last):", "error"),
        ("panic: runtime error", "critical"),
        ("done, 0 errors", None),
        ("no errors found", None),
        ("finished without error", None),
        ('{"error":null} is fine', None),
        ("errors=0 warnings=0", None),
        ("errors: 17 of 20", "error"),
        ("GET /error-pages/ERROR.html", None),
        ("all is well", None),
        ("", None),
    ],
)
def test_a_line_is_as_bad_as_its_level(line: str, level: str | None) -> None:
    assert level_of_line(line) == level


@pytest.mark.parametrize(
    ("value", "level"),
    [("error", "error"), ("FATAL", "critical"), (50, "error"), (60, "critical"), (40, "warning"), (30, "info"),
     (3, "error"), ("4", "warning"), (2, "critical"), ("", None), (None, None), (True, None), ({}, None),
     ("odd", None), ("²", None), (float("inf"), None), (float("nan"), None), ([50], None)],
)  # fmt: skip
def test_a_structured_level_is_read(value: object, level: str | None) -> None:
    assert level_of_value(value) == level


# --- groups ------------------------------------------------------------------------------------------------------


def test_groups_count_and_keep_the_first_and_the_last() -> None:
    groups = Groups("api")
    for minute in (5, 1, 9):
        groups.add(Entry("error", f"order {minute} failed", AT.replace(minute=minute)))
    groups.add(Entry("error", "something else", None))
    first, second = groups.all()
    assert (first.count, first.pattern, first.example) == (3, "order <n> failed", "order 5 failed")
    assert first.first == AT.replace(minute=1) and first.last == AT.replace(minute=9)
    assert second.first is None and first.id != second.id


def test_a_flood_of_kinds_stays_bounded_and_counted() -> None:
    known = group_id("api", "kind zzz")
    groups = Groups("api", [known])
    groups.add(Entry("error", "kind zzz", None))
    words = [f"{a}{b}{c}" for a in "abcdefghijklmnopqrst" for b in "abcdefghijklmnop" for c in "abcdefghijklmnop"]
    for word in words:
        groups.add(Entry("error", f"kind {word}", None))
    found = groups.all()
    assert len(found) <= log_groups.MOST_GROUPS and sum(group.count for group in found) + groups.other == len(words) + 1
    assert known in {group.id for group in found}


@given(st.lists(st.text("ab01234567890x:'. ", max_size=40), min_size=1, max_size=30))
def test_the_memory_of_patterns_changes_nothing(messages: list[str]) -> None:
    groups = Groups("api")
    for message in messages:
        groups.add(Entry("error", message, None))
    expected: dict[str, int] = {}
    for message in messages:
        expected[pattern_of(message)] = expected.get(pattern_of(message), 0) + 1
    assert {group.pattern: group.count for group in groups.all()} == expected
