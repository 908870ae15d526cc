# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""The catalog queries of maintenance: one text per question, with the parts that differ by server version."""

from __future__ import annotations

APPLICATION = "oncall.runbooks postgresql_maintenance"

SERVER = """
SELECT pg_catalog.current_setting('server_version_num')::int AS version,
       pg_catalog.current_setting('autovacuum_freeze_max_age')::int AS freeze_max_age,
       pg_catalog.current_setting('autovacuum_multixact_freeze_max_age')::int AS multixact_freeze_max_age,
       coalesce(pg_catalog.current_setting('vacuum_failsafe_age', true), '1600000000')::int AS failsafe_age,
       coalesce(pg_catalog.current_setting('vacuum_multixact_failsafe_age', true), '1600000000')::int
         AS multixact_failsafe_age,
       pg_catalog.current_setting('block_size')::int AS block_size,
       pg_catalog.pg_is_in_recovery() AS in_recovery,
       pg_catalog.current_setting('track_counts')::bool AS track_counts,
       (SELECT extract(epoch FROM pg_catalog.clock_timestamp())) AS now,
       (SELECT setting::float8 FROM pg_catalog.pg_settings WHERE name = 'vacuum_cost_delay') AS cost_delay,
       (SELECT setting::int FROM pg_catalog.pg_settings WHERE name = 'vacuum_cost_limit') AS cost_limit
"""

DATABASES = """
SELECT datname AS name, datallowconn AND NOT datistemplate AS usable, datallowconn AS connectable,
       pg_catalog.age(datfrozenxid) AS xid_age, pg_catalog.mxid_age(datminmxid) AS multixact_age,
       pg_catalog.has_database_privilege(oid, 'CONNECT') AS may_connect
  FROM pg_catalog.pg_database WHERE datconnlimit <> -2 ORDER BY datname
"""

# A session that vacuums does not hold back others, and standbys are named by the third part.
HOLDERS = """
SELECT 'session' AS kind, pg_catalog.format('pid %%s (%%s, %%s)', a.pid, coalesce(a.usename, '?'),
         coalesce(nullif(a.application_name, ''), 'no application name')) AS name,
       greatest(pg_catalog.age(a.backend_xmin), pg_catalog.age(a.backend_xid)) AS age, a.xact_start AS since,
       a.datname AS database, false AS catalog_only,
       CASE WHEN a.query = '<insufficient privilege>' THEN 'query hidden: needs pg_read_all_stats'
         ELSE coalesce(a.query, '') END AS detail
  FROM pg_catalog.pg_stat_activity a
 WHERE (a.backend_xmin IS NOT NULL OR a.backend_xid IS NOT NULL) AND a.pid <> pg_catalog.pg_backend_pid()
   AND coalesce(a.backend_type, '') NOT IN ('walsender', 'autovacuum worker') AND a.usesysid IS NOT NULL
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_vacuum v WHERE v.pid = a.pid)
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_replication r WHERE r.pid = a.pid)
UNION ALL
SELECT 'prepared', pg_catalog.format('%%s (%%s)', gid, owner), pg_catalog.age(transaction), prepared, database, false,
       'ROLLBACK PREPARED or COMMIT PREPARED ends it'
  FROM pg_catalog.pg_prepared_xacts
UNION ALL
SELECT 'slot', slot_name::text, pg_catalog.age(slot_xmin), NULL, NULL, catalog_only,
       pg_catalog.format('%%s slot, %%s', slot_type, CASE WHEN active THEN 'active' ELSE 'nobody uses it' END)
  FROM pg_catalog.pg_replication_slots,
       LATERAL (VALUES (xmin, false), (catalog_xmin, true)) AS held (slot_xmin, catalog_only)
 WHERE slot_xmin IS NOT NULL
UNION ALL
SELECT 'standby', pg_catalog.format('%%s (%%s)', coalesce(nullif(application_name, ''), 'pid ' || pid),
         coalesce(client_addr::text, 'local')), pg_catalog.age(backend_xmin), NULL, NULL, false, 'hot_standby_feedback'
  FROM pg_catalog.pg_stat_replication WHERE backend_xmin IS NOT NULL
"""

# What is not older than the last checkpoint began after it.
CHECKPOINT = """
SELECT pg_catalog.age(pg_catalog.split_part(next_xid, ':', 2)::pg_catalog.xid) AS age, checkpoint_time AS at,
       pg_catalog.clock_timestamp() AS now
  FROM pg_catalog.pg_control_checkpoint()
"""

RUNNING = """
SELECT p.pid, p.datname AS database, p.relid::bigint AS relation_oid, a.backend_type, a.application_name
  FROM (SELECT pid, datname, relid FROM pg_catalog.pg_stat_progress_vacuum
        UNION ALL SELECT pid, datname, relid FROM pg_catalog.pg_stat_progress_analyze) p
  LEFT JOIN pg_catalog.pg_stat_activity a USING (pid)
"""

ALIVE = "SELECT count(*) AS alive FROM pg_catalog.pg_stat_activity WHERE pid = ANY (%s::int[])"

LOCK_OWNERS = """
SELECT a.pid, coalesce(a.usename::text, '?') AS role, coalesce(a.application_name, '') AS application
  FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a USING (pid)
 WHERE l.relation = %s::oid AND l.granted AND l.pid <> pg_catalog.pg_backend_pid()
   AND l.mode NOT IN ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock')
   AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
"""

COUNTERS = """
SELECT oid::bigint AS oid, pg_catalog.pg_stat_get_vacuum_count(oid) AS vacuum_count,
       pg_catalog.pg_stat_get_analyze_count(oid) AS analyze_count
  FROM pg_catalog.pg_class WHERE oid = ANY (%s::oid[])
"""

# Reading a size takes a lock, so a table that somebody locks exclusively, or an index of it, is left out.
SIZES = """
WITH locked AS MATERIALIZED (
  SELECT relation FROM pg_catalog.pg_locks
   WHERE mode = 'AccessExclusiveLock' AND relation IS NOT NULL)
SELECT c.oid::bigint AS oid, pg_catalog.pg_total_relation_size(c.oid) AS bytes
  FROM pg_catalog.pg_class c
 WHERE c.oid = ANY (%s::oid[]) AND c.relkind IN ('r', 'm')
   AND NOT EXISTS (SELECT FROM locked l WHERE l.relation IN (c.oid, c.reltoastrelid)
                      OR l.relation IN (SELECT indexrelid FROM pg_catalog.pg_index WHERE indrelid = c.oid))
"""

_MAY = {
    17: "coalesce(pg_catalog.has_table_privilege(c.oid, 'MAINTAIN'), false)",
    13: "pg_catalog.pg_has_role(c.relowner, 'USAGE')",
}
_VACUUM_SECONDS = {
    18: """(pg_catalog.pg_stat_get_total_vacuum_time(c.oid)
            / nullif(pg_catalog.pg_stat_get_vacuum_count(c.oid), 0) / 1000.0)::float8""",
    13: "NULL::float8",
}
# From 14 on the server records when a parent was analyzed; before, only that it has statistics can be seen.
_HAS_STATISTICS = {
    14: "false",
    13: """(c.relkind = 'p' AND EXISTS (SELECT FROM pg_catalog.pg_stats s
             WHERE s.schemaname = n.nspname AND s.tablename = c.relname AND s.inherited))""",
}

_TABLES = """
WITH owner AS MATERIALIZED (
  SELECT pg_catalog.pg_has_role(datdba, 'USAGE') AS yes FROM pg_catalog.pg_database
   WHERE datname = pg_catalog.current_database()),
locked AS MATERIALIZED (
  SELECT relation FROM pg_catalog.pg_locks WHERE mode = 'AccessExclusiveLock' AND relation IS NOT NULL),
indexes AS MATERIALIZED (
  SELECT x.indrelid, sum(i.relpages)::bigint AS pages
    FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid GROUP BY x.indrelid),
facts AS (
  SELECT c.oid::bigint AS oid, n.nspname::text AS schema, c.relname::text AS name,
         pg_catalog.format('%%I.%%I', n.nspname, c.relname) AS target, c.relkind::text AS kind,
         c.relpersistence = 't' AS temporary, c.relisshared AS shared,
         n.nspname IN ('pg_catalog', 'information_schema') AS catalog,
         CASE WHEN c.relispartition THEN (SELECT h.inhparent::bigint FROM pg_catalog.pg_inherits h
           WHERE h.inhrelid = c.oid LIMIT 1) END AS parent_oid,
         ({may} OR (owner.yes AND NOT c.relisshared)) AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
           AS may_maintain,
         c.relpages AS pages, c.relallvisible AS all_visible_pages, coalesce(x.pages, 0) AS index_pages,
         coalesce(t.relpages, 0) AS toast_pages, c.reltuples::float8 AS rows,
         pg_catalog.pg_stat_get_live_tuples(c.oid) AS live_rows, pg_catalog.pg_stat_get_dead_tuples(c.oid) AS dead_rows,
         pg_catalog.pg_stat_get_mod_since_analyze(c.oid) AS modified_rows,
         pg_catalog.pg_stat_get_ins_since_vacuum(c.oid) AS inserted_rows,
         coalesce(t.reltuples, 0)::float8 AS toast_rows,
         coalesce(pg_catalog.pg_stat_get_live_tuples(t.oid), 0) AS toast_live_rows,
         coalesce(pg_catalog.pg_stat_get_dead_tuples(t.oid), 0) AS toast_dead_rows,
         CASE WHEN c.relkind <> 'p' THEN greatest(pg_catalog.age(c.relfrozenxid), pg_catalog.age(t.relfrozenxid))
           END AS xid_age,
         CASE WHEN c.relkind <> 'p' THEN greatest(pg_catalog.mxid_age(c.relminmxid), pg_catalog.mxid_age(t.relminmxid))
           END AS multixact_age,
         greatest(pg_catalog.pg_stat_get_last_vacuum_time(c.oid), pg_catalog.pg_stat_get_last_autovacuum_time(c.oid))
           AS last_vacuum,
         greatest(pg_catalog.pg_stat_get_last_analyze_time(c.oid), pg_catalog.pg_stat_get_last_autoanalyze_time(c.oid))
           AS last_analyze,
         pg_catalog.pg_stat_get_last_autoanalyze_time(c.oid) AS last_autoanalyze,
         pg_catalog.pg_stat_get_vacuum_count(c.oid) AS vacuum_count,
         pg_catalog.pg_stat_get_analyze_count(c.oid) AS analyze_count,
         {has_statistics} AS has_statistics, {vacuum_seconds} AS vacuum_seconds,
         c.relnatts AS columns, coalesce(c.reloptions, '{{}}') AS options
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_class t ON t.oid = c.reltoastrelid
    LEFT JOIN indexes x ON x.indrelid = c.oid
    CROSS JOIN owner
   WHERE c.relkind IN ('r', 'm', 'p'))
SELECT facts.*, totals.*,
       CASE WHEN last_analyze IS NULL AND rows <= 0 AND live_rows = 0 AND kind <> 'p' AND NOT catalog AND NOT temporary
             AND oid NOT IN (SELECT relation::bigint FROM locked)
         THEN pg_catalog.pg_relation_size(oid::oid) END AS heap_bytes
  FROM facts, (SELECT count(*) AS table_count FROM facts) totals
 WHERE %s OR kind = 'p' OR parent_oid IS NOT NULL OR dead_rows > 0 OR toast_dead_rows > 0 OR modified_rows > 0
    OR inserted_rows > 0 OR last_analyze IS NULL OR xid_age >= %s OR multixact_age >= %s OR options <> '{{}}'
    OR oid = 'pg_catalog.pg_statistic'::regclass::bigint
    OR oid = ANY (%s::bigint[])
"""


def tables_query(major: int) -> str:
    """Return the query for a server's tables.

    Parameters: all of them (boolean), lowest interesting age in transactions, in multixacts, and oids to list anyway.
    """
    return _TABLES.format(
        may=_newest(_MAY, major),
        vacuum_seconds=_newest(_VACUUM_SECONDS, major),
        has_statistics=_newest(_HAS_STATISTICS, major),
    )


def _newest(texts: dict[int, str], major: int) -> str:
    return texts[max(version for version in texts if version <= major)]


PROGRESS = """
SELECT pid, phase, heap_blks_total AS total, heap_blks_scanned AS done FROM pg_catalog.pg_stat_progress_vacuum
 WHERE pid = ANY (%s)
UNION ALL
SELECT pid, phase, sample_blks_total, sample_blks_scanned FROM pg_catalog.pg_stat_progress_analyze
 WHERE pid = ANY (%s)
"""
