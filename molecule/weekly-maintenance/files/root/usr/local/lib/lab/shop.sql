-- A product database after months without care. Autovacuum is off, so that nobody but the runbook mends it, and so that
-- check mode and the real run find the same.
\set ON_ERROR_STOP on

ALTER SYSTEM SET autovacuum = off;
SELECT pg_reload_conf() \g /dev/null

CREATE ROLE shop LOGIN;
CREATE ROLE backup LOGIN;
CREATE DATABASE shop OWNER shop;
\connect shop
SET ROLE shop;

CREATE TABLE order_events (id int PRIMARY KEY, body text);
INSERT INTO order_events SELECT n, repeat('x', 100) FROM generate_series(1, 200000) AS n;

CREATE TABLE customers (id int PRIMARY KEY, city text);
INSERT INTO customers SELECT n, 'old town' FROM generate_series(1, 1000) AS n;

CREATE TABLE orders (id int, sku text);
INSERT INTO orders SELECT n, md5(n::text) FROM generate_series(1, 400000) AS n;
CREATE INDEX orders_sku_idx ON orders (sku);

CREATE TABLE payments (id int PRIMARY KEY, reference text);
INSERT INTO payments SELECT n, 'ref-' || n / 2 FROM generate_series(1, 10000) AS n;

CREATE TABLE products (id int PRIMARY KEY, name text);
INSERT INTO products SELECT n, 'product ' || n FROM generate_series(1, 50000) AS n;

CREATE TABLE carts (id int PRIMARY KEY, touched timestamptz);
INSERT INTO carts SELECT n, now() FROM generate_series(1, 1000) AS n;

-- A session tells the statistics what it did once a second only: without this a VACUUM would come before the rows it saw.
SELECT pg_stat_force_next_flush() \g /dev/null
VACUUM (ANALYZE) order_events, customers, orders, payments, products, carts;

-- From here on nothing is looked after; products and carts stay healthy: nobody has a reason to touch them.
-- Bloated table: as many dead rows as living ones.
UPDATE order_events SET body = repeat('y', 100);

-- Stale statistics: most rows came after the last ANALYZE.
INSERT INTO customers SELECT n, 'new town' FROM generate_series(1001, 60000) AS n;

-- Bloated index: nine of ten keys are gone, the pages stayed.
DELETE FROM orders WHERE id % 10 <> 0;
SELECT pg_stat_force_next_flush() \g /dev/null
VACUUM (ANALYZE) orders;

-- Partitioned parent: autovacuum never analyses one.
CREATE TABLE visits (day date, path text) PARTITION BY RANGE (day);
CREATE TABLE visits_2025 PARTITION OF visits FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE visits_2026 PARTITION OF visits FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
INSERT INTO visits SELECT date '2025-07-01' + n % 365, '/products/' || n FROM generate_series(1, 20000) AS n;

-- Invalid index: what CREATE UNIQUE INDEX CONCURRENTLY left behind when it met duplicates; somebody removed those since.
\set ON_ERROR_STOP off
CREATE UNIQUE INDEX CONCURRENTLY payments_reference_key ON payments (reference);
\set ON_ERROR_STOP on
DO $$
BEGIN
    ASSERT EXISTS (SELECT FROM pg_index WHERE indexrelid = 'payments_reference_key'::regclass AND NOT indisvalid),
        'the unique index was built: there is nothing to mend';
END
$$;
DELETE FROM payments WHERE id % 2 = 1;
