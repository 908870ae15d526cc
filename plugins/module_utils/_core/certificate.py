# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Certificates of servers: what is wrong with them, and how long they last."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Optional

from .redact import printable
from .units import human_duration, rfc3339


@dataclass(frozen=True)
class Certificate:
    """A certificate as it was shown; ``names`` are its host names and addresses."""

    subject: str
    issuer: str
    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    self_signed: bool


@dataclass(frozen=True)
class CertificateLook:
    """What a host showed: the certificate, or why it is not known; ``distrust`` is why the check of it failed."""

    host: str
    certificate: Optional[Certificate] = None
    trouble: str = ""
    distrust: str = ""


def days_left(certificate: Certificate, now: datetime) -> float:
    """Return the days until it expires; negative when it has."""
    return (certificate.not_after - now) / timedelta(days=1)


def covers(names: tuple[str, ...], host: str) -> bool:
    """Tell whether a host is among a certificate's names; a star stands for one label, the first (RFC 6125).

    >>> names = ("shop.example", "*.shop.example", "192.0.2.1")
    >>> [covers(names, host) for host in ("SHOP.example", "a.shop.example", "a.b.shop.example", "192.0.2.1")]
    [True, True, False, True]
    """
    wanted = _canonical(host)
    head, _dot, rest = wanted.partition(".")
    star = f"*.{rest}" if head and rest and not _is_address(wanted) else wanted
    return any(name in (wanted, star) for name in map(_canonical, names))


def _canonical(name: str) -> str:
    bare = name.strip("[]")
    return str(ipaddress.ip_address(bare)) if _is_address(bare) else name.lower().rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def faults_of(look: CertificateLook, now: datetime) -> tuple[str, ...]:
    """Return all that is wrong with it: OpenSSL names only the first fault that it finds."""
    certificate = look.certificate
    if certificate is None:
        return (look.distrust,) if look.distrust else ()
    faults = []
    if certificate.not_after <= now:
        ago = human_duration((now - certificate.not_after).total_seconds())
        faults.append(f"expired {ago} ago ({rfc3339(certificate.not_after)})")
    if certificate.not_before > now:
        faults.append(f"is not valid before {rfc3339(certificate.not_before)}")
    if look.distrust:
        faults += _distrusted(certificate, look.host, look.distrust, bool(faults))
    return tuple(faults)


def _distrusted(certificate: Certificate, host: str, distrust: str, known: bool) -> list[str]:
    faults = []
    if not covers(certificate.names, host):
        named = ", ".join(certificate.names[:3]) or "nobody"
        faults.append(f"is for {printable(named, 120)}, not for {printable(host, 80)}")
    if certificate.self_signed:
        faults.append("is self-signed")
    return faults or ([] if known else [f"is not trusted: {distrust}"])
