"""The HTTP client against real servers on loopback that misbehave in every way we know."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._core.endpoint import HttpRequest
from plugins.module_utils._core.errors import PreconditionFailed
from plugins.module_utils._core.http_address import PUBLIC, kind_of
from plugins.module_utils._io import http_client as client_module
from plugins.module_utils._io.http_client import Exchange, HttpClient
from plugins.module_utils._io.network import NoAnswer, resolve
from tests.support.web import Answer, Authority, closed_port, drip, moved, page, reply, serving

ELSEWHERE = "127.0.0.2"  # loopback as well: tests that need a public address say that it is one
SECRET = "canary-9d1f"


@pytest.fixture
def client() -> HttpClient:
    return HttpClient(time.monotonic)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def elsewhere_is_public(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "kind_of", lambda ip: PUBLIC if ip == ELSEWHERE else kind_of(ip))


def get(client: HttpClient, url: str, seconds: float = 5.0, **more: Any) -> Exchange:
    return client.ask(HttpRequest(url, **more), seconds)


def failure(client: HttpClient, url: str, seconds: float = 5.0, **more: Any) -> str:
    began = time.monotonic()
    with pytest.raises(NoAnswer) as caught:
        get(client, url, seconds, **more)
    assert time.monotonic() - began < seconds + 1.5
    return caught.value.message


# --- answers ----------------------------------------------------------------------------------------------------


def test_an_answer_comes_with_its_phases_and_the_request_is_as_asked(client: HttpClient) -> None:
    with serving(page("grün", X_Test="a")) as (port, requests):
        done = get(
            client,
            f"http://127.0.0.1:{port}/a?b=1",
            headers={"Host": "shop.example"},
            secret_headers={"Authorization": f"Bearer {SECRET}"},
            secret_query={"apikey": f"{SECRET} +"},
        )
    assert (done.answer.status, done.answer.body, done.answer.headers["x-test"]) == (200, "grün".encode(), "a")
    assert done.address == "127.0.0.1" and not done.answer.is_cut and SECRET not in done.url
    assert set(done.phases) == {"dns", "connect", "first_byte", "total"}
    assert 0 <= done.phases["connect"] <= done.phases["first_byte"] <= done.phases["total"] <= done.seconds
    lines = requests[0].decode().split("\r\n")
    assert lines[0] == f"GET /a?b=1&apikey={SECRET}+%2B HTTP/1.1"
    assert [line for line in lines if line.startswith("Host:")] == ["Host: shop.example"]
    assert f"Authorization: Bearer {SECRET}" in lines and "Accept-Encoding: gzip" in lines


def test_a_body_is_sent(client: HttpClient) -> None:
    with serving(page()) as (port, requests):
        get(client, f"http://127.0.0.1:{port}/", method="POST", body=b'{"q":1}', headers={"Content-Type": "a/b"})
    assert requests[0].endswith(b'\r\n\r\n{"q":1}') and b"Content-Length: 7" in requests[0]


def test_ipv6_is_asked_too(client: HttpClient) -> None:
    with serving(page("six"), "::1") as (port, _requests):
        done = get(client, f"http://[::1]:{port}/")
    assert (done.answer.body, done.address) == (b"six", "::1")


def test_a_second_address_answers_when_the_first_does_not(client: HttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(page("second")) as (port, _requests):
        both = [
            (family, socket.SOCK_STREAM, 6, "", (ip, port))
            for family, ip in ((socket.AF_INET6, "::1"), (socket.AF_INET, "127.0.0.1"))
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: both)
        assert get(client, f"http://shop.example:{port}/").answer.body == b"second"


def test_an_address_of_the_inventory_stands_for_the_name(client: HttpClient, authority: Authority) -> None:
    context = authority.sign("shop.example").context()
    with serving(page(), context=context) as (port, requests):
        url = f"https://shop.example:{port}/"
        done = get(client, url, resolve={"shop.example": "127.0.0.1"}, ca_cert=str(authority.file))
    assert done.answer.status == 200 and "tls" in done.phases and done.certificate
    assert f"Host: shop.example:{port}".encode() in requests[0]


def test_the_environment_is_not_looked_at_unless_wanted(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login u password {SECRET}\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with serving(page("proxied")) as (proxy, proxied), serving(page("direct")) as (port, direct):
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy}")
        assert get(client, f"http://127.0.0.1:{port}/").answer.body == b"direct"
        assert get(client, f"http://127.0.0.1:{port}/x", use_proxy=True).answer.body == b"proxied"
    assert proxied[0].startswith(f"GET http://127.0.0.1:{port}/x ".encode())
    assert len(direct) == 1 and not any(b"Authorization" in request for request in direct + proxied)


# --- hostile answers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        drip("HTTP/1.1 200 OK\nContent-Length: 1000000\n\n", "x"),
        drip("HTTP/1.1 200 OK\n\n", "x"),
        drip("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n", "1\r\nx\r\n"),
        drip("HTTP/1.1 200 OK\n", "X"),
        drip("HTTP/1.1 200 OK\n", "X-A: b\r\n"),
        drip("", "HTTP/1.1 100 Continue\r\n\r\n"),
        lambda connection, _request: connection.recv(1),
    ],
    ids=["slow body", "body without end", "endless chunks", "slow header", "many headers", "continue", "silence"],
)
def test_an_answer_that_never_ends_fails_in_time(client: HttpClient, answer: Answer) -> None:
    with serving(answer) as (port, _requests):
        words = failure(client, f"http://127.0.0.1:{port}/", 0.5)
    assert words.endswith("no answer within 0.5 s") or words == "got more than 100 headers"


def test_a_handshake_that_never_ends_fails_in_time(client: HttpClient) -> None:
    with serving(drip("", "\x16")) as (port, _requests):
        words = failure(client, f"https://127.0.0.1:{port}/", 0.5)
    assert words.endswith("no answer within 0.5 s") or "SSL" in words.upper()


def test_a_name_server_that_says_nothing_fails_in_time(client: HttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: release.wait(30))
    try:
        assert "was not resolved within" in failure(client, "http://shop.example/", 0.3)
    finally:
        release.set()


def test_ten_gigabytes_are_cut(client: HttpClient) -> None:
    sent = []

    def pour(connection: socket.socket, _request: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n")
        for _piece in range(10 * 1024):
            connection.sendall(b"x" * 1024 * 1024)
            sent.append(1)

    with serving(pour) as (port, _requests):
        done = get(client, f"http://127.0.0.1:{port}/", 10.0, body_limit=100_000)
    assert len(done.answer.body) == 100_000 and done.answer.is_cut and len(sent) < 100


def test_a_decompression_bomb_stays_packed(client: HttpClient) -> None:
    bomb = gzip.compress(b"0" * 200_000_000, 9)
    with serving(page(bomb, Content_Encoding="gzip")) as (port, _requests):
        done = get(client, f"http://127.0.0.1:{port}/")
    assert done.answer.body == bomb and len(bomb) < 250_000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("HTTP/1.1 200 OK\nContent-Length: 50\n\nshort", "IncompleteRead"),
        ("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n5\nabcde", "IncompleteRead"),
        ("no http at all\n\n", "no http at all"),
        ("HTTP/1.1 2\x1b[31m00 <b>\n\n", r"2\x1b[31m00 <b>"),
        ("", "closed connection"),
        ("HTTP/1.1 200 OK\nX: " + "y" * 70_000 + "\n\n", "header line"),
    ],
)
def test_a_broken_answer_says_why(client: HttpClient, text: str, words: str) -> None:
    with serving(reply(text)) as (port, _requests):
        said = failure(client, f"http://127.0.0.1:{port}/")
    assert words in said and said.isprintable()


def test_nobody_there(client: HttpClient) -> None:
    port = closed_port()
    assert failure(client, f"http://127.0.0.1:{port}/") == f"no connection to 127.0.0.1 port {port}: Connection refused"
    assert "does not resolve" in failure(client, "http://nowhere.invalid/")


# --- redirects --------------------------------------------------------------------------------------------------


@pytest.fixture
def inner() -> Iterator[tuple[int, list[bytes]]]:
    """What only this host can reach."""
    with serving(page("inner")) as (port, requests):
        yield port, requests


def test_a_redirect_is_followed_only_when_wanted(client: HttpClient, inner: tuple[int, list[bytes]]) -> None:
    with serving(moved(f"http://127.0.0.1:{inner[0]}/b")) as (port, _requests):
        url = f"http://127.0.0.1:{port}/"
        first, last = get(client, url), get(client, url, follow_redirects=True)
    assert (first.answer.status, first.answer.location) == (302, f"http://127.0.0.1:{inner[0]}/b")
    assert last.answer.body == b"inner" and last.seconds >= last.phases["total"]


@pytest.mark.usefixtures("elsewhere_is_public")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0", "2130706433", "127.1"])
def test_a_public_page_cannot_lead_inwards(client: HttpClient, inner: tuple[int, list[bytes]], host: str) -> None:
    with serving(moved(f"http://{host}:{inner[0]}/"), ELSEWHERE) as (port, _requests):
        words = failure(client, f"http://{ELSEWHERE}:{port}/", follow_redirects=True)
    assert "allow_private" in words or "no connection" in words or "resolve" in words
    assert inner[1] == []


@pytest.mark.usefixtures("elsewhere_is_public")
def test_a_public_page_may_lead_inwards_when_that_is_allowed(
    client: HttpClient, inner: tuple[int, list[bytes]]
) -> None:
    with serving(moved(f"http://127.0.0.1:{inner[0]}/"), ELSEWHERE) as (port, _requests):
        done = get(client, f"http://{ELSEWHERE}:{port}/", follow_redirects=True, allow_private=True)
    assert done.answer.body == b"inner"


@pytest.mark.usefixtures("elsewhere_is_public")
def test_a_name_that_changes_its_address_does_not_lead_inwards(
    client: HttpClient, inner: tuple[int, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(moved("/again"), ELSEWHERE) as (port, requests):
        answers = iter([ELSEWHERE, "127.0.0.1"])

        def rebind(_host: str, asked: int, *_args: Any) -> Any:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), asked))]

        monkeypatch.setattr(socket, "getaddrinfo", rebind)
        words = failure(client, f"http://evil.example:{port}/", follow_redirects=True)
    assert "leads to 127.0.0.1, which is loopback" in words and len(requests) == 1


def test_metadata_of_the_cloud_is_out_of_reach_even_from_within(client: HttpClient) -> None:
    with serving(moved("http://169.254.169.254/latest/meta-data/")) as (port, _requests):
        words = failure(client, f"http://127.0.0.1:{port}/", follow_redirects=True)
    assert "169.254.169.254, which is special" in words


@pytest.mark.parametrize("where", ["file:///etc/passwd", "ftp://127.0.0.1/", "http://u:p@127.0.0.1/", "http://["])
def test_a_redirect_to_anything_else_is_refused(client: HttpClient, where: str) -> None:
    with serving(moved(where)) as (port, _requests), pytest.raises((NoAnswer, ValueError)) as caught:
        get(client, f"http://127.0.0.1:{port}/", follow_redirects=True)
    assert isinstance(caught.value, NoAnswer)


def test_redirects_in_circles_end(client: HttpClient) -> None:
    with serving(moved("/")) as (port, requests):
        assert failure(client, f"http://127.0.0.1:{port}/", follow_redirects=True) == "more than 5 redirects"
    assert len(requests) == 6


def test_a_redirect_with_a_body_of_gigabytes_is_not_read(client: HttpClient) -> None:
    def pour(connection: socket.socket, request: bytes) -> None:
        if request.startswith(b"GET /end "):
            page("end")(connection, request)
            return
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /end\r\nContent-Length: 10737418240\r\n\r\n")
        for _piece in range(10 * 1024):
            connection.sendall(b"x" * 1024 * 1024)

    with serving(pour) as (port, _requests):
        assert get(client, f"http://127.0.0.1:{port}/", follow_redirects=True, body_limit=1000).answer.body == b"end"


def test_secrets_stay_with_their_origin(client: HttpClient, inner: tuple[int, list[bytes]]) -> None:
    with serving(moved(f"http://127.0.0.1:{inner[0]}/")) as (port, requests):
        get(
            client,
            f"http://127.0.0.1:{port}/",
            follow_redirects=True,
            headers={"X-Plain": "kept", "Host": "shop.example"},
            secret_headers={"Authorization": SECRET, "X-Api-Key": SECRET},
            secret_query={"key": SECRET},
        )
    assert requests[0].count(SECRET.encode()) == 3
    assert SECRET.encode() not in inner[1][0] and b"X-Plain: kept" in inner[1][0]
    assert f"Host: 127.0.0.1:{inner[0]}".encode() in inner[1][0]


def test_secrets_follow_within_their_origin(client: HttpClient) -> None:
    def answer(connection: socket.socket, request: bytes) -> None:
        (page("end") if request.startswith(b"GET /end ") else moved("/end"))(connection, request)

    with serving(answer) as (port, requests):
        get(client, f"http://127.0.0.1:{port}/", follow_redirects=True, secret_headers={"Authorization": SECRET})
    assert [SECRET.encode() in request for request in requests] == [True, True]


@pytest.mark.parametrize(
    ("status", "method"), [("303 See Other", b"GET"), ("302 Found", b"GET"), ("307 Temporary", b"POST")]
)
def test_a_body_follows_only_where_it_must_and_within_its_origin(
    client: HttpClient, inner: tuple[int, list[bytes]], status: str, method: bytes
) -> None:
    def answer(connection: socket.socket, request: bytes) -> None:
        (page() if b" /end " in request else moved("/end", status))(connection, request)

    with serving(answer) as (port, requests):
        get(client, f"http://127.0.0.1:{port}/", method="POST", body=b"data", follow_redirects=True)
    assert requests[1].startswith(method) and (b"data" in requests[1]) == (method == b"POST")
    with serving(moved(f"http://127.0.0.1:{inner[0]}/", "307 Temporary")) as (port, _requests):
        words = failure(client, f"http://127.0.0.1:{port}/", method="POST", body=b"data", follow_redirects=True)
    assert "would take the body" in words and inner[1] == []


def test_a_redirect_elsewhere_cannot_be_checked_through_a_proxy(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with serving(moved("http://other.example/")) as (proxy, _requests):
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy}")
        words = failure(client, "http://shop.example/", follow_redirects=True, use_proxy=True)
    assert "cannot be checked through a proxy" in words


# --- certificates -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "options", "distrust"),
    [
        (("127.0.0.1",), {"days": -3}, "expired"),
        (("other.example",), {}, "IP address mismatch"),
        (("127.0.0.1",), {"self_signed": True}, "self"),
        (("127.0.0.1",), {"begins": 5}, "not yet valid"),
    ],
)
def test_a_certificate_that_is_wrong_is_refused_and_can_be_looked_at(
    client: HttpClient, authority: Authority, names: tuple[str, ...], options: dict[str, Any], distrust: str
) -> None:
    with serving(page(), context=authority.sign(*names, **options).context()) as (port, requests):
        with pytest.raises(NoAnswer) as caught:
            get(client, f"https://127.0.0.1:{port}/", ca_cert=str(authority.file))
        assert distrust in caught.value.distrust
        assert caught.value.server == ("127.0.0.1", port, "127.0.0.1")
        assert client.peek(caught.value.server, 5.0)
        assert requests in ([], [b""])  # nothing was sent
        done = get(client, f"https://127.0.0.1:{port}/", validate_certs=False)
    assert done.answer.status == 200 and done.certificate


def test_an_authority_of_the_inventory_stands_alone(client: HttpClient, authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path)
    with serving(page(), context=authority.sign("127.0.0.1").context()) as (port, _requests):
        url = f"https://127.0.0.1:{port}/"
        assert get(client, url, ca_cert=str(authority.file)).answer.status == 200
        assert "not trusted" in failure(client, url, ca_cert=str(other.file))
        assert "not trusted" in failure(client, url)


def test_a_client_certificate_is_shown_to_its_origin_alone(client: HttpClient, authority: Authority) -> None:
    files = authority.sign("client")
    mine = {"ca_cert": str(authority.file), "client_cert": str(files.certificate), "client_key": str(files.key)}
    wanting = authority.sign("127.0.0.1").context(clients_of=authority.file)
    with serving(page("known"), context=wanting) as (inside, requests):
        assert get(client, f"https://127.0.0.1:{inside}/", **mine).answer.body == b"known"
        with serving(moved(f"https://127.0.0.1:{inside}/")) as (port, _others):
            failure(client, f"http://127.0.0.1:{port}/", follow_redirects=True, **mine)
    assert len(requests) == 1


@pytest.mark.parametrize("option", ["ca_cert", "client_cert"])
@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_file_that_cannot_be_used_is_named(
    client: HttpClient, tmp_path: Path, option: str, content: str | None
) -> None:
    path = tmp_path / "file.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(PreconditionFailed, match=option):
        client.prepare(HttpRequest("https://127.0.0.1/", **{option: str(path)}))


def test_names_resolve_to_the_families_asked_for() -> None:
    assert {address[0] for _family, address in resolve("127.0.0.1", 80, "ipv4", 5.0)} == {"127.0.0.1"}
    with pytest.raises(NoAnswer, match="does not resolve"):
        resolve("127.0.0.1", 80, "ipv6", 5.0)
