"""http_probe against real servers: good ones, sick ones and hostile ones."""

from __future__ import annotations

import gzip
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._core.latency import Latency, in_words
from plugins.module_utils._io import certificate, http_adapter
from tests.support.modules import run_failed, run_ok
from tests.support.web import Answer, Authority, closed_port, document, drip, moved, page, serving

SECRET = "canary-77aa"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def web() -> Iterator[tuple[int, list[bytes]]]:
    with serving(page("all well")) as (port, requests):
        yield port, requests


def probe(*endpoints: dict[str, Any], **more: Any) -> dict[str, Any]:
    named = [{"name": f"e{number}", **one} for number, one in enumerate(endpoints)]
    began = time.monotonic()
    result = run_ok("http_probe", {"endpoints": named, "timeout": "10s", **more})
    assert time.monotonic() - began < 12
    assert not result["changed"] and result["plan"] == [] and result["area"] == "availability"
    assert result["msg"].isprintable() and SECRET not in json.dumps(result)
    return result


def at(port: int, **more: Any) -> dict[str, Any]:
    return {"url": f"http://127.0.0.1:{port}/", "timeout": "3s", **more}


def tls(port: int, authority: Authority, **more: Any) -> dict[str, Any]:
    given = {"url": f"https://127.0.0.1:{port}/", "ca_cert": str(authority.file), "requests": 2}
    return {**given, **more}


def statuses(result: dict[str, Any]) -> dict[str, str]:
    return {finding["check"]: finding["status"] for finding in result["findings"]}


def samples(result: dict[str, Any], endpoint: str = "e0") -> dict[str, float]:
    prefix = len("availability.")
    return {one["metric"][prefix:]: one["value"] for one in result["samples"] if one["labels"]["endpoint"] == endpoint}


# --- answers ----------------------------------------------------------------------------------------------------


def test_an_endpoint_that_is_well(web: tuple[int, list[bytes]]) -> None:
    result = probe(at(web[0], contains=["well"], absent=["Fatal error"]))
    assert result["status"] == "ok" and len(web[1]) == 5
    assert statuses(result) == {"endpoint_availability": "ok", "endpoint_latency_p95": "ok"}
    (facts,) = result["endpoints"]
    assert (facts["asked"], facts["good"], facts["codes"]) == (5, 5, {"200": 5})
    assert facts["latency"]["p50"] <= facts["latency"]["p95"] <= facts["latency"]["max"]
    assert facts["phases"]["first_byte"] <= facts["phases"]["total"] and facts["address"] == "127.0.0.1"
    assert samples(result).keys() == {"up", "latency.p50", "latency.p95", "latency.max"} and samples(result)["up"] == 1


def test_check_mode_is_the_same(web: tuple[int, list[bytes]]) -> None:
    result = run_ok("http_probe", {"endpoints": [at(web[0], name="e0")]}, check=True, diff=True)
    assert result["status"] == "ok" and not result["changed"] and result["diff"] == {"before": {}, "after": {}}


@pytest.mark.parametrize(
    ("answer", "options", "words"),
    [
        (page("", "503 Busy"), {}, "status 503, not 200"),
        (page("", "500 \x1b[2J<script>"), {"status": ["2xx", "301-303"]}, "status 500, not 200 to 299 or 301 to 303"),
        (page("Fatal error \x1b[31m"), {"absent": ["Fatal error"]}, "the body contains 'Fatal error'"),
        (page("x"), {"contains": ["ready"]}, "the body does not contain 'ready'"),
        (
            document({"queue": 2000}),
            {"json": [{"path": "queue", "op": "lt", "value": 1000}]},
            "queue is 2000, not less",
        ),
        (document({"ok": 1}), {"json": [{"path": "ok", "value": True}]}, "ok is 1, not true"),
        (page("[" * 500_000), {"json": [{"path": "ok", "op": "exists"}]}, "the body is no JSON"),
        (page("\xff no gzip", Content_Encoding="gzip"), {"contains": ["x"]}, "the body is no gzip"),
        (page("x", Content_Encoding="br"), {"contains": ["x"]}, "in the encoding br"),
        (moved("http://evil.example/\x1b[31m"), {"redirect": "https://shop.example/"}, "not https://shop.example/"),
        (moved("/login"), {}, "status 302, not 200, to http://127.0.0.1"),
        (page(""), {"redirect": "https://shop.example/"}, "status 200, not 301"),
    ],
)
def test_a_wrong_answer_is_critical_and_says_why(answer: Answer, options: dict[str, Any], words: str) -> None:
    with serving(answer) as (port, _requests):
        result = probe(at(port, requests=1, **options))
    assert statuses(result)["endpoint_availability"] == "critical" and words in result["msg"]
    assert samples(result)["up"] == 0 and "latency.p95" in samples(result)


@pytest.mark.parametrize(
    ("answer", "options"),
    [
        (page("", "204 No Content"), {"status": ["200-204"]}),
        (page("", "204 No Content"), {"method": "HEAD", "status": ["2xx"]}),
        (page(gzip.compress(b"all well"), Content_Encoding="gzip"), {"contains": ["all well"]}),
        (page("Grüße".encode("latin-1"), Content_Type="text/html; charset=ISO-8859-1"), {"contains": ["Grüße"]}),
        (moved("https://shop.example/"), {"redirect": "https://shop.example/"}),
        (document({"a": [{"b": None}]}), {"json": [{"path": "a.0.b", "op": "exists"}, {"path": "c", "op": "missing"}]}),
        (document({"v": "2.4"}), {"json": [{"path": "v", "op": "in", "value": ["2.3", "2.4"]}]}),
    ],
)
def test_a_right_answer_is_ok(answer: Answer, options: dict[str, Any]) -> None:
    with serving(answer) as (port, _requests):
        assert probe(at(port, requests=1, **options))["status"] == "ok"


def test_what_is_sent_is_as_asked_and_never_shown() -> None:
    with serving(page()) as (port, requests):
        result = probe(
            at(port, requests=1, username="shop", password=SECRET, secret_query={"key": SECRET}),
            at(port, requests=1, bearer_token=SECRET, method="POST", body='{"q": 1}', headers={"X-A": "b"}),
        )
    assert result["status"] == "ok"
    first, second = sorted(requests, key=lambda raw: raw.startswith(b"POST"))
    assert b"Authorization: Basic c2hvcDpjYW5hcnktNzdhYQ==" in first and f"?key={SECRET}".encode() in first
    assert f"Authorization: Bearer {SECRET}".encode() in second and second.endswith(b'{"q": 1}') and b"X-A: b" in second


def test_a_server_that_quotes_the_secret_does_not_get_it_shown() -> None:
    def echo(connection: socket.socket, raw: bytes) -> None:
        document({"got": raw.decode()})(connection, raw)

    with serving(echo) as (port, _requests):
        asked = [{"path": "got", "value": "x"}]
        result = probe(
            at(port, requests=1, username="shop", password=SECRET, json=asked),
            at(port, bearer_token=SECRET, json=asked),
        )
    assert result["status"] == "critical" and "c2hvcDpjYW5hcnktNzdhYQ" not in json.dumps(result)


def test_some_failures_are_a_warning_and_half_of_them_critical() -> None:
    answers = iter([page(), page("", "500 Oops"), page(), page(), page()] + [page("", "500 Oops")] * 3 + [page()] * 2)
    with serving(lambda connection, raw: next(answers)(connection, raw)) as (port, _requests):  # pylint: disable=unnecessary-lambda
        first, second = probe(at(port)), probe(at(port))
    assert (statuses(first)["endpoint_availability"], samples(first)["up"]) == ("warning", 0.8)
    assert "1 of 5 requests failed: status 500, not 200" in first["msg"]
    assert (statuses(second)["endpoint_availability"], samples(second)["up"]) == ("critical", 0.4)
    assert second["endpoints"][0]["failures"] == [{"failure": "status 500, not 200", "count": 3}]


def test_slow_answers_are_judged_by_the_limits_of_the_endpoint() -> None:
    def slowly(connection: socket.socket, raw: bytes) -> None:
        time.sleep(0.15)
        page()(connection, raw)

    with serving(slowly) as (port, _requests):
        limits = {"endpoint_latency_p95": {"warning": 0.1, "critical": 0.12}, "endpoint_latency_max": {"warning": 0.1}}
        result = probe(at(port, requests=3, limits=limits), at(port, requests=1))
    assert (
        statuses(result)["endpoint_latency_p95"] == "critical" and statuses(result)["endpoint_latency_max"] == "warning"
    )
    p95 = samples(result)["latency.p95"]
    assert f"e0: {in_words(Latency(3), 'p95', p95)}" in result["msg"] and p95 >= samples(result)["latency.p50"] >= 0.15


def test_requests_of_one_endpoint_can_overlap() -> None:
    together = []

    def slowly(connection: socket.socket, raw: bytes) -> None:
        together.append(1)
        deadline = time.monotonic() + 3
        while len(together) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        page("" if len(together) >= 3 else "alone")(connection, raw)

    with serving(slowly) as (port, _requests):
        assert probe(at(port, requests=3, concurrency=3, absent=["alone"]))["status"] == "ok"


# --- what hangs or pours ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        drip("HTTP/1.1 200 OK\nContent-Length: 1000000\n\n", "x"),
        drip("HTTP/1.1 200 OK\n", "X"),
        lambda connection, _request: connection.recv(1),
    ],
    ids=["slow body", "headers without end", "silence"],
)
def test_an_endpoint_that_never_ends_is_critical_in_time(answer: Answer) -> None:
    with serving(answer) as (port, _requests):
        result = probe(at(port, timeout="0.3s"))
    assert statuses(result) == {"endpoint_availability": "critical"} and samples(result) == {"up": 0}
    assert result["endpoints"][0]["asked"] == 2  # given up early
    assert "all 2 requests failed: " in result["msg"] and "no answer within 0.3 s" in result["msg"]


def test_ten_gigabytes_and_a_bomb_are_ok_when_the_head_is() -> None:
    def pour(connection: socket.socket, _request: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\nwell")
        for _piece in range(10 * 1024):
            connection.sendall(b"x" * 1024 * 1024)

    bomb = gzip.compress(b"well" + b"0" * 100_000_000)
    with serving(pour) as (port, _requests), serving(page(bomb, Content_Encoding="gzip")) as (packed, _others):
        result = probe(at(port, requests=1, contains=["well"]), at(packed, requests=1, contains=["well"]))
    assert result["status"] == "ok"


def test_the_limit_of_time_is_for_all_and_what_was_not_asked_is_unknown() -> None:
    with serving(lambda connection, _request: connection.recv(1)) as (port, _requests):
        began = time.monotonic()
        result = probe(*[at(port, timeout="1s") for _number in range(8)], timeout="1.4s", workers=2)
        assert time.monotonic() - began < 3.5
    by_status = [one["status"] for one in result["endpoints"]]
    assert "critical" in by_status and "unknown" in by_status and "ok" not in by_status
    unknown = [finding["msg"] for finding in result["findings"] if finding["status"] == "unknown"]
    assert unknown and all("raise timeout" in words for words in unknown)


def test_many_endpoints_give_few_findings(web: tuple[int, list[bytes]]) -> None:
    dead = closed_port()
    result = probe(*[at(dead, requests=1) for _number in range(25)], *[at(web[0], requests=1) for _number in range(5)])
    bad = [finding for finding in result["findings"] if finding["status"] == "critical"]
    assert len(bad) == 21 and "5 more" in bad[-1]["msg"] and len(result["endpoints"]) == 30


def test_a_public_page_cannot_lead_the_probe_inwards(web: tuple[int, list[bytes]]) -> None:
    with serving(moved("http://169.254.169.254/")) as (port, _requests):
        result = probe(at(port, requests=1, follow_redirects=True))
    assert result["status"] == "critical" and "allow_private" in result["msg"]
    with serving(moved(f"http://127.0.0.1:{web[0]}/")) as (port, _requests):
        assert probe(at(port, requests=1, follow_redirects=True))["status"] == "ok"  # loopback leads to loopback


# --- certificates -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("days", "status"), [(90, "ok"), (14, "warning"), (3, "critical")])
def test_a_certificate_that_ends_soon(authority: Authority, days: int, status: str) -> None:
    with serving(page(), context=authority.sign("127.0.0.1", days=days).context()) as (port, _requests):
        result = probe(tls(port, authority))
    assert statuses(result)["certificate_expiry"] == status and statuses(result)["certificate_trust"] == "ok"
    shown = result["endpoints"][0]["certificate"]
    assert days - 0.1 < shown["days_left"] <= days and shown["trusted"] and shown["names"] == ["127.0.0.1"]
    assert shown["issuer"] == "CN=Test authority" and days - 0.1 < samples(result)["certificate.days"] <= days
    assert "tls" in result["endpoints"][0]["phases"]


@pytest.mark.parametrize(
    ("names", "options", "words"),
    [
        (("127.0.0.1",), {"days": -3}, "expired 3 d ago"),
        (("other.example", "third.example"), {}, "is for other.example, third.example, not for 127.0.0.1"),
        (("127.0.0.1",), {"self_signed": True}, "is self-signed"),
        (("other.example",), {"self_signed": True, "days": -1}, "expired 1 d ago"),
        (("127.0.0.1",), {"begins": 5}, "is not valid before"),
        (("127.0.0.1",), {"subject": "\x1b[31m<script>", "days": -2}, "expired 2 d ago"),
    ],
)
def test_a_certificate_that_is_wrong_is_critical_and_told_apart(
    authority: Authority, names: tuple[str, ...], options: dict[str, Any], words: str
) -> None:
    with serving(page(), context=authority.sign(*names, **options).context()) as (port, requests):
        result = probe(tls(port, authority))
        assert not any(b"HTTP" in raw for raw in requests)
    found = {finding["check"]: finding for finding in result["findings"]}
    assert found["certificate_trust"]["status"] == found["endpoint_availability"]["status"] == "critical"
    assert words in found["certificate_trust"]["msg"] and found["certificate_trust"]["msg"].isprintable()
    shown = result["endpoints"][0]["certificate"]
    assert not shown["trusted"] and shown["days_left"] is not None
    if options.get("days", 1) < 0:
        assert found["certificate_expiry"]["status"] == "critical" and found["certificate_expiry"]["value"] < 0
    if len(names) == 1 and names[0] == "other.example":
        assert "is for other.example" in found["certificate_trust"]["msg"]
        assert "is self-signed" in found["certificate_trust"]["msg"]


def test_an_authority_that_is_not_trusted_is_critical(authority: Authority) -> None:
    with serving(page(), context=authority.sign("127.0.0.1").context()) as (port, _requests):
        result = probe({"url": f"https://127.0.0.1:{port}/", "requests": 1})
    assert statuses(result)["certificate_trust"] == "critical" and "is not trusted: unable to get" in result["msg"]


def test_a_certificate_that_is_not_to_be_checked_still_ends(authority: Authority) -> None:
    with serving(page(), context=authority.sign("other.example").context()) as (port, _requests):
        result = probe(tls(port, authority, validate_certs=False))
        assert result["status"] == "ok" and "certificate_trust" not in statuses(result)
    with serving(page(), context=authority.sign("other.example", days=-1).context()) as (port, _requests):
        result = probe(tls(port, authority, validate_certs=False))
    assert statuses(result)["certificate_expiry"] == "critical" and statuses(result)["endpoint_availability"] == "ok"


def test_a_certificate_that_cannot_be_read_here_is_unknown(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificate, "x509", None)
    with serving(page(), context=authority.sign("127.0.0.1").context()) as (port, _requests):
        result = probe(tls(port, authority))
    assert statuses(result)["certificate_expiry"] == "unknown" and "python3-cryptography" in result["msg"]


def test_checks_that_are_switched_off_are_not_made(authority: Authority) -> None:
    with serving(page(), context=authority.sign("127.0.0.1", days=3).context()) as (port, _requests):
        off = {"certificate_expiry": False, "certificate_trust": False, "endpoint_latency_p95": False}
        result = probe(tls(port, authority), limits=off)
    assert statuses(result) == {"endpoint_availability": "ok"}


# --- ports and names --------------------------------------------------------------------------------------------


def test_ports(authority: Authority, web: tuple[int, list[bytes]]) -> None:
    dead = closed_port()
    with serving(page(), context=authority.sign("127.0.0.1", days=14).context()) as (port, _requests):
        encrypted = {"kind": "tcp", "host": "127.0.0.1", "port": port, "tls": True, "ca_cert": str(authority.file)}
        result = probe(
            {"kind": "tcp", "host": "127.0.0.1", "port": web[0]},
            {"kind": "tcp", "host": "127.0.0.1", "port": dead},
            encrypted,
            {**encrypted, "ca_cert": None},
        )
    assert [one["status"] for one in result["endpoints"]] == ["ok", "critical", "warning", "critical"]
    assert f"127.0.0.1 port {dead}: Connection refused" in result["msg"]
    assert samples(result, "e0")["up"] == 1 and samples(result, "e1") == {"up": 0}


@pytest.fixture
def no_such_name(monkeypatch: pytest.MonkeyPatch) -> str:
    """A name that does not exist, whatever the resolver of this machine makes of such names."""
    name, real = "nowhere.invalid", socket.getaddrinfo

    def look(host: str, *rest: Any) -> Any:
        if host == name:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(host, *rest)

    monkeypatch.setattr(socket, "getaddrinfo", look)
    return name


def test_names(no_such_name: str) -> None:
    result = probe(
        {"kind": "dns", "host": "127.0.0.1", "addresses": ["127.0.0.0/8"]},
        {"kind": "dns", "host": "127.0.0.1", "addresses": ["192.0.2.0/24", "2001:db8::/32"]},
        {"kind": "dns", "host": no_such_name},
        {"kind": "dns", "host": "127.0.0.1", "family": "ipv6"},
    )
    assert [one["status"] for one in result["endpoints"]] == ["ok", "critical", "critical", "critical"]
    assert "resolves to 127.0.0.1, which it must not" in result["msg"] and "does not resolve" in result["msg"]


# --- what cannot be asked ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "value"), [("requests", None), ("HTTPAdapter", object)])
def test_without_requests_what_needs_it_is_unknown_and_the_rest_is_asked(
    monkeypatch: pytest.MonkeyPatch, web: tuple[int, list[bytes]], name: str, value: Any
) -> None:
    monkeypatch.setattr(http_adapter, name, value)
    result = probe(at(web[0]), {"kind": "tcp", "host": "127.0.0.1", "port": web[0]})
    assert [one["status"] for one in result["endpoints"]] == ["unknown", "ok"]
    assert not any(b"HTTP" in raw for raw in web[1])
    assert "requests (2.32 or newer" in result["msg"] and "pip" in result["msg"]


@pytest.mark.parametrize("option", ["ca_cert", "client_cert"])
def test_a_file_that_is_not_there_is_unknown_and_named(tmp_path: Path, option: str) -> None:
    result = probe({"url": "https://127.0.0.1:1/", option: str(tmp_path / "none.pem")})
    assert result["status"] == "unknown" and option in result["msg"] and samples(result) == {}


# --- bad options ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"url": "ftp://shop.example/"}, "url must be"),
        ({"url": "http://user:secret@shop.example/"}, "must not hold"),
        ({"method": "HEAD", "contains": ["x"]}, "HEAD"),
        ({"body": "x"}, "method: POST"),
        ({"headers": {"Authorization": "x"}}, "secret_headers"),
        ({"headers": {"X": "a\r\nY: b"}}, "cannot be sent"),
        ({"secret_headers": {"X": "a\nb"}}, "cannot be sent"),
        ({"status": ["600"]}, "status must be"),
        ({"status": ["299-200"]}, "status must be"),
        ({"json": [{"path": "a", "op": "lt", "value": True}]}, "json: a lt"),
        ({"json": [{"path": "a", "op": "in", "value": "x"}]}, "wants a list"),
        ({"redirect": "/x", "follow_redirects": True}, "follow_redirects"),
        ({"resolve": {"shop.example": "elsewhere"}}, "resolve.shop.example"),
        ({"client_key": "/k"}, "client_cert"),
        ({"username": "u"}, "password"),
        ({"username": "u", "password": "canary-1", "bearer_token": "canary-2"}, "bearer_token"),
        ({"timeout": "0s"}, "timeout"),
        ({"requests": 0}, "requests"),
        ({"concurrency": 0}, "concurrency"),
        ({"body_limit": "1GB"}, "body_limit"),
        ({"limits": {"endpoint_latency_p95": {"warning": 5, "critical": 3}}}, "endpoint_latency_p95"),
        ({"kind": "tcp", "host": "h", "port": 70000}, "port"),
        ({"kind": "dns", "host": "h", "addresses": ["everywhere"]}, "addresses"),
    ],
)
def test_an_endpoint_that_means_nothing_is_refused_by_name(options: dict[str, Any], words: str) -> None:
    failed = run_failed("http_probe", {"endpoints": [{"name": "home", "url": "http://127.0.0.1:1/", **options}]})
    assert failed["failure"]["code"] == "invalid_value" and words in failed["msg"]
    assert "endpoint 1 (home):" in failed["msg"]


@pytest.mark.parametrize("options", [{"timeout": "0s"}, {"workers": 0}, {"limits": {"nonsense": {}}}])
def test_options_that_mean_nothing_are_refused(options: dict[str, Any]) -> None:
    failed = run_failed("http_probe", {"endpoints": [at(1)], **options})
    assert failed["failure"]["code"] == "invalid_value" and next(iter(options)) in failed["msg"]


def test_two_endpoints_of_one_name_and_a_missing_address_are_refused() -> None:
    assert "two of this name" in run_failed("http_probe", {"endpoints": [at(1), at(1)]})["msg"]
    assert run_failed("http_probe", {"endpoints": [{"kind": "http"}]})["failure"]["code"] == "invalid_arguments"
    assert run_failed("http_probe", {"endpoints": []})["failure"]["code"] == "invalid_value"
