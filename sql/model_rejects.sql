-- A model's reject is closed when its key is computed anew, and what changed shows through a view to the view's readers.
\set VERBOSITY terse
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SET timezone = 'UTC';
CREATE SCHEMA mr;
COPY (SELECT) TO PROGRAM 'rm -rf /tmp/etl_model_rejects && mkdir -p /tmp/etl_model_rejects';
SET etl.allowed_directories = '/tmp/etl_model_rejects';
SELECT etl.define_source('mr_files', 'file', '{"root": "/tmp/etl_model_rejects"}');
SELECT etl.define_stream('mr.told', 'mr_files', '{"path": "*.csv"}', 'csv', columns => '"weird ""id" text, price numeric');
SELECT etl.define_model('mr.products',
	'SELECT DISTINCT ON ("weird ""id") "weird ""id", price FROM mr.told ORDER BY 1, _etl_load_id DESC, _etl_row DESC',
	'incremental', key => '{"weird \"id"}');
SELECT etl.define_check('mr.products', 'not_null', '{price}', on_fail => 'quarantine');
SELECT etl.define_model('mr.shown', 'SELECT price * 2 AS double FROM mr.products');
SELECT etl.define_model('mr.total', 'SELECT count(*) AS products, sum(double) AS total FROM mr.shown', 'table');

COPY (VALUES ('a', 1), ('b', NULL), ('it''s', NULL)) TO '/tmp/etl_model_rejects/1.csv' (FORMAT csv);
COPY (SELECT) TO PROGRAM 'cat > /dev/null; cd /tmp/etl_model_rejects && sed -i ''1i "weird ""id",price'' 1.csv';
CALL etl.run('mr.*');
SELECT status, record FROM etl.rejects WHERE target = 'mr.products' ORDER BY reject_id;
SELECT * FROM mr.total;

-- b is repaired, it's is told again as bad as before
COPY (VALUES ('b', 5), ('it''s', NULL)) TO '/tmp/etl_model_rejects/2.csv' (FORMAT csv);
COPY (SELECT) TO PROGRAM 'cat > /dev/null; cd /tmp/etl_model_rejects && sed -i ''1i "weird ""id",price'' 2.csv';
CALL etl.run('mr.*');
SELECT node, action FROM etl.tasks WHERE run_id = etl.last_run_id() ORDER BY node;
SELECT status, record FROM etl.rejects WHERE target = 'mr.products' ORDER BY reject_id;
SELECT * FROM mr.total;

-- the results of checks are kept, also of those that do not block
SELECT check_name, status, evaluated, failed FROM etl.check_results WHERE target = 'mr.products' ORDER BY run_id;

SELECT etl.drop_model('mr.total', drop_relation => true), etl.drop_model('mr.shown', drop_relation => true),
	etl.drop_model('mr.products', drop_relation => true), etl.drop_stream('mr.told', drop_relation => true),
	etl.drop_source('mr_files');
DROP SCHEMA mr CASCADE;
COPY (SELECT) TO PROGRAM 'rm -rf /tmp/etl_model_rejects';
