"""A schema with every kind of object, and names that break what is not quoted."""

from __future__ import annotations

# A name of 63 bytes, the longest that there is.
LONG = "x" * 61 + "ä"

HOSTILE_NAMES = (
    'a "quoted" name',
    "it's",
    "two\nlines",
    "dbname=postgres host=/nowhere",
    "-- comment; DROP TABLE x",
    "back\\slash",
    "ünïcödé 表",
    "%s %(x)s {0}",
    "$1 ${HOME} `id`",
    LONG,
)

# {role} is a role that owns something and has rights.
EVERY_OBJECT = """
CREATE SCHEMA app;
CREATE EXTENSION pgcrypto SCHEMA app;
CREATE TYPE app.mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE app.pair AS (a int, b text);
CREATE TYPE app.span AS RANGE (subtype = float8);
CREATE DOMAIN app.email AS text COLLATE "C" CHECK (VALUE LIKE '%@%') NOT NULL;
CREATE FUNCTION app.double(x int) RETURNS int LANGUAGE sql IMMUTABLE STRICT AS 'SELECT x * 2';
CREATE FUNCTION app.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.changed := now(); RETURN NEW; END';
CREATE PROCEDURE app.nothing() LANGUAGE sql AS 'SELECT 1';
CREATE AGGREGATE app.total(int) (sfunc = int4pl, stype = int, initcond = '0');
CREATE OPERATOR app.@+@ (leftarg = int, rightarg = int, function = int4pl);
CREATE COLLATION app.plain (locale = 'C');
CREATE SEQUENCE app.tickets START 100 INCREMENT 5;
CREATE TABLE app.person (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    mail app.email UNIQUE,
    kind varchar(10) CHECK (kind IN ('a', 'b')) DEFAULT 'a',
    mood app.mood DEFAULT 'ok',
    born date,
    spare app.pair,
    twice int GENERATED ALWAYS AS (app.double(3)) STORED,
    dropped int,
    changed timestamptz,
    due interval, real_number float8, blob bytea, price money, tags text[], doc jsonb,
    EXCLUDE USING gist (int8range(id, id, '[]') WITH &&) DEFERRABLE
);
ALTER TABLE app.person DROP COLUMN dropped;
COMMENT ON TABLE app.person IS 'people; "quoted"';
COMMENT ON COLUMN app.person.mail IS 'where to write';
INSERT INTO app.person (mail, kind, mood, born, spare, changed, due, real_number, blob, price, tags, doc)
SELECT i || '@x.example', 'b', 'happy', '2000-01-01', ROW(i, E'two\\nlines')::app.pair, '2026-01-01 12:00+02',
       '1 year', i / 3.0, '\\x00ff', i, ARRAY['a,b', NULL], jsonb_build_object('i', i) FROM generate_series(1, 50) i;
CREATE INDEX person_lower ON app.person (lower(mail) DESC NULLS LAST, (id + 1)) INCLUDE (kind) WHERE kind = 'a';
CREATE STATISTICS app.person_stats ON kind, mood FROM app.person;
CREATE TRIGGER touched BEFORE UPDATE OF kind ON app.person FOR EACH ROW EXECUTE FUNCTION app.touch();
CREATE TABLE app.pet (id uuid PRIMARY KEY, owner bigint REFERENCES app.person ON DELETE CASCADE, n smallserial);
INSERT INTO app.pet SELECT md5(i::text)::uuid, i FROM generate_series(1, 40) i;
ALTER TABLE app.pet ADD CHECK (n > 0) NOT VALID;
CREATE TABLE app.parent (a int, b int);
CREATE TABLE app.child (b int, c int, a int);
ALTER TABLE app.child INHERIT app.parent;
INSERT INTO app.parent VALUES (1, 2);
INSERT INTO app.child VALUES (3, 4, 5);
CREATE TABLE app.event (id int, at timestamptz NOT NULL, PRIMARY KEY (id, at), person bigint REFERENCES app.person)
       PARTITION BY RANGE (at);
CREATE TABLE app.event_1 PARTITION OF app.event FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE app.event_rest PARTITION OF app.event DEFAULT PARTITION BY LIST (id);
CREATE TABLE app.event_rest_1 PARTITION OF app.event_rest DEFAULT;
CREATE INDEX ON app.event (person);
INSERT INTO app.event SELECT i, '2026-01-31'::timestamptz + i * interval '1 hour', 1 FROM generate_series(1, 60) i;
CREATE UNLOGGED TABLE app.scratch AS SELECT 1 AS one;
CREATE TABLE app.nothing ();
CREATE VIEW app.people AS SELECT p.id, p.mail FROM app.person p WHERE p.kind IN ('a', 'b');
CREATE RULE no_insert AS ON INSERT TO app.people DO INSTEAD NOTHING;
CREATE MATERIALIZED VIEW app.moods AS SELECT mood, count(*) FROM app.person GROUP BY 1;
CREATE TABLE app.secret (id int PRIMARY KEY, owner name);
INSERT INTO app.secret VALUES (1, 'nobody'), (2, 'x');
ALTER TABLE app.secret ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON app.secret FOR SELECT TO {role} USING (owner = current_user);
CREATE FUNCTION app.note() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN NULL; END';
CREATE EVENT TRIGGER noted ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION app.note();
CREATE TEXT SEARCH CONFIGURATION app.words (COPY = pg_catalog.simple);
CREATE CAST (app.mood AS int) WITH INOUT;
CREATE PUBLICATION people FOR TABLE app.person;
ALTER TABLE app.pet OWNER TO {role};
GRANT SELECT, INSERT ON app.person TO {role};
GRANT SELECT (id) ON app.secret TO PUBLIC;
GRANT USAGE ON SCHEMA app TO {role};
REVOKE EXECUTE ON FUNCTION app.double(int) FROM PUBLIC;
ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO {role};
SELECT pg_catalog.nextval('app.tickets');
SELECT pg_catalog.lo_from_bytea(4711, '\\xdeadbeef');
"""
