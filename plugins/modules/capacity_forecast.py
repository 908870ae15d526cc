#!/usr/bin/python
# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: capacity_forecast
short_description: Foresee when disks, databases, connections and other resources reach their limits
version_added: 0.1.0
description:
  - Fits a trend to the daily values of each resource in the journal, and says in how many days the limit is reached, at
    the earliest and at the latest, with a prediction interval.
  - Runs on the controller, where the journal is kept or reached from. Delegate it to localhost.
  - The trend is a line of least squares, with weekdays of their own when four weeks of readings show that they differ, or a
    random walk with drift when the deviations from a line hang together from day to day. Less than six weeks of readings
    cannot tell these apart; there the interval spans both.
  - Only the readings since the last change count, which is a step (a clean-up, data that were loaded) or another growth. A
    single day that was off is left out.
  - Nothing is V(ok) for lack of data. A resource that was never read, or has no limit in the journal, or too little
    history since the last change, is V(unknown) and says how much is missing. Readings that are older than
    O(resources[].max_age), and a limit that is reached already, are V(critical).
  - Without a journal every resource is V(unknown); the module does not fail.
options:
  resources:
    description: The resources, as the inventory keeps them. Each series that a source means gets a forecast.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the resource and of its findings. Small letters, digits and underscores. Needed.
        type: raw
      title:
        description: What people call it. The name with spaces by default.
        type: raw
      source:
        description: The readings. Needed.
        type: dict
        suboptions:
          metric:
            description: Name of the metric in the journal, for example V(host.disk.used_percent). Needed.
            type: raw
          hosts:
            description: List of host names or shell patterns. All hosts by default.
            type: raw
          labels:
            description: Mapping of labels to a value or a shell pattern each. All labels by default.
            type: raw
      limit:
        description:
          - A number, or a mapping with C(metric) (and C(labels)) to read it from the journal, where it is the newest value
            of the same host and of labels that agree. Needed.
        type: raw
      unit:
        description: Unit of the readings. Readings in another one are not compared. Needed.
        type: raw
      direction:
        description: V(higher_is_worse) (the default) or V(lower_is_worse) for what is left of something.
        type: raw
      warning:
        description: It is a warning when the limit is this near, as a duration, for example V(30d).
        type: raw
      critical:
        description: It is critical when the limit is this near.
        type: raw
      horizon:
        description: How far to look, at most V(3650d). V(180d) by default.
        type: raw
      confidence:
        description: Share of later readings that the interval shall hold, for example V(0.9). V(0.95) by default.
        type: raw
      daily:
        description: What stands for a day, V(mean) (the default), V(max), V(min) or V(last).
        type: raw
      history:
        description: How far to look back. V(90d) by default.
        type: raw
      min_history:
        description: Time that readings since the last change must cover. V(7d) by default.
        type: raw
      min_points:
        description: Days of it that must have readings, at least 4. V(7) by default.
        type: raw
      judge_by:
        description: Whether the V(expected) (the default) or the V(earliest) time is compared.
        type: raw
      max_age:
        description: Age at which the newest reading is stale, which is critical. V(2d) by default.
        type: raw
      owner:
        description: Who looks after it.
        type: raw
      runbook:
        description: The runbook to run when it is not V(ok).
        type: raw
  variable:
    description: Name of the inventory's variable, for messages about an entry that cannot be meant.
    type: str
    default: resources
  validate_only:
    description: Only see that the entries can be meant, before anything runs. The journal is not read.
    type: bool
    default: false
notes:
  - >-
    A failure has C(failure.code): V(invalid_value) with the place of the entry in the message and in
    C(failure.details.variable), as in C(resources[3].limit), or V(invalid_arguments).
extends_documentation_fragment:
  - oncall.runbooks.attributes.info
  - oncall.runbooks.journal
author:
  - The oncall.runbooks maintainers (@oncall-runbooks)
"""

EXAMPLES = r"""
- name: Resources are foreseen
  oncall.runbooks.capacity_forecast:
    resources:
      - name: disk
        title: Disk
        source: {metric: host.disk.used_percent}
        limit: 100
        unit: "%"
        daily: last
        warning: 30d
        critical: 7d
      - name: database_size
        source: {metric: database.size_bytes, labels: {database: shop}}
        limit: 107374182400
        unit: bytes
        warning: 60d
        judge_by: earliest
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
  sample: capacity
samples:
  description: The expected and the earliest time to the limit of each series, where they are within the horizon.
  returned: success
  type: list
  elements: dict
  sample: [{metric: capacity.disk.expected_to_limit, value: 3715200.0, unit: seconds, labels: {host: db1, mount: /}}]
forecasts:
  description: One forecast for each series, in the order of the inventory.
  returned: success
  type: list
  elements: dict
  contains:
    name: {description: Name of the resource., type: str, returned: always, sample: disk}
    title: {description: What people call it., type: str, returned: always, sample: Disk}
    metric: {description: Its metric., type: str, returned: always, sample: host.disk.used_percent}
    host: {description: The host that it is read of., type: str, returned: always, sample: db1}
    labels: {description: The labels of its series., type: dict, returned: always, sample: {mount: /}}
    unit: {description: Its unit., type: str, returned: always, sample: "%"}
    direction: {description: What is worse., type: str, returned: always, sample: higher_is_worse}
    status: {description: Its verdict., type: str, returned: always, sample: warning}
    reason:
      description: What it rests on. One of V(forecast), V(at_limit), V(too_short), V(no_limit), V(other_unit), V(stale).
      type: str
      returned: always
      sample: forecast
    msg:
      description: How it stands in words.
      type: str
      returned: always
      sample: "Disk db1 mount=/: 82 % of 100 %, grows by 0.42 % a day, at the limit in 23 d, on 2026-12-14 (19 d to 29 d, 95 %)"
    owner: {description: Who looks after it., type: str, returned: always, sample: platform}
    runbook: {description: The runbook to run., type: str, returned: always, sample: emergency/disk-full.yml}
    level: {description: The newest reading., type: float, returned: always, sample: 82.3}
    limit: {description: The limit now., type: float, returned: always, sample: 100}
    used_percent: {description: The level in percent of the limit; null where less is worse., type: float, returned: always, sample: 82.3}
    days_to_limit:
      description:
        - Days until C(expected), and where the bounds of the interval reach the limit C(earliest) and C(latest). A null
          among them means not within the horizon; all of it is null when nothing can be said.
      type: dict
      returned: always
      sample: {expected: 43.0, earliest: 31.2, latest: 68.4}
    date: {description: The day on which the limit is expected., type: str, returned: always, sample: "2027-01-03"}
    trend:
      description:
        - Null when nothing can be said. C(model) is V(line), V(weekly) or V(drift); C(per_day) the growth a day, with
          C(per_day_lower) and C(per_day_upper) at C(confidence); C(deviation) the standard deviation of a day;
          C(r_squared) the share of the variance that a line explains.
      type: dict
      returned: always
      sample: {model: line, confidence: 0.95, per_day: 0.42, per_day_lower: 0.39, per_day_upper: 0.45, deviation: 0.8, r_squared: 0.97}
    history_days: {description: Days since the last change that readings cover., type: int, returned: always, sample: 62}
    points_used: {description: Days of it with readings., type: int, returned: always, sample: 61}
    outliers: {description: Days that were left out., type: list, elements: str, returned: always, sample: []}
    change:
      description: The last change with C(date), C(kind) (V(step) or V(growth)) and C(size), or null.
      type: dict
      returned: always
      sample: {date: "2026-09-20", kind: step, size: -31.0}
    missing_days: {description: How many more days have to be covered., type: float, returned: always, sample: 0.0}
    missing_points: {description: How many more days have to have readings., type: int, returned: always, sample: 0}
    plot:
      description: At most 200 points to draw. Daily values with their days, and the forecast with its interval.
      type: dict
      returned: always
      contains:
        dates: {description: Days of the values., type: list, elements: str, returned: always, sample: ["2026-11-21"]}
        values: {description: Daily values., type: list, elements: float, returned: always, sample: [82.3]}
        forecast_dates: {description: Days of the forecast., type: list, elements: str, returned: always, sample: ["2026-11-22"]}
        mean: {description: What is expected., type: list, elements: float, returned: always, sample: [82.7]}
        lower: {description: Lower bound., type: list, elements: float, returned: always, sample: [81.0]}
        upper: {description: Upper bound., type: list, elements: float, returned: always, sample: [84.4]}
"""

from ..module_utils._module.capacity import CapacityForecast, capacity_spec
from ..module_utils._module.run import run


def main() -> None:
    run(capacity_spec(), CapacityForecast)


if __name__ == "__main__":
    main()
