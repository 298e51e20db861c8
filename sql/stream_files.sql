-- A file never loads twice; a changed one does what on_change says; every load's accounting closes.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY sqlstate
SELECT current_setting('data_directory') || '/etl_regress_sf' AS dir \gset
SELECT 'cat > /dev/null; rm -rf ' || :'dir' || '; mkdir ' || :'dir' AS prepare, 'cat > /dev/null; rm -rf ' || :'dir' AS clean,
	:'dir' || '/day1.csv' AS day1, :'dir' || '/day2.csv' AS day2, :'dir' || '/empty.csv' AS empty \gset
COPY (SELECT) TO PROGRAM :'prepare';
SELECT set_config('etl.allowed_directories', :'dir', false) <> '' AS allowed;
SELECT etl.define_source('sf_files', 'file', jsonb_build_object('root', :'dir'));
CREATE VIEW public.sf_loads AS
	SELECT regexp_replace(origin, '.*/', '') AS file, status, rows_read AS read, rows_loaded AS loaded, rows_updated AS upd,
		rows_unchanged AS same, rows_deduplicated AS dup, rows_discarded AS disc, rows_rejected AS rej, rows_deleted AS del,
		rows_read = rows_loaded + rows_updated + rows_unchanged + rows_deduplicated + rows_discarded + rows_rejected AS closes
	FROM etl.loads WHERE target LIKE 'sf.%' ORDER BY load_id;
SELECT etl.define_stream('sf.sales', 'sf_files', '{"path": "day*.csv"}', columns => 'id bigint, amount numeric(10,2)');

-- a glob without a match succeeds with no load, and makes no table before there is something to land
CALL etl.run('sf.sales');
SELECT status, reason LIKE 'no file matches%' AS said FROM etl.tasks WHERE run_id = etl.last_run_id();
-- a directory that is not there is named
SELECT etl.define_source('sf_typo', 'file', jsonb_build_object('root', :'dir' || '/tyop'));
SELECT etl.define_stream('sf.typo', 'sf_typo', '{"path": "*/2026/*.csv"}');
CALL etl.run('sf.typo');
SELECT replace(reason, :'dir', 'DIR') AS reason FROM etl.tasks WHERE run_id = etl.last_run_id();
SELECT replace(detail, :'dir', 'DIR') AS detail FROM etl.test_source('sf_typo', '{"path": "day.csv"}') WHERE step = 'connect';
SELECT etl.drop_source('sf_typo', cascade => true);

COPY (SELECT i AS id, i * 1.5 AS amount FROM generate_series(1, 3) AS i) TO :'day1' (FORMAT csv, HEADER);
COPY (SELECT i AS id, i * 1.5 AS amount FROM generate_series(4, 5) AS i) TO :'day2' (FORMAT csv, HEADER);
CALL etl.run('sf.sales');
CALL etl.run('sf.sales');
SELECT status, reason LIKE 'no new files: 2 of 2%' AS said FROM etl.tasks WHERE run_id = etl.last_run_id();
SELECT _etl_row, id, amount FROM sf.sales ORDER BY id;
SELECT * FROM public.sf_loads;
SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute WHERE attrelid = 'sf.sales'::regclass AND attnum > 0 ORDER BY attnum;

-- replace (the default): the rows of the former load go in the same transaction
COPY (SELECT i AS id, i * 2 AS amount FROM generate_series(1, 4) AS i) TO :'day1' (FORMAT csv, HEADER);
CALL etl.run('sf.sales');
SELECT id, amount FROM sf.sales ORDER BY id, amount;
-- the same content with a new time is known by its hash
COPY (SELECT i AS id, i * 2 AS amount FROM generate_series(1, 4) AS i) TO :'day1' (FORMAT csv, HEADER);
CALL etl.run('sf.sales');
SELECT * FROM public.sf_loads;

-- append keeps both; error refuses
SELECT etl.define_stream('sf.sales', 'sf_files', '{"path": "day*.csv", "on_change": "append"}', columns => 'id bigint, amount numeric(10,2)');
COPY (SELECT 9 AS id, 9 AS amount) TO :'day2' (FORMAT csv, HEADER);
CALL etl.run('sf.sales');
SELECT id, amount FROM sf.sales ORDER BY id, amount;
SELECT etl.define_stream('sf.sales', 'sf_files', '{"path": "day*.csv", "on_change": "error"}', columns => 'id bigint, amount numeric(10,2)');
COPY (SELECT 10 AS id, 10 AS amount) TO :'day2' (FORMAT csv, HEADER);
CALL etl.run('sf.sales');
SELECT sqlstate, error LIKE 'file "%" has changed since it was loaded' AS said FROM etl.tasks WHERE run_id = etl.last_run_id();
-- reload replaces whatever on_change says
SELECT etl.reload('sf.sales', :'day2');
CALL etl.run('sf.sales');
SELECT id, amount FROM sf.sales ORDER BY id, amount;
SELECT etl.reload('sf.sales', 'no such file');

-- replace mode: each load replaces everything
SELECT etl.define_stream('sf.latest', 'sf_files', '{"path": "day*.csv"}', columns => 'id bigint', mode => 'replace');
CALL etl.run('sf.latest');
SELECT id FROM sf.latest ORDER BY id;
SELECT read, loaded, del FROM public.sf_loads OFFSET 6;

-- an empty file and one of a header alone load nothing, once
SELECT etl.define_stream('sf.empty', 'sf_files', '{"path": "empty.csv"}', columns => 'id bigint');
COPY (SELECT 1 AS id WHERE false) TO :'empty' (FORMAT csv, HEADER);
CALL etl.run('sf.empty');
CALL etl.run('sf.empty');
SELECT count(*) FROM sf.empty;

-- inside a transaction block everything is undone with it
BEGIN;
SELECT etl.reload('sf.sales');
CALL etl.run('sf.sales');
ROLLBACK;
SELECT id, amount FROM sf.sales ORDER BY id, amount;

-- a relation that etl did not make is not touched, unless adopted
CREATE TABLE sf.mine (id bigint, note text DEFAULT 'from the default');
INSERT INTO sf.mine VALUES (0, 'mine');
SELECT etl.define_stream('sf.mine', 'sf_files', '{"path": "day2.csv"}', schema_policy => 'discard_value');
CALL etl.run('sf.mine');
SELECT sqlstate FROM etl.tasks WHERE run_id = etl.last_run_id();
SELECT etl.define_stream('sf.mine', 'sf_files', '{"path": "day2.csv", "adopt": true}', schema_policy => 'discard_value');
CALL etl.run('sf.mine');
SELECT _etl_load_id IS NULL AS mine, _etl_row, id, note FROM sf.mine ORDER BY id;

-- dropping keeps the table and its ledger unless told
SELECT etl.drop_stream('sf.latest');
SELECT etl.define_stream('sf.latest', 'sf_files', '{"path": "day*.csv"}', columns => 'id bigint', mode => 'replace');
CALL etl.run('sf.latest');
SELECT reason LIKE 'no new files%' AS nothing_twice FROM etl.tasks WHERE run_id = etl.last_run_id();
SELECT etl.drop_stream('sf.latest', drop_relation => true);
SELECT to_regclass('sf.latest');

-- a table dropped behind etl's back: the run says how to get its rows back
DROP TABLE sf.sales;
CALL etl.run('sf.sales');
SELECT reason ~ 'etl.reload' AS says_how FROM etl.tasks WHERE run_id = etl.last_run_id();
SELECT etl.reload('sf.sales');
CALL etl.run('sf.sales');
SELECT count(*) > 0 AS back FROM sf.sales;

DROP VIEW public.sf_loads;
SELECT etl.drop_source('sf_files', cascade => true, drop_relation => true);
DROP SCHEMA sf CASCADE;
COPY (SELECT) TO PROGRAM :'clean';
