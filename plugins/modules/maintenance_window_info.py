#!/usr/bin/python
# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: maintenance_window_info
short_description: Say whether a maintenance window is open, until when, and when the next one opens
version_added: 0.1.0
description:
  - Reads the host's clock against recurring windows that are kept as data, in their own time zones.
  - Changes of daylight saving time are counted right. A local time that the clocks skip counts as the same time before
    the change; one that occurs twice counts as its first occurrence.
  - Windows that touch or overlap count as one.
  - Without any window, any time will do.
options:
  windows:
    description: The windows.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name for messages. Made from days and start by default.
        type: str
      days:
        description:
          - Days on which the window starts, by English names or their first letters, for example V(sun), V(mon-fri),
            V(daily).
          - V(first), V(second), V(third), V(fourth) or V(last) before a name pick one of the month, as in V(first sun).
        type: list
        elements: str
        required: true
      start:
        description: Local time of the start, V(HH:MM). Put it in quotes, because YAML reads 14:00 as a number.
        type: str
        required: true
      end:
        description:
          - Local time of the end, V(HH:MM), up to V(24:00). When it is not after the start it is on the next day.
          - Either this or O(windows[].duration) is needed.
        type: str
      duration:
        description: Length as a duration (V(30m), V(2h)), at most seven days.
        type: str
      timezone:
        description: IANA name of the time zone. Hosts without the tzdata package know V(UTC) only.
        type: str
        default: UTC
      scope:
        description: What the window is for, for example V(database). Without it the window is for everything.
        type: list
        elements: str
        default: []
  scope:
    description: What is to be worked on. Windows for other things are left out. Without it all windows count.
    type: list
    elements: str
    default: []
  minimum_left:
    description: Time that must be left in the window for a start to make sense, as a duration.
    type: str
    default: "0"
  enforce:
    description: Fail with RV(failure.code=window_closed) instead of only saying that no window is open.
    type: bool
    default: false
  before:
    description:
      - What is about to begin, for example V(updates). When no window is open the message says that it is left for
        the next run, and the finding is V(maintenance_window:updates).
    type: str
    default: ""
  at:
    description: Answer for this moment (RFC 3339 with time zone) instead of now.
    type: str
notes:
  - >-
    A failure has C(failure.code): V(impossible_window) for a window that could never be open or never be long enough,
    V(window_closed) with O(enforce), V(invalid_value), V(invalid_arguments).
extends_documentation_fragment:
  - oncall.runbooks.attributes.info
author:
  - The oncall.runbooks maintainers (@oncall-runbooks)
"""

EXAMPLES = r"""
- name: Database work happens on Sunday morning only
  oncall.runbooks.maintenance_window_info:
    windows:
      - {name: database, days: [sun], start: "04:00", end: "05:00", scope: [database]}
      - {name: application, days: [tue, thu], start: "03:00", duration: 30m, scope: [application]}
      - {name: infrastructure, days: [first sun], start: "02:00", duration: 2h}
    scope: [database]
    minimum_left: 10m
    enforce: true
  register: window

- name: Maintenance ends with the window
  oncall.runbooks.postgresql_maintenance:
    window_end: "{{ window.window_end }}"
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
open:
  description: Whether work may start now, with O(minimum_left) to spare.
  returned: success
  type: bool
  sample: true
window:
  description: Name of the window that is open, or null.
  returned: success
  type: str
  sample: database
window_end:
  description: End of the window when work may start, RFC 3339 in UTC. Null when there are no windows, or none is open.
  returned: success
  type: str
  sample: "2026-11-22T05:00:00Z"
seconds_left:
  description: Time until the window closes. Null outside any window.
  returned: success
  type: float
  sample: 2520.0
next_start:
  description: When the next window opens, RFC 3339 in UTC.
  returned: success
  type: str
  sample: "2026-11-29T04:00:00Z"
next_end:
  description: When the next window closes, RFC 3339 in UTC.
  returned: success
  type: str
  sample: "2026-11-29T05:00:00Z"
"""

from ..module_utils._module.run import run
from ..module_utils._module.spec import ArgumentSpec
from ..module_utils._module.window import WindowInfo


def argument_spec() -> ArgumentSpec:
    window = {
        "name": {"type": "str"},
        "days": {"type": "list", "elements": "str", "required": True},
        "start": {"type": "str", "required": True},
        "end": {"type": "str"},
        "duration": {"type": "str"},
        "timezone": {"type": "str", "default": "UTC"},
        "scope": {"type": "list", "elements": "str", "default": []},
    }
    return ArgumentSpec(
        {
            "windows": {"type": "list", "elements": "dict", "default": [], "options": window},
            "scope": {"type": "list", "elements": "str", "default": []},
            "minimum_left": {"type": "str", "default": "0"},
            "enforce": {"type": "bool", "default": False},
            "before": {"type": "str", "default": ""},
            "at": {"type": "str"},
        }
    )


def main() -> None:
    run(argument_spec(), WindowInfo)


if __name__ == "__main__":
    main()
