-- JSON lands by field and by value: what is JSON but no record, and what PostgreSQL cannot store, is a reject, never an error.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY sqlstate
SET timezone = 'UTC';
SET datestyle = "ISO, YMD";
SELECT current_setting('data_directory') || '/etl_regress_dj' AS dir \gset
-- cat takes the line that COPY writes: a program that ends first would make it fail
SELECT 'cat > /dev/null; rm -rf ' || :'dir' || '; mkdir ' || :'dir' AS prepare, 'cat > /dev/null; rm -rf ' || :'dir' AS clean,
	'cat > /dev/null; printf %s ' AS printf, ' > ' || :'dir' || '/' AS into \gset
COPY (SELECT) TO PROGRAM :'prepare';
SELECT set_config('etl.allowed_directories', :'dir', false) <> '' AS allowed;
SELECT etl.define_source('dj_files', 'file', jsonb_build_object('root', :'dir'));
CREATE VIEW public.dj_rejects AS
	SELECT target, position, record, r->>'check' AS "check", r->>'column' AS "column", r->>'message' AS message
	FROM etl.rejects, jsonb_array_elements(reasons) AS r WHERE target LIKE 'dj.%' ORDER BY target, position, reject_id;

-- inference by value: 1e5 is a bigint; a string stays text unless all are dates, timestamps or uuids
SELECT :'printf' || $$'{"id":1,"n":1e5,"price":1.50,"zip":"00123","day":"2024-01-02","at":"2024-01-02","ok":true,"tags":["a",{"b":null}],"mix":1,"any":"x","weird \"name\"":"q"}
{"id":2,"n":7,"price":2,"zip":"5","day":"2024-01-03","at":"2024-01-02T03:04:05Z","ok":false,"tags":[],"mix":"one","any":{"y":1},"none":null}'$$ || :'into' || 'infer.ndjson' AS make \gset
COPY (SELECT) TO PROGRAM :'make';
SELECT etl.define_stream('dj.infer', 'dj_files', '{"path": "infer.ndjson"}');
CALL etl.run('dj.infer');
SELECT attname, format_type(atttypid, atttypmod) AS type FROM pg_attribute WHERE attrelid = 'dj.infer'::regclass AND attnum > 0 ORDER BY attnum;
SELECT _etl_row, id, n, price, zip, day, at, ok, tags, mix, "any", weird_name, "none" FROM dj.infer ORDER BY _etl_row;

-- into declared types: strings bare, objects as JSON, arrays as arrays
SELECT :'printf' || $$'{"i":5.0,"t":{"a":1},"j":"x\"y","a":["p","q,\"r\"",null],"m":[[1,2],[3,4]],"d":"2024-05-06"}
{"i":5.5,"t":[1, 2],"j":[1],"a":[],"m":null}
{"i":1e2,"t":true,"j":1.50,"a":null,"t":"last wins"}
{"i":"7","t":null,"j":null,"a":["x"]}
{"i":8,"a":"{y,z}"}
{"i":9,"a":{"k":1}}'$$ || :'into' || 'typed.ndjson' AS make \gset
COPY (SELECT) TO PROGRAM :'make';
SELECT etl.define_stream('dj.typed', 'dj_files', '{"path": "typed.ndjson"}', columns => 'i int, t text, j jsonb, a text[], m int[], d date');
CALL etl.run('dj.typed');
SELECT _etl_row, i, t, j, a, m, d FROM dj.typed ORDER BY _etl_row;
SELECT position, "check", "column", message FROM public.dj_rejects WHERE target = 'dj.typed';

-- lines that are no records
SELECT :'printf' || $$'{"a":"ok \ud83d\ude00"}
{"a":"\u0000"}
{"a":["\ud800"]}
{"a":1
[1]

{"a":"x"}}
{"a":"fine"}'$$ || :'into' || 'broken.ndjson' AS make \gset
COPY (SELECT) TO PROGRAM :'make';
SELECT etl.define_stream('dj.broken', 'dj_files', '{"path": "broken.ndjson"}', columns => 'a text');
CALL etl.run('dj.broken');
SELECT _etl_row, a FROM dj.broken ORDER BY _etl_row;
SELECT position, record, "check", message FROM public.dj_rejects WHERE target = 'dj.broken';

-- documents: an array, several behind each other, records inside one
SELECT :'printf' || $$'[{"id":1}, 5, {"id":2}] {"id":3}{"id":4}'$$ || :'into' || 'many.json' AS make \gset
COPY (SELECT) TO PROGRAM :'make';
SELECT :'printf' || $$'{"page":{"n":["]"]},"data":{"items":[{"id":5},{"id":6}]},"next":null}'$$ || :'into' || 'inside.json' AS make \gset
COPY (SELECT) TO PROGRAM :'make';
SELECT etl.define_stream('dj.many', 'dj_files', '{"path": "many.json"}', columns => 'id int');
SELECT etl.define_stream('dj.inside', 'dj_files', '{"path": "inside.json", "records": "data.items"}', columns => 'id int');
CALL etl.run('dj.many dj.inside');
SELECT _etl_row, id FROM dj.many ORDER BY _etl_row;
SELECT _etl_row, id FROM dj.inside ORDER BY _etl_row;
SELECT position, record, "check", message FROM public.dj_rejects WHERE target = 'dj.many';

-- a document that ends early lands nothing, and says where
SELECT :'printf' || $$'[{"id":1},{"id":2},{"id"'$$ || :'into' || 'early.json' AS make \gset
COPY (SELECT) TO PROGRAM :'make';
SELECT etl.define_stream('dj.early', 'dj_files', '{"path": "early.json"}', columns => 'id int');
CALL etl.run('dj.early');
SELECT sqlstate, error LIKE '%it ends early' AS said, detail LIKE '%behind 2 records.' AS told FROM etl.tasks WHERE run_id = etl.last_run_id();

-- a document of another shape: the option that says where its records are
SELECT etl.define_stream('dj.other', 'dj_files', '{"path": "inside.json", "records": "data.rows"}', columns => 'id int');
CALL etl.run('dj.other');
SELECT regexp_replace(error, '^.*: ', '') AS error, hint FROM etl.tasks WHERE run_id = etl.last_run_id();

DROP VIEW public.dj_rejects;
SELECT etl.drop_source('dj_files', cascade => true, drop_relation => true);
DROP SCHEMA dj CASCADE;
COPY (SELECT) TO PROGRAM :'clean';
