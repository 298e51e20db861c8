-- A watched table tells its models which rows changed, whoever writes and however; without being watched they are rebuilt by every run.
\set VERBOSITY default
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO, YMD';
CREATE SCHEMA wt;
CREATE TABLE wt."c""1" (id int, name text, v numeric);
INSERT INTO wt."c""1" SELECT i, 'n' || i % 3, i FROM generate_series(1, 20) AS i;
CREATE VIEW wt.last AS SELECT node, action, reason, rows_inserted AS ins, rows_updated AS upd, rows_deleted AS del
	FROM etl.tasks WHERE run_id = (SELECT max(run_id) FROM etl.tasks WHERE node LIKE 'wt.%') ORDER BY node;
SELECT etl.define_model('wt.sums', 'SELECT name, count(*) AS n, sum(v) AS v FROM wt."c""1" GROUP BY 1', 'incremental', key => '{name}');
SELECT etl.define_model('wt.copy', 'SELECT * FROM wt."c""1"', 'table');
SELECT etl.define_model('wt.seen', 'SELECT * FROM wt."c""1" WHERE id < 5', 'view');
CALL etl.run('wt.*');
CALL etl.run('wt.*');
SELECT * FROM wt.last;

SELECT etl.watch('wt."c""1"');
SELECT etl.watch('wt."c""1"');
CALL etl.run('wt.*');
SELECT * FROM wt.last;
CALL etl.run('wt.*');
SELECT * FROM wt.last;

-- ---- every kind of change ----
INSERT INTO wt."c""1" VALUES (21, 'n1', 5), (22, NULL, 1);
UPDATE wt."c""1" SET name = 'n9' WHERE id = 3;
DELETE FROM wt."c""1" WHERE id IN (4, 8);
SELECT node, action, reason FROM etl.plan('wt.*');
CALL etl.run('wt.*');
SELECT * FROM wt.last;
TABLE wt.sums ORDER BY 1;
COPY wt."c""1" FROM STDIN;
30	n2	100
\.
MERGE INTO wt."c""1" AS t USING (VALUES (1, 7.0), (40, 8.0)) AS s (id, v) ON t.id = s.id
	WHEN MATCHED THEN UPDATE SET v = s.v WHEN NOT MATCHED THEN INSERT VALUES (s.id, 'n4', s.v);
CALL etl.run('wt.sums');
SELECT * FROM wt.last;
BEGIN;
DELETE FROM wt."c""1";
ROLLBACK;
BEGIN;
SAVEPOINT a;
INSERT INTO wt."c""1" VALUES (50, 'n5', 1);
ROLLBACK TO a;
COMMIT;
CALL etl.run('wt.sums');
SELECT * FROM wt.last;
SELECT count(*) FROM (TABLE wt.sums EXCEPT SELECT name, count(*), sum(v) FROM wt."c""1" GROUP BY 1) AS x;
TRUNCATE wt."c""1";
INSERT INTO wt."c""1" VALUES (1, 'n1', 1);
CALL etl.run('wt.sums');
SELECT * FROM wt.last;
TABLE wt.sums;
ALTER TABLE wt."c""1" ADD COLUMN w int DEFAULT 3;
INSERT INTO wt."c""1" VALUES (2, 'n1', 1);
CALL etl.run('wt.sums');
SELECT * FROM wt.last;
TABLE wt.sums;

-- ---- the way back ----
SELECT etl.unwatch('wt."c""1"');
SELECT etl.unwatch('wt."c""1"');
INSERT INTO wt."c""1" VALUES (3, 'n1', 1);
CALL etl.run('wt.sums');
SELECT * FROM wt.last;
SELECT etl.watch('wt."c""1"');
INSERT INTO wt."c""1" VALUES (4, 'n1', 1);
CALL etl.run('wt.sums');
SELECT * FROM wt.last;
TABLE wt.sums;
SELECT count(*) FROM etl.change_set WHERE target LIKE 'wt.%';
-- triggers that somebody disabled record nothing
ALTER TABLE wt."c""1" DISABLE TRIGGER etl_changed_insert;
INSERT INTO wt."c""1" VALUES (5, 'n1', 1);
CALL etl.run('wt.sums');
SELECT * FROM wt.last;
TABLE wt.sums;

-- ---- refusals ----
\set VERBOSITY terse
SELECT etl.watch('wt.seen');
SELECT etl.watch('wt.copy');
SELECT etl.watch('wt.nothing');
SELECT etl.watch(NULL);
CREATE TABLE wt.parent (id int);
CREATE TABLE wt.child () INHERITS (wt.parent);
SELECT etl.watch('wt.parent');
CREATE VIEW wt.v AS SELECT 1 AS id;
SELECT etl.watch('wt.v');
CREATE ROLE wt_nobody;
GRANT USAGE ON SCHEMA wt, etl TO wt_nobody;
GRANT SELECT, TRIGGER ON wt."c""1" TO wt_nobody;
GRANT EXECUTE ON FUNCTION etl.watch, etl.unwatch TO wt_nobody;
SET ROLE wt_nobody;
SELECT etl.watch('wt."c""1"');
SELECT etl.unwatch('wt."c""1"');
RESET ROLE;

SELECT etl.drop_model(m, drop_relation => true) FROM unnest('{wt.sums,wt.copy,wt.seen}'::text[]) AS m;
DROP VIEW wt.last;
DROP SCHEMA wt CASCADE;
DROP OWNED BY wt_nobody;
DROP ROLE wt_nobody;
