# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Carry out probes; whatever hangs on the other side, each one ends in time."""

from __future__ import annotations

import http.client
import math
import socket
import ssl
from dataclasses import dataclass, replace
from functools import partial
from typing import Callable, Mapping, Optional, Sequence
from urllib.parse import SplitResult, urljoin, urlsplit

from .._core.errors import OpsError, TimedOut
from .._core.http_answer import MOVED, Answer
from .._core.probe import (
    CommandProbe,
    HttpProbe,
    Probe,
    SqlProbe,
    TcpProbe,
    check_http,
    judge_http,
    judge_value,
)
from .._core.redact import printable, redact_text
from .background import Background
from .command import CommandRunner
from .network import origin_of, words_of
from .postgres import connect

_BODY_LIMIT = 1024 * 1024  # bytes
_REDIRECTS = 5
_NEARLY = 0.9  # servers count their own time-outs in whole milliseconds


@dataclass(frozen=True)
class ProbeFailure:
    """Why a probe failed. ``cut_short``: it had less time than it asks for and used it up, which tells nothing."""

    words: str
    cut_short: bool = False


def run_probes(
    probes: Sequence[Probe], commands: CommandRunner, seconds: float, monotonic: Callable[[], float]
) -> tuple[Optional[ProbeFailure], ...]:
    """Carry out all probes at once and return why each failed, or None; all together take no longer than ``seconds``.

    Each runs in a thread of its own that is given up when its time is over: name resolution and a server that was
    stopped know no time-out.
    """
    began = monotonic()
    asked = [_Asked(probe, commands, min(probe.timeout, seconds), monotonic) for probe in probes]
    return tuple(one.answer(monotonic() - began) for one in asked)


class _Asked:
    """One probe that is being carried out."""

    def __init__(self, probe: Probe, commands: CommandRunner, limit: float, monotonic: Callable[[], float]) -> None:
        self._limit, self._hurried = limit, limit < probe.timeout
        self._monotonic = monotonic
        self._work = Background(partial(self._ask, probe, commands))

    def answer(self, waited: float) -> Optional[ProbeFailure]:
        """Return why it failed, or None; ``waited`` seconds of its time are over."""
        try:
            return self._work.result(self._limit - waited)
        except TimedOut:
            return ProbeFailure(f"no answer within {self._limit:.1f} s", self._hurried)

    def _ask(self, probe: Probe, commands: CommandRunner) -> Optional[ProbeFailure]:
        began = self._monotonic()
        try:
            words = _ask(probe, commands, self._limit)
        except (OpsError, OSError, http.client.HTTPException, ValueError) as error:
            words = words_of(error)
        if words is None:
            return None
        used_up = self._monotonic() - began >= _NEARLY * self._limit
        return ProbeFailure(words, self._hurried and used_up)


def _ask(probe: Probe, commands: CommandRunner, seconds: float) -> Optional[str]:
    if isinstance(probe, HttpProbe):
        return _ask_http(probe, seconds)
    if isinstance(probe, TcpProbe):
        with socket.create_connection((probe.host, probe.port), timeout=seconds):
            return None
    if isinstance(probe, SqlProbe):
        return _ask_sql(probe, seconds)
    return _ask_command(probe, commands, seconds)


def _ask_command(probe: CommandProbe, commands: CommandRunner, seconds: float) -> Optional[str]:
    done = commands.run(probe.argv, timeout=seconds, check=False)
    if done.rc == 0:
        return None
    last = " / ".join((done.stderr or done.stdout).strip().splitlines()[-2:])
    return f"exit status {done.rc}: {redact_text(printable(last, 200))}"


def _ask_sql(probe: SqlProbe, seconds: float) -> Optional[str]:
    """Ask for the first value in a session that can only read."""
    parameters = {"connect_timeout": max(2, math.ceil(seconds)), **probe.target.parameters}  # libpq's least is 2 s
    target = replace(probe.target, parameters=parameters, statement_timeout=seconds)
    with connect(target) as database:
        database.execute("SELECT pg_catalog.set_config('default_transaction_read_only', 'on', false)")
        rows = database.fetch(probe.query)
    if not rows:
        return "the query returned no row"
    return judge_value(next(iter(rows[0].values()), None), probe.expect)


def _ask_http(probe: HttpProbe, seconds: float) -> Optional[str]:
    """Ask, and follow redirects if wanted; secrets never go to another origin."""
    url, headers = probe.url, {**probe.headers, **probe.secret_headers}
    for _hop in range(_REDIRECTS + 1):
        answer = _request(probe, urlsplit(url), headers, seconds)
        if not (probe.follow_redirects and answer.status in MOVED and answer.location):
            return judge_http(probe, answer)
        moved = check_http(replace(probe, url=urljoin(url, answer.location))).url
        if origin_of(moved) != origin_of(url):
            headers = {name: value for name, value in probe.headers.items() if name.lower() != "host"}
        url = moved
    return f"more than {_REDIRECTS} redirects"


def _request(probe: HttpProbe, url: SplitResult, headers: Mapping[str, str], seconds: float) -> Answer:
    connection = _connection(probe, url, seconds)
    try:
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        sent = {"User-Agent": "oncall.runbooks", "Connection": "close", **headers}
        connection.request(probe.method, path, headers=sent)
        response = connection.getresponse()
        return Answer(response.status, _body(response), response.getheader("Location") or "")
    finally:
        connection.close()


def _connection(probe: HttpProbe, url: SplitResult, seconds: float) -> http.client.HTTPConnection:
    host = url.hostname or ""
    if url.scheme == "http":
        return http.client.HTTPConnection(host, url.port, timeout=seconds)
    context = ssl.create_default_context(cafile=probe.ca_cert)
    if not probe.validate_certs:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(host, url.port, timeout=seconds, context=context)


def _body(response: http.client.HTTPResponse) -> bytes:
    """Read to the end: an answer that never ends is no good answer. What is beyond 1 MiB is not looked at."""
    body = b""
    while len(body) < _BODY_LIMIT:
        piece = response.read1(65536)
        if not piece:
            if response.length:
                raise http.client.IncompleteRead(body, response.length)
            break
        body += piece
    return body
