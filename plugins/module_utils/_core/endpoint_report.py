# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What readings of endpoints say: findings, samples and facts."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from statistics import median
from typing import Any, Iterator, Mapping, Optional, Sequence
from urllib.parse import urlsplit

from .certificate import CertificateLook, days_left, faults_of
from .endpoint import DnsTarget, Endpoint, HttpTarget, Reading
from .fold import fold
from .latency import Latency, in_words, latency_of, latency_samples
from .limits import Limit
from .readings import Judge, Unread
from .redact import printable, redact_text
from .result import CRITICAL, OK, UNKNOWN, Decision, Finding, worst
from .samples import AVAILABILITY, Sample, render_samples
from .units import count_of, human_duration, rfc3339
from .verdict import headline

# Latencies and their limits: the alert rules that the handbooks agree on. One failed request out of a few is a warning;
# how much over a window is critical, is for the objectives that are evaluated from the samples.
DEFAULTS: Mapping[str, Limit] = {
    "endpoint_availability": Limit(99.9, 50, lower_is_worse=True),
    "endpoint_latency_p50": Limit(),
    "endpoint_latency_p95": Limit(3, 5),
    "endpoint_latency_max": Limit(),
    "certificate_expiry": Limit(21, 7, lower_is_worse=True),
    "certificate_trust": Limit(),
}
_ALL_WELL = {
    "endpoint_availability": "every request was answered as it should be",
    "endpoint_latency_p50": "half of the answers came in time",
    "endpoint_latency_p95": "95 % of the answers came in time",
    "endpoint_latency_max": "every answer came in time",
    "certificate_expiry": "the certificate lasts",
    "certificate_trust": "the certificate is trusted",
}
_NO_TIME = "there was no time left to ask; raise timeout, or ask fewer endpoints at once"


def report(readings: Sequence[Reading], limits: Mapping[str, Optional[Limit]], now: datetime) -> Decision:
    """Return the verdict on all endpoints; ``limits`` are those of endpoints without their own."""
    found = [tuple(_findings(one, now)) for one in readings]
    findings = tuple(fold(found, limits, _ALL_WELL, "endpoints"))
    facts = [_facts(one, worst(finding.status for finding in own), now) for one, own in zip(readings, found)]
    samples = [sample for one in readings for sample in _samples(one, now)]
    extra = {"area": AVAILABILITY, "samples": render_samples(samples), "endpoints": facts}
    return Decision(headline(findings), findings=findings, extra=extra)


def _findings(reading: Reading, now: datetime) -> Iterator[Finding]:
    judge, name = Judge(reading.endpoint.limits), reading.endpoint.name
    if reading.blocked or not reading.attempts:
        yield from judge.unread("endpoint_availability", Unread(f"{name}: {reading.blocked or _NO_TIME}"))
        return
    good, asked = _good(reading), len(reading.attempts)
    yield from judge.reading(
        "endpoint_availability", 100 * good / asked, "%", _availability_words(reading, good, asked)
    )
    latency = _latency(reading)
    for part, value in latency.parts():
        check = f"endpoint_latency_{part}"
        if judge.limits.get(check) != Limit():  # without any level there is nothing to judge
            yield from judge.reading(check, value, "s", f"{name}: {in_words(latency, part, value)}")
    if reading.certificate is not None:
        yield from _judge_certificate(judge, reading.endpoint, reading.certificate, now)


def _availability_words(reading: Reading, good: int, asked: int) -> str:
    name = reading.endpoint.name
    if good == asked:
        return f"{name}: {good} of {count_of(asked, 'request')} answered as it should be"
    (failure, times), *others = Counter(one.failure for one in reading.attempts if one.failure).most_common()
    more = f" ({times} x), and {count_of(len(others), 'other failure')}" if others else ""
    share = (
        "the request" if asked == 1 else f"all {asked} requests" if not good else f"{asked - good} of {asked} requests"
    )
    return f"{name}: {share} failed: {failure}{more}"


def _judge_certificate(judge: Judge, endpoint: Endpoint, look: CertificateLook, now: datetime) -> Iterator[Finding]:
    faults, certificate, where = (
        faults_of(look, now),
        look.certificate,
        printable(f"{endpoint.name} ({look.host})", 160),
    )
    if certificate is None:
        yield from judge.unread("certificate_expiry", Unread(f"{where}: {look.trouble}"))
    else:
        days = days_left(certificate, now)
        words = f"certificate of {where} expires in {human_duration(max(0.0, days) * 86400)}"
        words = words if days > 0 else f"certificate of {where} {faults[0]}"
        yield from judge.reading("certificate_expiry", round(days, 2), "days", words)
    if faults:
        yield from judge.fixed("certificate_trust", CRITICAL, f"certificate of {where} {', '.join(faults)}")
    elif _is_checked(endpoint):
        yield from judge.fixed("certificate_trust", OK, f"certificate of {where} is trusted")


def _is_checked(endpoint: Endpoint) -> bool:
    target = endpoint.target
    if isinstance(target, DnsTarget):
        return False
    return target.request.validate_certs if isinstance(target, HttpTarget) else target.validate_certs


def _good(reading: Reading) -> int:
    return sum(1 for one in reading.attempts if one.failure is None)


def _latency(reading: Reading) -> Latency:
    return latency_of([one.seconds for one in reading.attempts if one.answered])


def _samples(reading: Reading, now: datetime) -> Iterator[Sample]:
    labels = {"endpoint": reading.endpoint.name}
    if reading.attempts:
        yield Sample("availability.up", _good(reading) / len(reading.attempts), "ratio", labels)
    yield from latency_samples("availability", _latency(reading), labels)
    if reading.certificate is not None and reading.certificate.certificate is not None:
        days = round(days_left(reading.certificate.certificate, now), 4)
        yield Sample("availability.certificate.days", days, "days", labels)


def _facts(reading: Reading, status: str, now: datetime) -> dict[str, Any]:
    latency, attempts = _latency(reading), reading.attempts
    failures = Counter(one.failure for one in attempts if one.failure)
    return {
        "name": reading.endpoint.name,
        "kind": reading.endpoint.kind,
        "target": described(reading.endpoint),
        "status": status if attempts else UNKNOWN,
        "asked": len(attempts),
        "good": _good(reading),
        "availability_percent": round(100 * _good(reading) / len(attempts), 4) if attempts else None,
        "codes": {str(code): count for code, count in Counter(one.status for one in attempts if one.status).items()},
        "address": next((one.address for one in attempts if one.address), None),
        "latency": latency.facts(),
        "phases": _phases(reading),
        "failures": [{"failure": text, "count": count} for text, count in failures.most_common(5)],
        "certificate": _certificate_facts(reading.certificate, now),
        "blocked": reading.blocked or None,
    }


def _phases(reading: Reading) -> dict[str, float]:
    """Return the median seconds of each phase over the answers."""
    answered = [one.phases for one in reading.attempts if one.answered and one.phases]
    names = dict.fromkeys(name for phases in answered for name in phases)
    return {name: round(median(phases[name] for phases in answered if name in phases), 6) for name in names}


def _certificate_facts(look: Optional[CertificateLook], now: datetime) -> Optional[dict[str, Any]]:
    if look is None:
        return None
    shown = look.certificate
    return {
        "host": printable(look.host, 200),
        "trusted": not look.distrust,
        "faults": list(faults_of(look, now)),
        "trouble": look.trouble or None,
        "subject": shown.subject if shown else None,
        "issuer": shown.issuer if shown else None,
        "names": list(shown.names[:20]) if shown else [],
        "not_before": rfc3339(shown.not_before) if shown else None,
        "not_after": rfc3339(shown.not_after) if shown else None,
        "days_left": round(days_left(shown, now), 2) if shown else None,
        "self_signed": shown.self_signed if shown else None,
    }


def described(endpoint: Endpoint) -> str:
    """Return what is asked, without any secret; of an address neither query nor fragment is shown."""
    target = endpoint.target
    if isinstance(target, HttpTarget):
        shown = urlsplit(target.request.url)._replace(query="", fragment="").geturl()
        return redact_text(f"{target.request.method} {printable(shown, 200)}")
    if isinstance(target, DnsTarget):
        return f"resolve {printable(target.host, 100)}"
    return f"connect {printable(target.host, 100)}:{target.port}" + " with TLS" * target.tls
