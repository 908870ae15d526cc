#!/usr/bin/python
# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: journal_record
short_description: Add a drill, an incident or a note to the journal
version_added: 0.1.0
description:
  - Runs on the controller, where the journal is kept or reached from. Delegate it to localhost.
  - A drill is known by its name and its begin, an incident by its id. What is given a second time changes what is there;
    what is left out stays.
  - Each new time of an incident is a line of its timeline, and its newest time is its status.
  - When the journal cannot be reached, the record is spooled and taken in by the next run that reaches the journal.
    That is a finding, and no failure.
options:
  kind:
    description: What is recorded.
    type: str
    choices: [drill, incident, note]
    required: true
  id:
    description: Id of the incident. Needed for V(incident).
    type: str
  name:
    description: Name of the drill. Needed for V(drill).
    type: str
  status:
    description: How the drill went. A new one is V(running).
    type: str
    choices: [running, ok, failed]
  detail:
    description: What the drill showed.
    type: str
  run_id:
    description: The run that the drill was part of.
    type: str
  title:
    description: What the incident is, in a few words. Needed for a new one.
    type: str
  severity:
    description: How bad the incident is, in the product's own terms.
    type: str
  summary:
    description: What happened.
    type: str
  incident:
    description: Id of the incident that the note is about. Empty for none.
    type: str
  event:
    description: Kind of the note, for the timeline. The default is V(note).
    type: str
  text:
    description: The note. Needed for V(note).
    type: str
  person:
    description: Who says so. The default is the user who runs Ansible.
    type: str
  started_at:
    description: When the drill began, as RFC 3339 with a time zone or C(YYYYMMDD-HHMMSS) in UTC. Needed for V(drill).
    type: str
  ended_at:
    description: When the drill ended.
    type: str
  detected_at:
    description: When the incident was noticed.
    type: str
  acknowledged_at:
    description: When somebody took it.
    type: str
  mitigated_at:
    description: When customers no longer suffered from it.
    type: str
  resolved_at:
    description: When it was over.
    type: str
  at:
    description: When the note was true. The default is now, and makes each call a new note.
    type: str
  rto_seconds:
    description: How long the recovery took in the drill.
    type: float
  rto_target_seconds:
    description: How long it may take.
    type: float
  rpo_seconds:
    description: How much was lost, as time.
    type: float
  rpo_target_seconds:
    description: How much may be lost.
    type: float
  spool:
    description:
      - Folder of what cannot be written now. By default that of the environment variable E(ONCALL_JOURNAL_SPOOL), else
        C(~/.local/state/oncall-runbooks/spool).
    type: path
requirements:
  - sqlalchemy, and psycopg2 for PostgreSQL, for the Python on the controller
extends_documentation_fragment:
  - oncall.runbooks.attributes
  - oncall.runbooks.journal
attributes:
  idempotent:
    description: A second run with the same arguments changes nothing. A V(note) without O(at) is a new one each time.
    support: partial
    details: A V(note) without O(at) is a new one each time.
notes:
  - >-
    A failure has C(failure.code): V(journal_lost) when neither the journal nor the spool takes the record,
    V(journal_refused), V(insecure_directory), V(verification_failed), V(invalid_value), V(invalid_arguments).
seealso:
  - module: oncall.runbooks.journal_info
author:
  - The oncall.runbooks maintainers (@oncall-runbooks)
"""

EXAMPLES = r"""
- name: Incident is known
  oncall.runbooks.journal_record:
    kind: incident
    id: "2026-014"
    title: Checkout is slow
    severity: high
    detected_at: "2026-11-21T03:04:00Z"
  delegate_to: localhost
  run_once: true

- name: Drill is measured
  oncall.runbooks.journal_record:
    kind: drill
    name: restore-database
    started_at: "2026-11-21T09:00:00Z"
    ended_at: "2026-11-21T09:12:30Z"
    status: ok
    rto_seconds: 750
    rto_target_seconds: 3600
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
journal:
  description: Where it was recorded, without password.
  returned: when there is something to record
  type: str
  sample: postgresql://ops@db1:5432/journal
spooled:
  description: Whether the journal was away, so that the record waits in the spool.
  returned: after a real run that had something to record
  type: bool
  sample: false
"""

from ..module_utils._module.journal import JournalRecord, journal_record_spec
from ..module_utils._module.run import run
from ..module_utils._module.spec import ArgumentSpec


def argument_spec() -> ArgumentSpec:
    return journal_record_spec()


def main() -> None:
    run(argument_spec(), JournalRecord)


if __name__ == "__main__":
    main()
