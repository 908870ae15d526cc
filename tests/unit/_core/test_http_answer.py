"""Which answers are good; the judging of service gates is in test_probe.py."""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core.errors import InvalidValue
from plugins.module_utils._core.http_answer import (
    OPERATORS,
    Answer,
    Assertion,
    Expectation,
    decode_body,
    judge,
    parse_assertion,
    parse_statuses,
)


def said(value: Any, path: str, op: str, wanted: Any = None) -> str | None:
    return judge(Expectation(assertions=(parse_assertion(path, op, wanted),)), Answer(200, json.dumps(value).encode()))


@pytest.mark.parametrize(
    ("op", "wanted", "good", "bad"),
    [
        ("eq", 1, 1, True),
        ("eq", "1", "1", 1),
        ("eq", None, None, 0),
        ("ne", "down", "up", "down"),
        ("lt", 10, 9.5, 10),
        ("le", 10, 10, 11),
        ("gt", "2026-09-18", "2026-09-19", "2026-09-17"),
        ("ge", 10, 10, "11"),
        ("gt", 0, 1, True),
        ("contains", "b", ["a", "b"], ["a"]),
        ("contains", "b", "abc", "ac"),
        ("contains", "b", {"b": 1}, 5),
        ("in", [1, "x"], "x", True),
    ],
)
def test_operators(op: str, wanted: Any, good: Any, bad: Any) -> None:
    assert said({"a": good}, "a", op, wanted) is None
    words = said({"a": bad}, "a", op, wanted)
    assert words is not None and words.startswith(f"a is {json.dumps(bad)}, ")
    assert said({}, "a", op, wanted) == "the body has no a"


def test_what_is_there_and_what_is_not() -> None:
    assert said({"a": None}, "a", "exists") is None and said({}, "a", "missing") is None
    assert said({"a": None}, "a", "missing") == "the body has a"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=6,
    ),
    st.sampled_from(OPERATORS),
    st.none() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=3),
    st.text(max_size=8),
)
def test_no_body_breaks_the_judge(value: Any, op: str, wanted: Any, path: str) -> None:
    try:
        assertion = parse_assertion(path, op, wanted)
    except InvalidValue:
        return
    words = judge(Expectation(assertions=(assertion,)), Answer(200, json.dumps({"a": value}).encode()))
    assert words is None or words.isprintable()


@pytest.mark.parametrize("body", [b"[" * 300_000, b"{", b"\xff\xfe", b"", b"1" * 9999])
def test_a_body_that_is_no_json_is_bad_and_no_error(body: bytes) -> None:
    expected = Expectation(assertions=(Assertion("a", "exists"),))
    assert judge(expected, Answer(200, body)) in ("status 200, but the body is no JSON", "the body has no a")
    cut = judge(expected, Answer(200, b"[", is_cut=True))
    assert cut == "status 200, but the body is no JSON, as far as it was read"


def test_status_ranges_include_their_ends() -> None:
    expected = Expectation(statuses=parse_statuses(["204-206", "3XX"], "status"))
    judged = [judge(expected, Answer(code)) is None for code in (203, 204, 206, 207, 299, 300, 399, 400)]
    assert judged == [False, True, True, False, False, True, True, False]


@pytest.mark.parametrize("text", ["", "99", "600", "2x", "200-", "300-200", "200 300", "-200"])
def test_what_is_no_status_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="status"):
        parse_statuses([text], "status")


def test_encodings_are_undone_within_bounds() -> None:
    text = b"well" * 10
    raw = zlib.compressobj(wbits=-15)
    packed = raw.compress(text) + raw.flush()
    assert decode_body(zlib.compress(text), "deflate", 100) == decode_body(packed, "deflate", 100) == text
    assert decode_body(text, "", 5) == text  # it was bounded when it was read
    bomb = zlib.compress(b"0" * 10_000_000)
    assert len(decode_body(bomb, " DEFLATE ", 1000)) == 1000
    assert decode_body(bomb[:50], "deflate", 1000).strip(b"0") == b""  # cut short: as far as it goes
    with pytest.raises(ValueError, match="which was not asked for"):
        decode_body(b"x", "br\x1b[31m", 100)


@pytest.mark.parametrize("charset", ["no-such-charset", "hex", "undefined", "idna", "\x00"])
def test_a_charset_that_is_none_is_read_as_utf8(charset: str) -> None:
    answer = Answer(200, "grün".encode(), headers={"content-type": f"text/html; charset={charset}"})
    assert judge(Expectation(contains=("grün",)), answer) is None
