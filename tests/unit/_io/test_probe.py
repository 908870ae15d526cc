"""Probes against real sockets: right answers, lies, and everything that hangs."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from plugins.module_utils._core.errors import CommandFailed, TimedOut
from plugins.module_utils._core.probe import CommandProbe, HttpProbe, Probe, SqlProbe, TcpProbe
from plugins.module_utils._io.postgres import Target
from plugins.module_utils._io.probe import ProbeFailure, run_probes
from tests.support.dialogue import Dialogue, Line
from tests.support.web import closed_port, drip, reply, serving

OK = "HTTP/1.1 200 OK\nContent-Length: 2\n\nok"
NO_COMMANDS = Dialogue([])


def ask(probe: Probe, seconds: float = 5.0) -> str | None:
    failure = run_probes([probe], NO_COMMANDS, seconds, time.monotonic)[0]
    return None if failure is None else failure.words


def http(port: int, **more: Any) -> HttpProbe:
    return HttpProbe("web", f"http://127.0.0.1:{port}/health?deep=1", more.pop("timeout", 5.0), **more)


def test_a_good_answer_passes_and_the_request_is_as_asked() -> None:
    with serving(reply(OK)) as (port, requests):
        probe = http(
            port, headers={"Host": "shop.example"}, secret_headers={"Authorization": "Bearer x"}, contains="ok"
        )
        assert ask(probe) is None
    lines = requests[0].decode().split("\r\n")
    assert lines[0] == "GET /health?deep=1 HTTP/1.1"
    assert "Host: shop.example" in lines and "Authorization: Bearer x" in lines
    assert sum(line.startswith("Host:") for line in lines) == 1


def test_a_head_request_needs_no_body() -> None:
    with serving(reply("HTTP/1.1 200 OK\nContent-Length: 500\n\n")) as (port, requests):
        assert ask(http(port, method="HEAD")) is None
    assert requests[0].startswith(b"HEAD ")


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        ("HTTP/1.1 503 Busy\nContent-Length: 0\n\n", "status 503, not 200"),
        ("HTTP/1.1 200 OK\nContent-Length: 50\n\nshort", "IncompleteRead"),
        ("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n5\nabcde", "IncompleteRead"),
        ("no http at all\n\n", "no http at all"),
        ("", "closed connection"),
    ],
)
def test_a_bad_answer_says_why(text: str, failure: str) -> None:
    with serving(reply(text)) as (port, _requests):
        assert failure in str(ask(http(port)))


@pytest.mark.parametrize(
    "answer",
    [
        drip("HTTP/1.1 200 OK\nContent-Length: 1000000\n\n", "x"),
        drip("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n", "1\r\nx\r\n"),
        drip("HTTP/1.1 200 OK\n", "X"),
        lambda connection, _request: connection.recv(1),
    ],
    ids=["slow body", "endless chunks", "slow headers", "silence"],
)
def test_an_answer_that_never_ends_fails_in_time(answer: Callable[[socket.socket, bytes], None]) -> None:
    with serving(answer) as (port, _requests):
        began = time.monotonic()
        failure = ask(http(port, timeout=0.4))
        assert time.monotonic() - began < 2
    assert failure and "no answer" in failure


def test_the_time_that_is_left_bounds_every_probe_together() -> None:
    with serving(lambda connection, _request: connection.recv(1)) as (port, _requests):
        began = time.monotonic()
        failures = run_probes([http(port)] * 8, NO_COMMANDS, 0.5, time.monotonic)
        assert time.monotonic() - began < 2  # one after the other they would take 4
    assert all(failure and failure.cut_short and "no answer" in failure.words for failure in failures)


def test_a_quick_answer_in_the_last_moment_is_one_all_the_same() -> None:
    with serving(reply("HTTP/1.1 503 Busy\nContent-Length: 0\n\n")) as (port, _requests):
        (failure,) = run_probes([http(port)], NO_COMMANDS, http(port).timeout - 0.1, time.monotonic)
    assert failure and "status 503" in failure.words and not failure.cut_short


def test_a_probe_that_had_all_of_its_time_was_not_cut_short() -> None:
    with serving(lambda connection, _request: connection.recv(1)) as (port, _requests):
        (failure,) = run_probes([http(port, timeout=0.2)], NO_COMMANDS, 5.0, time.monotonic)
    assert failure and "no answer" in failure.words and not failure.cut_short


def test_a_huge_body_is_cut_and_still_judged() -> None:
    with serving(reply("HTTP/1.1 200 OK\nContent-Length: 3000000\n\nready" + "x" * 2999995)) as (port, _requests):
        assert ask(http(port, contains="ready")) is None


def test_redirects_are_failures_unless_followed_and_secrets_stay_at_home() -> None:
    with serving(reply(OK)) as (other_port, other_requests):
        moved = f"HTTP/1.1 302 Found\nLocation: http://127.0.0.1:{other_port}/new\nContent-Length: 0\n\n"
        with serving(reply(moved)) as (port, _requests):
            assert "status 302" in str(ask(http(port)))
            secrets = {"Authorization": "Bearer x"}
            assert ask(http(port, follow_redirects=True, secret_headers=secrets, headers={"X-Plain": "1"})) is None
    assert b"Authorization" not in other_requests[0] and b"X-Plain: 1" in other_requests[0]


@pytest.mark.parametrize(
    ("location", "failure"), [("/again", "more than 5 redirects"), ("file:///etc/passwd", "url must be an http")]
)
def test_a_redirect_never_leads_astray(location: str, failure: str) -> None:
    with serving(reply(f"HTTP/1.1 301 Moved\nLocation: {location}\nContent-Length: 0\n\n")) as (port, _requests):
        assert failure in str(ask(http(port, follow_redirects=True)))


def test_a_certificate_that_nobody_vouches_for_is_a_failure() -> None:
    with serving(reply(OK)) as (port, _requests):
        probe = HttpProbe("web", f"https://127.0.0.1:{port}/", 2.0)
        assert ask(probe) is not None


def test_a_port_is_open_or_not() -> None:
    with serving(reply("")) as (port, _requests):
        assert ask(TcpProbe("tcp", "127.0.0.1", port, 2.0)) is None
    assert ask(TcpProbe("tcp", "127.0.0.1", closed_port(), 2.0)) == "Connection refused"


def test_a_server_that_accepts_and_says_nothing_ends_an_sql_probe_in_time() -> None:
    with serving(lambda connection, _request: connection.recv(1)) as (port, _requests):
        target = Target({"host": "127.0.0.1", "port": port, "dbname": "x", "user": "x"}, "test")
        began = time.monotonic()
        assert "no answer" in str(ask(SqlProbe("sql", target, "SELECT 1", None, 0.3)))
        assert time.monotonic() - began < 1.5


@pytest.mark.parametrize(
    ("line", "failure"),
    [
        (Line(["check"]), None),
        (Line(["check"], rc=2, stderr="a\nb\nc\n"), "exit status 2: b / c"),
        (Line(["check"], rc=1, stdout="password=x\n"), "exit status 1: password=********"),
        (Line(["check"], raises=CommandFailed("run check: check is not there")), "run check: check is not there"),
        (Line(["check"], raises=TimedOut("run check: no end")), "run check: no end"),
    ],
)
def test_a_command_passes_with_zero(line: Line, failure: str | None) -> None:
    assert run_probes([CommandProbe("c", ("check",), 1.0)], Dialogue([line]), 5.0, time.monotonic) == (
        None if failure is None else ProbeFailure(failure),
    )


def test_a_bug_in_a_probe_is_not_taken_for_a_bad_service() -> None:
    with pytest.raises(AssertionError, match="a call too many"):
        run_probes([CommandProbe("c", ("check",), 1.0)], Dialogue([]), 5.0, time.monotonic)
