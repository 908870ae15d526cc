#!/usr/bin/python
# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_sessions
short_description: End sessions that are idle, stuck or in the way, by rules
version_added: 0.1.0
description:
  - Looks at all sessions of a PostgreSQL server at one moment, gives each the first of O(rules) that matches it, and
    observes, cancels or terminates it.
  - Only sessions of clients are ever touched. Replication, autovacuum, background workers and parallel workers are not,
    nor are the module's own session, superusers (unless O(include_superusers)), the roles and applications that are
    protected, a session that reads from a replication slot, and one that holds an online backup.
  - Right before each signal, in the statement that sends it, the session is compared again (process id and start,
    role, application, and the very same idle time, statement or transaction). One that went on or left by itself is
    skipped, and whoever has the same process id by now is never hit.
  - A session counts as ended only when its process is gone.
  - Ages are computed by the server from its own clock. Never is anybody chosen by the text of a statement.
  - Works on a standby too.
options:
  rules:
    description:
      - What to do about whom, in order. The first rule that matches a session decides about it.
      - An empty list only looks.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Names the rule in findings and messages; no two rules have the same.
        type: str
        required: true
      match:
        description:
          - V(idle) is a session that waits for its client outside a transaction, since it became idle.
          - V(idle_in_transaction) is one that waits inside a transaction, an aborted one too, since it became idle.
          - V(active_longer_than) is one that works on a statement, since the statement began.
          - V(transaction_longer_than) is one that has a transaction open, whatever it does, since the transaction began.
          - >-
            V(blocking_root) is one that others wait for while it waits for nobody: the cause, never a victim. Its time
            is the longest wait behind it. On PostgreSQL 13 that is counted from the start of the statement that waits,
            which can be earlier than the wait.
        type: str
        required: true
        choices: [idle, idle_in_transaction, active_longer_than, transaction_longer_than, blocking_root]
      older_than:
        description: For longer than this, as a duration (V(5m), V(90s), V(1h30m)).
        type: str
        required: true
      action:
        description:
          - V(observe) only reports it.
          - >-
            V(cancel) ends its statement and leaves the session alive. That has no effect on a session which waits for
            its client, so it is refused for O(rules[].match=idle), O(rules[].match=idle_in_transaction) and
            O(rules[].match=transaction_longer_than).
          - >-
            V(terminate) ends what the rule is about, whatever it takes. A statement at work is cancelled first; when
            the rule's condition is over within O(grace), the session lives on. Otherwise it is terminated.
        type: str
        choices: [observe, cancel, terminate]
        default: observe
      roles:
        description: Only sessions of these roles (the one that logged in), as glob patterns.
        type: list
        elements: str
      exclude_roles:
        description: No sessions of these roles, as glob patterns.
        type: list
        elements: str
      databases:
        description: Only sessions in these databases, as glob patterns.
        type: list
        elements: str
      exclude_databases:
        description: No sessions in these databases, as glob patterns.
        type: list
        elements: str
      applications:
        description: Only sessions with these values of C(application_name), as glob patterns; an empty text is no name.
        type: list
        elements: str
      exclude_applications:
        description: No sessions with these values of C(application_name), as glob patterns.
        type: list
        elements: str
      clients:
        description:
          - Only sessions from these addresses, networks (V(10.0.0.0/8), without host bits) or glob patterns (V(10.0.*)).
          - V(local) is the Unix socket. Names are not resolved.
        type: list
        elements: str
      exclude_clients:
        description: No sessions from these addresses, networks or glob patterns.
        type: list
        elements: str
  protect_roles:
    description:
      - Roles whose sessions no rule may touch, as glob patterns.
      - They come on top of those that are always protected, which are the providers' own roles C(rdsadmin),
        C(rdsrepladmin), C(cloudsqladmin), C(cloudsqlagent), C(cloudsqlreplica), C(azuresu), C(supabase_admin) and
        C(supabase_replication_admin).
    type: list
    elements: str
    default: []
  protect_applications:
    description:
      - Values of C(application_name) that no rule may touch, as glob patterns, without regard to case.
      - They come on top of those that are always protected, which are this collection (C(oncall.runbooks*)),
        PostgreSQL's own tools for backup, replication and maintenance (C(pg_dump*), C(pg_restore), C(pg_basebackup),
        C(pg_receivewal), C(pg_recvlogical), C(pg_rewind), C(pg_upgrade), C(vacuumdb), C(reindexdb), C(clusterdb),
        C(pg_amcheck)), C(pg_repack*), C(pg_squeeze*), the backup tools C(pgbackrest*), C(barman*), C(wal-g*), C(walg*),
        C(pg_probackup*) and C(pgcopydb*), and the replication and failover tools C(patroni*), C(repmgr*),
        C(pg_auto_failover*), C(pgautofailover*), C(stolon*), C(pglogical*) and C(debezium*).
      - A tool of your own that takes backups should set C(application_name) and be named here.
    type: list
    elements: str
    default: []
  include_superusers:
    description: Let rules touch superusers' sessions too. Only a superuser may signal them.
    type: bool
    default: false
  max_sessions:
    description: How many sessions one run may end, at most.
    type: int
    default: 10
  max_share:
    description: How many sessions one run may end, at most, as a part of the server's C(max_connections) (0.25 is a quarter).
    type: float
    default: 0.25
  on_excess:
    description:
      - What to do when the rules match more sessions than one run may end.
      - V(refuse) ends none and fails with C(failure.code) V(blast_cap_exceeded).
      - V(limit) ends as many as allowed, in the order of the rules and the oldest first in each; the others are
        reported.
    type: str
    choices: [refuse, limit]
    default: refuse
  grace:
    description:
      - How long a cancelled statement has to end, as a duration. All cancels wait together.
      - With V(0), O(rules[].action=terminate) terminates at once.
    type: str
    default: 10s
  terminate_timeout:
    description: How long a terminated session's process has to be gone, as a duration. All wait together.
    type: str
    default: 30s
  connections_warning:
    description: Connections used, as percent of C(max_connections), that are a warning.
    type: float
    default: 80
  connections_critical:
    description: Connections used, as percent of C(max_connections), that are critical.
    type: float
    default: 95
  transaction_warning:
    description: Age of the oldest transaction of a client that is a warning, as a duration.
    type: str
    default: 1h
  transaction_critical:
    description: Age of the oldest transaction of a client that is critical, as a duration.
    type: str
    default: 1d
  wait_warning:
    description: Longest wait for a lock that is a warning, as a duration.
    type: str
    default: 1s
  wait_critical:
    description: Longest wait for a lock that is critical, as a duration.
    type: str
    default: 1m
extends_documentation_fragment:
  - oncall.runbooks.attributes
  - oncall.runbooks.attributes.idempotent
  - oncall.runbooks.postgresql
notes:
  - >-
    Rights: C(pg_read_all_stats) (or C(pg_monitor)) to see other roles' sessions, C(pg_signal_backend) to end them. Without
    the first, they are reported as hidden and nothing is decided about them; without the second, they are reported as
    not permitted. A role's own sessions need neither. Superusers' sessions can only be ended by a superuser.
  - >-
    Behind a pooler such as pgbouncer, idle connections to the server are normal, and the pooler opens a new one for
    each that is ended. Leave them out with O(rules[].exclude_clients) (the pooler's address) or O(rules[].exclude_applications), and end
    sessions that are idle in a transaction instead. Connect to the server itself, not to the pooler.
  - >-
    When all connections are in use, the connection fails with C(failure.code) V(too_many_connections), unless the role
    may use reserved ones (a superuser, or C(pg_use_reserved_connections) in 16 and newer).
  - >-
    Further values of C(failure.code): V(blast_cap_exceeded) (nothing was done), V(verification_failed) (a session did not
    react; all that was done is in the result). Two runs in one database exclude each other (V(lock_busy)).
author:
  - The oncall.runbooks maintainers (@oncall-runbooks)
"""

EXAMPLES = r"""
- name: Connections are exhausted - idle sessions and forgotten transactions are ended
  oncall.runbooks.postgresql_sessions:
    dsn: "{{ database_url }}"
    rules:
      - name: idle in transaction
        match: idle_in_transaction
        older_than: 5m
        action: terminate
      - name: idle
        match: idle
        older_than: 5m
        action: terminate
        exclude_clients: [10.0.3.17]   # pgbouncer keeps its connections on purpose
    protect_roles: [reporting]
    max_sessions: 50
    on_excess: limit

- name: Long statements of the web application are cancelled, those of the analysts only shown
  oncall.runbooks.postgresql_sessions:
    service: shop
    rules:
      - name: analysts
        match: active_longer_than
        older_than: 10m
        roles: ["analyst_*"]
      - name: web
        match: active_longer_than
        older_than: 10m
        action: cancel
        applications: ["web*"]
      - name: stuck transactions
        match: transaction_longer_than
        older_than: 5m
        action: terminate
        applications: ["web*"]

- name: The root of a queue of locks is ended
  oncall.runbooks.postgresql_sessions:
    login_host: db1
    rules:
      - name: blockers
        match: blocking_root
        older_than: 1m
        action: terminate
    max_sessions: 2

- name: Nothing is touched, the readings are enough
  oncall.runbooks.postgresql_sessions:
    dsn: "{{ database_url }}"
    rules: []
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
sessions:
  description:
    - Every session that a rule matches, in the order of the rules, the oldest first in each.
    - Also returned when the run is refused or fails half way.
  returned: success, and after a failure that came after the sessions were read
  type: list
  elements: dict
  contains:
    pid: {description: Process id of its server process., type: int, returned: always, sample: 4711}
    backend_start: {description: When it connected., type: str, returned: always, sample: '2026-03-01T02:14:07Z'}
    role: {description: The role that logged in., type: str, returned: always, sample: app}
    database: {description: Its database., type: str, returned: always, sample: shop}
    application: {description: Its C(application_name)., type: str, returned: always, sample: web}
    client: {description: "Its address, or V(local).", type: str, returned: always, sample: 10.0.3.9}
    state: {description: What it did when it was read., type: str, returned: always, sample: idle in transaction}
    age_seconds:
      description: For how long each has lasted; V(null) where there is no such thing.
      type: dict
      returned: always
      sample: {connected: 86400.2, state: 421.7, query: 421.9, transaction: 433.0}
    query:
      description: Its current or last statement without literals, or why it cannot be seen.
      type: str
      returned: always
      sample: UPDATE stock SET count = count - ? WHERE id = ?
    blocked:
      description: Who waits behind it, directly or in a row, the longest wait first.
      type: list
      elements: dict
      returned: always
      contains:
        pid: {description: Its process id., type: int, returned: always, sample: 4715}
        role: {description: Its role., type: str, returned: always, sample: app}
        database: {description: Its database., type: str, returned: always, sample: shop}
        application: {description: Its C(application_name)., type: str, returned: always, sample: web}
        query: {description: Its statement without literals., type: str, returned: always, sample: "UPDATE stock SET count = ?"}
        waiting_seconds: {description: For how long it has waited., type: float, returned: always, sample: 95.3}
        blocked_by: {description: Whom it waits for directly. V(0) is a prepared transaction., type: list, elements: int, returned: always, sample: [4711]}
    rule: {description: The rule that matched., type: str, returned: always, sample: idle in transaction}
    action: {description: The rule's action., type: str, returned: always, sample: terminate}
    outcome:
      description:
        - V(planned) in check mode. After a run V(terminated) (its process is gone), V(cancelled) (what the rule was about
          ended after a cancel), V(skipped) (it left or went on by itself), V(still_running) or V(still_there) (it did not
          react), V(unverified) (the server was lost before its end was seen).
        - V(observed), V(protected), V(not_permitted), V(no_effect) and V(over_cap) were never planned, or not carried out
          for want of rights.
      type: str
      returned: always
      sample: terminated
    reason: {description: Why., type: str, returned: always, sample: its process is gone}
"""

from ..module_utils._module.postgres import postgres_spec
from ..module_utils._module.run import run
from ..module_utils._module.sessions import Sessions, sessions_spec
from ..module_utils._module.spec import ArgumentSpec


def argument_spec() -> ArgumentSpec:
    return sessions_spec().merge(postgres_spec())


def main() -> None:
    run(argument_spec(), Sessions)


if __name__ == "__main__":
    main()
