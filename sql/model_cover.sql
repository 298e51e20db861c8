-- A full build whose append streams lost rows that the model was built of is refused, unless forced.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY sqlstate
SELECT current_setting('data_directory') || '/etl_regress_cv' AS dir \gset
SELECT 'cat > /dev/null; rm -rf ' || :'dir' || '; mkdir -p ' || :'dir' AS prepare, 'cat > /dev/null; rm -rf ' || :'dir' AS clean, :'dir' || '/a1.csv' AS a1, :'dir' || '/a2.csv' AS a2,
	:'dir' || '/a3.csv' AS a3 \gset
COPY (SELECT) TO PROGRAM :'prepare';
SELECT set_config('etl.allowed_directories', :'dir', false) <> '' AS allowed;
SELECT etl.define_source('cv_files', 'file', jsonb_build_object('root', :'dir'));
SELECT etl.define_stream('cv.raw', 'cv_files', '{"path": "a*.csv"}', columns => 'id bigint, v bigint');
SELECT etl.define_model('cv.inc', 'SELECT id, sum(v) AS s FROM cv.raw GROUP BY id', 'incremental', '{id}');
SELECT etl.define_model('cv.whole', 'SELECT count(*) AS n FROM cv.raw', 'table');

COPY (VALUES ('id,v'), ('1,10'), ('2,20'), ('3,30'), ('x,0')) TO :'a1' (DELIMITER '|');
COPY (VALUES ('id,v'), ('4,40'), ('5,50')) TO :'a2' (DELIMITER '|');
CALL etl.run('cv.*');
CREATE VIEW public.cv_result AS SELECT (SELECT count(*) FROM cv.inc) AS inc, (SELECT n FROM cv.whole) AS whole;
CREATE VIEW public.cv_why AS SELECT node, sqlstate, error, regexp_replace(regexp_replace(detail, 'Load \d+', 'Load N'), '\(.*/', '(') AS detail, hint
	FROM etl.tasks WHERE run_id = etl.last_run_id() AND status = 'failed' ORDER BY node;
TABLE public.cv_result;

-- what etl itself replaces, replays and quarantines is no loss
COPY (VALUES ('id,v'), ('1,11'), ('2,21'), ('x,0')) TO :'a1' (DELIMITER '|');
CALL etl.run('cv.*');
SELECT * FROM etl.replay('cv.raw', patch => '{"id": 9}');
SELECT etl.define_check('cv.raw', 'unique', '{id}', on_fail => 'quarantine');
COPY (VALUES ('id,v'), ('4,99'), ('6,60')) TO :'a3' (DELIMITER '|');
CALL etl.run('cv.*', full_refresh => true);
COPY (VALUES ('id,v'), ('1,12'), ('2,22'), ('3,32')) TO :'a1' (DELIMITER '|');
CALL etl.run('cv.*', full_refresh => true);
TABLE public.cv_result;

-- a user deletes rows: increments go on, whatever is built in full is refused and keeps what it holds
DELETE FROM cv.raw WHERE id = 5;
CALL etl.run('cv.*');
CALL etl.run('cv.*', full_refresh => true);
SELECT * FROM public.cv_why;
TABLE public.cv_result;
COPY (VALUES ('id,v'), ('7,70')) TO :'a2' (DELIMITER '|');
SELECT :'dir' || '/a4.csv' AS a4 \gset
COPY (VALUES ('id,v'), ('8,80')) TO :'a4' (DELIMITER '|');
-- a file that came anew brings its own loss back: the load that lacked rows is replaced
CALL etl.run('cv.*');
TABLE public.cv_result;
TRUNCATE cv.raw;
CALL etl.run('cv.*', full_refresh => true);
SELECT * FROM public.cv_why;
TABLE public.cv_result;
-- in a transaction, too
BEGIN;
CALL etl.run('cv.inc', full_refresh => true);
ROLLBACK;

-- a reload brings them back
SELECT etl.reload('cv.raw');
CALL etl.run('cv.*', full_refresh => true);
TABLE public.cv_result;

-- forced, it is built of what is left; from then on that is no loss
DELETE FROM cv.raw WHERE id IN (1, 2);
SELECT etl.define_model('cv.whole', 'SELECT count(*) AS n FROM cv.raw', 'table', options => '{"force_full": true}');
CALL etl.run('cv.whole');
TABLE public.cv_result;
SELECT etl.define_model('cv.whole', 'SELECT count(*) AS n FROM cv.raw', 'table');
CALL etl.run('cv.whole', full_refresh => true);
TABLE public.cv_result;
SELECT * FROM public.cv_why;

-- what a model never consumed may go, and so may what went before its first build
SELECT :'dir' || '/a5.csv' AS a5 \gset
COPY (VALUES ('id,v'), ('20,1'), ('21,1')) TO :'a5' (DELIMITER '|');
CALL etl.run('cv.raw');
DELETE FROM cv.raw WHERE id = 20;
CALL etl.run('cv.whole');
SELECT etl.define_model('cv.late', 'SELECT id FROM cv.raw', 'table');
CALL etl.run('cv.late');
CALL etl.run('cv.late', full_refresh => true);
TABLE public.cv_result;
SELECT count(*) FROM cv.late;
-- a table that is gone, and a stream that is dropped with its table, hold nothing back
DROP VIEW public.cv_result;
DELETE FROM cv.raw WHERE id = 21;
DROP TABLE cv.late;
CALL etl.run('cv.late');
SELECT count(*) FROM cv.late;
SELECT etl.drop_stream('cv.raw', cascade => true, drop_relation => true);
SELECT etl.define_stream('cv.raw', 'cv_files', '{"path": "a5.csv"}', columns => 'id bigint, v bigint');
SELECT etl.define_model('cv.late', 'SELECT id FROM cv.raw', 'table');
CALL etl.run('cv.*');
CALL etl.run('cv.*', full_refresh => true);
SELECT count(*) FROM cv.late;

-- row security of the reader hides nothing from the count
CREATE ROLE cv_reader;
GRANT USAGE ON SCHEMA cv TO cv_reader; GRANT CREATE ON SCHEMA cv TO cv_reader; GRANT SELECT ON cv.raw TO cv_reader; GRANT USAGE ON SCHEMA etl TO cv_reader; GRANT etl_admin TO cv_reader;
ALTER TABLE cv.raw ENABLE ROW LEVEL SECURITY;
CREATE POLICY one ON cv.raw USING (id = 20);
SET ROLE cv_reader;
SELECT etl.define_model('cv.seen', 'SELECT id FROM cv.raw', 'table');
RESET ROLE;
CALL etl.run('cv.seen');
CALL etl.run('cv.seen', full_refresh => true);
SELECT count(*) FROM cv.seen;

DROP VIEW public.cv_why;
SELECT etl.drop_source('cv_files', cascade => true, drop_relation => true) IS NOT NULL AS dropped;
DROP SCHEMA cv CASCADE;
DROP OWNED BY cv_reader; DROP ROLE cv_reader;
COPY (SELECT) TO PROGRAM :'clean';
