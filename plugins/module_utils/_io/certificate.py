# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Read the certificates that servers show, also those that nobody should trust."""

from __future__ import annotations

import ssl
from datetime import datetime, timezone
from typing import Any, Optional

from .._core.certificate import Certificate, CertificateLook
from .._core.errors import PreconditionFailed
from .._core.redact import printable
from .network import words_of

try:
    from cryptography import x509
    from cryptography.x509.oid import ExtensionOID
except ImportError:
    x509 = None  # type: ignore[assignment]

_NAMES = 100


def tls_context(
    ca_cert: Optional[str], validate_certs: bool, client_cert: Optional[str] = None, client_key: Optional[str] = None
) -> ssl.SSLContext:
    """Return a context that trusts the given authorities, or else the system's.

    Raises:
        PreconditionFailed: a file cannot be read or holds no certificate.
    """
    try:
        context = ssl.create_default_context(cafile=ca_cert)
    except (OSError, ssl.SSLError) as error:
        raise PreconditionFailed(f"ca_cert {ca_cert} cannot be used: {words_of(error)}") from error
    if not validate_certs:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if client_cert:
        try:
            context.load_cert_chain(client_cert, client_key or None, password=_no_password)
        except (OSError, ssl.SSLError, ValueError) as error:
            files = f"{client_cert} with {client_key}" if client_key else client_cert
            raise PreconditionFailed(f"client_cert {files} cannot be used: {words_of(error)}") from error
    return context


def _no_password() -> str:
    raise ValueError("the key is encrypted")  # without this OpenSSL asks on the terminal


def look_at(host: str, der: Optional[bytes], distrust: str = "") -> CertificateLook:
    """Return what a certificate says; ``der`` is None when it could not be had."""
    if der is None:
        return CertificateLook(host, trouble="the server showed no certificate", distrust=distrust)
    if x509 is None:
        trouble = "the Python package cryptography is missing on this host: install python3-cryptography"
        return CertificateLook(host, trouble=trouble, distrust=distrust)
    try:
        return CertificateLook(host, _read(der), distrust=distrust)
    except ValueError as error:  # whatever a hostile server calls a certificate
        return CertificateLook(host, trouble=f"the certificate cannot be read: {words_of(error)}", distrust=distrust)


def _read(der: bytes) -> Certificate:
    shown = x509.load_der_x509_certificate(der)
    subject, issuer = shown.subject.rfc4514_string(), shown.issuer.rfc4514_string()
    return Certificate(
        subject=printable(subject, 200),
        issuer=printable(issuer, 200),
        names=tuple(printable(name, 200) for name in _names(shown)[:_NAMES]),
        not_before=_moment(shown, "not_valid_before"),
        not_after=_moment(shown, "not_valid_after"),
        self_signed=subject == issuer,
    )


def _names(shown: Any) -> list[str]:
    try:
        found = shown.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
    except x509.ExtensionNotFound:
        return []
    addresses = [str(one) for one in found.get_values_for_type(x509.IPAddress)]
    return [*found.get_values_for_type(x509.DNSName), *addresses]


def _moment(shown: Any, attribute: str) -> datetime:
    aware: Optional[datetime] = getattr(shown, f"{attribute}_utc", None)  # from cryptography 42 on
    if aware is not None:
        return aware
    naive: datetime = getattr(shown, attribute)
    return naive.replace(tzinfo=timezone.utc)
