"""external_api_probe against servers that keep to the vendors' contracts, and against bad ones."""

from __future__ import annotations

import json
import time
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._io import http_adapter
from tests.support.modules import run_failed, run_ok
from tests.support.vendors import SetlistFm, Spotify, SpotifyAccounts, Ticketmaster
from tests.support.web import Answer, Authority, closed_port, document, drip, page, serving

GOOD = document({"ok": True})


def api(port: int, **more: Any) -> dict[str, Any]:
    return {"name": "api", "url": f"http://127.0.0.1:{port}/v1?q=1", "timeout": "3s", **more}


def probe(*apis: dict[str, Any], **more: Any) -> dict[str, Any]:
    result = run_ok("external_api_probe", {"apis": list(apis), "timeout": "10s", **more})
    assert not result["changed"] and result["plan"] == [] and result["area"] == "external_apis"
    assert "canary" not in json.dumps(result)
    return result


def statuses(result: dict[str, Any]) -> dict[str, str]:
    return {finding["check"]: finding["status"] for finding in result["findings"]}


def sample(result: dict[str, Any], metric: str) -> float | None:
    return next((one["value"] for one in result["samples"] if one["metric"] == f"external_apis.{metric}"), None)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def after(seconds: float) -> str:
    return (datetime.now(timezone.utc) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


# --- the vendors' contracts -------------------------------------------------------------------------------------


def spotify(port: int, accounts: int, **more: Any) -> dict[str, Any]:
    oauth = {
        "token_url": f"http://127.0.0.1:{accounts}/api/token",
        "client_id": "client-id",
        "client_secret": more.pop("client_secret", "canary-client-secret"),
    }
    url = f"http://127.0.0.1:{port}/v1/search?q=test&type=artist&limit=1"
    asked = [{"path": "artists.items.0.name", "op": "exists"}]
    return {"name": "spotify", "url": url, "oauth": oauth, "json": asked, "rate_limit": {"per_minute": 100}, **more}


def test_spotify_is_asked_with_a_token_of_its_own() -> None:
    vendor, accounts = Spotify(), SpotifyAccounts()
    with serving(vendor) as (port, _requests), serving(accounts) as (tokens, _token_requests):
        result = probe(spotify(port, tokens))
    assert result["status"] == "ok" and vendor.breaches == accounts.breaches == []
    assert accounts.given == 1 and len(vendor.times) == 3
    assert result["apis"][0]["asked"] == 3 and sample(result, "error_percent") == 0
    gaps = [later - earlier for earlier, later in zip(vendor.times, vendor.times[1:])]
    assert min(gaps) >= 0.55  # 100 per minute
    assert sample(result, "latency.p95") and sample(result, "breaker_open") == 0


def test_a_token_that_ends_is_fetched_again() -> None:
    vendor, accounts = Spotify(), SpotifyAccounts(lasts=10)
    with serving(vendor) as (port, _requests), serving(accounts) as (tokens, _token_requests):
        result = probe(spotify(port, tokens, requests=2, rate_limit={}))
    assert result["status"] == "ok" and accounts.given == 2


def test_credentials_that_get_no_token_are_critical_and_the_api_is_left_alone() -> None:
    vendor, accounts = Spotify(), SpotifyAccounts()
    with serving(vendor) as (port, _requests), serving(accounts) as (tokens, _token_requests):
        result = probe(spotify(port, tokens, client_secret="canary-wrong", fallback="use cached searches"))
    assert statuses(result)["api_token"] == "critical" and vendor.times == []
    assert "answers 400 (invalid_client); meanwhile: use cached searches" in result["msg"]
    assert result["breakers"]["spotify"]["failures"] == 1


@pytest.mark.parametrize(
    "answer",
    [
        document({"token_type": "Bearer"}),
        document({"access_token": "canary\r\nX: y", "token_type": "Bearer"}),
        document({"access_token": "canary", "token_type": "mac"}),
        document(["canary"]),
        page("[" * 100_000),
        page("no json"),
        drip("HTTP/1.1 200 OK\n", "x"),
    ],
)
def test_a_token_endpoint_that_gives_none_is_critical(answer: Answer) -> None:
    with serving(GOOD) as (port, requests), serving(answer) as (tokens, _token_requests):
        result = probe(spotify(port, tokens, timeout="0.5s"))
    assert statuses(result)["api_token"] == "critical" and requests == []


def test_a_token_that_is_echoed_is_masked() -> None:
    accounts = SpotifyAccounts(token="canary-echo-token")
    vendor = Spotify(token="another")
    with serving(vendor) as (port, _requests), serving(accounts) as (tokens, _token_requests):
        asked = [{"path": "error.message", "value": "x"}]
        result = probe(spotify(port, tokens, status=["401"], json=asked, requests=1))
    assert "error.message is" in result["msg"] and "Bearer ********" in result["msg"]


def test_ticketmaster_tells_of_its_quota_and_the_key_is_not_shown() -> None:
    vendor = Ticketmaster(available=900)
    key = {"apikey": "canary-ticketmaster-key"}
    with serving(vendor) as (port, _requests):
        url = f"http://127.0.0.1:{port}/discovery/v2/events.json?size=1"
        rates = {"per_minute": 200, "per_day": 5000}
        result = probe({"name": "ticketmaster", "url": url, "secret_query": key, "rate_limit": rates, "requests": 2})
        assert vendor.breaches == []
        quota = result["apis"][0]["quota"]
        assert (quota["limit"], quota["remaining"], quota["reset_at"]) == (5000, 898, "2100-01-01T00:00:00Z")
        assert statuses(result)["api_quota_left"] == "warning" and sample(result, "quota.left_percent") == 17.96
        refused = probe({"name": "ticketmaster", "url": url, "secret_query": {"apikey": "canary-wrong"}})
    assert "status 401, not 200" in refused["msg"] and set(vendor.breaches) == {"key"}


def test_a_quota_that_is_nearly_used_up_is_not_used_further() -> None:
    vendor = Ticketmaster(available=201)
    with serving(vendor) as (port, _requests):
        url = f"http://127.0.0.1:{port}/discovery/v2/events.json"
        result = probe({"name": "t", "url": url, "secret_query": {"apikey": vendor.key}})
    assert statuses(result)["api_quota_left"] == "critical" and len(vendor.times) == 1
    assert "too little of the quota" in result["apis"][0]["withheld"]


def test_a_429_without_a_time_waits_for_the_reset_of_the_quota() -> None:
    vendor = Ticketmaster(reset=int((time.time() + 600) * 1000))
    vendor.next = [vendor.refused()]
    with serving(vendor) as (port, _requests):
        url = f"http://127.0.0.1:{port}/discovery/v2/events.json"
        result = probe({"name": "t", "url": url, "secret_query": {"apikey": vendor.key}})
    left = moment(result["apis"][0]["retry_at"]) - datetime.now(timezone.utc)
    assert 590 < left.total_seconds() <= 601 and len(vendor.times) == 1


def test_setlistfm_is_asked_for_json_with_its_key() -> None:
    vendor = SetlistFm()
    with serving(vendor) as (port, _requests):
        asked = {
            "name": "setlistfm",
            "url": f"http://127.0.0.1:{port}/rest/1.0/search/artists?artistName=Queen",
            "headers": {"Accept": "application/json"},
            "secret_headers": {"x-api-key": "canary-setlistfm-key"},
            "rate_limit": {"per_second": 2, "per_minute": 50},
            "json": [{"path": "artist", "op": "exists"}],
            "requests": 2,
        }
        result = probe(asked)
        refused = probe({**asked, "secret_headers": {"x-api-key": "canary-other"}})
    assert result["status"] == "ok" and vendor.breaches == ["key"] * 2
    assert "status 403, not 200" in refused["msg"]
    assert vendor.times[1] - vendor.times[0] >= 1.1  # 50 per minute


# --- rates ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wait", "seconds"),
    [
        ("120", 120),
        ("in 900 seconds", 900),
        ("99999999999999999999", 86400),
        ("soon", 300),
        ("-1", 300),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 300),
    ],
    ids=["seconds", "a date", "too many seconds", "no number", "negative", "the past"],
)
def test_no_request_before_the_time_that_the_server_names(wait: str, seconds: float) -> None:
    before = datetime.now(timezone.utc).replace(microsecond=0)  # all of these times are whole seconds
    if wait == "in 900 seconds":
        wait = format_datetime(before + timedelta(seconds=seconds), usegmt=True)
    answer = page("", "429 Too Many Requests", Retry_After=wait)
    with serving(answer) as (port, requests):
        first = probe(api(port))
        after_it = datetime.now(timezone.utc)
        second = probe(api(port), previous=first["breakers"])
        assert len(requests) == 1
    asked_at = moment(first["breakers"]["api"]["retry_at"]) - timedelta(seconds=seconds)
    assert before <= asked_at <= after_it + timedelta(seconds=1)
    assert statuses(first)["api_rate_limited"] == statuses(second)["api_rate_limited"] == "warning"
    assert first["breakers"]["api"]["failures"] == 0 and sample(first, "error_percent") is None
    assert sample(first, "rate_limited") == 1 and second["apis"][0]["asked"] == 0
    assert second["breakers"]["api"]["retry_at"] == first["breakers"]["api"]["retry_at"]


def test_after_that_time_it_is_asked_again() -> None:
    with serving(GOOD) as (port, requests):
        result = probe(api(port, requests=1), previous={"api": {"retry_at": after(-1)}})
    assert len(requests) == 1 and result["breakers"]["api"]["retry_at"] is None


def test_a_503_that_names_a_time_is_a_failure_and_is_honoured() -> None:
    with serving(page("", "503 Busy", Retry_After="60")) as (port, requests):
        result = probe(api(port))
    assert len(requests) == 1 and statuses(result)["api_errors"] == "critical"
    assert result["breakers"]["api"]["failures"] == 1 and result["apis"][0]["retry_at"]


def test_our_looks_never_use_more_than_their_share() -> None:
    with serving(GOOD) as (port, requests):
        asked = api(port, rate_limit={"per_hour": 100}, max_quota_share=2, requests=5)
        first = probe(asked)
        second = probe(asked, previous=first["breakers"])
    assert len(requests) == first["apis"][0]["asked"] == 2 and "2 of 5 requests" in first["apis"][0]["withheld"]
    assert statuses(second)["api_errors"] == "unknown" and "max_quota_share" in second["msg"]
    assert sum(second["breakers"]["api"]["sent"].values()) == 2


def test_a_share_of_less_than_one_request_is_unknown_with_what_to_do() -> None:
    with serving(GOOD) as (port, requests):
        result = probe(api(port, rate_limit={"per_hour": 10}))
    assert requests == [] and result["status"] == "unknown" and "raise max_quota_share" in result["msg"]


def test_a_pause_that_does_not_fit_into_the_time_ends_the_requests() -> None:
    with serving(GOOD) as (port, requests):
        result = probe(api(port, rate_limit={"per_minute": 1}, max_quota_share=100, requests=1), timeout="1s")
        slow = probe(api(port, rate_limit={"per_minute": 40}, max_quota_share=100), timeout="1s")
    assert result["status"] == "ok" and slow["apis"][0]["withheld"] == "1 of 3 requests: the time was over"
    assert len(requests) == 2


# --- the breaker ------------------------------------------------------------------------------------------------


def test_a_breaker_opens_stays_open_and_closes_by_a_trial() -> None:
    answers: list[Answer] = []
    with serving(lambda connection, raw: answers[0](connection, raw)) as (port, requests):  # pylint: disable=unnecessary-lambda
        asked = api(port, breaker={"failures": 2, "cooldown": "1h"}, fallback="use existing setlists")
        answers[:] = [page("", "500 Oops")]
        opened = probe(asked)
        assert len(requests) == 2 and statuses(opened)["api_breaker"] == "critical"
        assert sample(opened, "breaker_open") == 1
        still = probe(asked, previous=opened["breakers"])
        assert len(requests) == 2 and statuses(still) == {"api_breaker": "critical"}
        since, trial = opened["breakers"]["api"]["since"], opened["breakers"]["api"]["trial_at"]
        assert f"no request sent, breaker open since {since} after 2 failures in a row, next trial at" in still["msg"]
        assert still["breakers"] == opened["breakers"] and moment(trial) - moment(since) == timedelta(hours=1)
        assert "meanwhile: use existing setlists" in still["msg"]

        due = {"api": {**opened["breakers"]["api"], "opened": after(-3600)}}
        failed = probe(asked, previous=due)
        assert len(requests) == 3 and failed["breakers"]["api"]["state"] == "open"
        answers[:] = [GOOD]
        closed = probe(asked, previous=due)
        assert len(requests) == 4 and closed["breakers"]["api"]["state"] == "closed" and closed["status"] == "ok"
        assert probe(asked, previous=closed["breakers"])["apis"][0]["asked"] == 3


def test_failures_count_over_runs_and_apis_apart() -> None:
    with serving(page("", "500 Oops")) as (bad, _bad_requests), serving(GOOD) as (good, _requests):
        two = (api(bad, requests=1), {**api(good, requests=1), "name": "other"})
        result = probe(*two)
        for _run in range(2):
            result = probe(*two, previous=result["breakers"])
    assert result["breakers"]["api"]["state"] == "open" and result["breakers"]["other"]["state"] == "closed"


@pytest.mark.parametrize(
    "previous",
    [
        "text",
        {"state": "ajar"},
        {"failures": -1},
        {"failures": "x"},
        {"since": "yesterday"},
        {"retry_at": 5},
        {"sent": ["x"]},
        {"sent": {"x": 1}},
        {"sent": {"2026-01-01T00:00:00Z": 10**9}},
    ],
)
def test_a_state_that_no_run_returned_is_refused(previous: Any) -> None:
    failed = run_failed("external_api_probe", {"apis": [api(1)], "previous": {"api": previous}})
    assert failed["failure"]["code"] == "invalid_value" and "previous.api" in failed["msg"]


# --- bad servers, bad options -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (drip("HTTP/1.1 200 OK\nContent-Length: 100000\n\n", "x"), "no answer within 0.5 s"),
        (page("\x1b[31m<script>", "200 \x1b[2J<b>"), "the body is no JSON"),
        (document({"ok": False}), "ok is false, not true"),
        (page("", "302 Found", Location="http://169.254.169.254/"), "status 302, not 200, to http://169.254.169.254/"),
    ],
)
def test_a_bad_answer_is_critical_and_says_why(answer: Answer, words: str) -> None:
    with serving(answer) as (port, _requests):
        result = probe(api(port, timeout="0.5s", json=[{"path": "ok", "value": True}]))
    assert statuses(result)["api_errors"] == "critical" and words in result["msg"] and result["msg"].isprintable()


def test_an_api_that_is_not_there_is_critical() -> None:
    assert "Connection refused" in probe(api(closed_port()))["msg"]


def test_what_cannot_be_asked_from_here_is_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    missing = probe(api(1, ca_cert=str(tmp_path / "none.pem")))
    assert statuses(missing)["api_errors"] == "unknown" and "ca_cert" in missing["msg"]
    monkeypatch.setattr(http_adapter, "requests", None)
    bare = probe(api(1))
    assert statuses(bare)["api_errors"] == "unknown" and "requests (2.32 or newer" in bare["msg"]


def test_a_certificate_that_is_not_trusted_is_critical(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with serving(GOOD, context=authority.sign("127.0.0.1").context()) as (port, _requests):
        url = f"https://127.0.0.1:{port}/"
        assert "not trusted" in probe({"name": "api", "url": url})["msg"]
        assert probe({"name": "api", "url": url, "ca_cert": str(authority.file)})["status"] == "ok"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"url": "ftp://x/"}, "url must be"),
        ({"url": "http://u:p@x/"}, "must not hold"),
        ({"headers": {"X-Api-Key": "k"}}, "secret_headers"),
        ({"rate_limit": {"per_minute": 0}}, "rate_limit.per_minute"),
        ({"max_quota_share": 0}, "max_quota_share"),
        ({"max_quota_share": 101}, "max_quota_share"),
        ({"requests": 0}, "requests"),
        ({"breaker": {"failures": 0}}, "failures"),
        ({"breaker": {"cooldown": "soon"}}, "cooldown"),
        ({"max_retry_after": "0s"}, "max_retry_after"),
        ({"status": ["9xx"]}, "status"),
        ({"limits": {"nonsense": {}}}, "nonsense"),
        ({"username": "u"}, "password"),
        ({"oauth": {"token_url": "x", "client_id": "shop", "client_secret": "canary-1"}}, "url must be"),
        (
            {
                "bearer_token": "canary-2",
                "oauth": {"token_url": "http://x/", "client_id": "shop", "client_secret": "canary-1"},
            },
            "bearer_token",
        ),
    ],
)
def test_options_that_mean_nothing_are_refused_with_the_name_of_the_api(options: dict[str, Any], words: str) -> None:
    failed = run_failed("external_api_probe", {"apis": [{**api(1), **options}]})
    assert failed["failure"]["code"] == "invalid_value" and words in failed["msg"] and "api 1 (api):" in failed["msg"]


def test_two_apis_of_one_name_and_none_at_all_are_refused() -> None:
    assert run_failed("external_api_probe", {"apis": []})["failure"]["code"] == "invalid_value"
    assert "two of this name" in run_failed("external_api_probe", {"apis": [api(1), api(2)]})["msg"]
