from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core.http_address import LOOPBACK, PRIVATE, PUBLIC, SPECIAL, kind_of, may_lead_to

KINDS = {
    PUBLIC: ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"],
    PRIVATE: ["10.0.0.1", "172.16.9.9", "192.168.1.1", "100.64.0.1", "192.0.2.1", "240.0.0.1", "fd00::1", "2001:db8::1",
              "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::"],
    LOOPBACK: ["127.0.0.1", "127.255.0.1", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"],
    SPECIAL: ["169.254.169.254", "fe80::1", "fe80::1%eth0", "0.0.0.0", "::", "224.0.0.1", "ff02::1",
              "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe"],
}  # fmt: skip


@pytest.mark.parametrize(("kind", "address"), [(kind, one) for kind, many in KINDS.items() for one in many])
def test_every_address_has_a_kind(kind: str, address: str) -> None:
    assert kind_of(address) == kind


@given(st.ip_addresses(v=4))
def test_an_address_within_another_counts_as_what_it_is(address: ipaddress.IPv4Address) -> None:
    kind = kind_of(str(address))
    number = int(address)
    for wrapped in (f"::ffff:{address}", str(ipaddress.IPv6Address((0x64FF9B << 96) | number))):
        assert kind_of(wrapped) == kind


def test_from_outside_nothing_leads_inwards() -> None:
    assert [kind for kind in KINDS if may_lead_to(kind, PUBLIC)] == [PUBLIC]
    assert [kind for kind in KINDS if may_lead_to(kind, SPECIAL)] == [PUBLIC]
    assert [kind for kind in KINDS if may_lead_to(kind, PRIVATE)] == [PUBLIC, PRIVATE, LOOPBACK]
