# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""The queries of postgresql_health_info: one table, each reading with its text by minimum major.

The names of the columns are the contract with _core/postgres_health_*.py; ages are in seconds of the server's clock.
Names are fetched as bytes (namesend): those of a database with another encoding are not valid in ours.
"""

from __future__ import annotations

from typing import Mapping

SERVER = """
SELECT pg_catalog.current_setting('server_version') AS version, pg_catalog.pg_is_in_recovery() AS in_recovery,
       pg_catalog.clock_timestamp() AS now, pg_catalog.pg_postmaster_start_time() AS started,
       current_user::text AS role, pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE') AS sees_all,
       extract(epoch FROM pg_catalog.clock_timestamp() - pg_catalog.pg_postmaster_start_time())::float8 AS uptime,
       pg_catalog.current_setting('data_checksums') = 'on' AS checksums,
       (SELECT count(*) FROM pg_catalog.pg_database
         WHERE datallowconn AND NOT datistemplate AND datname <> pg_catalog.current_database()) AS other_databases
"""

# A database's own statistics have no beginning before their first reset from 15 on: then it is that of the others.
_START = """
SELECT (SELECT extract(epoch FROM pg_catalog.clock_timestamp() - backend_start)::float8
          FROM pg_catalog.pg_stat_activity WHERE backend_type = 'checkpointer') AS checkpointer_age,
       extract(epoch FROM pg_catalog.clock_timestamp() - least(b.stats_reset, a.stats_reset))::float8 AS statistics_age
  FROM pg_catalog.pg_stat_bgwriter b, pg_catalog.pg_stat_archiver a
"""

_REPLICATION = """
SELECT r.pid, pg_catalog.textsend(r.application_name) AS name, r.client_addr::text AS client, r.state, r.sync_state,
       extract(epoch FROM r.replay_lag)::float8 AS lag_seconds, r.replay_lsn IS NOT NULL AS replays,
       pg_catalog.pg_wal_lsn_diff(p.at, coalesce(r.replay_lsn, r.flush_lsn, r.sent_lsn))::float8 AS lag_bytes,
       coalesce(s.slot_type, 'physical') AS kind
  FROM pg_catalog.pg_stat_replication r
  LEFT JOIN pg_catalog.pg_replication_slots s ON s.active_pid = r.pid
 CROSS JOIN (SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_receive_lsn()
                         ELSE pg_catalog.pg_current_wal_lsn() END AS at) p
 WHERE r.state IS DISTINCT FROM 'backup'
 ORDER BY r.application_name, r.pid
"""

# A receiver that the role may not look into shows its pid and nothing else.
_STANDBY = """
SELECT (SELECT count(*) FROM pg_catalog.pg_stat_wal_receiver) AS receivers,
       (SELECT status FROM pg_catalog.pg_stat_wal_receiver) AS status,
       (SELECT pg_catalog.format('%%s:%%s', sender_host, sender_port) FROM pg_catalog.pg_stat_wal_receiver) AS sender,
       pg_catalog.current_setting('primary_conninfo', true) AS conninfo,
       pg_catalog.pg_is_wal_replay_paused() AS paused,
       pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn())::float8
         AS behind_bytes,
       extract(epoch FROM pg_catalog.clock_timestamp() - pg_catalog.pg_last_xact_replay_timestamp())::float8
         AS replayed_age
"""

_SLOTS = """
SELECT pg_catalog.namesend(s.slot_name) AS name, s.slot_type AS kind, s.active, s.wal_status,
       s.safe_wal_size::float8 AS safe_bytes,
       pg_catalog.pg_wal_lsn_diff(p.at, s.restart_lsn)::float8 AS retained_bytes, {invalid} AS invalid,
       extract(epoch FROM pg_catalog.clock_timestamp() - {inactive_since})::float8 AS inactive_seconds
  FROM pg_catalog.pg_replication_slots s
 CROSS JOIN (SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
                         ELSE pg_catalog.pg_current_wal_lsn() END AS at) p
 WHERE NOT s.temporary
 ORDER BY s.slot_name
"""

# What a role may not see is left out by the server: sizes need CONNECT or pg_read_all_stats.
_DATABASES = """
SELECT pg_catalog.namesend(coalesce(d.datname, '(shared objects)')) AS name, d.datistemplate IS FALSE AS counted,
       s.xact_commit AS commits, s.xact_rollback AS rollbacks, s.blks_read AS reads, s.blks_hit AS hits, s.deadlocks,
       s.temp_files, s.temp_bytes, s.conflicts, s.checksum_failures,
       extract(epoch FROM pg_catalog.clock_timestamp() - s.stats_reset)::float8 AS statistics_age,
       CASE WHEN d.datname IS NULL THEN 0
            WHEN pg_catalog.has_database_privilege(d.oid, 'CONNECT')
              OR pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE') THEN pg_catalog.pg_database_size(d.oid)
        END AS size_bytes
  FROM pg_catalog.pg_stat_database s LEFT JOIN pg_catalog.pg_database d ON d.oid = s.datid
 WHERE s.datid = 0 OR d.oid IS NOT NULL
 ORDER BY size_bytes DESC NULLS LAST, name
"""

# PostgreSQL refuses new transactions 3 million before 2^31 (varsup.c), new multixacts as well.
_AGES = """
SELECT pg_catalog.namesend(datname) AS name, pg_catalog.age(datfrozenxid)::float8 AS xid_age,
       pg_catalog.mxid_age(datminmxid)::float8 AS multixact_age
  FROM pg_catalog.pg_database ORDER BY datname
"""

_STATEMENTS_WHERE = """
SELECT pg_catalog.quote_ident(n.nspname) AS schema,
       EXISTS (SELECT FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
                WHERE c.relname = 'pg_stat_statements' AND c.relnamespace = n.oid AND a.attname = 'total_exec_time')
         AS new_names
  FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
 WHERE e.extname = 'pg_stat_statements'
"""

# Filled by statements_query(): the extension may live in any schema, and keeps its old columns until it is updated.
_STATEMENTS_TOTAL = """
SELECT coalesce(sum(calls), 0)::float8 AS calls, coalesce(sum({total}), 0)::float8 / 1000 AS seconds
  FROM {schema}.pg_stat_statements
"""
_STATEMENTS_TOP = """
SELECT s.queryid::text AS id, pg_catalog.textsend(left(s.query, 2000)) AS query, s.calls, s.rows,
       s.{mean} / 1000 AS mean_seconds, s.{total} / 1000 AS total_seconds, s.shared_blks_read AS blocks_read,
       pg_catalog.namesend(d.datname) AS database, pg_catalog.namesend(r.rolname) AS role
  FROM {schema}.pg_stat_statements s
  LEFT JOIN pg_catalog.pg_database d ON d.oid = s.dbid LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.userid
 WHERE s.calls >= %s
 ORDER BY s.{mean} DESC LIMIT %s
"""
_STATEMENTS_AGE = {
    14: """SELECT extract(epoch FROM pg_catalog.clock_timestamp() - stats_reset)::float8 AS age
             FROM {schema}.pg_stat_statements_info""",
    13: "SELECT NULL::float8 AS age",
}

# The library came with 15.
_ARCHIVER = """
SELECT pg_catalog.current_setting('archive_mode') AS mode, failed_count AS failures, last_failed_wal AS failed_wal,
       pg_catalog.concat(pg_catalog.current_setting('archive_command'),
                         pg_catalog.current_setting('archive_library', true)) = '' AS no_command,
       last_archived_time IS NULL AS never,
       last_failed_time IS NOT NULL AND last_failed_time >= coalesce(last_archived_time, '-infinity') AS failing,
       extract(epoch FROM pg_catalog.clock_timestamp() - coalesce(last_archived_time, stats_reset))::float8 AS seconds
  FROM pg_catalog.pg_stat_archiver
"""
_ARCHIVE_BACKLOG = "SELECT count(*) AS files FROM pg_catalog.pg_ls_archive_statusdir() WHERE name LIKE '%%.ready'"

# A sequence owned by a column ends where the column's type ends, if that is earlier.
_SEQUENCES = """
WITH facts AS (
  SELECT pg_catalog.format('%%I.%%I', n.nspname, c.relname) AS name, s.seqincrement AS step,
         pg_catalog.has_sequence_privilege(c.oid, 'SELECT, USAGE') AS readable,
         CASE WHEN pg_catalog.has_sequence_privilege(c.oid, 'SELECT, USAGE')
              THEN pg_catalog.pg_sequence_last_value(c.oid) END AS last,
         least(s.seqmax, CASE a.atttypid WHEN 'int2'::regtype THEN 32767 WHEN 'int4'::regtype THEN 2147483647 END)
           AS highest,
         greatest(s.seqmin, CASE a.atttypid WHEN 'int2'::regtype THEN -32768 WHEN 'int4'::regtype THEN -2147483648 END)
           AS lowest
    FROM pg_catalog.pg_sequence s
    JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid AND c.relpersistence = 'p'
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_depend d ON d.objid = c.oid AND d.classid = 'pg_catalog.pg_class'::regclass
          AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
    LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
   WHERE NOT s.seqcycle),
used AS (
  SELECT name, readable, coalesce(CASE
           WHEN step > 0 THEN (last::numeric - least(lowest, 1)) / nullif(highest::numeric - least(lowest, 1), 0)
           ELSE (highest::numeric - last) / nullif(highest::numeric - lowest, 0) END * 100, 0)::float8 AS used_percent
    FROM facts)
SELECT name, used_percent, totals.* FROM used
 RIGHT JOIN (SELECT count(*) AS sequences, count(*) FILTER (WHERE NOT readable) AS hidden FROM facts) totals
    ON used.readable
 ORDER BY used_percent DESC NULLS LAST LIMIT 21
"""

# Who builds or vacuums holds this lock on the table: an index that is just being built is not valid yet.
_INVALID_INDEXES = """
SELECT pg_catalog.format('%%I.%%I', n.nspname, c.relname) AS name, x.indrelid::regclass::text AS on_table
  FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class c ON c.oid = x.indexrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE NOT (x.indisvalid AND x.indisready)
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_locks l WHERE l.relation = x.indrelid
                      AND l.database = (SELECT oid FROM pg_catalog.pg_database
                                         WHERE datname = pg_catalog.current_database())
                      AND l.mode IN ('ShareUpdateExclusiveLock', 'ShareLock', 'AccessExclusiveLock') AND l.granted)
 ORDER BY 1
"""

_AUTOVACUUM = """
SELECT pg_catalog.current_setting('autovacuum')::bool AND pg_catalog.current_setting('track_counts')::bool AS enabled,
       pg_catalog.current_setting('autovacuum_max_workers')::int AS workers,
       (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'autovacuum worker') AS busy
"""
# 18 caps what autovacuum waits for.
_OVERDUE = """
WITH tables AS (
  SELECT c.oid, pg_catalog.format('%%I.%%I', n.nspname, c.relname) AS name,
         pg_catalog.pg_stat_get_dead_tuples(c.oid) AS dead_rows,
         coalesce(o.threshold, pg_catalog.current_setting('autovacuum_vacuum_threshold')::float8)
           + coalesce(o.factor, pg_catalog.current_setting('autovacuum_vacuum_scale_factor')::float8)
             * greatest(c.reltuples, 0) AS base
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    CROSS JOIN LATERAL (
      SELECT max(option_value) FILTER (WHERE option_name = 'autovacuum_vacuum_threshold')::float8 AS threshold,
             max(option_value) FILTER (WHERE option_name = 'autovacuum_vacuum_scale_factor')::float8 AS factor
        FROM pg_catalog.pg_options_to_table(c.reloptions)) o
   WHERE c.relkind IN ('r', 'm', 't') AND c.relpersistence <> 't' AND pg_catalog.pg_stat_get_dead_tuples(c.oid) >= 1000)
SELECT name, dead_rows, dead_rows / greatest({threshold}, 1) AS times
  FROM tables ORDER BY times DESC LIMIT 21
"""

_CHECKPOINTS = {
    17: """SELECT num_timed AS timed, num_requested AS requested,
                  extract(epoch FROM pg_catalog.clock_timestamp() - stats_reset)::float8 AS age
             FROM pg_catalog.pg_stat_checkpointer""",
    13: """SELECT checkpoints_timed AS timed, checkpoints_req AS requested,
                  extract(epoch FROM pg_catalog.clock_timestamp() - stats_reset)::float8 AS age
             FROM pg_catalog.pg_stat_bgwriter""",
}

_PREPARED = """
SELECT pg_catalog.textsend(gid) AS name, pg_catalog.namesend(database) AS database, pg_catalog.namesend(owner) AS owner,
       extract(epoch FROM pg_catalog.clock_timestamp() - prepared)::float8 AS seconds
  FROM pg_catalog.pg_prepared_xacts ORDER BY prepared
"""
_SYNCHRONOUS = """
SELECT pg_catalog.current_setting('synchronous_standby_names') AS names,
       (SELECT count(*) FROM pg_catalog.pg_stat_replication WHERE sync_state IN ('sync', 'quorum')) AS standbys,
       (SELECT count(*) FROM pg_catalog.pg_stat_replication WHERE sync_state IS NULL) AS hidden
"""
_PENDING_RESTART = "SELECT name FROM pg_catalog.pg_settings WHERE pending_restart ORDER BY name"
SLOW_LOG_MARKERS = """
SELECT pg_catalog.namesend(d.datname) AS database, pg_catalog.textsend(c.description) AS comment,
       extract(epoch FROM pg_catalog.clock_timestamp())::float8 AS now
  FROM pg_catalog.pg_shdescription c JOIN pg_catalog.pg_database d ON d.oid = c.objoid
 WHERE c.classoid = 'pg_catalog.pg_database'::regclass AND c.description LIKE '%%[oncall.runbooks slow_log %%'
"""

READINGS: Mapping[str, Mapping[int, str]] = {
    "start": {13: _START},
    "replication": {13: _REPLICATION},
    "synchronous": {13: _SYNCHRONOUS},
    "standby": {13: _STANDBY},
    "slots": {
        17: _SLOTS.format(invalid="s.invalidation_reason", inactive_since="s.inactive_since"),
        16: _SLOTS.format(
            invalid="CASE WHEN s.conflicting THEN 'conflicts with recovery' END", inactive_since="NULL::timestamptz"
        ),
        13: _SLOTS.format(invalid="NULL::text", inactive_since="NULL::timestamptz"),
    },
    "databases": {13: _DATABASES},
    "ages": {13: _AGES},
    "archiver": {13: _ARCHIVER},
    "archive_backlog": {13: _ARCHIVE_BACKLOG},
    "sequences": {13: _SEQUENCES},
    "invalid_indexes": {13: _INVALID_INDEXES},
    "autovacuum": {13: _AUTOVACUUM},
    "overdue": {
        18: _OVERDUE.format(
            threshold="CASE WHEN pg_catalog.current_setting('autovacuum_vacuum_max_threshold')::float8 >= 0 "
            "THEN least(base, pg_catalog.current_setting('autovacuum_vacuum_max_threshold')::float8) ELSE base END"
        ),
        13: _OVERDUE.format(threshold="base"),
    },
    "checkpoints": _CHECKPOINTS,
    "prepared": {13: _PREPARED},
    "pending_restart": {13: _PENDING_RESTART},
    "slow_log": {13: SLOW_LOG_MARKERS},
}

STATEMENTS_WHERE = _STATEMENTS_WHERE


def newest(texts: Mapping[int, str], major: int) -> str:
    """Return the text for a server's major."""
    return texts[max(minimum for minimum in texts if minimum <= max(major, 13))]


def statements_queries(schema: str, new_names: bool, major: int) -> tuple[str, str, str]:
    """Return the queries for the sums, the slowest statements (parameters: lowest calls, how many) and the age.

    ``schema`` is quoted already. ``new_names``: total_exec_time since 1.8 of the extension, total_time before.
    """
    names = {
        "schema": schema.replace("%", "%%"),
        "total": "total_exec_time" if new_names else "total_time",
        "mean": "mean_exec_time" if new_names else "mean_time",
    }
    age = _STATEMENTS_AGE if new_names else {13: _STATEMENTS_AGE[13]}
    return tuple(text.format(**names) for text in (_STATEMENTS_TOTAL, _STATEMENTS_TOP, newest(age, major)))  # type: ignore[return-value]
