# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Which addresses a redirect may lead to: a public page must not send the probe to what only this host can reach."""

from __future__ import annotations

import ipaddress
from typing import Union

PUBLIC, PRIVATE, LOOPBACK, SPECIAL = "public", "private", "loopback", "special"

_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052
_Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


def kind_of(address: str) -> str:
    """Return the kind of a numeric address; ``special`` is link-local (cloud metadata), multicast and unspecified.

    An IPv4 address within an IPv6 one counts as what it is.

    >>> [kind_of(one) for one in ("8.8.8.8", "10.1.2.3", "::ffff:127.0.0.1", "169.254.169.254", "fe80::1%eth0")]
    ['public', 'private', 'loopback', 'special', 'special']
    """
    ip = _embedded(ipaddress.ip_address(address.partition("%")[0]))
    if ip.is_loopback:
        return LOOPBACK
    if ip.is_link_local or ip.is_multicast or ip.is_unspecified:
        return SPECIAL
    return PUBLIC if ip.is_global and not ip.is_reserved else PRIVATE


def _embedded(ip: _Address) -> _Address:
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else ip)


def may_lead_to(kind: str, origin: str) -> bool:
    """Tell whether a redirect may lead from an address of one kind to another: inwards only from within.

    >>> may_lead_to("loopback", "public"), may_lead_to("loopback", "private"), may_lead_to("special", "private")
    (False, True, False)
    """
    return kind == PUBLIC or (kind in (PRIVATE, LOOPBACK) and origin in (PRIVATE, LOOPBACK))
