#!/usr/bin/python
# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: external_api_probe
short_description: Ask the APIs of others within their rate limits - errors, latency, quota left, breaker
version_added: 0.1.0
description:
  - Sends a few requests to each API, paced by its rate limit, and never more than a small share of its quota.
  - A V(429) ends the requests at once. No other is sent before the time that C(Retry-After) (seconds or a date) or the quota's reset
    names. It is returned as RV(apis[].retry_at) and honoured by the next run that gets RV(breakers) as O(previous).
  - >-
    Each API has a circuit breaker. After some failures in a row it opens, and nothing is sent until its cooldown is over. Then one
    trial closes it or opens it again. Its state is returned as RV(breakers); keep it and give it back as O(previous).
  - A V(429) is neither a failure nor a success for the breaker, and does not count as an error.
  - A request that fails is no failure of the module. What cannot be asked from this host, or not within the share, is V(unknown).
options:
  previous:
    description:
      - What the last run returned as RV(breakers). Without it every breaker is closed and no earlier request is known.
      - APIs that are not in O(apis) are left out.
    type: dict
    default: {}
  timeout:
    description: Time for all requests together, as a duration.
    type: str
    default: 60s
  limits:
    description:
      - >-
        From where a reading is a warning and critical. Maps a check to C({warning: number, critical: number}), or to
        V(false) to leave it out. The checks, their units and defaults are as follows.
      - C(api_errors) (% of the requests that were not answered as expected) 0.1 and 50. C(api_latency_p95) (s) 3 and 5.
      - C(api_quota_left) (%, lower is worse) 20 and 5. At the critical level no more requests are sent.
      - C(api_rate_limited) has no levels, and is a warning after a V(429). C(api_breaker) and C(api_token) have no levels either. An
        open breaker, and credentials that get no token, are critical.
    type: dict
    default: {}
requirements:
  - requests (2.32 or newer, with urllib3 2) on the host where the module runs
extends_documentation_fragment:
  - oncall.runbooks.attributes
  - oncall.runbooks.attributes.info
  - oncall.runbooks.http_requests.apis
notes:
  - >-
    A failure has C(failure.code): V(invalid_value), V(invalid_arguments). Its message names the API.
  - Read secrets from the environment with C(lookup('ansible.builtin.env', ...)) or from a vault.
author:
  - The oncall.runbooks maintainers (@oncall-runbooks)
"""

EXAMPLES = r"""
- name: The APIs that events come from
  oncall.runbooks.external_api_probe:
    apis:
      - name: spotify
        url: https://api.spotify.com/v1/search?q=test&type=artist&limit=1
        oauth:
          token_url: https://accounts.spotify.com/api/token
          client_id: "{{ lookup('ansible.builtin.env', 'SPOTIFY_CLIENT_ID') }}"
          client_secret: "{{ lookup('ansible.builtin.env', 'SPOTIFY_CLIENT_SECRET') }}"
        rate_limit: {per_minute: 100}
        json: [{path: artists.items, op: exists}]
        fallback: use cached searches
      - name: ticketmaster
        url: https://app.ticketmaster.com/discovery/v2/events.json?size=1
        secret_query:
          apikey: "{{ vault_ticketmaster_key }}"
        rate_limit: {per_minute: 200, per_day: 5000}
        fallback: switch event syncing off
      - name: setlistfm
        url: https://api.setlist.fm/rest/1.0/search/artists?artistName=Queen
        headers: {Accept: application/json}
        secret_headers:
          x-api-key: "{{ vault_setlistfm_key }}"
        rate_limit: {per_second: 2, per_minute: 50}
        requests: 2
    previous: "{{ breakers_of_last_run | default({}) }}"
  delegate_to: localhost
  register: external_apis
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
  sample: external_apis
samples:
  description: Readings to be kept as history.
  returned: success
  type: list
  elements: dict
  contains:
    metric:
      description: >-
        V(external_apis.latency.p50), C(.p95) and C(.max), V(external_apis.error_percent), V(external_apis.quota.left_percent),
        V(external_apis.rate_limited), V(external_apis.breaker_open).
      type: str
      returned: always
      sample: external_apis.error_percent
    value: {description: The reading., type: float, returned: always, sample: 0.0}
    unit: {description: Its unit., type: str, returned: always, sample: percent}
    labels: {description: What it was read of., type: dict, returned: always, sample: {api: spotify}}
apis:
  description: What was seen of each API.
  returned: success
  type: list
  elements: dict
  contains:
    name: {description: Its name., type: str, returned: always, sample: spotify}
    target: {description: "What was asked, without query and secrets.", type: str, returned: always, sample: GET https://api.spotify.com/v1/search}
    status: {description: Its worst finding., type: str, returned: always, sample: ok}
    asked: {description: Requests that were sent., type: int, returned: always, sample: 3}
    failed: {description: "Those that were not answered as expected, refused ones included.", type: int, returned: always, sample: 0}
    error_percent:
      description: Share of the failed ones without those refused for their rate, null when none was sent.
      type: float
      returned: always
      sample: 0.0
    rate_limited: {description: Requests that were refused for their rate., type: int, returned: always, sample: 0}
    latency:
      description: Seconds, null without answers.
      type: dict
      returned: always
      contains:
        count: {description: How many answers., type: int, returned: always, sample: 3}
        p50: {description: Median., type: float, returned: always, sample: 0.121}
        p95: {description: 95th percentile., type: float, returned: always, sample: 0.183}
        max: {description: The slowest., type: float, returned: always, sample: 0.19}
        method: {description: How percentiles are made., type: str, returned: always, sample: linear interpolation}
    quota:
      description: What the last answer told of the quota, null what it did not.
      type: dict
      returned: always
      contains:
        limit: {description: Its size., type: float, returned: always, sample: 5000.0}
        remaining: {description: What is left., type: float, returned: always, sample: 4711.0}
        left_percent: {description: The same as a share., type: float, returned: always, sample: 94.22}
        reset_at: {description: When it begins anew., type: str, returned: always, sample: "2026-09-19T00:00:00Z"}
    retry_at: {description: "Before this no request may be sent, or null.", type: str, returned: always, sample: "2026-09-18T04:05:00Z"}
    breaker: {description: "V(closed), V(open) or V(half_open).", type: str, returned: always, sample: closed}
    withheld: {description: "Why not all requests were sent, or null.", type: str, returned: always, sample: null}
    failures:
      description: The five most frequent failures.
      type: list
      elements: dict
      returned: always
      contains:
        failure: {description: What was wrong., type: str, returned: always, sample: "status 503, not 200"}
        count: {description: How often., type: int, returned: always, sample: 2}
    fallback: {description: What the product does without it., type: str, returned: always, sample: use cached searches}
breakers:
  description: What the next run must know, by API. It holds no secret.
  returned: success
  type: dict
  sample:
    spotify:
      state: open
      failures: 3
      since: "2026-09-18T04:00:00Z"
      opened: "2026-09-18T04:00:00Z"
      trial_at: "2026-09-18T04:05:00Z"
      retry_at: null
      sent: {"2026-09-18T04:00:00Z": 3}
"""

from ..module_utils._module.external_api_probe import ExternalApiProbe, external_api_probe_spec
from ..module_utils._module.run import run


def main() -> None:
    run(external_api_probe_spec(), ExternalApiProbe)


if __name__ == "__main__":
    main()
