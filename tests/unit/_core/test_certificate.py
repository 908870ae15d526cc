from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from plugins.module_utils._core.certificate import Certificate, CertificateLook, covers, days_left, faults_of

NOW = datetime(2026, 9, 18, 4, tzinfo=timezone.utc)


def shown(*names: str, days: float = 90, begins: float = -30, self_signed: bool = False) -> Certificate:
    begin, end = NOW + timedelta(days=begins), NOW + timedelta(days=days)
    return Certificate("CN=a", "CN=a" if self_signed else "CN=b", names, begin, end, self_signed)


@pytest.mark.parametrize(
    ("name", "host", "covered"),
    [
        ("shop.example", "shop.example", True),
        ("shop.example", "SHOP.example.", True),
        ("shop.example", "www.shop.example", False),
        ("*.shop.example", "www.shop.example", True),
        ("*.shop.example", "a.www.shop.example", False),
        ("*.shop.example", "shop.example", False),
        ("*", "localhost", False),
        ("*.example", "example", False),
        ("w*.shop.example", "www.shop.example", False),
        ("192.0.2.1", "192.0.2.1", True),
        ("2001:db8::1", "2001:DB8:0::1", True),
        ("*.0.2.1", "192.0.2.1", False),
    ],
)
def test_names(name: str, host: str, covered: bool) -> None:
    assert covers((name,), host) == covered


@pytest.mark.parametrize(
    ("certificate", "distrust", "faults"),
    [
        (shown("h"), "", ()),
        (shown("other"), "", ()),
        (shown("h", days=0), "", ("expired 0.0 s ago (2026-09-18T04:00:00Z)",)),
        (shown("h", days=-2), "certificate has expired", ("expired 2 d ago (2026-09-16T04:00:00Z)",)),
        (shown("h", begins=1), "not yet valid", ("is not valid before 2026-09-19T04:00:00Z",)),
        (shown("other"), "mismatch", ("is for other, not for h",)),
        (shown(), "mismatch", ("is for nobody, not for h",)),
        (shown("h", self_signed=True), "self-signed", ("is self-signed",)),
        (shown("h"), "unable to get issuer", ("is not trusted: unable to get issuer",)),
        (None, "mismatch", ("mismatch",)),
        (None, "", ()),
    ],
)
def test_all_that_is_wrong_is_said(certificate: Certificate | None, distrust: str, faults: tuple[str, ...]) -> None:
    assert faults_of(CertificateLook("h", certificate, distrust=distrust), NOW) == faults


def test_days_are_counted_to_its_end() -> None:
    assert days_left(shown(days=1.5), NOW) == 1.5 and days_left(shown(days=-1), NOW) == -1
