#!/usr/bin/python
# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: report
short_description: Write the operations report as a page, as a ticket and as metrics
version_added: 0.1.0
description:
  - Reads the journal and writes what it knows of a product. One HTML page that needs no network, Markdown for a ticket,
    and a file for the textfile collector of the node_exporter.
  - At the top stands the verdict of the product, and what needs a person with the runbook to run. Then the areas, KPIs
    with their error budgets, business figures, backups and their proofs, recoveries as measured beside their targets,
    capacity, histories, incidents, runs, maintenance, and sessions that were ended.
  - A run of O(schedule) that should have happened and did not is V(critical), in the report and in the metrics. So is an
    area whose newest reading is older than O(max_ages) allows, and a recovery whose measurement is too old.
  - Nothing is V(ok) for lack of data. When the journal cannot be read, everything that only it knows is V(unknown), and
    the report says so. The module does not fail, since the old report would look well for ever.
  - Files are replaced as a whole. When only the time of writing is different they are renewed all the same, which is no
    change. The page says of itself when it is older than O(stale_after).
  - Everything in the page is escaped, and its policy forbids any script but its own.
  - Runs on the controller, whatever host the task is for. Delegate it to localhost and use C(run_once).
options:
  product:
    description: Name of the product.
    type: str
    required: true
  title:
    description: Title of the report.
    type: str
    default: Operations report
  dest:
    description: Folder on the controller for the files. It is made when it is missing.
    type: path
    required: true
  name:
    description: Name of the files, without their endings C(.html), C(.md) and C(.prom).
    type: str
    default: report
  metrics_dest:
    description: Folder for the metrics, for example V(/var/lib/prometheus/node-exporter). O(dest) by default.
    type: path
  formats:
    description: What is written.
    type: list
    elements: str
    choices: [html, markdown, prometheus]
    default: [html, markdown, prometheus]
  mode:
    description: Permissions of the files, octal and in quotes. The owner must be able to read.
    type: raw
    default: "0644"
  window:
    description: How far runs, maintenance, sessions and incidents are looked back at, as a duration.
    type: str
    default: 30d
  history:
    description: How far plots look back, as a duration.
    type: str
    default: 365d
  stale_after:
    description: Age from which on the page warns whoever opens it, as a duration.
    type: str
    default: 26h
  max_ages:
    description:
      - How old the newest reading of an area may be, as a mapping of areas to durations.
      - What is not named is V(26h), but V(8d) for C(security) and C(capacity).
    type: dict
    default: {}
  areas:
    description:
      - Areas that have to be there. One that was never read is V(unknown).
      - Without any, those that the journal knows.
    type: list
    elements: str
    default: []
  hosts:
    description:
      - Hosts that are still there. Readings of others are left out.
      - Without any, all that the journal knows, and one that is gone becomes stale.
    type: list
    elements: str
    default: []
  plots:
    description: Further metrics to draw, for example V(business.signups).
    type: list
    elements: str
    default: []
  schedule:
    description: Runs that have to happen.
    type: list
    elements: dict
    default: []
    suboptions:
      runbook:
        description: Name of the runbook in the journal, for example V(daily-operations).
        type: str
        required: true
      every:
        description: How often, as a duration.
        type: str
        required: true
      grace:
        description: How much later is still in time, as a duration.
        type: str
        default: 1h
      counts:
        description:
          - Which runs count. V(completed) are those that came to their own end, whatever their verdict.
          - V(good) are those whose verdict was V(ok) or V(warning).
          - A run with C(--limit), C(--tags) or C(--skip-tags) does not count, because it says nothing of the hosts and
            steps that it left out. Check mode does not count either.
        type: str
        choices: [completed, good]
        default: completed
      limit:
        description: The C(--limit) with which the runbook is always run, as the journal has it. Such runs count too.
        type: str
      tags:
        description:
          - The tags with which the runbook is always run, as the journal has them, for example V(not redis) for
            C(--skip-tags redis). Such runs count too.
          - With O(schedule[].limit), runs with both count.
        type: str
  objectives:
    description: What was promised about recoveries. They are compared with the newest drill of the same name.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the drill in the journal.
        type: str
        required: true
      rto:
        description: Longest time to recover, as a duration.
        type: str
      rpo:
        description: Longest time whose data may be lost, as a duration.
        type: str
      max_age:
        description: How old the measurement may be, as a duration. Without it any age will do.
        type: str
  kpis:
    description: RV(oncall.runbooks.kpi_evaluate#module:kpis). By default what the journal has of their newest evaluation.
    type: list
    elements: dict
  forecasts:
    description: >-
      RV(oncall.runbooks.capacity_forecast#module:forecasts). By default what the journal has of them, without plots.
    type: list
    elements: dict
  backups:
    description: Results of M(oncall.runbooks.backup_catalog_info), as they were registered.
    type: list
    elements: dict
  links:
    description: Pages of your own about runbooks and areas, as a mapping of names to addresses.
    type: dict
    default: {}
  runbooks:
    description: >-
      Commands to show instead of our own, as a mapping of areas or runbooks to commands.
    type: dict
    default: {}
extends_documentation_fragment:
  - oncall.runbooks.attributes
  - oncall.runbooks.attributes.idempotent
  - oncall.runbooks.journal
requirements:
  - on the controller jinja2, sqlalchemy, and prometheus_client for the metrics
seealso:
  - module: oncall.runbooks.kpi_evaluate
  - module: oncall.runbooks.capacity_forecast
  - module: oncall.runbooks.backup_catalog_info
author:
  - The oncall.runbooks maintainers (@oncall-runbooks)
"""

EXAMPLES = r"""
- name: The report is written
  oncall.runbooks.report:
    product: Shop
    dest: /srv/www/status
    metrics_dest: /var/lib/prometheus/node-exporter
    areas: [availability, database, redis, host, backups]
    schedule:
      - {runbook: daily-operations, every: 1d, grace: 2h}
      - {runbook: backup, every: 6h, counts: good}
      - {runbook: weekly-maintenance, every: 7d, grace: 1d}
    objectives:
      - {name: database, rto: 30m, rpo: 1h, max_age: 35d}
    links:
      daily-operations: https://wiki.shop.example/operations/daily
  delegate_to: localhost
  run_once: true

- name: With what was just evaluated
  oncall.runbooks.report:
    product: Shop
    dest: /srv/www/status
    kpis: "{{ kpis.kpis }}"
    forecasts: "{{ capacity.forecasts }}"
    backups: ["{{ catalog }}"]
  delegate_to: localhost
  run_once: true
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
  description: Always V(report). The next report leaves out what this one found.
  returned: success
  type: str
  sample: report
files:
  description: The files by format.
  returned: success
  type: dict
  sample: {html: /srv/www/status/report.html, markdown: /srv/www/status/report.md}
sizes_bytes:
  description: Their sizes.
  returned: success
  type: dict
  sample: {html: 412034, markdown: 3120}
area_verdicts:
  description: The verdict of each area.
  returned: success
  type: dict
  sample: {database: critical, host: ok}
needs:
  description: What needs a person, the worst first.
  returned: success
  type: list
  elements: dict
  contains:
    status: {description: Its verdict., type: str, returned: always, sample: critical}
    area: {description: "Area, or V(runs), V(recovery), V(incidents), V(journal).", type: str, returned: always, sample: database}
    where: {description: Host or hosts., type: str, returned: always, sample: db1}
    msg: {description: What is wrong., type: str, returned: always, sample: slot old_dr holds back 48 GB of WAL}
    command:
      description: The runbook to run, empty where there is none.
      type: str
      returned: always
      sample: ansible-playbook playbooks/performance-check.yml --limit db1
overdue:
  description: Runbooks of O(schedule) that should have run and did not.
  returned: success
  type: list
  elements: str
  sample: [weekly-maintenance]
"""

# The work is done by the action plugin of the same name: templates and the chart library are not on hosts.
