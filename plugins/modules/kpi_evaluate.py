#!/usr/bin/python
# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kpi_evaluate
short_description: Judge KPIs and objectives by the readings in the journal
version_added: 0.1.0
description:
  - Reads what the health modules have written to the journal, and says of each KPI whether it is within its limits, how
    long it has not been, how much of its objective is attained, how much error budget is left and how fast it is used
    up.
  - Runs on the controller, where the journal is kept or reached from. Delegate it to localhost.
  - Readings are a step function. One covers the time until the next one, at most one and a half times
    O(kpis[].interval). Attainment is weighed by time, so that a burst of readings counts no more than the time it
    covers.
  - A limit with O(kpis[].for) is reached when readings cover that time, and none of them is good. It stays reached until
    a reading is good, not until readings end. When the last good reading is nearer, the limit is not reached yet. When
    readings are missing, the KPI is V(unknown) and says what is missing.
  - Nothing is V(ok) for lack of data. A KPI that was never read, or a host that O(kpis[].source.hosts) names and that was
    never read, is V(unknown). A series whose newest reading is older than O(kpis[].max_age) is V(critical).
  - A series that has been silent for a week (or ten times O(kpis[].max_age), if that is longer), while others of the KPI
    are read, and whose host is not named, is of something that is gone. It is left out, and said to be.
  - Without a journal every KPI is V(unknown); the module does not fail.
options:
  kpis:
    description: The KPIs, as the inventory keeps them.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the KPI and of its finding. Small letters, digits and underscores. Needed.
        type: raw
      title:
        description: What people call it. The name with spaces by default.
        type: raw
      source:
        description: The readings that it is made of. Needed.
        type: dict
        suboptions:
          metric:
            description: Name of the metric in the journal, for example V(availability.up). Needed.
            type: raw
          hosts:
            description: List of host names or shell patterns. All hosts by default.
            type: raw
          labels:
            description: Mapping of labels to a value or a shell pattern each. All labels by default.
            type: raw
          aggregate:
            description:
              - How the series are put together at each moment. One of V(mean), V(max), V(min), V(sum), V(p95), V(last).
              - A series that nobody read at a moment leaves the moment out, unless what was read is bad already and more
                could only make it worse (V(max) where higher is worse, V(min) where lower is).
              - V(mean) by default.
            type: raw
      unit:
        description: Unit of the KPI, for example V(%), V(s), V(bytes), V(count), V(per_hour). Readings in V(ratio) are turned
          into V(%), those V(per_second) into V(per_minute) or V(per_hour), and back. Others are not compared. Needed.
        type: raw
      direction:
        description: V(higher_is_worse) (the default) or V(lower_is_worse).
        type: raw
      warning:
        description: A value from which on it is a warning. The limit itself is out of bounds already.
        type: raw
      critical:
        description: A value from which on it is critical.
        type: raw
      for:
        description: For how long a limit must be broken, as a duration. By default the newest reading decides.
        type: raw
      interval:
        description: How often it is read, as a duration. A longer silence is a gap. V(1h) by default.
        type: raw
      max_age:
        description: Age at which the newest reading is stale, which is critical. Twice the interval by default.
        type: raw
      objective:
        description: What share of a time shall be good.
        type: dict
        suboptions:
          target:
            description: A percentage between 0 and 100. Needed.
            type: raw
          window:
            description: The time, up to now, as a duration. V(30d) by default.
            type: raw
          good:
            description: Limit of good readings. The warning by default, or without one the critical limit.
            type: raw
          attained_by:
            description:
              - With V(time), the default, the share of time with good readings counts.
              - With V(value), for KPIs in V(%) or V(ratio), the reading is itself the share of good, or of bad where
                higher is worse, as with a percentage of answered requests.
            type: raw
          unobserved:
            description:
              - How time counts that no reading covers. V(excluded), the default, counts the observed time only, and the
                result says how much that is. V(bad) counts the rest as bad.
            type: raw
          minimum_observed:
            description: Percentage of the window that must be observed to say that a target is attained. V(50) by
              default.
            type: raw
          when_missed:
            description: Status when the target is missed, V(warning) (the default) or V(critical).
            type: raw
          fast_burn:
            description:
              - A rate of using up the error budget that is V(critical) when both windows reach it. Rate 1 uses it up
                exactly at the end of the objective's window.
            type: dict
            suboptions: &burn
              rate:
                description: The rate. V(14.4) by default for the fast one, V(6) for the slow one.
                type: raw
              window:
                description: The longer window. V(1h) by default for the fast one, V(6h) for the slow one.
                type: raw
              short_window:
                description: The shorter window, which ends the alarm soon after the burning ends. A twelfth of the longer
                  one by default.
                type: raw
          slow_burn:
            description: The same for V(warning).
            type: dict
            suboptions: *burn
      owner:
        description: Who looks after it.
        type: raw
      runbook:
        description: The runbook to run when it is not V(ok).
        type: raw
  variable:
    description: Name of the inventory's variable, for messages about an entry that cannot be meant.
    type: str
    default: kpis
  validate_only:
    description: Only see that the entries can be meant, before anything runs. The journal is not read.
    type: bool
    default: false
notes:
  - >-
    A failure has C(failure.code): V(invalid_value) with the place of the entry in the message and in
    C(failure.details.variable), as in C(kpis[3].critical), or V(invalid_arguments).
extends_documentation_fragment:
  - oncall.runbooks.attributes.info
  - oncall.runbooks.journal
author:
  - The oncall.runbooks maintainers (@oncall-runbooks)
"""

EXAMPLES = r"""
- name: The inventory's KPIs can be meant
  oncall.runbooks.kpi_evaluate:
    kpis: "{{ product_kpis }}"
    variable: product_kpis
    validate_only: true
  delegate_to: localhost
  run_once: true
  vars:
    ansible_python_interpreter: "{{ ansible_playbook_python }}"

- name: KPIs are judged
  oncall.runbooks.kpi_evaluate:
    kpis:
      - name: availability
        title: Availability
        source: {metric: availability.up, aggregate: min}
        unit: "%"
        direction: lower_is_worse
        warning: 99.9
        critical: 99.5
        for: 5m
        interval: 1m
        objective: {target: 99.9, window: 30d, attained_by: value}
        owner: platform
  delegate_to: localhost
  run_once: true
  vars:
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
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
  description: Where the findings and samples belong.
  returned: success
  type: str
  sample: kpis
samples:
  description: The readings that the journal keeps. The value of each KPI, what is attained, and what is left of its error
    budget in percent.
  returned: success
  type: list
  elements: dict
  sample: [{metric: kpis.availability.attainment, value: 99.953, unit: percent, labels: {}}]
kpis:
  description: The KPIs in the order of the inventory. Of a KPI that could not be looked at only what was asked,
    RV(kpis[].status), RV(kpis[].value) and RV(kpis[].msg).
  returned: success
  type: list
  elements: dict
  contains:
    name: {description: Its name., type: str, returned: always, sample: availability}
    title: {description: What people call it., type: str, returned: always, sample: Availability}
    source: {description: What it is made of., type: str, returned: always, sample: availability.up}
    aggregate: {description: How its series are put together., type: str, returned: always, sample: min}
    unit: {description: Its unit., type: str, returned: always, sample: "%"}
    direction: {description: What is worse., type: str, returned: always, sample: lower_is_worse}
    warning: {description: Limit of V(warning)., type: float, returned: always, sample: 99.9}
    critical: {description: Limit of V(critical)., type: float, returned: always, sample: 99.5}
    for_seconds: {description: For how long a limit must be broken., type: float, returned: always, sample: 300}
    interval_seconds: {description: How often it is read., type: float, returned: always, sample: 60}
    max_age_seconds: {description: When a reading is stale., type: float, returned: always, sample: 120}
    owner: {description: Who looks after it., type: str, returned: always, sample: platform}
    runbook: {description: The runbook to run., type: str, returned: always, sample: triage.yml}
    status: {description: Its verdict., type: str, returned: always, sample: critical}
    msg: {description: How it stands in words., type: str, returned: always, sample: "Availability: 98.2 % for 12 min (critical at 99.5 % for 5 min)"}
    value: {description: The value now. Null when there is nothing to rely on., type: float, returned: always, sample: 98.2}
    at: {description: When it was read last., type: str, returned: when it could be looked at, sample: "2026-11-22T04:00:00Z"}
    age_seconds: {description: How old that is., type: float, returned: when it could be looked at, sample: 12.4}
    breach:
      description:
        - Null when the value is within the limits. Otherwise C(level), C(state) (V(reached), V(pending), or V(unknown) for
          too few readings), C(since) with C(since_is_earliest) (false when it may have begun before the first reading
          that is known), and C(covered_seconds), the longest time of it that readings cover.
      type: dict
      returned: when it could be looked at
      sample: {level: critical, state: reached, since: "2026-11-22T03:48:00Z", since_is_earliest: true, covered_seconds: 720}
    objective:
      description:
        - Null without an objective. C(attained) in percent; C(observed_percent) of the window; C(good_seconds) and
          C(bad_seconds) of it; C(budget_left_seconds) and C(budget_left_percent), negative when overdrawn; C(missed);
          C(fast_burn) and C(slow_burn) with C(rate), C(short_rate) (null when less than half of the window was observed),
          C(limit), C(burning).
      type: dict
      returned: when it could be looked at
      sample: {status: ok, target: 99.9, attained: 99.953, observed_percent: 99.2, budget_left_seconds: 1370, missed: false}
    samples_used: {description: Number of readings that were used., type: int, returned: when it could be looked at, sample: 43012}
    series:
      description: The first 20 series with their newest reading.
      type: list
      elements: dict
      returned: when it could be looked at
      sample: [{host: web1, labels: {endpoint: home}, at: '2026-11-22T04:00:00Z', value: 98.2}]
    series_count: {description: Number of series., type: int, returned: when it could be looked at, sample: 1}
    stale: {description: Series that are stale., type: list, elements: str, returned: when it could be looked at, sample: []}
    absent_hosts: {description: Hosts that are named and were never read., type: list, elements: str, returned: when it could be looked at, sample: []}
    left_out: {description: Series that are gone or have another unit., type: list, elements: str, returned: when it could be looked at, sample: []}
"""

from ..module_utils._module.kpi import KpiEvaluation, kpi_spec
from ..module_utils._module.run import run


def main() -> None:
    run(kpi_spec(), KpiEvaluation)


if __name__ == "__main__":
    main()
