# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What postgresql_reindex asks the catalogs, for servers 13-18.

Functions that open a relation (pg_relation_size, pg_get_expr, pg_sequence_last_value) wait behind an ACCESS EXCLUSIVE
lock: they are not called for relations that somebody holds, or waits for, so exclusively.
"""

from __future__ import annotations

from typing import Mapping

# By minimum server version: may the role rebuild the table's indexes without owning it, may it become the owner.
MAINTAIN: Mapping[int, str] = {
    170000: "pg_catalog.has_table_privilege(t.oid, 'MAINTAIN')",
    0: "false",
}
BECOME: Mapping[int, str] = {
    160000: "pg_catalog.pg_has_role(session_user, x.relowner, 'SET')",
    0: "pg_catalog.pg_has_role(session_user, x.relowner, 'MEMBER')",
}
# Whether two nulls count as the same value, where that can be chosen.
NULLS_NOT_DISTINCT: Mapping[int, str] = {
    150000: "i.indisunique AND i.indnullsnotdistinct",
    0: "false",
}


def for_version(variants: Mapping[int, str], server_version: int) -> str:
    """Return the newest variant that a server knows."""
    return variants[max(version for version in variants if version <= server_version)]


SERVER = """
SELECT pg_catalog.pg_is_in_recovery() AS standby,
       pg_catalog.current_setting('block_size')::int AS block_size,
       300 * pg_catalog.current_setting('default_statistics_target')::int AS sample_rows,
       current_user AS role, r.rolsuper AS superuser, d.oid AS database_oid,
       (SELECT setting FROM pg_catalog.pg_settings WHERE name = 'data_directory') AS data_directory,
       pg_catalog.host(pg_catalog.inet_server_addr()) AS address,
       EXTRACT(epoch FROM pg_catalog.clock_timestamp() - GREATEST(
           pg_catalog.pg_stat_get_db_stat_reset_time(d.oid),
           pg_catalog.pg_stat_get_bgwriter_stat_reset_time()))::float8 AS stats_age,
       (EXISTS (SELECT FROM pg_catalog.pg_stat_replication)
        OR EXISTS (SELECT FROM pg_catalog.pg_replication_slots WHERE slot_type = 'physical')) AS has_standbys
  FROM pg_catalog.pg_database d, pg_catalog.pg_roles r
 WHERE d.datname = pg_catalog.current_database() AND r.rolname = current_user
"""

_EXCLUSIVE = """
WITH exclusive AS MATERIALIZED (
    SELECT relation FROM pg_catalog.pg_locks
     WHERE locktype = 'relation' AND mode = 'AccessExclusiveLock' AND pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
       AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
)"""

INDEXES = (
    _EXCLUSIVE  # noqa: S608  (constants only)
    + """, worked_on AS MATERIALIZED (
    SELECT relation, min(pid) AS pid FROM pg_catalog.pg_locks
     WHERE locktype = 'relation' AND mode = 'ShareUpdateExclusiveLock' AND granted
       AND pid NOT IN (SELECT pid FROM pg_catalog.pg_stat_progress_vacuum
                       UNION ALL SELECT pid FROM pg_catalog.pg_stat_progress_analyze)
       AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
     GROUP BY relation
), constraints AS MATERIALIZED (
    SELECT conindid, min(conname) FILTER (WHERE contype IN ('p', 'u', 'x')) AS conname,
           bool_or(contype = 'f') AS referenced
      FROM pg_catalog.pg_constraint
     WHERE conindid <> 0 GROUP BY conindid
), mergeable AS MATERIALIZED (  -- operator classes for which equal keys are the same bytes (support function 4)
    SELECT pg_catalog.array_agg(k.oid) AS oids FROM pg_catalog.pg_opclass k
      JOIN pg_catalog.pg_amproc p ON p.amprocfamily = k.opcfamily AND p.amprocnum = 4
       AND p.amproclefttype = k.opcintype AND p.amprocrighttype = k.opcintype
), loose AS MATERIALIZED (
    SELECT COALESCE(pg_catalog.array_agg(oid), ARRAY[]::oid[]) AS oids FROM pg_catalog.pg_collation
     WHERE NOT collisdeterministic
), functions AS MATERIALIZED (
    SELECT DISTINCT d.objid AS oid FROM pg_catalog.pg_depend d
     WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
       AND d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass
)
SELECT x.oid, x.relkind AS kind, h.inhparent AS parent_oid,
       n.nspname AS schema, x.relname AS name, pg_catalog.format('%I.%I', n.nspname, x.relname) AS sql_name,
       t.oid AS table_oid, COALESCE(m.relname, t.relname) AS table_name, mn.nspname AS table_schema,
       pg_catalog.format('%I.%I', mn.nspname, COALESCE(m.relname, t.relname)) AS table_sql_name,
       t.relkind = 't' AS toast, x.oid < 16384 AS system, am.amname AS method,
       i.indisunique AS "unique", i.indisunique AND NOT i.indimmediate AS deferrable,
       {nulls_not_distinct} AS nulls_not_distinct, COALESCE(o.referenced, false) AS referenced,
       i.indisprimary AS "primary", i.indisexclusion AS exclusion,
       i.indisreplident AS replica_identity, i.indisclustered AS clustered,
       i.indisvalid AS valid, i.indisready AS ready, i.indislive AS live,
       o.conname AS "constraint",
       i.indpred IS NOT NULL AS partial, i.indnkeyatts AS key_count,
       i.indkey::text AS key_columns, i.indclass::text AS classes, i.indcollation::text AS collations,
       i.indoption::text AS options,
       CASE WHEN i.indrelid NOT IN (SELECT relation FROM exclusive)
            THEN COALESCE(pg_catalog.pg_get_expr(i.indexprs, i.indrelid), '') END AS expressions,
       CASE WHEN i.indrelid NOT IN (SELECT relation FROM exclusive)
            THEN COALESCE(pg_catalog.pg_get_expr(i.indpred, i.indrelid), '') END AS predicate,
       CASE WHEN i.indexrelid IN (SELECT relation FROM exclusive)
            THEN x.relpages::bigint * pg_catalog.current_setting('block_size')::bigint
            ELSE pg_catalog.pg_relation_size(x.oid) END AS bytes,
       CASE WHEN i.indrelid IN (SELECT relation FROM exclusive)
            THEN t.relpages::bigint * pg_catalog.current_setting('block_size')::bigint
            ELSE pg_catalog.pg_relation_size(t.oid) END AS table_bytes,
       t.relpages::bigint * pg_catalog.current_setting('block_size')::bigint AS table_bytes_counted,
       x.reltuples::float8 AS counted_rows, t.reltuples::float8 AS table_counted_rows, x.relpages AS counted_pages,
       pg_catalog.pg_stat_get_live_tuples(t.oid) AS live_rows,
       pg_catalog.pg_stat_get_numscans(x.oid) AS scans,
       COALESCE((SELECT option_value::int FROM pg_catalog.pg_options_to_table(x.reloptions)
                  WHERE option_name = 'fillfactor'), 90) AS fillfactor,
       am.amname = 'btree' AND NOT i.indisunique AND i.indnatts = i.indnkeyatts
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_options_to_table(x.reloptions)
                        WHERE option_name = 'deduplicate_items' AND NOT option_value::boolean)
       AND i.indclass::oid[] <@ (SELECT oids FROM mergeable)
       AND NOT i.indcollation::oid[] && (SELECT oids FROM loose) AS deduplicates,
       pg_catalog.pg_get_userbyid(x.relowner) AS owner, x.oid IN (SELECT oid FROM functions) AS calls_functions,
       pg_catalog.pg_has_role(x.relowner, 'USAGE') AS owns,
       {maintain} AS maintains, {become} AS can_become_owner,
       pg_catalog.has_schema_privilege(n.oid, 'USAGE') AS sees_schema,
       pg_catalog.has_schema_privilege(x.relowner, n.oid, 'USAGE') AS owner_sees_schema,
       COALESCE(pg_catalog.pg_tablespace_location(COALESCE(NULLIF(x.reltablespace, 0), d.dattablespace)), '')
       AS tablespace,
       pg_catalog.age(x.xmin) AS age,
       COALESCE(w.pid, CASE WHEN NOT (i.indisvalid AND i.indisready) THEN wt.pid END) AS worked_on_by
  FROM pg_catalog.pg_index i
  JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = x.relnamespace
  JOIN pg_catalog.pg_am am ON am.oid = x.relam
  JOIN pg_catalog.pg_class t ON t.oid = i.indrelid
  LEFT JOIN pg_catalog.pg_class m ON m.reltoastrelid = t.oid
  JOIN pg_catalog.pg_namespace mn ON mn.oid = COALESCE(m.relnamespace, t.relnamespace)
  JOIN pg_catalog.pg_database d ON d.datname = pg_catalog.current_database()
  LEFT JOIN constraints o ON o.conindid = x.oid
  LEFT JOIN pg_catalog.pg_inherits h ON h.inhrelid = x.oid
  LEFT JOIN worked_on w ON w.relation = x.oid
  LEFT JOIN worked_on wt ON wt.relation = t.oid
 WHERE x.relpersistence <> 't'
 ORDER BY x.oid
"""
)

# One row for each column of the given indexes. An expression's statistics stand under the index's own name. Values of
# more than 1 kB are left out of the sampled values, and their width is that of the pointer to where they are kept.
COLUMNS = """
SELECT i.indexrelid AS oid, k.number <= i.indnkeyatts AS is_key, ia.attlen AS length, ia.attalign AS alignment,
       s.avg_width AS width, s.null_frac AS null_fraction, s.n_distinct AS distinct_values,
       s.most_common_freqs AS common, k.attnum = 0 AS computed,
       (s.most_common_vals IS NOT NULL OR s.histogram_bounds IS NOT NULL OR s.null_frac = 1) AS sampled,
       CASE WHEN k.attnum = 0 THEN pg_catalog.has_column_privilege(i.indexrelid, ia.attnum, 'SELECT')
            ELSE pg_catalog.has_column_privilege(i.indrelid, k.attnum, 'SELECT') END
       AND NOT (t.relrowsecurity AND pg_catalog.row_security_active(t.oid)) AS readable
  FROM pg_catalog.pg_index i
 CROSS JOIN LATERAL pg_catalog.unnest(i.indkey) WITH ORDINALITY AS k (attnum, number)
  JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
  JOIN pg_catalog.pg_class t ON t.oid = i.indrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
  JOIN pg_catalog.pg_attribute ia ON ia.attrelid = i.indexrelid AND ia.attnum = k.number
  LEFT JOIN pg_catalog.pg_attribute ta ON ta.attrelid = i.indrelid AND ta.attnum = k.attnum AND k.attnum <> 0
  LEFT JOIN pg_catalog.pg_stats s ON s.schemaname = n.nspname AND NOT s.inherited
       AND s.tablename = CASE WHEN k.attnum = 0 THEN x.relname ELSE t.relname END
       AND s.attname = CASE WHEN k.attnum = 0 THEN ia.attname ELSE ta.attname END
 WHERE i.indexrelid = ANY (%s::oid[])
 ORDER BY i.indexrelid, k.number
"""

# Sessions and prepared transactions of this database that a concurrent rebuild may have to wait for.
TRANSACTIONS = """
SELECT a.pid, a.usename AS role, a.application_name AS application, a.state, NULL AS gid,
       EXTRACT(epoch FROM pg_catalog.clock_timestamp() - a.xact_start)::float8 AS age,
       a.backend_xmin IS NOT NULL AS has_snapshot, a.query = '<insufficient privilege>' AS hidden,
       ARRAY(SELECT l.relation::bigint FROM pg_catalog.pg_locks l
              WHERE l.pid = a.pid AND l.locktype = 'relation' AND l.granted AND l.database = a.datid
                AND l.relation >= 16384) AS relations
  FROM pg_catalog.pg_stat_activity a
 WHERE a.datname = pg_catalog.current_database() AND a.pid <> pg_catalog.pg_backend_pid()
   AND a.backend_type IS DISTINCT FROM 'autovacuum worker'
   AND (a.xact_start IS NOT NULL OR a.query = '<insufficient privilege>')
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_vacuum v WHERE v.pid = a.pid)
UNION ALL
SELECT NULL, p.owner, NULL, 'prepared', p.gid,
       EXTRACT(epoch FROM pg_catalog.clock_timestamp() - p.prepared)::float8, false, false,
       ARRAY(SELECT l.relation::bigint FROM pg_catalog.pg_locks l
              JOIN pg_catalog.pg_locks own ON own.virtualtransaction = l.virtualtransaction
             WHERE l.pid IS NULL AND l.locktype = 'relation' AND l.relation >= 16384 AND l.granted
               AND own.pid IS NULL AND own.locktype = 'transactionid' AND own.transactionid = p.transaction)
  FROM pg_catalog.pg_prepared_xacts p
 WHERE p.database = pg_catalog.current_database()
"""

# A serial column of type integer ends long before its sequence of type bigint does.
SEQUENCES = (
    _EXCLUSIVE  # noqa: S608  (constants only)
    + """
SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) AS sql_name, s.seqmin AS minimum, s.seqincrement AS step,
       CASE a.atttypid WHEN 'int2'::regtype THEN LEAST(s.seqmax, 32767)
                       WHEN 'int4'::regtype THEN LEAST(s.seqmax, 2147483647) ELSE s.seqmax END AS maximum,
       pg_catalog.has_sequence_privilege(c.oid, 'SELECT, USAGE') AS readable,
       CASE WHEN pg_catalog.has_sequence_privilege(c.oid, 'SELECT, USAGE')
             AND c.oid NOT IN (SELECT relation FROM exclusive)
            THEN pg_catalog.pg_sequence_last_value(c.oid) END AS last_value
  FROM pg_catalog.pg_sequence s
  JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid
       AND d.refclassid = d.classid AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
  LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
 WHERE c.relpersistence <> 't' AND NOT s.seqcycle
 ORDER BY 1
"""
)

PGSTATTUPLE = """
SELECT n.nspname AS schema, pg_catalog.has_function_privilege(p.oid, 'EXECUTE') AS allowed
  FROM pg_catalog.pg_extension e
  JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
  JOIN pg_catalog.pg_proc p ON p.pronamespace = n.oid AND p.proname = 'pgstatindex'
       AND p.proargtypes[0] = 'pg_catalog.regclass'::pg_catalog.regtype
 WHERE e.extname = 'pgstattuple'
"""
PGSTATINDEX = (
    "SELECT leaf_pages, internal_pages, avg_leaf_density FROM {schema}.pgstatindex(%s::oid::pg_catalog.regclass)"
)

RECORDS = """
SELECT m.oid, d.description
  FROM pg_catalog.pg_largeobject_metadata m
  JOIN pg_catalog.pg_description d ON d.objoid = m.oid AND d.objsubid = 0
       AND d.classoid = 'pg_catalog.pg_largeobject'::pg_catalog.regclass
  JOIN pg_catalog.pg_roles r ON r.oid = m.lomowner
 WHERE r.rolname = current_user AND d.description LIKE %s
"""

# What stands now for an index that is worked on: itself, what appeared for it, and whatever has its name.
STATE = """
SELECT x.oid, x.relname AS name, pg_catalog.format('%%I.%%I', n.nspname, x.relname) AS sql_name,
       i.indrelid AS table_oid, i.indisvalid AND i.indisready AS usable, i.indislive AS live,
       pg_catalog.pg_relation_size(x.oid) AS bytes
  FROM pg_catalog.pg_index i
  JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = x.relnamespace
 WHERE x.oid = ANY (%s::oid[]) OR (x.relname = %s AND n.nspname = %s)
"""

INDEXES_OF = "SELECT indexrelid::bigint AS oid FROM pg_catalog.pg_index WHERE indrelid = %s"

SIGHTING = """
SELECT (SELECT min(locktype) FROM pg_catalog.pg_locks WHERE pid = %s AND NOT granted) AS waits_for,
       ARRAY(SELECT relation::bigint FROM pg_catalog.pg_locks
              WHERE pid = %s AND granted AND locktype = 'relation' AND relation >= 16384
                AND mode IN ('ShareUpdateExclusiveLock', 'AccessExclusiveLock')) AS locked,
       p.phase, COALESCE(p.blocks_done, 0) AS blocks_done, COALESCE(p.blocks_total, 0) AS blocks_total,
       COALESCE(p.tuples_done, 0) AS tuples_done, COALESCE(p.tuples_total, 0) AS tuples_total
  FROM (SELECT) AS one
  LEFT JOIN pg_catalog.pg_stat_progress_create_index p ON p.pid = %s
"""
BLOCKERS = "SELECT pg_catalog.pg_blocking_pids(%s) AS pids"

DATABASES = """
SELECT datname AS name, datallowconn AS connectable, datallowconn AND NOT datistemplate AS usable
  FROM pg_catalog.pg_database ORDER BY datname
"""
