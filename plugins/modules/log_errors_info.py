#!/usr/bin/python
# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: log_errors_info
short_description: Group the errors in logs, count them, and say which ones are new or more frequent than usual
version_added: 0.1.0
description:
  - Reads what is new in log files and in the journal since the last run. Each line is counted once, also when the log was
    renamed, copied and emptied, or packed with gzip in between.
  - Errors with the same pattern (numbers, addresses, times, quoted texts and ids are masked) are one group, with its count,
    the times of the first and the last, and an example without secrets. Lines of a stack trace belong to their entry.
  - Each group is compared with its usual rate, an exponentially weighted mean that one run gives to the next.
  - Of nginx access logs it reads the share of failed requests (5xx), the worst five minutes, and the 95th percentile of the
    request times.
  - Memory and time are bounded whatever is in the logs. What was not read is said.
options:
  sources:
    description: The sources.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name for messages and samples, without C(|). At most 60 characters.
        type: str
        required: true
      paths:
        description:
          - Absolute shell patterns of the live logs, for example V(/var/log/nginx/*access.log). Rotated generations are found by
            themselves.
          - A symbolic link is followed within the folder that the pattern begins with, and V(unknown) when it leads out of it.
        type: list
        elements: str
        default: []
      journal:
        description: Read the journal of systemd, of all units unless O(sources[].journal_units) names some.
        type: bool
        default: false
      journal_units:
        description: Units whose journal is read.
        type: list
        elements: str
        default: []
      journal_directory:
        description: Folder of journal files, instead of this host's journal.
        type: path
      format:
        description:
          - How the lines are written. V(auto) tells V(json), V(nginx_access) and V(postgresql_csv) by the first lines; everything
            else is read alike.
          - Of V(nginx_access), request times are read as C(rt=0.123), C(request_time=0.123), or as the last thing on the line.
        type: str
        choices: [auto, plain, json, nginx_access, nginx_error, postgresql, postgresql_csv, syslog]
        default: auto
      timezone:
        description: IANA name of the time zone of times without one. The host's by default.
        type: str
      level_field:
        description: Field of JSON lines with the level; dots lead into nested ones. C(level), C(severity) and others by default.
        type: str
        default: ""
      message_field:
        description: Field of JSON lines with the message. C(msg), C(message) and others by default.
        type: str
        default: ""
      time_field:
        description: Field of JSON lines with the time. C(time), C(timestamp) and others by default.
        type: str
        default: ""
      ignore:
        description: Texts. An error or warning that contains one of them is not counted, only how many there were.
        type: list
        elements: str
        default: []
  previous:
    description: RV(state) of the last run. Without it, and without O(state_file), every run is the first one.
    type: dict
    default: {}
  state_file:
    description:
      - File of the host in which the state is kept instead, with mode 0600. Its folder must be there.
      - To save it is a step of the plan, so that the result is changed. In check mode it is not saved.
    type: path
  since:
    description: How far back entries count at the first sight of a source, as a duration. Entries without a time count too.
    type: str
    default: 24h
  max_bytes:
    description: How much is read of all files together, as a size. Of what is more, the newest is read.
    type: str
    default: 512MB
  max_entries:
    description: How many entries are read of each journal, the newest.
    type: int
    default: 50000
  timeout:
    description: Time for everything, as a duration. What was not read until then is left for the next run.
    type: str
    default: 60s
  limits:
    description:
      - >-
        A mapping of checks to C(warning) and C(critical). V(null) is never reached; V(false) in the place of both switches
        the check off.
      - "V(error_percent), percent of all requests that failed: 0.1 and none."
      - "V(error_percent_5min), the same in the worst five minutes: 0.5 and 1."
      - "V(latency_p95), seconds: 2 and 5."
      - "V(errors_per_hour): none and none."
      - "V(error_spike), how many times the usual rate, of a group and of all errors of a source: 3 and 10."
      - "V(new_errors), how often a group occurred that is not known: 5 and none."
      - "V(unread), bytes that were not read: 1 and none."
    type: dict
    default: {}
  usual:
    description: Usual errors per hour by RV(groups[].id) or RV(groups[].pattern), instead of what was learnt.
    type: dict
    default: {}
  minimum_runs:
    description: How many runs make a usual level. Until then the comparison is V(unknown).
    type: int
    default: 3
  minimum_count:
    description: How often an error must have occurred to be called unusual.
    type: int
    default: 5
  minimum_requests:
    description: How many requests make a rate. With fewer it is V(unknown).
    type: int
    default: 100
  top:
    description: How many groups are returned, the unusual ones first, then the most frequent.
    type: int
    default: 20
extends_documentation_fragment:
  - oncall.runbooks.attributes
attributes:
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second run changes nothing.
    support: partial
    details: Without O(state_file) nothing is ever changed. With it each run saves how far it read.
notes:
  - A log that cannot be read, a pattern that names no file, and a log of which a rotated part is gone are V(unknown), with
    the group or user that may read it.
  - Files need the right to read them, mostly by the group C(adm), the journal the group C(systemd-journal).
  - An entry is an error by its level (C(ERROR) and worse). One without any level is an error when it says so in words.
  - A stack trace at the end of a log that was written to in the last five seconds may be half written. It is left for the
    next run.
  - C(check) of a finding is the check and the source, for example V(error_spike:api).
  - >-
    Further codes: V(state_not_saved), V(invalid_value), V(invalid_arguments).
author:
  - The oncall.runbooks maintainers (@oncall-runbooks)
"""

EXAMPLES = r"""
- name: Errors of the last hours
  oncall.runbooks.log_errors_info:
    state_file: /var/lib/oncall-runbooks/logs.json
    sources:
      - name: web
        paths: [/var/log/nginx/access.log]
        format: nginx_access
      - name: api
        journal_units: [api.service]
        ignore: [client closed connection]
      - name: database
        paths: [/var/log/postgresql/*.log]
        timezone: UTC
  become: true
  register: logs

- name: Errors since the last run, whose state is kept elsewhere
  oncall.runbooks.log_errors_info:
    previous: "{{ last_run.state }}"
    sources:
      - {name: api, paths: [/srv/api/logs/*.log], format: json}
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
  description: What the readings are about.
  returned: success
  type: str
  sample: logs
samples:
  description: Readings for the journal.
  returned: success
  type: list
  elements: dict
  contains:
    metric:
      description: >-
        What was read: C(logs.lines), C(.errors), C(.warnings), C(.new_errors), C(.requests), C(.error_percent),
        C(.error_percent_5min), C(.latency.p95).
      type: str
      returned: always
      sample: logs.errors
    value: {description: The reading., type: float, returned: always, sample: 12.5}
    unit: {description: Its unit., type: str, returned: always, sample: per_hour}
    labels: {description: The source., type: dict, returned: always, sample: {source: api}}
sources:
  description: What was read of each source. What is not known is V(null).
  returned: success
  type: list
  elements: dict
  contains:
    name: {description: Its name., type: str, returned: always, sample: api}
    status: {description: Its worst finding., type: str, returned: always, sample: warning}
    logs: {description: How many files and journals were read., type: int, returned: always, sample: 2}
    hours: {description: The time that the lines are about., type: float, returned: always, sample: 24.0}
    lines: {description: Lines that were read., type: int, returned: always, sample: 120000}
    bytes: {description: How much that is., type: int, returned: always, sample: 18000000}
    skipped_bytes: {description: Older lines that were not read for O(max_bytes)., type: int, returned: always, sample: 0}
    left_bytes: {description: What the next run reads because of O(timeout)., type: int, returned: always, sample: 0}
    errors: {description: Errors and worse., type: int, returned: always, sample: 300}
    warnings: {description: Warnings., type: int, returned: always, sample: 40}
    ignored: {description: "Errors and warnings that were ignored (O(sources[].ignore)).", type: int, returned: always, sample: 2}
    ungrouped: {description: Errors of kinds that were too many to be kept apart., type: int, returned: always, sample: 0}
    errors_per_hour: {description: Errors per hour., type: float, returned: always, sample: 12.5}
    requests: {description: Requests in access logs., type: int, returned: always, sample: 90000}
    failed_requests: {description: How many of them failed (5xx)., type: int, returned: always, sample: 45}
    error_percent: {description: The same in percent., type: float, returned: always, sample: 0.05}
    worst_5min_percent: {description: The same in the worst five minutes., type: float, returned: always, sample: 0.4}
    worst_5min_start: {description: When they began., type: str, returned: always, sample: '2026-11-21T13:05:00Z'}
    p95_seconds: {description: 95 % of the requests took at most that., type: float, returned: always, sample: 0.31}
    problems: {description: What could not be read., type: list, elements: str, returned: always, sample: [/var/log/api/old.log is gone]}
groups:
  description: Kinds of errors, the unusual ones first, then the most frequent.
  returned: success
  type: list
  elements: dict
  contains:
    id: {description: Its name in every run., type: str, returned: always, sample: 3f2a90c1d4e5}
    source: {description: The source., type: str, returned: always, sample: api}
    level: {description: "V(error) or V(critical).", type: str, returned: always, sample: error}
    pattern: {description: What its messages have in common., type: str, returned: always, sample: 'ERROR payment of order <n> failed: <text>'}
    example: {description: The first of them without secrets., type: str, returned: always, sample: "ERROR payment of order 4711 failed: 'timeout'"}
    count: {description: How many there are., type: int, returned: always, sample: 120}
    per_hour: {description: How many per hour., type: float, returned: always, sample: 5.0}
    usual_per_hour: {description: The usual rate., type: float, returned: always, sample: 1.2}
    times_usual: {description: How many times the usual rate., type: float, returned: always, sample: 4.167}
    new: {description: Whether it was never seen before., type: bool, returned: always, sample: false}
    unusual: {description: Whether that is more than chance explains., type: bool, returned: always, sample: true}
    first_seen: {description: Time of the first one., type: str, returned: always, sample: '2026-11-21T13:01:10Z'}
    last_seen: {description: Time of the last one., type: str, returned: always, sample: '2026-11-21T13:58:02Z'}
state:
  description: How far each log was read and what is usual, for O(previous) of the next run. At most 1000 files and 500 groups of each source.
  returned: success
  type: dict
  sample: {version: 1, at: '2026-11-21T14:00:00Z', files: {}, cursors: {}, usual: {}}
"""

from ..module_utils._module.log_errors import LogErrors, log_errors_spec
from ..module_utils._module.run import run
from ..module_utils._module.spec import ArgumentSpec


def argument_spec() -> ArgumentSpec:
    return log_errors_spec()


def main() -> None:
    run(argument_spec(), LogErrors)


if __name__ == "__main__":
    main()
