#!/usr/bin/python
# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: http_probe
short_description: Ask endpoints as their users do - answers, latency, certificates
version_added: 0.1.0
description:
  - Sends several requests to each endpoint, all endpoints at the same time, and judges answers, latency and certificates.
  - Each request is on a connection of its own, so that name resolution, connection and handshake are in its time.
  - Whatever an endpoint does (hang, drip, answer gigabytes, redirect in circles or inwards), every request ends in time.
  - A request that fails is no failure of the module. What cannot be asked from this host is V(unknown).
  - >-
    Latencies are those of requests that were answered in full, rightly or wrongly. Percentiles are interpolated linearly
    between the two nearest answers (as C(percentile_cont)), so that p95 of five answers is between the two slowest.
options:
  timeout:
    description: Time for all requests together, as a duration. Endpoints that were not asked by then are V(unknown).
    type: str
    default: 60s
  workers:
    description: How many requests are under way at the same time.
    type: int
    default: 8
  limits:
    description:
      - >-
        From where a reading is a warning and critical. Maps a check to C({warning: number, critical: number}), or to
        V(false) to leave it out. The checks, their units and defaults are as follows.
      - C(endpoint_availability) (% of the requests that were answered as expected, lower is worse) 99.9 and 50. One failure
        among few is a warning. How much is too much over a window is for objectives, evaluated from the samples.
      - C(endpoint_latency_p50) and C(endpoint_latency_max) (s) none, C(endpoint_latency_p95) (s) 3 and 5.
      - C(certificate_expiry) (days, lower is worse) 21 and 7. An expired one is critical.
      - C(certificate_trust) has no levels. A wrong name, an authority that is not trusted or a self-signed certificate is
        critical, unless C(validate_certs) is false.
    type: dict
    default: {}
requirements:
  - requests (2.32 or newer, with urllib3 2) on the host where the module runs, for V(http) endpoints and V(tcp) ones with C(tls)
  - cryptography on the host where the module runs, for the expiry of certificates
extends_documentation_fragment:
  - oncall.runbooks.attributes
  - oncall.runbooks.attributes.info
  - oncall.runbooks.http_requests.endpoints
notes:
  - >-
    A failure has C(failure.code): V(invalid_value), V(invalid_arguments). Its message names the endpoint.
  - Cookies are not kept between redirects.
author:
  - The oncall.runbooks maintainers (@oncall-runbooks)
"""

EXAMPLES = r"""
- name: The shop answers
  oncall.runbooks.http_probe:
    endpoints:
      - name: home
        url: https://shop.example/
        absent: [Fatal error]
      - name: health
        url: https://shop.example/api/health
        json:
          - {path: status, value: healthy}
          - {path: queue.length, op: lt, value: 1000}
        limits:
          endpoint_latency_p95: {warning: 0.2, critical: 1}
      - name: plain
        url: http://shop.example/
        redirect: https://shop.example/
        requests: 1
      - {name: pooler, kind: tcp, host: db.shop.example, port: 6432, requests: 1}
      - {name: name, kind: dns, host: shop.example, addresses: [192.0.2.0/24], requests: 1}
  delegate_to: localhost
  register: availability
  failed_when: availability is failed or availability.status == 'critical'
"""

RETURN = r"""
# begin: results of every module (written by tools/stamp_returns.py)
msg:
  description: One line for the person who reads it at 3 a.m.
  returned: always
  type: str
  sample: 41 tables vacuumed, 2 skipped (locked), 12.0 GB of 60.0 GB dead space freed
plan:
  description: What is to be done, in order. The same in check mode and in a real run.
  returned: success
  type: list
  elements: dict
  contains:
    id: {description: Names the action in RV(plan) and RV(steps)., type: str, returned: always, sample: vacuum:shop:public.events}
    action: {description: What is done., type: str, returned: always, sample: vacuum}
    target: {description: What it is done to., type: str, returned: always, sample: shop public.events}
    reason: {description: Why., type: str, returned: always, sample: 31 % dead (1.2 million of 3.9 million rows)}
    command: {description: The exact statement or command., type: str, returned: always, sample: VACUUM (ANALYZE) public.events}
steps:
  description: What became of each action of the plan. Empty in check mode.
  returned: success, and after a failure half way
  type: list
  elements: dict
  contains:
    id: {description: "The action's RV(plan[].id).", type: str, returned: always, sample: vacuum:shop:public.events}
    status: {description: "V(done), V(skipped) or V(failed).", type: str, returned: always, sample: done}
    duration_seconds: {description: How long it took., type: float, returned: always, sample: 12.4}
    detail: {description: "What happened, or why not.", type: str, returned: always, sample: lock not available}
findings:
  description: Readings against their limits.
  returned: success
  type: list
  elements: dict
  contains:
    check: {description: What was looked at., type: str, returned: always, sample: xmin_horizon}
    status: {description: "V(ok), V(warning), V(critical), or V(unknown) when it could not be looked at.", type: str, returned: always, sample: warning}
    value: {description: The reading., type: raw, returned: always, sample: 5400}
    unit: {description: Its unit., type: str, returned: always, sample: s}
    warning: {description: Limit of V(warning)., type: raw, returned: always, sample: 3600}
    critical: {description: Limit of V(critical)., type: raw, returned: always, sample: 86400}
    msg: {description: The reading in words., type: str, returned: always, sample: pid 4711 (reports) has held back vacuum for 1 h 30 min}
status:
  description: "The worst finding: V(ok), V(unknown), V(warning) or V(critical)."
  returned: success
  type: str
  sample: warning
before:
  description: What was true before; the diff is made from RV(before) and RV(after).
  returned: success
  type: dict
  sample: {dead_rows: 1200000}
after:
  description: What is true afterwards. Predicted in check mode, read again in a real run.
  returned: success
  type: dict
  sample: {dead_rows: 0}
failure:
  description: Why the module failed.
  returned: failure
  type: dict
  contains:
    code: {description: Stable; the value to branch on., type: str, returned: always, sample: lock_busy}
    hint: {description: What to do next., type: str, returned: always, sample: wait for the other run}
    details: {description: "Further facts, if there are any.", type: dict, returned: always, sample: {sqlstate: 55P03}}
# end: results of every module
area:
  description: The area of the readings.
  returned: success
  type: str
  sample: availability
samples:
  description: Readings to be kept as history.
  returned: success
  type: list
  elements: dict
  contains:
    metric:
      description: "V(availability.up) (share of good requests), V(availability.latency.p50), C(.p95), C(.max), V(availability.certificate.days)."
      type: str
      returned: always
      sample: availability.latency.p95
    value: {description: The reading., type: float, returned: always, sample: 0.183}
    unit: {description: Its unit., type: str, returned: always, sample: seconds}
    labels: {description: What it was read of., type: dict, returned: always, sample: {endpoint: home}}
endpoints:
  description: What was seen of each endpoint.
  returned: success
  type: list
  elements: dict
  contains:
    name: {description: Its name., type: str, returned: always, sample: home}
    kind: {description: "V(http), V(tcp) or V(dns).", type: str, returned: always, sample: http}
    target: {description: "What was asked, without query and secrets.", type: str, returned: always, sample: GET https://shop.example/}
    status: {description: Its worst finding., type: str, returned: always, sample: ok}
    asked: {description: Requests that were sent., type: int, returned: always, sample: 5}
    good: {description: Those that were answered as expected., type: int, returned: always, sample: 5}
    availability_percent: {description: "Share of the good ones, null when none was sent.", type: float, returned: always, sample: 100.0}
    codes: {description: How often each status code came., type: dict, returned: always, sample: {"200": 5}}
    address: {description: "The address that answered, for V(dns) all that were found.", type: str, returned: always, sample: 192.0.2.7}
    latency:
      description: Seconds, null without answers.
      type: dict
      returned: always
      contains:
        count: {description: How many answers., type: int, returned: always, sample: 5}
        p50: {description: Median., type: float, returned: always, sample: 0.121}
        p95: {description: 95th percentile., type: float, returned: always, sample: 0.183}
        max: {description: The slowest., type: float, returned: always, sample: 0.19}
        method: {description: How percentiles are made., type: str, returned: always, sample: linear interpolation}
    phases:
      description: >-
        Median seconds of C(dns), C(connect), C(tls), C(first_byte) (from the start to the last header) and C(total), of the last
        hop.
      type: dict
      returned: always
      sample: {dns: 0.002, connect: 0.01, tls: 0.03, first_byte: 0.11, total: 0.12}
    failures:
      description: The five most frequent failures.
      type: list
      elements: dict
      returned: always
      contains:
        failure: {description: What was wrong., type: str, returned: always, sample: "status 503, not 200"}
        count: {description: How often., type: int, returned: always, sample: 2}
    certificate:
      description: The certificate, null when there is none.
      type: dict
      returned: always
      contains:
        host: {description: Who showed it., type: str, returned: always, sample: shop.example}
        trusted: {description: "Whether nothing speaks against it, as far as it was checked.", type: bool, returned: always, sample: true}
        faults: {description: All that is wrong with it., type: list, elements: str, returned: always, sample: []}
        trouble: {description: "Why it could not be read, or null.", type: str, returned: always, sample: null}
        subject: {description: Whom it names., type: str, returned: always, sample: CN=shop.example}
        issuer: {description: Who signed it., type: str, returned: always, sample: "CN=R11,O=Let's Encrypt,C=US"}
        names: {description: Names that it is for., type: list, elements: str, returned: always, sample: [shop.example]}
        not_before: {description: From when it is valid., type: str, returned: always, sample: "2026-09-01T00:00:00Z"}
        not_after: {description: Until when it is valid., type: str, returned: always, sample: "2026-11-30T00:00:00Z"}
        days_left: {description: "Days until then, negative when it has expired.", type: float, returned: always, sample: 61.5}
        self_signed: {description: Whether it signed itself., type: bool, returned: always, sample: false}
    blocked: {description: "Why it could not be asked from this host, or null.", type: str, returned: always, sample: null}
"""

from ..module_utils._module.http_probe import HttpProbe, http_probe_spec
from ..module_utils._module.run import run


def main() -> None:
    run(http_probe_spec(), HttpProbe)


if __name__ == "__main__":
    main()
