-- etl.infer reads every record of a source and tells the columns before anything is made: the same that the first load makes.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY terse
SELECT current_setting('data_directory') || '/etl_regress_if' AS dir \gset
SELECT 'cat > /dev/null; rm -rf ' || :'dir' || '; mkdir -p ' || :'dir' AS prepare, 'cat > /dev/null; rm -rf ' || :'dir' AS clean,
	:'dir' || '/a.csv' AS a, :'dir' || '/b.csv' AS b, :'dir' || '/n.ndjson' AS n \gset
COPY (SELECT) TO PROGRAM :'prepare';
SELECT set_config('etl.allowed_directories', :'dir', false) <> '' AS allowed;
SELECT etl.define_source('if_files', 'file', jsonb_build_object('root', :'dir'));
COPY (SELECT CASE WHEN i = 0 THEN 'Id,Zip,Amount,Day,Flag,None' ELSE concat_ws(',', i, CASE i WHEN 4000 THEN '00123' ELSE (10000 + i)::text END,
	CASE WHEN i = 77 THEN '1.5' WHEN i % 10 > 0 THEN i::text ELSE '' END, '2026-01-01' || CASE WHEN i = 5 THEN 'T10:00:00' ELSE '' END, i % 2 = 0, '') END
FROM generate_series(0, 5000) AS i ORDER BY i) TO :'a';
COPY (VALUES ('Id,Zip,Amount,Day,Flag,Extra'), ('x1,1,1,2026-01-01,true,"ä"'), ('too few')) TO :'b';
COPY (VALUES ('{"id": 1, "o": {"x": 1}, "v": 1}'), ('{"id": 2, "o": {"x": 2.5}, "v": "text"}')) TO :'n';

SELECT column_name, data_type, field, records, nulls, replace(decided_by, :'dir', 'DIR') AS decided_by FROM etl.infer('if_files', '{"path": "a.csv"}');
SELECT column_name, data_type, records, nulls, replace(decided_by, :'dir', 'DIR') AS decided_by FROM etl.infer('if_files', '{"path": "*.csv"}');
SELECT column_name, data_type, decided_by IS NOT NULL AS decided FROM etl.infer('if_files', '{"path": "n.ndjson", "nested": "flatten", "transform": {"v": {"cast": "varchar(9)"}}}');
SET client_min_messages = notice;
SELECT * FROM etl.infer('if_files', '{"path": "none*.csv"}');
SET client_min_messages = warning;
SELECT * FROM etl.infer('if_files', '{"path": "a.csv", "delimeter": ";"}');
SELECT * FROM etl.infer('if_nothing');

-- nothing was made, and the first load makes the same
SELECT count(*) FROM pg_class WHERE relnamespace::regnamespace::text = 'if_raw';
SELECT etl.define_stream('if_raw.all', 'if_files', '{"path": "a.csv"}');
CALL etl.run('if_raw.all');
SELECT string_agg(column_name || ' ' || data_type, ', ') = (SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum)
	FROM pg_attribute WHERE attrelid = 'if_raw.all'::regclass AND attnum > 2) AS same FROM etl.infer('if_files', '{"path": "a.csv"}');

SELECT etl.drop_source('if_files', cascade => true, drop_relation => true);
COPY (SELECT) TO PROGRAM :'clean';
DROP SCHEMA if_raw CASCADE;
