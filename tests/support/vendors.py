"""Servers that keep to the published contracts of the APIs that events come from, and refuse what breaks them.

Spotify: https://developer.spotify.com/documentation/web-api (client credentials flow, search, rate limits).
Ticketmaster: https://developer.ticketmaster.com/products-and-docs/apis/discovery-api/v2/ (event search, rate limits).
setlist.fm: https://api.setlist.fm/docs/1.0/ (search for artists; API key in x-api-key).
"""

from __future__ import annotations

import base64
import socket
import time
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from tests.support.web import Answer, document, page


@dataclass(frozen=True)
class Request:
    """A request as it came; names of headers are in lower case."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: str


def parse(raw: bytes) -> Request:
    head, _blank, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    method, target, _version = first.split(" ")
    headers = {name.lower(): value.strip() for name, _colon, value in (line.partition(":") for line in lines)}
    parts = urlsplit(target)
    return Request(method, parts.path, parse_qs(parts.query, keep_blank_values=True), headers, body.decode())


@dataclass
class Vendor:
    """Answers requests that keep the contract; ``breaches`` are the others, ``times`` when each came."""

    breaches: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    next: list[Answer] = field(default_factory=list)

    def __call__(self, connection: socket.socket, raw: bytes) -> None:
        request = parse(raw)
        self.times.append(time.monotonic())
        answer = self.contract(request)
        planned = self.next.pop(0) if self.next and answer is None else None
        (answer or planned or self.good())(connection, raw)

    def contract(self, request: Request) -> Answer | None:
        """Return the vendor's refusal of a request, or None."""
        raise NotImplementedError

    def good(self) -> Answer:
        """Return the answer to a request that keeps the contract."""
        raise NotImplementedError

    def refuse(self, why: str, status: str, body: object) -> Answer:
        self.breaches.append(why)
        return document(body, status)


@dataclass
class SpotifyAccounts(Vendor):
    """POST /api/token."""

    client: str = "client-id"
    secret: str = "canary-client-secret"
    token: str = "canary-access-token"
    lasts: int = 3600
    given: int = 0

    def contract(self, request: Request) -> Answer | None:
        basic = "Basic " + base64.b64encode(f"{self.client}:{self.secret}".encode()).decode()
        if request.headers.get("authorization") != basic:
            return self.refuse("credentials", "400 Bad Request", {"error": "invalid_client"})
        form = request.headers.get("content-type") == "application/x-www-form-urlencoded"
        if (request.method, request.path) != ("POST", "/api/token") or not form:
            return self.refuse("form", "415 Unsupported Media Type", {"error": "unsupported"})
        if parse_qs(request.body) != {"grant_type": ["client_credentials"]}:
            return self.refuse("grant", "400 Bad Request", {"error": "unsupported_grant_type"})
        return None

    def good(self) -> Answer:
        self.given += 1
        return document({"access_token": self.token, "token_type": "Bearer", "expires_in": self.lasts})


@dataclass
class Spotify(Vendor):
    """GET /v1/search; no quota headers, Retry-After in seconds with a 429."""

    token: str = "canary-access-token"

    def contract(self, request: Request) -> Answer | None:
        if request.headers.get("authorization") != f"Bearer {self.token}":
            error = {
                "error": {"status": 401, "message": f"Invalid access token {request.headers.get('authorization')}"}
            }
            return self.refuse("token", "401 Unauthorized", error)
        kinds = {"album", "artist", "playlist", "track", "show", "episode", "audiobook"}
        good = request.method == "GET" and request.path == "/v1/search" and request.query.get("q", [""])[0]
        if not good or not set(",".join(request.query.get("type", ["?"])).split(",")) <= kinds:
            return self.refuse("search", "400 Bad Request", {"error": {"status": 400, "message": "No search query"}})
        return None

    def good(self) -> Answer:
        return document({"artists": {"items": [{"name": "Queen"}], "total": 1}})


@dataclass
class Ticketmaster(Vendor):
    """GET /discovery/v2/events.json; the key is in the query, the quota in Rate-Limit headers (reset in ms)."""

    key: str = "canary-ticketmaster-key"
    limit: int = 5000
    available: int = 4711
    reset: int = 4102444800000

    def quota(self) -> dict[str, str]:
        return {
            "Rate_Limit": str(self.limit),
            "Rate_Limit_Available": str(self.available),
            "Rate_Limit_Over": "0",
            "Rate_Limit_Reset": str(self.reset),
        }

    def contract(self, request: Request) -> Answer | None:
        if request.query.get("apikey") != [self.key]:
            fault = {"fault": {"faultstring": "Invalid ApiKey", "detail": {"errorcode": "oauth.v2.InvalidApiKey"}}}
            return self.refuse("key", "401 Unauthorized", fault)
        if (request.method, request.path) != ("GET", "/discovery/v2/events.json"):
            return self.refuse("path", "404 Not Found", {})
        return None

    def good(self) -> Answer:
        self.available -= 1
        return document({"_embedded": {"events": []}, "page": {"size": 1}}, **self.quota())

    def refused(self) -> Answer:
        fault = {"fault": {"faultstring": "Rate limit quota violation. Quota limit exceeded."}}
        return document(fault, "429 Too Many Requests", **self.quota())


@dataclass
class SetlistFm(Vendor):
    """GET /rest/1.0/search/artists; XML unless JSON is asked for."""

    key: str = "canary-setlistfm-key"

    def contract(self, request: Request) -> Answer | None:
        if request.headers.get("x-api-key") != self.key:
            return self.refuse("key", "403 Forbidden", {"message": "Forbidden"})
        if (request.method, request.path) != ("GET", "/rest/1.0/search/artists"):
            return self.refuse("path", "404 Not Found", {"code": 404, "status": "Not Found"})
        if not set(request.query) & {"artistName", "artistMbid", "artistTmid"}:
            return self.refuse("query", "400 Bad Request", {"code": 400, "status": "Bad Request"})
        if request.headers.get("accept") != "application/json":
            self.breaches.append("accept")
            return page("<artists/>", Content_Type="application/xml")
        return None

    def good(self) -> Answer:
        return document({"type": "artists", "itemsPerPage": 30, "page": 1, "total": 1, "artist": [{"name": "Queen"}]})
