# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.
# ruff: noqa: S608  (put together from constants only)

"""The questions about a database that is copied or was restored. All run on PostgreSQL 13 to 18.

What counts as a definition are names, types, flags and the objects that are pointed to. Left out is the text of
expressions and view queries, which the server writes anew each time (``IN`` lists change by one dump and restore
already, views with the major), and what differs between majors: NOT NULL constraints, which are catalogued since 18,
constraints and triggers that partitions inherit, and the schema ``public`` itself. Members of extensions don't count.
"""

from __future__ import annotations

# All of them, so that a row's text and the order of rows are the same on both sides.
SETTINGS = (
    ("search_path", ""),
    ("row_security", "off"),
    ("DateStyle", "ISO, YMD"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    ("xmloption", "content"),
    ("lc_monetary", "C"),
    ("quote_all_identifiers", "off"),
    ("synchronize_seqscans", "off"),
)

SERVER = """
SELECT pg_catalog.current_setting('server_version') AS version, pg_catalog.pg_is_in_recovery() AS in_recovery,
       (CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
             ELSE pg_catalog.pg_current_wal_lsn() END)::text AS wal_lsn,
       pg_catalog.pg_encoding_to_char(d.encoding) AS encoding, d.datcollate AS collate, d.datctype AS ctype,
       {provider} AS locale_provider, {locale} AS locale,
       pg_catalog.pg_get_userbyid(d.datdba) AS owner, pg_catalog.pg_database_size(d.oid) AS size_bytes,
       (SELECT s.spcname FROM pg_catalog.pg_tablespace s WHERE s.oid = d.dattablespace) AS tablespace,
       pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE') AS may_identify
  FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()
"""
IDENTIFIER = "SELECT system_identifier::text AS identifier FROM pg_catalog.pg_control_system()"


def server_query(major: int) -> str:
    """Return the question about the server and the database itself."""
    if major < 15:
        return SERVER.format(provider="'libc'", locale="''")
    locale = "daticulocale" if major < 17 else "datlocale"
    provider = "CASE d.datlocprovider WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' ELSE 'libc' END"
    return SERVER.format(provider=provider, locale=f"coalesce(d.{locale}, '')")


_OURS = "(n.nspname !~ '^pg_' AND n.nspname <> 'information_schema')"


def _no_member(catalog: str, oid: str, deptype: str = "e") -> str:
    return (
        f"NOT EXISTS (SELECT FROM pg_catalog.pg_depend m WHERE m.classid = 'pg_catalog.{catalog}'::pg_catalog.regclass"
        f" AND m.objid = {oid} AND m.deptype = '{deptype}')"
    )


def _not_made(catalog: str, oid: str) -> str:
    """Leave out what the server makes by itself with a range type: more of it in each major."""
    return _no_member(catalog, oid, "i")


# A member of an extension is dumped only when the extension says so, and then only the rows that it names.
_DUMPED = f"""
WITH configured AS (
SELECT unnest(extconfig) AS oid, unnest(extcondition) AS condition FROM pg_catalog.pg_extension
), dumped AS (
SELECT c.*, n.nspname, coalesce(f.condition, '') AS condition
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN configured f ON f.oid = c.oid
 WHERE c.relpersistence <> 't'
   AND (f.oid IS NOT NULL OR {_OURS} AND {_no_member("pg_class", "c.oid")})
)
"""

TABLES = (
    _DUMPED
    + """
SELECT c.nspname AS schema, c.relname AS name, pg_catalog.format('%I.%I', c.nspname, c.relname) AS sql_name,
       c.condition, pg_catalog.pg_table_size(c.oid) AS size_bytes, coalesce(a.columns, '') AS columns,
       k.key, k.key_backwards
  FROM dumped c
  LEFT JOIN LATERAL (
       SELECT string_agg(pg_catalog.format('%I', attname), ', ' ORDER BY attname COLLATE "C") AS columns
         FROM pg_catalog.pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped) a ON true
  LEFT JOIN LATERAL (
       SELECT string_agg(pg_catalog.format('%I', b.attname), ', ' ORDER BY p.position) AS key,
              string_agg(pg_catalog.format('%I DESC', b.attname), ', ' ORDER BY p.position) AS key_backwards
         FROM pg_catalog.pg_index i
              CROSS JOIN LATERAL unnest(i.indkey[0:i.indnkeyatts - 1]) WITH ORDINALITY AS p(attnum, position)
              JOIN pg_catalog.pg_attribute b ON b.attrelid = i.indrelid AND b.attnum = p.attnum
        WHERE i.indrelid = c.oid AND i.indisprimary AND i.indisvalid
        GROUP BY i.indexrelid HAVING bool_and(b.attcollation = 0)) k ON true
 WHERE c.relkind = 'r' AND NOT (c.relpersistence = 'u' AND pg_catalog.pg_is_in_recovery())
"""
)

SEQUENCES = (
    _DUMPED
    + """
SELECT c.nspname AS schema, c.relname AS name, s.last_value
  FROM dumped c JOIN pg_catalog.pg_sequences s ON s.schemaname = c.nspname AND s.sequencename = c.relname
 WHERE c.relkind = 'S' AND NOT (c.relpersistence = 'u' AND pg_catalog.pg_is_in_recovery())
 ORDER BY 1, 2
"""
)

# What pg_dump locks or reads, and this role may not.
UNREADABLE = (
    _DUMPED
    + """
SELECT pg_catalog.format('%I.%I', c.nspname, c.relname) AS name,
       CASE WHEN NOT pg_catalog.has_schema_privilege(c.relnamespace, 'USAGE') THEN 'no USAGE on its schema'
            WHEN c.relkind = 'S' AND NOT pg_catalog.has_sequence_privilege(c.oid, 'SELECT')
              OR c.relkind <> 'S' AND NOT pg_catalog.has_table_privilege(c.oid, 'SELECT') THEN 'no SELECT'
            ELSE 'its row policy hides rows from this role' END AS reason
  FROM dumped c
 WHERE c.relkind IN ('r', 'p', 'S')
   AND (NOT pg_catalog.has_schema_privilege(c.relnamespace, 'USAGE')
     OR CASE WHEN c.relkind = 'S' THEN NOT pg_catalog.has_sequence_privilege(c.oid, 'SELECT')
             ELSE NOT pg_catalog.has_table_privilege(c.oid, 'SELECT') OR pg_catalog.row_security_active(c.oid) END)
 UNION ALL
SELECT 'large object ' || o.oid, 'no SELECT'
  FROM pg_catalog.pg_largeobject_metadata o
 WHERE NOT pg_catalog.pg_has_role(o.lomowner, 'USAGE')
   AND NOT EXISTS (SELECT FROM pg_catalog.aclexplode(o.lomacl) a
                    WHERE a.privilege_type = 'SELECT'
                      AND (a.grantee = 0 OR pg_catalog.pg_has_role(a.grantee, 'USAGE')))
 ORDER BY 1
"""
)

# What is in the database's own tablespace names none.
TABLESPACES = (
    _DUMPED
    + """
SELECT DISTINCT s.spcname AS name
  FROM dumped c JOIN pg_catalog.pg_tablespace s ON s.oid = c.reltablespace
 WHERE c.relkind IN ('r', 'p', 'm', 'i', 'I')
 ORDER BY 1
"""
)

EXTENSIONS = "SELECT extname AS name, extversion AS version FROM pg_catalog.pg_extension ORDER BY 1"

# pg_shdepend does not know the roles that initdb made, so that the owners are asked too.
ROLES = """
SELECT DISTINCT r.rolname AS name FROM pg_catalog.pg_roles r
 WHERE r.rolname !~ '^pg_'
   AND (r.oid IN (SELECT s.refobjid FROM pg_catalog.pg_shdepend s, pg_catalog.pg_database d
                   WHERE d.datname = pg_catalog.current_database() AND s.deptype <> 'p'
                     AND s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass
                     AND (s.dbid = d.oid OR s.objid = d.oid
                          AND s.classid = 'pg_catalog.pg_database'::pg_catalog.regclass))
     OR r.oid IN (SELECT datdba FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
     OR r.oid IN (SELECT relowner FROM pg_catalog.pg_class WHERE oid >= 16384)
     OR r.oid IN (SELECT nspowner FROM pg_catalog.pg_namespace WHERE oid >= 16384)
     OR r.oid IN (SELECT proowner FROM pg_catalog.pg_proc WHERE oid >= 16384)
     OR r.oid IN (SELECT typowner FROM pg_catalog.pg_type WHERE oid >= 16384))
 ORDER BY 1
"""

_KINDS = (
    "CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view' WHEN 'f' THEN"
    " 'foreign table' WHEN 'S' THEN 'sequence' WHEN 'c' THEN 'composite type' ELSE 'materialized view' END"
)
_COLUMN_NAMES = (
    "(SELECT coalesce(json_agg(x.attname ORDER BY u.position), '[]') FROM unnest({numbers}) WITH ORDINALITY"
    " AS u(attnum, position) LEFT JOIN pg_catalog.pg_attribute x ON x.attrelid = {relation} AND x.attnum = u.attnum)"
)
_RELATION = "FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
_OUR_RELATION = f"{_OURS} AND c.relpersistence <> 't' AND {_no_member('pg_class', 'c.oid')}"


def _names(relation: str, numbers: str) -> str:
    return _COLUMN_NAMES.format(relation=relation, numbers=numbers)


DEFINITIONS = (
    f"""
SELECT json_build_array('schema', n.nspname)::text AS line FROM pg_catalog.pg_namespace n
 WHERE {_OURS} AND n.nspname <> 'public' AND {_no_member("pg_namespace", "n.oid")}
""",
    f"""
SELECT json_build_array({_KINDS}, n.nspname, c.relname, c.relpersistence, c.relrowsecurity, c.relforcerowsecurity,
       (SELECT json_agg(pg_catalog.format('%I.%I', pn.nspname, pc.relname) ORDER BY i.inhseqno)
          FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class pc ON pc.oid = i.inhparent
               JOIN pg_catalog.pg_namespace pn ON pn.oid = pc.relnamespace WHERE i.inhrelid = c.oid),
       (SELECT json_agg(o ORDER BY o COLLATE "C") FROM unnest(c.reloptions) o),
       (SELECT json_build_array(p.partstrat, {_names("c.oid", "p.partattrs::smallint[]")})
          FROM pg_catalog.pg_partitioned_table p WHERE p.partrelid = c.oid),
       pg_catalog.pg_get_expr(c.relpartbound, c.oid))::text AS line
  {_RELATION}
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c') AND {_OUR_RELATION}
   AND (c.relkind <> 'c' OR NOT EXISTS (SELECT FROM pg_catalog.pg_type t WHERE t.oid = c.reltype AND NOT
        {_no_member("pg_type", "t.oid")}))
""",
    f"""
SELECT json_build_array('column', n.nspname, c.relname, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod),
       a.attnotnull, a.attidentity, a.attgenerated, a.atthasdef,
       (SELECT json_build_array(ln.nspname, l.collname) FROM pg_catalog.pg_collation l
               JOIN pg_catalog.pg_namespace ln ON ln.oid = l.collnamespace
         WHERE l.oid = a.attcollation AND a.attcollation <> t.typcollation))::text AS line
  {_RELATION} JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
 WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c') AND {_OUR_RELATION}
""",
    f"""
SELECT json_build_array('constraint', n.nspname, coalesce(c.relname, t.typname), k.conname, k.contype, k.convalidated,
       k.condeferrable, k.condeferred, k.connoinherit, {_names("k.conrelid", "k.conkey")},
       k.confrelid::pg_catalog.regclass::text, {_names("k.confrelid", "k.confkey")},
       k.confupdtype, k.confdeltype, k.confmatchtype)::text AS line
  FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_namespace n ON n.oid = k.connamespace
  LEFT JOIN pg_catalog.pg_class c ON c.oid = k.conrelid LEFT JOIN pg_catalog.pg_type t ON t.oid = k.contypid
 WHERE k.contype <> 'n' AND k.conparentid = 0 AND {_OURS} AND coalesce(c.relpersistence, 'p') <> 't'
   AND {_no_member("pg_class", "k.conrelid")} AND {_no_member("pg_type", "k.contypid")}
   AND {_no_member("pg_constraint", "k.oid")}
""",
    f"""
SELECT json_build_array('index', n.nspname, c.relname, x.relname, m.amname, i.indisunique, i.indisprimary,
       i.indisexclusion, i.indnkeyatts, {_names("i.indrelid", "i.indkey::smallint[]")}, i.indoption::smallint[],
       (SELECT json_agg(o.opcname ORDER BY u.position) FROM unnest(i.indclass::oid[]) WITH ORDINALITY
               AS u(oid, position) JOIN pg_catalog.pg_opclass o ON o.oid = u.oid),
       i.indexprs IS NOT NULL, i.indpred IS NOT NULL,
       (SELECT json_agg(o ORDER BY o COLLATE "C") FROM unnest(x.reloptions) o))::text AS line
  {_RELATION} JOIN pg_catalog.pg_index i ON i.indrelid = c.oid JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
  JOIN pg_catalog.pg_am m ON m.oid = x.relam
 WHERE (i.indisvalid OR c.relkind = 'p') AND i.indisready AND {_OUR_RELATION}
""",
    f"""
SELECT json_build_array(CASE p.prokind WHEN 'a' THEN 'aggregate' WHEN 'p' THEN 'procedure' ELSE 'function' END,
       n.nspname, p.proname,
       (SELECT json_agg(pg_catalog.format_type(u.oid, NULL) ORDER BY u.position)
          FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY AS u(oid, position)),
       pg_catalog.format_type(p.prorettype, NULL), p.proretset, p.prokind, l.lanname, p.provolatile, p.proisstrict,
       p.prosecdef, p.proleakproof, p.proparallel, pg_catalog.md5(p.prosrc),
       (SELECT json_agg(o ORDER BY o COLLATE "C") FROM unnest(p.proconfig) o))::text AS line
  FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
  JOIN pg_catalog.pg_language l ON l.oid = p.prolang
 WHERE {_OURS} AND {_no_member("pg_proc", "p.oid")}
   AND {_not_made("pg_proc", "p.oid")}
""",
    f"""
SELECT json_build_array('trigger', n.nspname, c.relname, t.tgname, t.tgtype, t.tgenabled,
       t.tgfoid::pg_catalog.regproc::text, t.tgdeferrable, t.tginitdeferred,
       {_names("c.oid", "t.tgattr::smallint[]")}, t.tgnargs, pg_catalog.encode(t.tgargs, 'hex'))::text AS line
  {_RELATION} JOIN pg_catalog.pg_trigger t ON t.tgrelid = c.oid
 WHERE NOT t.tgisinternal AND t.tgparentid = 0 AND {_OUR_RELATION}
""",
    f"""
SELECT json_build_array('policy', n.nspname, c.relname, p.polname, p.polcmd, p.polpermissive,
       (SELECT json_agg(CASE u WHEN 0 THEN 'public' ELSE pg_catalog.pg_get_userbyid(u) END
               ORDER BY pg_catalog.pg_get_userbyid(u)) FROM unnest(p.polroles) u),
       p.polqual IS NOT NULL, p.polwithcheck IS NOT NULL)::text AS line
  {_RELATION} JOIN pg_catalog.pg_policy p ON p.polrelid = c.oid WHERE {_OUR_RELATION}
""",
    f"""
SELECT json_build_array('rule', n.nspname, c.relname, r.rulename, r.ev_type, r.is_instead, r.ev_enabled)::text AS line
  {_RELATION} JOIN pg_catalog.pg_rewrite r ON r.ev_class = c.oid WHERE r.rulename <> '_RETURN' AND {_OUR_RELATION}
""",
    f"""
SELECT json_build_array(
       CASE t.typtype WHEN 'd' THEN 'domain' WHEN 'e' THEN 'enum' WHEN 'r' THEN 'range' ELSE 'type' END,
       n.nspname, t.typname, pg_catalog.format_type(nullif(t.typbasetype, 0), t.typtypmod), t.typnotnull,
       (SELECT json_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid),
       (SELECT pg_catalog.format_type(r.rngsubtype, NULL) FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid))::text
       AS line
  FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
 WHERE t.typtype IN ('b', 'd', 'e', 'r') AND t.typcategory <> 'A' AND {_OURS} AND {_no_member("pg_type", "t.oid")}
""",
    f"""
SELECT json_build_array('sequence setting', n.nspname, c.relname, pg_catalog.format_type(s.seqtypid, NULL), s.seqstart,
       s.seqincrement, s.seqmax, s.seqmin, s.seqcache, s.seqcycle,
       (SELECT pg_catalog.format('%s.%I', d.refobjid::pg_catalog.regclass, a.attname) FROM pg_catalog.pg_depend d
               JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
         WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid
           AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype IN ('a', 'i')))::text AS line
  {_RELATION} JOIN pg_catalog.pg_sequence s ON s.seqrelid = c.oid WHERE {_OUR_RELATION}
""",
    f"""
SELECT json_build_array('event trigger', e.evtname, e.evtevent, e.evtenabled, e.evtfoid::pg_catalog.regproc::text,
       (SELECT json_agg(o ORDER BY o COLLATE "C") FROM unnest(e.evttags) o))::text AS line
  FROM pg_catalog.pg_event_trigger e WHERE {_no_member("pg_event_trigger", "e.oid")}
""",
    f"""
SELECT json_build_array('statistics', n.nspname, s.stxname, s.stxrelid::pg_catalog.regclass::text)::text AS line
  FROM pg_catalog.pg_statistic_ext s JOIN pg_catalog.pg_namespace n ON n.oid = s.stxnamespace
 WHERE {_OURS} AND {_no_member("pg_statistic_ext", "s.oid")}
""",
    f"""
SELECT json_build_array('collation', n.nspname, l.collname)::text AS line
  FROM pg_catalog.pg_collation l JOIN pg_catalog.pg_namespace n ON n.oid = l.collnamespace
 WHERE {_OURS} AND {_no_member("pg_collation", "l.oid")}
 UNION ALL
SELECT json_build_array('operator', n.nspname, o.oprname, pg_catalog.format_type(o.oprleft, NULL),
       pg_catalog.format_type(o.oprright, NULL), o.oprcode::text)::text
  FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
 WHERE {_OURS} AND {_no_member("pg_operator", "o.oid")}
 UNION ALL
SELECT json_build_array('cast', pg_catalog.format_type(k.castsource, NULL), pg_catalog.format_type(k.casttarget, NULL),
       k.castcontext, k.castmethod)::text
  FROM pg_catalog.pg_cast k
 WHERE k.oid >= 16384 AND {_no_member("pg_cast", "k.oid")} AND {_not_made("pg_cast", "k.oid")}
 UNION ALL
SELECT json_build_array('text search configuration', n.nspname, f.cfgname)::text
  FROM pg_catalog.pg_ts_config f JOIN pg_catalog.pg_namespace n ON n.oid = f.cfgnamespace
 WHERE {_OURS} AND {_no_member("pg_ts_config", "f.oid")}
 UNION ALL
SELECT json_build_array('foreign server', s.srvname, w.fdwname)::text
  FROM pg_catalog.pg_foreign_server s JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid = s.srvfdw
 WHERE {_no_member("pg_foreign_server", "s.oid")}
 UNION ALL
SELECT json_build_array('publication', p.pubname, p.puballtables)::text FROM pg_catalog.pg_publication p
 UNION ALL
SELECT json_build_array('large object', o.oid)::text FROM pg_catalog.pg_largeobject_metadata o
""",
    """
SELECT json_build_array('comment', i.type, i.identity, pg_catalog.md5(d.description))::text AS line
  FROM pg_catalog.pg_description d
       CROSS JOIN LATERAL pg_catalog.pg_identify_object(d.classoid, d.objoid, d.objsubid) i
 WHERE d.objoid >= 16384
   AND d.classoid <> 'pg_catalog.pg_extension'::pg_catalog.regclass
   AND d.classoid <> 'pg_catalog.pg_subscription'::pg_catalog.regclass
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend m WHERE m.classid = d.classoid AND m.objid = d.objoid
                      AND m.deptype = 'e')
""",
)

_HOLDERS = """
       (SELECT json_agg(json_build_array(g.grantee, g.privilege_type, g.is_grantable)
                        ORDER BY g.grantee COLLATE "C", g.privilege_type, g.is_grantable)
          FROM (SELECT a.privilege_type, CASE a.grantee WHEN 0 THEN 'PUBLIC'
                       ELSE pg_catalog.pg_get_userbyid(a.grantee)::text END AS grantee, a.is_grantable
                  FROM pg_catalog.aclexplode(coalesce({acl}, pg_catalog.acldefault({kind}, {owner}))) a
                 WHERE a.grantee <> {owner} AND a.privilege_type <> 'MAINTAIN') g)
"""


def _holders(acl: str, kind: str, owner: str) -> str:
    return _HOLDERS.format(acl=acl, kind=kind, owner=owner)


_RELATION_ACL = """CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::pg_catalog."char\""""
# MAINTAIN came with 17: ALL means more there. What an owner has by itself is not said either.
GRANTS = (
    f"""
SELECT json_build_array('relation', n.nspname, c.relname, pg_catalog.pg_get_userbyid(c.relowner),
       {_holders("c.relacl", _RELATION_ACL, "c.relowner")})::text AS line
  {_RELATION} WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND {_OUR_RELATION}
""",
    f"""
SELECT json_build_array('column', n.nspname, c.relname, a.attname,
       {_holders("a.attacl", "'c'", "c.relowner")})::text AS line
  {_RELATION} JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
 WHERE a.attacl IS NOT NULL AND NOT a.attisdropped AND {_OUR_RELATION}
""",
    f"""
SELECT json_build_array('schema', n.nspname, pg_catalog.pg_get_userbyid(n.nspowner),
       {_holders("n.nspacl", "'n'", "n.nspowner")})::text AS line
  FROM pg_catalog.pg_namespace n
 WHERE {_OURS} AND n.nspname <> 'public' AND {_no_member("pg_namespace", "n.oid")}
""",
    f"""
SELECT json_build_array('function', n.nspname, p.proname, p.oid::pg_catalog.regprocedure::text,
       pg_catalog.pg_get_userbyid(p.proowner), {_holders("p.proacl", "'f'", "p.proowner")})::text AS line
  FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
 WHERE {_OURS} AND {_no_member("pg_proc", "p.oid")}
   AND {_not_made("pg_proc", "p.oid")}
""",
    f"""
SELECT json_build_array('type', n.nspname, t.typname, pg_catalog.pg_get_userbyid(t.typowner),
       {_holders("t.typacl", "'T'", "t.typowner")})::text AS line
  FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
 WHERE t.typtype IN ('b', 'd', 'e', 'r') AND t.typcategory <> 'A' AND {_OURS} AND {_no_member("pg_type", "t.oid")}
""",
    """
SELECT json_build_array('default', pg_catalog.pg_get_userbyid(d.defaclrole),
       d.defaclnamespace::pg_catalog.regnamespace::text, d.defaclobjtype,
       (SELECT json_agg(json_build_array(pg_catalog.pg_get_userbyid(a.grantee), a.privilege_type)
                        ORDER BY pg_catalog.pg_get_userbyid(a.grantee), a.privilege_type)
          FROM pg_catalog.aclexplode(d.defaclacl) a WHERE a.privilege_type <> 'MAINTAIN'))::text AS line
  FROM pg_catalog.pg_default_acl d
""",
)
