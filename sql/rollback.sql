-- A rollback puts a definition and the rows it had back together, or nothing; what is served is visible.
\set VERBOSITY terse
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SET client_min_messages = warning;
CREATE SCHEMA rb;
SET search_path = rb, public;
CREATE TABLE rb.input (id int, amount numeric, place text);
INSERT INTO rb.input VALUES (1, 10, 'a'), (2, 20, 'b');

SELECT etl.define_model('rb.sales', 'SELECT id, amount FROM rb.input', 'table', key => '{id}', options => '{"keep_versions": 3}');
SELECT etl.define_check('rb.sales', 'range', '{amount}', '{"min": 0}');
SELECT etl.define_model('rb.total', 'SELECT sum(amount) AS amount FROM rb.sales', 'table');
SELECT etl.define_model('rb.shown', 'SELECT id, amount FROM rb.sales');
CALL etl.run('rb.*');
GRANT SELECT ON rb.sales TO pg_read_all_stats;

-- the second version fails when it is built: the first one stays, definition and rows, and that can be seen
SELECT etl.define_model('rb.sales', 'SELECT id, amount - 15 AS amount FROM rb.input', 'table', key => '{id}', options => '{"keep_versions": 3}');
SET client_min_messages = error;
DO $$ BEGIN CALL etl.run('rb.*'); EXCEPTION WHEN SQLSTATE 'ET012' THEN RAISE INFO 'the run failed'; END $$;
SET client_min_messages = warning;
SELECT * FROM rb.sales ORDER BY id;
SELECT target, version, served_version FROM etl.models WHERE target LIKE 'rb.%' ORDER BY target;
SELECT version, change, served, kept FROM etl.definition_versions WHERE name = 'rb.sales' AND kind = 'model' ORDER BY version;
-- which is what a rollback goes back to, without touching the rows
SELECT etl.rollback('rb.sales');
SELECT query, version, served_version FROM etl.models WHERE target = 'rb.sales';
SELECT node, action, reason FROM etl.plan('rb.sales rb.shown');

-- a version that is built: its predecessor's rows are kept
SELECT etl.define_model('rb.sales', 'SELECT id, amount * 2 AS amount, place FROM rb.input', 'table', key => '{id}', options => '{"keep_versions": 3}');
CALL etl.run('rb.*');
SELECT * FROM rb.sales ORDER BY id;
SELECT amount FROM rb.total;
SELECT version, change, served, kept FROM etl.definition_versions WHERE name = 'rb.sales' AND kind = 'model' ORDER BY version;
SELECT 'rb.sales'::regclass::oid AS before \gset
INSERT INTO rb.input VALUES (3, 30, 'c');
SELECT etl.rollback('rb.sales', 3);
SELECT * FROM rb.sales ORDER BY id;
SELECT 'rb.sales'::regclass::oid = :before AS same_oid, has_table_privilege('pg_read_all_stats', 'rb.sales', 'SELECT') AS granted;
SELECT * FROM rb.shown ORDER BY id;
SELECT version, served_version, query FROM etl.models WHERE target = 'rb.sales';
SELECT column_name, source_column FROM etl.column_lineage WHERE target = 'rb.sales' ORDER BY 1;
SELECT check_name, status, evaluated FROM etl.check_results WHERE target = 'rb.sales' AND run_id IS NULL;
-- who reads it is due
SELECT node, action, reason FROM etl.plan('rb.total');
-- and a rollback can be rolled back: what it replaced was kept
SELECT etl.rollback('rb.sales');
SELECT * FROM rb.sales ORDER BY id;
SELECT version, change, author = current_user AS mine, kept FROM etl.definition_versions WHERE name = 'rb.sales' AND kind = 'model' ORDER BY version;

-- in a transaction, by DML, and undone with it
BEGIN;
SELECT etl.rollback('rb.sales');
SELECT * FROM rb.sales ORDER BY id;
ROLLBACK;
SELECT * FROM rb.sales ORDER BY id;

-- a model that reads a column which the version does not have is not broken
SELECT etl.define_model('rb.by_place', 'SELECT place, sum(amount) AS amount FROM rb.sales GROUP BY place', 'table');
CALL etl.run('rb.*');
SELECT etl.rollback('rb.sales', 3);
SELECT * FROM rb.by_place ORDER BY place;
SELECT etl.drop_model('rb.by_place', drop_relation => true);

-- nor a view that etl does not know
CREATE VIEW rb.foreign_view AS SELECT place FROM rb.sales;
SELECT etl.rollback('rb.sales', 3);
DROP VIEW rb.foreign_view;

-- a check that fails refuses the rows
SELECT etl.define_check('rb.sales', 'row_count', options => '{"min": 3}');
SELECT etl.rollback('rb.sales', 3);
SELECT count(*) FROM rb.sales;
SELECT etl.drop_check('rb.sales', 'row_count');

-- an incremental model goes on from what its rows were built of then
SELECT etl.define_source('rb_push', 'push');
SELECT etl.define_stream('rb.events', 'rb_push', columns => 'id int, n int');
SELECT etl.define_model('rb.sums', 'SELECT id, sum(n) AS n FROM rb.events GROUP BY id', 'incremental', key => '{id}', options => '{"keep_versions": 1}');
SELECT etl.ingest('rb.events', '[{"id": 1, "n": 1}, {"id": 2, "n": 2}]') > 0;
CALL etl.run('rb.sums');
SELECT etl.define_model('rb.sums', 'SELECT id, -sum(n) AS n FROM rb.events GROUP BY id', 'incremental', key => '{id}', options => '{"keep_versions": 1}');
SELECT etl.ingest('rb.events', '[{"id": 2, "n": 20}]') > 0;
CALL etl.run('rb.sums');
SELECT * FROM rb.sums ORDER BY id;
SELECT etl.rollback('rb.sums');
SELECT * FROM rb.sums ORDER BY id;
SELECT node, action, reason FROM etl.plan('rb.sums');
CALL etl.run('rb.sums');
SELECT * FROM rb.sums ORDER BY id;

-- views need no rows
SELECT etl.define_model('rb.shown', 'SELECT id, amount, place FROM rb.sales');
CALL etl.run('rb.*');
SELECT etl.rollback('rb.shown');
SELECT * FROM rb.shown ORDER BY id;
SELECT query, version, served_version FROM etl.models WHERE target = 'rb.shown';

-- what cannot be
SELECT etl.rollback('rb.nothing');
SELECT etl.rollback('rb.sales', 99);
SELECT etl.rollback('rb.sales', 0);
SELECT etl.define_model('rb.total', 'SELECT max(amount) AS amount FROM rb.sales', 'table');
CALL etl.run('rb.*');
SELECT etl.rollback('rb.total');
SELECT etl.define_model('rb.bad', 'SELECT 1 AS a', options => '{"keep_versions": 1}');
CREATE ROLE rb_stranger;
GRANT etl_developer TO rb_stranger;
SET ROLE rb_stranger;
SELECT etl.rollback('rb.sales');
SELECT count(*) FROM etl.definition_versions WHERE name LIKE 'rb.%';
RESET ROLE;

-- a name that is dropped and comes again goes on counting
SELECT etl.drop_model('rb.shown', drop_relation => true);
SELECT etl.define_model('rb.shown', 'SELECT id FROM rb.sales');
SELECT version, change, definition FROM etl.definition_versions WHERE name = 'rb.shown' ORDER BY version;

-- the tables that keep rows go with the relation, and no more of them than were asked for
SELECT count(*) FROM pg_class WHERE relnamespace = 'rb'::regnamespace AND relname LIKE 'sales\_etl\_v%';
SELECT etl.drop_model('rb.sales', cascade => true, drop_relation => true);
SELECT count(*) FROM pg_class WHERE relnamespace = 'rb'::regnamespace AND relname LIKE 'sales\_etl\_v%';
SET client_min_messages = error;
DROP OWNED BY rb_stranger;
DROP ROLE rb_stranger;
SELECT etl.drop_source('rb_push', cascade => true, drop_relation => true);
DO $$ BEGIN PERFORM etl.drop_model(target, cascade => true, drop_relation => true) FROM etl.models WHERE target LIKE 'rb.%'; END $$;
-- keep_versions came with the version that is rolled back: its rows are kept all the same, and the rows of then come
-- back also where another publication has the definition of then
CREATE TABLE rb.source AS SELECT 1 AS a;
SELECT etl.define_model('rb.late', 'SELECT a FROM rb.source', 'table');
CALL etl.run('rb.late');
SELECT etl.define_model('rb.late', 'SELECT a, 0 AS b FROM rb.source', 'table', options => '{"keep_versions": 1}');
UPDATE rb.source SET a = 2;
CALL etl.run('rb.late');
SELECT etl.rollback('rb.late');
SELECT * FROM rb.late;
SELECT etl.rollback('rb.late');
SELECT * FROM rb.late;
SELECT etl.rollback('rb.late');
UPDATE rb.source SET a = 3;
CALL etl.run('rb.late');
SELECT etl.rollback('rb.late');
SELECT * FROM rb.late;
SELECT etl.rollback('rb.late');
SELECT * FROM rb.late;
SELECT version, served, kept FROM etl.definition_versions WHERE name = 'rb.late' ORDER BY version;
SELECT etl.drop_model('rb.late', drop_relation => true);

DROP SCHEMA rb CASCADE;
