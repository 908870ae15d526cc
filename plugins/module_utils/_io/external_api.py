# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Ask external APIs: never faster than they allow, never before they want to be asked again."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Optional, Sequence, Union
from urllib.parse import quote, urlencode

from .._core.breaker import OPEN, at, record
from .._core.endpoint import HttpRequest, basic
from .._core.errors import OpsError, TimedOut
from .._core.external_api import Api, ApiReading, Call, Memory, OAuth, permit
from .._core.http_answer import Answer, judge
from .._core.limits import Limit
from .._core.number import number_of
from .._core.quota import Quota, read_quota, retry_at, spacing
from .._core.redact import printable, redact_text
from .._core.result import CRITICAL
from .background import Background
from .clock import Clock
from .http_client import HttpClient
from .network import NoAnswer

_GRACE = 1.0  # seconds beyond the limit for requests to notice that their time is over
_TOKEN_MARGIN = 10.0  # seconds before its end at which a token is not used any more
_LIMITED = 429


class _NoToken(Exception):
    """No token was given; ``until`` is the Retry-After of the answer, if it was refused for its rate."""

    def __init__(self, words: str, answer: Optional[Answer] = None) -> None:
        super().__init__(words)
        self.words, self.answer = words, answer


@dataclass(frozen=True)
class _Token:
    text: str
    end: float  # by the monotonic clock


def ask_all(
    apis: Sequence[Api], memories: Sequence[Memory], client: Union[HttpClient, OpsError], clock: Clock, seconds: float
) -> tuple[ApiReading, ...]:
    """Ask all APIs, each in a thread of its own, and return what was seen within the time."""
    end = clock.monotonic() + seconds
    callers = [_Caller(api, memory, client, clock, end) for api, memory in zip(apis, memories)]
    started = [Background(caller.run) for caller in callers]
    readings = []
    for caller, work in zip(callers, started):
        try:
            readings.append(work.result(end + _GRACE - clock.monotonic()))
        except TimedOut:
            readings.append(caller.reading)  # all that it had seen: what it remembers must not be lost
    return tuple(readings)


class _Caller:
    """Asks one API; ``reading`` is always what is true so far."""

    def __init__(self, api: Api, memory: Memory, client: Union[HttpClient, OpsError], clock: Clock, end: float) -> None:
        self.reading = ApiReading(api, memory)
        self._api, self._client, self._clock, self._end = api, client, clock, end
        self._token: Optional[_Token] = None

    def run(self) -> ApiReading:
        """Send what may be sent."""
        now, memory = self._clock.now(), self.reading.memory
        permission = permit(self._api, memory, now)
        self.reading = replace(self.reading, reason=permission.reason, withheld=permission.words)
        blocked = self._blocked()
        if blocked:
            self.reading = replace(self.reading, blocked=blocked)
        elif permission.requests:
            self._remember(replace(memory, breaker=at(memory.breaker, self._api.policy, now), retry_at=None))
            self._send(permission.requests)
        return self.reading

    def _blocked(self) -> str:
        if isinstance(self._client, OpsError):
            return f"{self._client.message}: {self._client.hint}" if self._client.hint else self._client.message
        try:
            self._client.prepare(self._api.request)
        except OpsError as error:
            return error.message
        return ""

    def _send(self, number: int) -> None:
        pause = spacing(self._api.rates)
        for count in range(number):
            if count:
                if pause >= self._left():
                    self._withhold(f"{count} of {number} requests: the time was over")
                    return
                self._clock.sleep(pause)
            if self._left() <= 0 or not self._call():
                return

    def _call(self) -> bool:
        """Send one request; tell whether another one may follow."""
        if not isinstance(self._client, HttpClient):
            raise AssertionError("without a client nothing is asked, see _blocked")
        began = self._clock.monotonic()
        try:
            request = self._authorized()
        except _NoToken as failed:
            return self._without_token(failed)
        self._remember(replace(self.reading.memory, sent=(*self.reading.memory.sent, self._clock.now())))
        try:
            done = self._client.ask(request, min(self._api.timeout, self._left()))
        except NoAnswer as error:
            self._note(Call(self._clock.monotonic() - began, self._hidden(error.message), answered=False))
            return self._judge(succeeded=False)
        return self._take(done.answer, done.seconds)

    def _take(self, answer: Answer, seconds: float) -> bool:
        now = self._clock.now()
        quota = read_quota(answer.headers, self._api.quota_names, self._api.rates, now)
        if quota != Quota():
            self.reading = replace(self.reading, quota=quota)
        wait = answer.headers.get("retry-after", "")
        failure = judge(self._api.expected, answer)
        limited = answer.status == _LIMITED and failure is not None
        self._note(Call(seconds, self._hidden(failure) if failure else None, limited=limited))
        if limited or (answer.status == 503 and wait):
            self._keep_quiet(wait, quota)
        if limited:
            return False
        return self._judge(succeeded=failure is None) and not self._is_scarce(quota)

    def _keep_quiet(self, wait: str, quota: Quota) -> None:
        now, otherwise = self._clock.now(), self._api.policy.cooldown
        if not wait and quota.reset_at is not None and quota.reset_at > now:
            otherwise = (quota.reset_at - now).total_seconds()
        until = retry_at(wait, now, otherwise, self._api.retry_most)
        self._remember(replace(self.reading.memory, retry_at=until))

    def _judge(self, succeeded: bool) -> bool:
        memory = self.reading.memory
        breaker = record(memory.breaker, self._api.policy, succeeded, self._clock.now())
        self._remember(replace(memory, breaker=breaker))
        return breaker.state != OPEN and self.reading.memory.retry_at is None

    def _is_scarce(self, quota: Quota) -> bool:
        limit = self._api.limits.get("api_quota_left") or Limit()
        scarce = quota.left_percent is not None and limit.judge(quota.left_percent) == CRITICAL
        if scarce:
            self._withhold("no more requests: too little of the quota is left")
        return scarce

    def _without_token(self, failed: _NoToken) -> bool:
        self.reading = replace(self.reading, token_failure=self._hidden(failed.words))
        if failed.answer is not None and failed.answer.status in (_LIMITED, 503):
            wait = failed.answer.headers.get("retry-after", "")
            if wait or failed.answer.status == _LIMITED:
                self._keep_quiet(wait, Quota())
        if failed.answer is None or failed.answer.status != _LIMITED:
            self._judge(succeeded=False)
        return False

    def _authorized(self) -> HttpRequest:
        """Return the request, with a token if one is needed."""
        oauth, request = self._api.oauth, self._api.request
        if oauth is None:
            return request
        if self._token is None or self._clock.monotonic() >= self._token.end:
            self._token = self._fetch_token(oauth)
        secret = {**request.secret_headers, "Authorization": f"Bearer {self._token.text}"}
        return replace(request, secret_headers=secret)

    def _fetch_token(self, oauth: OAuth) -> _Token:
        if not isinstance(self._client, HttpClient):
            raise AssertionError("without a client nothing is asked, see _blocked")
        began = self._clock.monotonic()
        try:
            done = self._client.ask(token_request(oauth, self._api.request), min(self._api.timeout, self._left()))
        except NoAnswer as error:
            raise _NoToken(error.message) from error
        return read_token(done.answer, began)

    def _hidden(self, words: str) -> str:
        return redact_text(words, () if self._token is None else (self._token.text,))

    def _note(self, call: Call) -> None:
        self.reading = replace(self.reading, calls=(*self.reading.calls, call))

    def _remember(self, memory: Memory) -> None:
        self.reading = replace(self.reading, memory=memory)

    def _withhold(self, words: str) -> None:
        self.reading = replace(self.reading, withheld=words)

    def _left(self) -> float:
        return self._end - self._clock.monotonic()


def token_request(oauth: OAuth, request: HttpRequest) -> HttpRequest:
    """Return the request for a token (RFC 6749, 2.3.1 and 4.4.2), over the same way as the API's own requests."""
    form = {"grant_type": "client_credentials", **({"scope": oauth.scope} if oauth.scope else {})}
    secret = {}
    if oauth.in_body:
        form.update(client_id=oauth.client_id, client_secret=oauth.client_secret)
    else:
        secret["Authorization"] = basic(quote(oauth.client_id, safe=""), quote(oauth.client_secret, safe=""))
    return HttpRequest(
        url=oauth.token_url,
        method="POST",
        headers={"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"},
        secret_headers=secret,
        body=urlencode(form).encode(),
        validate_certs=request.validate_certs,
        ca_cert=request.ca_cert,
        resolve=request.resolve,
        use_proxy=request.use_proxy,
    )


def read_token(answer: Answer, began: float) -> _Token:
    """Return the token of an answer; it is used until shortly before its end.

    Raises:
        _NoToken: there is none in it.
    """
    try:
        body = json.loads(answer.body)
    except (ValueError, RecursionError):
        body = None
    given = body if isinstance(body, dict) else {}
    if answer.status != 200:
        code = given.get("error")
        reason = f" ({printable(code, 60)})" if isinstance(code, str) else ""
        raise _NoToken(f"the token endpoint answers {answer.status}{reason}", answer)
    token, kind, lasts = given.get("access_token"), given.get("token_type"), given.get("expires_in", 3600)
    if not isinstance(token, str) or not token or not token.isprintable():
        raise _NoToken("the token endpoint answers 200, but without access_token", answer)
    if str(kind).lower() != "bearer":
        raise _NoToken("the token endpoint gives a token of another type than bearer", answer)
    seconds = number_of(lasts)
    return _Token(token, began + (3600.0 if seconds is None else seconds) - _TOKEN_MARGIN)
