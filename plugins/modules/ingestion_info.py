#!/usr/bin/python
# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ingestion_info
short_description: Say whether the sources of events deliver - rate, success, freshness, duplicates
version_added: 0.1.0
description:
  - Looks at what each source wrote to the database. How many events per hour, how many of them succeeded, how old the newest
    one is, how many are duplicates, and how far the rate is below the usual one.
  - What to ask is data of the inventory. It is a table with the names of its columns, or queries of your own, or both.
  - Nothing is V(ok) for lack of data. No event ever, NULL, a time in the future, a query with no row, two rows or something
    that is no number is V(unknown), with what is wrong.
  - One connection, and for each query a read-only transaction of its own with a time-out. A query that fails leaves the others.
  - The clock is the database's.
options:
  sources:
    description: The sources.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name for messages and samples, and the value of C(%(source\)s). At most 60 characters.
        type: str
        required: true
      queries:
        description:
          - One SELECT for each measure, which returns one value. A measure without a query is read from O(sources[].table).
          - C(%(source\)s), C(%(since\)s) and C(%(until\)s) are bound as parameters, the last two as C(timestamptz). Write C(%%)
            for a percent sign.
          - C(search_path) is empty. Write the schema (C(public.events)).
        type: dict
        default: {}
        suboptions:
          events:
            description: How many events there are from C(since) until before C(until).
            type: str
          success:
            description: How many percent of them succeeded, from 0 to 100. NULL when there is none.
            type: str
          last_event:
            description: When the newest event happened, as C(timestamptz), C(timestamp) or text. NULL when there is none.
            type: str
          duplicates:
            description: How many percent of them are duplicates, from 0 to 100. NULL when there is none.
            type: str
      schema:
        description: Schema of O(sources[].table).
        type: str
        default: public
      table:
        description: Table or view with a row for each event.
        type: str
      time_column:
        description: Its column with the time of the event, a timestamp or ISO 8601 text. An index on source and time makes it fast.
        type: str
      source_column:
        description: Its column that tells the sources apart. Without it all rows are of this source.
        type: str
      source_value:
        description: What is in O(sources[].source_column) for this source. O(sources[].name) by default.
        type: str
      success_column:
        description: Its column that says whether the event succeeded. NULL is no success.
        type: str
      success_values:
        description: What is in O(sources[].success_column) for a success. V(true) by default.
        type: list
        elements: str
      key_columns:
        description:
          - Its columns that are the same for the same event. A row whose key is in the window already is a duplicate; NULLs are
            equal.
          - Duplicates of events before the window take a query of your own.
        type: list
        elements: str
      timezone:
        description: >-
          IANA name of the time zone of times without one: C(timestamp) columns and texts. It is C(TimeZone) of the session for
          the source's queries.
        type: str
        default: UTC
      active:
        description:
          - When the source is expected to deliver. Always by default.
          - Rates and ages count active time only. At night the rate is the one of the evening before.
        type: list
        elements: dict
        default: []
        suboptions:
          days:
            description: Days on which it starts, as in M(oncall.runbooks.maintenance_window_info).
            type: list
            elements: str
            default: [daily]
          start:
            description: Local time of the start, V(HH:MM) in quotes.
            type: str
            required: true
          end:
            description: Local time of the end, up to V(24:00). When it is not after the start it is on the next day.
            type: str
          duration:
            description: Length as a duration, instead of O(sources[].active[].end).
            type: str
          timezone:
            description: IANA name of the time zone. O(sources[].timezone) by default.
            type: str
      usual:
        description: Usual events per hour, for example from the journal. Without it no drop is judged.
        type: float
      limits:
        description: Limits of this source, instead of O(limits).
        type: dict
        default: {}
  window:
    description: How much active time before now is counted, as a duration.
    type: str
    default: 1h
  limits:
    description:
      - >-
        A mapping of checks to C(warning) and C(critical). V(null) is never reached; V(false) in the place of both switches
        the check off.
      - "V(events), events per hour, fewer are worse: 1000 and 0."
      - "V(success), percent, less is worse: 95 and 80."
      - "V(freshness), seconds of active time since the newest event: 3600 and 14400."
      - "V(duplicates), percent: 1 and 5."
      - "V(drop), percent below O(sources[].usual): 50 and 90."
    type: dict
    default: {}
  max_clock_skew:
    description: How far ahead of the database's clock the newest event may be, as a duration.
    type: str
    default: 1m
  timeout:
    description: Time for everything, as a duration. What was not read until then is V(unknown).
    type: str
    default: 60s
extends_documentation_fragment:
  - oncall.runbooks.attributes.info
  - oncall.runbooks.postgresql
notes:
  - The role needs C(SELECT) on what is read, and nothing else.
  - A database that does not answer is V(unknown) in the finding C(database), not a failure. Only options that
    mean nothing fail.
  - C(check) of a finding is the check and the source, for example V(events:ticketmaster).
author:
  - The oncall.runbooks maintainers (@oncall-runbooks)
"""

EXAMPLES = r"""
- name: Events come in
  oncall.runbooks.ingestion_info:
    dsn: "{{ database_url }}"
    sources:
      - name: ticketmaster
        table: events
        time_column: created_at
        source_column: source
        success_column: status
        success_values: [stored, updated]
        key_columns: [external_id]
        usual: 2400
      - name: eventbrite
        timezone: Europe/Berlin
        active:
          - {days: [mon-fri], start: "06:00", end: "23:00"}
        limits:
          events: {warning: 200}
          duplicates: false
        queries:
          events: >-
            SELECT count(*) FROM public.events
             WHERE source = %(source)s AND created_at >= %(since)s AND created_at < %(until)s
          success: >-
            SELECT 100.0 * count(*) FILTER (WHERE ok) / nullif(count(*), 0) FROM public.api_calls
             WHERE api = %(source)s AND at >= %(since)s AND at < %(until)s
          last_event: SELECT max(created_at) FROM public.events WHERE source = %(source)s
  register: ingestion
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
  sample: ingestion
samples:
  description: Readings for the journal.
  returned: success
  type: list
  elements: dict
  contains:
    metric:
      description: "What was read: C(ingestion.events), C(.success), C(.freshness), C(.duplicates), C(.drop)."
      type: str
      returned: always
      sample: ingestion.events
    value: {description: The reading., type: float, returned: always, sample: 2280.0}
    unit: {description: Its unit., type: str, returned: always, sample: per_hour}
    labels: {description: The source., type: dict, returned: always, sample: {source: ticketmaster}}
sources:
  description: What was read of each source. What is not known is V(null).
  returned: success
  type: list
  elements: dict
  contains:
    name: {description: Its name., type: str, returned: always, sample: ticketmaster}
    status: {description: Its worst finding., type: str, returned: always, sample: ok}
    window_start: {description: From when on events were counted., type: str, returned: always, sample: '2026-11-21T13:00:00Z'}
    window_end: {description: Until when. The database's clock., type: str, returned: always, sample: '2026-11-21T14:00:00Z'}
    active_seconds: {description: How much active time that is., type: float, returned: always, sample: 3600.0}
    events: {description: Events in the window., type: int, returned: always, sample: 2280}
    events_per_hour: {description: Events per active hour., type: float, returned: always, sample: 2280.0}
    usual_per_hour: {description: "O(sources[].usual).", type: float, returned: always, sample: 2400.0}
    success_percent: {description: How many of them succeeded., type: float, returned: always, sample: 99.4}
    duplicates_percent: {description: How many of them are duplicates., type: float, returned: always, sample: 0.2}
    last_event: {description: When the newest event happened., type: str, returned: always, sample: '2026-11-21T13:58:41Z'}
    minutes_since_last_event: {description: "How long ago, active or not.", type: float, returned: always, sample: 1.3}
    problems:
      description: Why a check is V(unknown).
      type: dict
      returned: always
      sample: {success: 'there is no event to judge: the query returned nothing (NULL)'}
"""

from ..module_utils._module.ingestion import IngestionInfo, ingestion_spec
from ..module_utils._module.postgres import postgres_spec
from ..module_utils._module.run import run
from ..module_utils._module.spec import ArgumentSpec


def argument_spec() -> ArgumentSpec:
    return ingestion_spec().merge(postgres_spec())


def main() -> None:
    run(argument_spec(), IngestionInfo)


if __name__ == "__main__":
    main()
