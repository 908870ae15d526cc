"""Which answers are good, and which probes are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from plugins.module_utils._core.errors import InvalidValue
from plugins.module_utils._core.probe import (
    Answer,
    CommandProbe,
    HttpProbe,
    SqlProbe,
    TcpProbe,
    check_headers,
    check_http,
    describe,
    judge_http,
    judge_value,
)

URL = "http://127.0.0.1:3000/health"


def http(**more: Any) -> HttpProbe:
    return HttpProbe("web", more.pop("url", URL), 5.0, **more)


def body(value: Any) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("probe", "answer", "failure"),
    [
        (http(), Answer(200), None),
        (http(), Answer(503), "status 503, not 200"),
        (http(statuses=(200, 204)), Answer(204), None),
        (http(statuses=(200, 204)), Answer(500), "status 500, not 200 or 204"),
        (http(), Answer(302, b"", "http://other/"), "status 302, not 200, to http://other/"),
        (http(contains="ready"), Answer(200, b"all ready"), None),
        (http(contains="ready"), Answer(200, b"all dead"), "status 200, but the body does not contain 'ready'"),
        (http(contains="grün"), Answer(200, "grün".encode()), None),
        (http(contains="x"), Answer(200, b"\xff\xfe"), "status 200, but the body does not contain 'x'"),
        (http(equals={"version": "2.0"}), Answer(200, body({"version": "2.0"})), None),
        (http(equals={"version": "2.0"}), Answer(200, body({"version": "1.9"})), 'version is "1.9", not "2.0"'),
        (http(equals={"db.0.ok": True}), Answer(200, body({"db": [{"ok": True}]})), None),
        (http(equals={"db.1.ok": True}), Answer(200, body({"db": [{"ok": True}]})), "the body has no db.1.ok"),
        (http(equals={"ok": True}), Answer(200, body({"ok": 1})), "ok is 1, not true"),
        (http(equals={"ok": 1}), Answer(200, body({"ok": True})), "ok is true, not 1"),
        (http(equals={"n": 1}), Answer(200, body({"n": 1.0})), None),
        (http(equals={"a": None}), Answer(200, body({"a": None})), None),
        (http(equals={"a": None}), Answer(200, body({})), "the body has no a"),
        (http(equals={"a": 1, "b": 2}), Answer(200, body({"a": 0, "b": 0})), "a is 0, not 1; b is 0, not 2"),
        (http(equals={"a": 1}), Answer(200, b"<html>"), "status 200, but the body is no JSON"),
        (http(equals={"v": "1"}), Answer(200, body({"v": "\x1b[2J"})), 'v is "\\u001b[2J", not "1"'),
    ],
)
def test_an_answer_is_judged_by_status_and_body(probe: HttpProbe, answer: Answer, failure: str | None) -> None:
    assert judge_http(probe, answer) == failure


@pytest.mark.parametrize(
    "probe",
    [
        *(http(url=url) for url in ("", "/health", "ftp://h/", "file:///etc/passwd", "http://", "http://h:99999/")),
        *(http(url=url) for url in ("http://user:pw@h/", "http://h/a b", "http://h/\nX: y", "http://[::1/")),
        http(method="HEAD", contains="x"),
        http(method="HEAD", equals={"a": 1}),
    ],
)
def test_what_cannot_work_or_shows_a_secret_is_refused(probe: HttpProbe) -> None:
    with pytest.raises(InvalidValue) as refused:
        check_http(probe)
    assert "pw" not in refused.value.message


@pytest.mark.parametrize("url", [URL, "https://shop.example/", "http://[::1]:80/x?y=1", "http://h"])
def test_usual_addresses_are_taken(url: str) -> None:
    assert check_http(http(url=url)).url == url


@pytest.mark.parametrize("name", ["Authorization", "cookie", "X-Api-Key", "X-Auth-Token", "client-secret"])
def test_a_secret_among_the_plain_headers_is_refused(name: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        check_headers({"Host": "shop.example", name: "hunter2"})
    assert "hunter2" not in refused.value.message


@pytest.mark.parametrize(
    ("value", "expect", "failure"),
    [
        (1, None, None),
        (None, None, None),
        (1, "1", None),
        ("a", "a", None),
        (True, "true", None),
        (True, "True", None),
        (False, "true", "the value is false, not true"),
        (None, "1", "the value is None, not 1"),
        ("x" * 200, "1", f"the value is {'x' * 79}…, not 1"),
    ],
)
def test_a_value_is_compared_as_text(value: Any, expect: str | None, failure: str | None) -> None:
    assert judge_value(value, expect) == failure


@pytest.mark.parametrize(
    ("probe", "words"),
    [
        (http(url="http://h/x?token=abc"), "GET http://h/x?token=********"),
        (http(method="HEAD"), f"HEAD {URL}"),
        (TcpProbe("t", "db", 5432, 1), "connect db:5432"),
        (SqlProbe("s", object(), "SELECT 1", None, 1), "sql SELECT 1"),
        (CommandProbe("c", ("redis-cli", "--password=x", "ping"), 1), "redis-cli --password=******** ping"),
    ],
)
def test_a_probe_is_shown_without_secrets(probe: Any, words: str) -> None:
    assert describe(probe) == words
    assert "s3cret" not in repr(http(secret_headers={"Authorization": "s3cret"}))
