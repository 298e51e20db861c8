-- A partitioned model holds what its query yields, in partitions that are there when rows need them.
\set VERBOSITY terse
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SET timezone = 'UTC';
CREATE SCHEMA pt;
CREATE TABLE pt.src (id int, day date, at timestamptz, country text, n int);
INSERT INTO pt.src VALUES (1, '2026-01-05', '2026-01-05 23:30Z', 'DE', 10), (2, '2026-01-31', '2026-01-31 23:30Z', 'FR', -3), (3, '2026-03-01', '2026-03-01', 'it''s "x"', 250), (4, NULL, NULL, NULL, NULL);
CREATE VIEW pt.parts AS SELECT inhparent::regclass::text AS parent, regexp_replace(inhrelid::regclass::text, '_[0-9a-f]{8}$', '_…') AS part,
	pg_get_expr(c.relpartbound, c.oid) AS bound FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE c.relkind = 'r' AND c.relnamespace = 'pt'::regnamespace ORDER BY 1, 3;
CREATE FUNCTION pt.differing(model text, query text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	n bigint;
BEGIN
	EXECUTE format('SELECT count(*) FROM ((TABLE %s EXCEPT ALL (%s)) UNION ALL ((%s) EXCEPT ALL TABLE %s)) d', model, query, query, model) INTO n;
	RETURN n;
END $$;

SELECT etl.define_model('pt.monthly', 'SELECT * FROM pt.src', 'table', '{id,day}', options => '{"partition_by": {"range": "day", "interval": "1 month"}, "indexes": [["country"]], "with": {"fillfactor": "90"}, "constraints": ["CHECK (n < 1000)"]}');
SELECT etl.define_model('pt.weekly', 'SELECT * FROM pt.src', 'table', options => '{"partition_by": {"range": "at", "interval": "7 days"}}');
SELECT etl.define_model('pt.numbers', 'SELECT * FROM pt.src', 'table', options => '{"partition_by": {"range": "n", "interval": "100"}}');
SELECT etl.define_model('pt.countries', 'SELECT * FROM pt.src', 'table', options => '{"partition_by": {"list": "country"}}');
SELECT etl.define_model('pt.hashed', 'SELECT * FROM pt.src', 'table', '{id}', options => '{"partition_by": {"hash": "id", "partitions": 3}}');
SELECT etl.define_model('pt."we""ird"', 'SELECT n, upper(country) AS "c""; drop" FROM pt.src', 'table', options => '{"partition_by": {"list": "lower(\"c\"\"; drop\")"}}');
CALL etl.run('pt.*');
SELECT node, status, action, rows_inserted FROM etl.tasks WHERE run_id = etl.last_run_id() ORDER BY node;
SELECT parent, CASE WHEN parent ~ 'countries|we' THEN 'l' ELSE part END AS part, bound FROM pt.parts;
SELECT model, pt.differing(model, 'SELECT * FROM pt.src') FROM unnest('{pt.monthly,pt.weekly,pt.numbers,pt.countries,pt.hashed}'::text[]) model;
SELECT count(*), (SELECT count(*) FROM pg_index WHERE indrelid = 'pt.monthly_p20260101'::regclass) AS indexes,
	(SELECT reloptions FROM pg_class WHERE oid = 'pt.monthly_p20260101'::regclass) FROM pt.monthly_p20260101;

-- rows come, change their partition, and go; what did not change keeps its place
CREATE TABLE pt.places AS SELECT tableoid AS part, ctid AS place, id FROM pt.monthly;
INSERT INTO pt.src VALUES (5, '2025-12-31', '2025-12-31', 'DE', 99), (6, '2026-02-28', '2026-02-28', 'PL', 100);
UPDATE pt.src SET day = '2027-07-07', country = 'PL', n = -100 WHERE id = 1;
DELETE FROM pt.src WHERE id = 2;
CALL etl.run('pt.*');
SELECT node, status, rows_inserted, rows_updated, rows_deleted FROM etl.tasks WHERE run_id = etl.last_run_id() ORDER BY node;
SELECT model, pt.differing(model, 'SELECT * FROM pt.src') FROM unnest('{pt.monthly,pt.weekly,pt.numbers,pt.countries,pt.hashed}'::text[]) model;
SELECT m.id FROM pt.places p JOIN pt.monthly m ON (p.part, p.place, p.id) = (m.tableoid, m.ctid, m.id) ORDER BY 1;
SELECT part, bound FROM pt.parts WHERE parent = 'pt.monthly';

-- a column comes; rows that break a constraint leave what was there
ALTER TABLE pt.src ADD COLUMN extra text DEFAULT 'e';
CALL etl.run('pt.monthly');
SELECT pt.differing('pt.monthly', 'SELECT * FROM pt.src');
INSERT INTO pt.src VALUES (7, '2028-01-01', NULL, NULL, 1000);
\set VERBOSITY sqlstate
CALL etl.run('pt.monthly');
\set VERBOSITY terse
SELECT count(*), to_regclass('pt.monthly_p20280101') FROM pt.monthly;
DELETE FROM pt.src WHERE id = 7;

-- incremental, from a stream
SELECT etl.define_source('pt_push', 'push');
SELECT etl.define_stream('pt.s', 'pt_push', format => 'json', columns => 'id int, day date, n int', key => '{id}', mode => 'merge');
SELECT etl.ingest('pt.s', '[{"id": 1, "day": "2026-01-01", "n": 1}, {"id": 2, "day": "2026-02-01", "n": 2}]') > 0 AS landed;
SELECT etl.define_model('pt.inc', 'SELECT day, sum(n) AS n FROM pt.s GROUP BY day', 'incremental', '{day}', options => '{"partition_by": {"range": "day", "interval": "1 month"}}');
CALL etl.run('pt.inc');
SELECT etl.ingest('pt.s', '[{"id": 1, "day": "2026-03-01", "n": 1}, {"id": 3, "day": "2026-02-01", "n": 5}]') > 0 AS landed;
CALL etl.run('pt.inc');
SELECT action, rows_inserted, rows_updated, rows_deleted FROM etl.tasks WHERE run_id = etl.last_run_id();
SELECT tableoid::regclass, * FROM pt.inc ORDER BY day;

-- partitioned in another way, or not any more: made again
SELECT etl.define_model('pt.inc', 'SELECT day, sum(n) AS n FROM pt.s GROUP BY day', 'incremental', '{day}', options => '{"partition_by": {"range": "day", "interval": "1 year"}}');
SELECT action, reason FROM etl.plan('pt.inc');
CALL etl.run('pt.inc');
SELECT DISTINCT tableoid::regclass FROM pt.inc;
SELECT etl.define_model('pt.inc', 'SELECT day, sum(n) AS n FROM pt.s GROUP BY day', 'incremental', '{day}', options => '{"partition_by": {"hash": "day"}}');
CALL etl.run('pt.inc');
SELECT count(*) FROM pt.parts WHERE parent = 'pt.inc';
-- in the caller's transaction
BEGIN;
SELECT etl.ingest('pt.s', '[{"id": 9, "day": "2029-03-01", "n": 1}]') > 0 AS landed;
CALL etl.run('pt.inc');
SELECT count(*) FROM pt.inc;
ROLLBACK;
SELECT count(*) FROM pt.inc;

CREATE TABLE pt.theirs (id int);
INSERT INTO pt.theirs VALUES (1);
SELECT etl.define_model('pt.theirs', 'SELECT id FROM pt.src', 'table', options => '{"partition_by": {"list": "id"}, "adopt": true}');
\set VERBOSITY sqlstate
CALL etl.run('pt.theirs');
\set VERBOSITY terse
TABLE pt.theirs;
SELECT etl.define_model('pt.x', 'SELECT * FROM pt.src', 'view', options => '{"partition_by": {"list": "n"}}');
SELECT etl.define_model('pt.x', 'SELECT * FROM pt.src', 'table', '{id}', options => '{"partition_by": {"list": "n"}}');
SELECT etl.define_model('pt.x', 'SELECT * FROM pt.src', 'table', options => '{"partition_by": "n"}');
SELECT etl.define_model('pt.x', 'SELECT * FROM pt.src', 'table', options => '{"partition_by": {"list": "n", "interval": "1"}}');
SELECT etl.define_model('pt.x', 'SELECT * FROM pt.src', 'table', options => '{"partition_by": {"list": "n); DROP TABLE pt.src; --"}}');
SELECT etl.define_model('pt.x', 'SELECT * FROM pt.src', 'table', options => '{"partition_by": {"hash": "id", "partitions": 0}}');

SELECT count(etl.drop_model(target, true)) FROM etl.models WHERE target LIKE 'pt.%';
SELECT etl.drop_stream('pt.s'), etl.drop_source('pt_push');
DROP SCHEMA pt CASCADE;
