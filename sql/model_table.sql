-- A table is published under its OID: its views, grants, indexes and constraints stay, its rows and columns follow the query.
\set VERBOSITY terse
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SET client_min_messages = warning;
CREATE SCHEMA mt;
CREATE TABLE mt.t (id int, v text);
INSERT INTO mt.t SELECT i, 'v' || i FROM generate_series(1, 100) AS i;
CREATE VIEW mt.last AS
	SELECT node, action, status, rows_inserted AS ins, rows_updated AS upd, rows_deleted AS del
	FROM etl.tasks WHERE run_id = etl.last_run_id() ORDER BY node;
SELECT etl.define_model('mt.m', 'SELECT id, v, repeat(v, 2000) AS big FROM mt.t', 'table', key => '{id}',
	options => '{"indexes": [["v"], "lower(v), id"], "with": {"fillfactor": "90"}}', description => 'it''s m');
CALL etl.run('mt.*');
SELECT * FROM mt.last;
SELECT regexp_replace(indexdef, '_etl_[ui]\w+', '_etl') FROM pg_indexes WHERE schemaname = 'mt' ORDER BY 1;
SELECT reloptions, obj_description('mt.m'::regclass) FROM pg_class WHERE oid = 'mt.m'::regclass;

-- swapped: same OID, other storage; views, grants and constraints stay, TOAST and indexes fit
CREATE VIEW mt.reader AS SELECT id, length(big) AS l FROM mt.m;
ALTER TABLE mt.m ADD CONSTRAINT positive CHECK (id > 0);
CREATE ROLE mt_reader;
GRANT SELECT ON mt.m TO mt_reader;
SELECT 'mt.m'::regclass::oid AS oid, pg_relation_filenode('mt.m') AS node \gset
INSERT INTO mt.t VALUES (101, 'new');
CALL etl.run('mt.*');
SELECT 'mt.m'::regclass::oid = :oid AS same_oid, pg_relation_filenode('mt.m') <> :node AS swapped;
SELECT count(*), max(l) FROM mt.reader;
SELECT has_table_privilege('mt_reader', 'mt.m', 'SELECT');
SET enable_seqscan = off;
SELECT id FROM mt.m WHERE v = 'new';
RESET enable_seqscan;
SELECT count(*) FROM pg_stats WHERE schemaname = 'mt' AND tablename = 'm' AND attname IN ('id', 'v');
SELECT count(*) FROM pg_class WHERE relname LIKE 'pg\_temp\_%' AND relnamespace = 'mt'::regnamespace;

-- a constraint that new rows break stops the publication
INSERT INTO mt.t VALUES (-1, 'wrong');
\set VERBOSITY sqlstate
CALL etl.run('mt.*');
\set VERBOSITY terse
SELECT count(*), min(id) FROM mt.m;
DELETE FROM mt.t WHERE id = -1;

-- in a transaction block: by DML, only what differs, and undone with it
SELECT ctid AS five FROM mt.m WHERE id = 5 \gset
UPDATE mt.t SET v = 'changed' WHERE id = 7;
DELETE FROM mt.t WHERE id = 8;
BEGIN;
CALL etl.run('mt.*');
SELECT * FROM mt.last;
SELECT ctid = :'five' AS untouched FROM mt.m WHERE id = 5;
SELECT id, v FROM mt.m WHERE id IN (7, 8);
ROLLBACK;
SELECT id, v FROM mt.m WHERE id IN (7, 8) ORDER BY id;

-- columns follow; an unmanaged view stops the run before any work, a managed one is made again
SELECT etl.define_model('mt.above', 'SELECT m.*, 1 AS one FROM mt.m');
CALL etl.run('mt.*');
GRANT SELECT ON mt.above TO mt_reader;
SELECT etl.define_model('mt.m', 'SELECT id::bigint AS id, v AS w FROM mt.t', 'table', key => '{id}');
\set VERBOSITY sqlstate
CALL etl.run('mt.m');
\set VERBOSITY terse
SELECT reason FROM etl.plan('mt.m');
DROP VIEW mt.reader;
CALL etl.run('mt.*');
SELECT attname, atttypid::regtype FROM pg_attribute WHERE attrelid = 'mt.m'::regclass AND attnum > 0 AND NOT attisdropped;
SELECT attname FROM pg_attribute WHERE attrelid = 'mt.above'::regclass AND attnum > 0;
SELECT 'mt.m'::regclass::oid = :oid AS same_oid, has_table_privilege('mt_reader', 'mt.above', 'SELECT') AS granted;
SELECT count(*), sum(id) FROM mt.above;
SELECT depends_on FROM etl.dependencies WHERE node = 'mt.above';

-- a foreign key, and from then on the difference is applied by DML
CREATE TABLE mt.child (id bigint REFERENCES mt.m (id));
INSERT INTO mt.child VALUES (1);
INSERT INTO mt.t VALUES (200, 'late');
CALL etl.run('mt.m');
SELECT * FROM mt.last;
DROP TABLE mt.child;

-- without a key: as a multiset, duplicates and NULLs counted
CREATE TABLE mt.twice (a int, b numeric);
INSERT INTO mt.twice VALUES (1, 1.0), (1, 1.0), (NULL, 2), (NULL, NULL);
SELECT etl.define_model('mt.bag', 'SELECT * FROM mt.twice', 'table');
CALL etl.run('mt.bag');
INSERT INTO mt.twice VALUES (1, 1.0), (3, 3);
DELETE FROM mt.twice WHERE b = 2;
BEGIN;
CALL etl.run('mt.bag');
SELECT * FROM mt.last;
COMMIT;
SELECT * FROM mt.bag ORDER BY a, b;

-- two rows for one key are an error that says so
UPDATE mt.t SET id = 1 WHERE id = 2;
\set VERBOSITY sqlstate
CALL etl.run('mt.m');
\set VERBOSITY terse
SELECT sqlstate FROM etl.tasks WHERE run_id = etl.last_run_id();

-- a relation that etl did not make is not replaced; an adopted one keeps its columns
CREATE TABLE mt.mine (a int, precious text);
SELECT etl.define_model('mt.mine', 'SELECT a FROM mt.twice', 'table');
\set VERBOSITY sqlstate
CALL etl.run('mt.mine');
SELECT etl.define_model('mt.mine', 'SELECT a FROM mt.twice', 'table', options => '{"adopt": true}');
CALL etl.run('mt.mine');
\set VERBOSITY terse
SELECT etl.define_model('mt.mine', 'SELECT a, ''p''::text AS precious FROM mt.twice', 'table', options => '{"adopt": true}');
CALL etl.run('mt.mine');
SELECT count(*) FROM mt.mine;

-- an adopted table may be partitioned (rows of the same place in two partitions are told apart), or have a primary key
CREATE TABLE mt.parts (a int PRIMARY KEY, b text) PARTITION BY RANGE (a);
CREATE TABLE mt.part1 PARTITION OF mt.parts FOR VALUES FROM (0) TO (10);
CREATE TABLE mt.part2 PARTITION OF mt.parts FOR VALUES FROM (10) TO (20);
CREATE TABLE mt.pk (a int PRIMARY KEY, b text NOT NULL DEFAULT 'x');
CREATE TABLE mt.some AS SELECT i AS a, 'b' || i AS b FROM generate_series(1, 19) AS i;
SELECT etl.define_model('mt.' || n, 'SELECT * FROM mt.some', 'table', key => '{a}', options => '{"adopt": true}') FROM unnest('{parts,pk}'::text[]) n;
CALL etl.run('mt.parts mt.pk');
UPDATE mt.some SET b = 'c' WHERE a IN (1, 12);
DELETE FROM mt.some WHERE a = 13;
CALL etl.run('mt.parts mt.pk');
SELECT * FROM mt.last;
SELECT count(*) FROM (TABLE mt.some EXCEPT ALL TABLE mt.parts) d;
SELECT count(*) FROM (TABLE mt.some EXCEPT ALL TABLE mt.pk) d;
SELECT indexdef FROM pg_indexes WHERE schemaname = 'mt' AND tablename IN ('parts', 'pk');

-- hooks, hostile names, a view that becomes a table and back
SELECT etl.define_model('mt."we""ird T"', 'SELECT 1 AS "i""D", NULL AS n', 'table', key => '{"i\"D"}',
	options => '{"pre_hook": "CREATE TABLE mt.before (x int)", "post_hook": ["INSERT INTO mt.before SELECT \"i\"\"D\" FROM mt.\"we\"\"ird T\""]}');
CALL etl.run('mt."we""ird T"');
SELECT * FROM mt.before;
SELECT etl.define_model('mt.above', 'SELECT 1 AS one', 'table');
CALL etl.run('mt.above');
SELECT relkind FROM pg_class WHERE oid = 'mt.above'::regclass;
SELECT etl.define_model('mt.above', 'SELECT 2 AS two');
CALL etl.run('mt.above');
SELECT relkind FROM pg_class WHERE oid = 'mt.above'::regclass;

-- without a key only what differs is written: copies, NULLs, types that have no equality
CREATE TABLE mt.loose (id int, j json, p point);
INSERT INTO mt.loose VALUES (1, '{"a": 1}', NULL), (1, '{"a": 1}', NULL), (NULL, NULL, NULL), (2, '[1]', '(1,2)');
SELECT etl.define_model('mt.keyless', 'SELECT * FROM mt.loose', 'table');
CALL etl.run('mt.keyless');
CREATE FUNCTION mt.same() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
CREATE TRIGGER same BEFORE INSERT OR UPDATE ON mt.keyless FOR EACH ROW EXECUTE FUNCTION mt.same();
INSERT INTO mt.loose VALUES (1, '{"a": 1}', NULL), (NULL, NULL, NULL), (3, '{}', '(0,0)');
DELETE FROM mt.loose WHERE id = 2;
CALL etl.run('mt.keyless');
SELECT * FROM mt.last;
SELECT id, j, p, count(*) FROM (SELECT id, j::text, p::text FROM mt.keyless) k GROUP BY 1, 2, 3 ORDER BY 1;
CALL etl.run('mt.keyless');
SELECT * FROM mt.last;

SELECT count(etl.drop_model(target, true, true)) FROM etl.models WHERE target LIKE 'mt.%';
SELECT to_regclass('mt.m') IS NULL AS gone;
DROP OWNED BY mt_reader;
DROP ROLE mt_reader;
DROP SCHEMA mt CASCADE;
