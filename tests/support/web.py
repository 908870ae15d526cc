"""HTTP servers on loopback that behave and misbehave as told, and the certificates that they show."""

from __future__ import annotations

import datetime
import ipaddress
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tools.embedded_postgres import free_port

Answer = Callable[[socket.socket, bytes], None]


def request_on(connection: socket.socket) -> bytes:
    """Read one request, with its body."""
    request = b""
    while b"\r\n\r\n" not in request:
        piece = connection.recv(65536)
        if not piece:
            return request
        request += piece
    head, _blank, body = request.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    while length and len(body) < int(length[1]):
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


@contextmanager
def serving(
    answer: Answer, host: str = "127.0.0.1", context: ssl.SSLContext | None = None
) -> Iterator[tuple[int, list[bytes]]]:
    """Accept connections and hand each, with its request, to ``answer``; the requests are kept."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, 0), family=family, backlog=64)
    requests: list[bytes] = []

    def talk(plain: socket.socket) -> None:
        plain.settimeout(10)
        try:
            connection = context.wrap_socket(plain, server_side=True) if context else plain
        except OSError:
            plain.close()
            return  # the client refuses the certificate: what is tested is the client
        with connection:
            try:
                requests.append(request_on(connection))
                answer(connection, requests[-1])
            except OSError:
                pass  # the probe gave up: what is tested is the probe

    def accept() -> None:
        while True:
            try:
                connection, _address = listener.accept()
            except OSError:
                return
            threading.Thread(target=talk, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1], requests
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def reply(text: str) -> Answer:
    return lambda connection, _request: connection.sendall(text.replace("\n", "\r\n").encode())


def drip(head: str, forever: str) -> Answer:
    """Answer one byte at a time, without an end; each byte is well within any socket time-out."""

    def answer(connection: socket.socket, _request: bytes) -> None:
        connection.sendall(head.replace("\n", "\r\n").encode())
        while True:
            connection.sendall(forever.encode())
            time.sleep(0.02)

    return answer


def closed_port() -> int:
    """Return a port at which nothing listens, and which no connection of this host is given meanwhile."""
    return free_port()


def page(body: str | bytes = "ok", status: str = "200 OK", **headers: str) -> Answer:
    """Answer every request with this page; underscores in names of headers stand for dashes."""
    content = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(content)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return lambda connection, _request: connection.sendall("\r\n".join([*lines, "", ""]).encode() + content)


def moved(where: str, status: str = "302 Found") -> Answer:
    """Answer every request with a redirect."""
    return page("", status, Location=where)


def document(value: Any, status: str = "200 OK", **headers: str) -> Answer:
    """Answer every request with JSON."""
    return page(json.dumps(value), status, Content_Type="application/json", **headers)


@dataclass(frozen=True)
class Files:
    """A certificate with its key."""

    certificate: Path
    key: Path

    def context(self, clients_of: Path | None = None) -> ssl.SSLContext:
        """Return the context of a server that shows this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        if clients_of is not None:
            context.load_verify_locations(clients_of)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


class Authority:
    """Signs certificates as they are wanted, good and bad ones."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test authority")])
        self.file = folder / "authority.pem"
        self.file.write_bytes(_pem(self._build("Test authority", (), 3650, self._key, authority=True)))

    def sign(
        self, *names: str, days: float = 90, begins: float = -30, self_signed: bool = False, subject: str = ""
    ) -> Files:
        """Return a certificate for host names and addresses that expires in ``days``."""
        key = ec.generate_private_key(ec.SECP256R1())
        files = Files(self._folder / f"{len(list(self._folder.iterdir()))}.pem", self._folder / "key.pem")
        files = Files(files.certificate, files.certificate.with_suffix(".key"))
        common = subject or (names[0] if names else "nobody")
        shown = self._build(common, names, days, key, begins=begins, signer=key if self_signed else None)
        files.certificate.write_bytes(_pem(shown))
        files.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return files

    def _build(
        self,
        common: str,
        names: tuple[str, ...],
        days: float,
        key: ec.EllipticCurvePrivateKey,
        *,
        begins: float = -30,
        signer: ec.EllipticCurvePrivateKey | None = None,
        authority: bool = False,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.timezone.utc)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if signer else self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(days=min(begins, days - 1)))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), False)
        return builder.sign(signer or self._key, hashes.SHA256())


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
