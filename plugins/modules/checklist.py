#!/usr/bin/python
# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: checklist
short_description: Answer a list of the day, and have a person sign what only a person can do
version_added: 0.1.0
description:
  - An item with areas is answered by their verdicts. An item without is signed by a person, with a name.
  - What nobody has signed is V(unknown) and stays open, in unattended runs too. It is never taken as done.
  - A signature counts on the local day on which it was given.
options:
  items:
    description: The items of all lists.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name, by which it is signed.
        type: str
        required: true
      title:
        description: What is to be done, in words.
        type: str
        required: true
      list:
        description: The list that it is on, for example V(morning).
        type: str
        default: ""
      areas:
        description: Areas whose verdicts answer it. Without any a person signs it.
        type: list
        elements: str
        default: []
  list:
    description: The list that is answered. Empty is all of them.
    type: str
    default: ""
  verdicts:
    description: The verdict of each area that was looked at.
    type: dict
    default: {}
  signed:
    description: Names of the items that are signed now.
    type: list
    elements: str
    default: []
  signed_by:
    description: Who signs.
    type: str
    default: ""
  signatures:
    description: Earlier signatures, as RV(signatures) of the last run.
    type: dict
    default: {}
  timezone:
    description: IANA name of the time zone in which a day begins.
    type: str
    default: UTC
extends_documentation_fragment:
  - oncall.runbooks.attributes
  - oncall.runbooks.attributes.idempotent
notes:
  - Keeps nothing by itself. The journal keeps the steps and gives the signatures back.
  - >-
    A failure has C(failure.code): V(invalid_value), V(invalid_arguments).
author:
  - The oncall.runbooks maintainers (@oncall-runbooks)
"""

EXAMPLES = r"""
- name: Morning list is answered
  oncall.runbooks.checklist:
    list: morning
    items:
      - {name: endpoints, title: Health endpoints answer, list: morning, areas: [availability]}
      - {name: tickets, title: Support tickets are read, list: morning}
    verdicts: {availability: ok}
    signed: [tickets]
    signed_by: anna
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
signatures:
  description: Who signed what on this day.
  returned: success
  type: dict
  sample: {tickets: {by: anna, at: "2026-11-21T08:05:00Z"}}
"""

from ..module_utils._module.checklist import Checklist, checklist_spec
from ..module_utils._module.run import run
from ..module_utils._module.spec import ArgumentSpec


def argument_spec() -> ArgumentSpec:
    return checklist_spec()


def main() -> None:
    run(argument_spec(), Checklist)


if __name__ == "__main__":
    main()
