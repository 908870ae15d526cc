-- The demo's product database, after months without care. autovacuum is off per table, so that what is to be done is
-- still to be done when the runbook comes.
CREATE TABLE order_events (id int PRIMARY KEY, body text) WITH (autovacuum_enabled = off);
INSERT INTO order_events SELECT n, repeat('x', 100) FROM generate_series(1, 200000) AS n;

CREATE TABLE customers (id int PRIMARY KEY, city text) WITH (autovacuum_enabled = off);
INSERT INTO customers SELECT n, 'old town' FROM generate_series(1, 1000) AS n;

CREATE TABLE orders (id int, sku text) WITH (autovacuum_enabled = off);
INSERT INTO orders SELECT n, md5(n::text) FROM generate_series(1, 400000) AS n;
CREATE INDEX orders_sku_idx ON orders (sku);

CREATE TABLE products (id int PRIMARY KEY, name text) WITH (autovacuum_enabled = off);
INSERT INTO products SELECT n, 'product ' || n FROM generate_series(1, 50000) AS n;

CREATE TABLE carts (id int PRIMARY KEY, touched timestamptz) WITH (autovacuum_enabled = off);
INSERT INTO carts SELECT n, now() FROM generate_series(1, 1000) AS n;

CREATE TABLE visits (day date, path text) PARTITION BY RANGE (day);
CREATE TABLE visits_2025 PARTITION OF visits FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')
    WITH (autovacuum_enabled = off);
CREATE TABLE visits_2026 PARTITION OF visits FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')
    WITH (autovacuum_enabled = off);

SELECT pg_stat_force_next_flush();
VACUUM (ANALYZE);

-- Bloated table: as many dead rows as living ones.
UPDATE order_events SET body = repeat('y', 100);

-- Stale statistics: most rows came after the last ANALYZE.
INSERT INTO customers SELECT n, 'new town' FROM generate_series(1001, 60000) AS n;

-- Partitioned parent: autovacuum never analyzes one.
INSERT INTO visits SELECT date '2025-07-01' + n % 365, '/products/' || n FROM generate_series(1, 20000) AS n;

-- Bloated index: nine of ten keys are gone, the pages stayed.
DELETE FROM orders WHERE id % 10 <> 0;
SELECT pg_stat_force_next_flush();
VACUUM (ANALYZE) orders;
SELECT pg_stat_force_next_flush();
