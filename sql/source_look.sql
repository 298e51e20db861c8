-- What a source holds is seen before anything is made: preview, test_source, discover, show; with the caller's rights, and nothing changes.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY terse
SELECT current_setting('data_directory') || '/etl_regress_lo' AS dir \gset
SELECT 'cat > /dev/null; rm -rf ' || :'dir' || '; mkdir -p ' || :'dir' || '/in ' || :'dir' || '/2024' AS prepare, 'cat > /dev/null; rm -rf ' || :'dir' AS clean,
	'cat > /dev/null; printf ' AS printf, ' > ' || :'dir' || '/' AS into \gset
COPY (SELECT) TO PROGRAM :'prepare';
SELECT set_config('etl.allowed_directories', :'dir', false) <> '' AS allowed;
SELECT etl.define_source('lo_files', 'file', jsonb_build_object('root', :'dir'));
SELECT :'printf' || $$'id,name,amount\n1,a,1.50\n2,"b",\n3\n4,\377,2\n'$$ || :'into' || 'in/orders_2024-05-01.csv' AS a, :'printf' || $$'id,name,amount\n5,c,7\n'$$ || :'into' || 'in/orders_2024-05-02.csv' AS b,
	:'printf' || $$'{"user_id":1,"tags":["x"],"ok":true,"n":1e2,"big":{"a":null}}\n{"user_id":1}\nnonsense\n'$$ || :'into' || 'users.ndjson' AS c, :'printf' || $$'a;b\n'$$ || :'into' || '2024/1.csv' AS d,
	:'printf' || $$'x'$$ || :'into' || 'readme.md' AS e, :'printf' || $$'\037\213broken'$$ || :'into' || 'bad.csv.gz' AS f \gset
COPY (SELECT) TO PROGRAM :'a';
COPY (SELECT) TO PROGRAM :'b';
COPY (SELECT) TO PROGRAM :'c';
COPY (SELECT) TO PROGRAM :'d';
COPY (SELECT) TO PROGRAM :'e';
COPY (SELECT) TO PROGRAM :'f';

-- preview: records as they are decoded, over several files, malformed ones with their fault
SELECT * FROM etl.preview('lo_files', '{"path": "in/*.csv"}');
SELECT * FROM etl.preview('lo_files', '{"path": "in/*.csv"}', max_rows => 1);
SELECT * FROM etl.preview('lo_files', '{"path": "users.ndjson"}');
SELECT * FROM etl.preview('lo_files', '{"path": "users.ndjson", "header": false, "delimiter": "|", "quote": ""}', format => 'csv', max_rows => 1);
SET client_min_messages = notice;
SELECT * FROM etl.preview('lo_files', '{"path": "none.csv"}');
SET client_min_messages = warning;
SELECT * FROM etl.preview('lo_files', '{"path": "in/*.csv", "delimeter": ";"}');
SELECT * FROM etl.preview('lo_files', '{"path": "in/*"}');
SELECT * FROM etl.preview('lo_file');
SELECT * FROM etl.preview('lo_files', '{"path": "in/*.csv"}', max_rows => 0);
\set VERBOSITY sqlstate
SELECT * FROM etl.preview('lo_files', '{"path": "bad.csv.gz"}');
\set VERBOSITY terse

-- test_source: each step, and what to do
SELECT step, ok, replace(detail, :'dir', 'DIR') AS detail, remedy FROM etl.test_source('lo_files', '{"path": "in/*.csv"}');
SELECT step, ok, replace(detail, :'dir', 'DIR') AS detail, remedy FROM etl.test_source('lo_files', '{"path": "none/*.csv"}');
SELECT step, ok, detail, remedy FROM etl.test_source('lo_files', '{"path": "in/*.csv", "delimeter": ";"}');
SELECT step, ok, replace(detail, :'dir', 'DIR') AS detail, remedy FROM etl.test_source('lo_files', '{"path": "bad.csv.gz"}');
SELECT step, ok, detail FROM etl.test_source('lo_file');
SELECT etl.define_source('lo_outside', 'file', '{"root": "/etc"}');
SELECT step, ok, replace(detail, :'dir', 'DIR') AS detail, remedy FROM etl.test_source('lo_outside');
SELECT etl.define_source('lo_http', 'http', '{"url": "http://localhost:1/"}');
SELECT step, ok, left(detail, 40) AS detail, remedy IS NOT NULL AS remedy FROM etl.test_source('lo_http');

-- discover: streams ready to be defined
SELECT stream, format, options, columns, row_key, replace(detail, :'dir', 'DIR') AS detail FROM etl.discover('lo_files');
SELECT etl.define_stream(stream, 'lo_files', options, format, columns, row_key) FROM etl.discover('lo_files') WHERE stream = 'raw.orders';
SELECT etl.drop_stream('raw.orders');
SELECT etl.define_source('lo_bare', 'file');
SELECT * FROM etl.discover('lo_bare');
SELECT * FROM etl.discover('lo_outside');

-- show: the caller's query, read only
SELECT * FROM etl.show('SELECT i AS n, ''x'' AS t FROM generate_series(1, 100) AS i ORDER BY i DESC -- all', 2);
SELECT * FROM etl.show('VALUES (1); ');
-- a column may have any name, also that of the subquery
SELECT * FROM etl.show('SELECT 1 AS q, 2 AS b');
CREATE TABLE public.lo_t (a int);
SELECT * FROM etl.show('WITH d AS (INSERT INTO public.lo_t VALUES (1) RETURNING a) SELECT * FROM d');
SELECT * FROM etl.show('SELECT 1) AS q; DELETE FROM public.lo_t; SELECT (1');
SELECT * FROM etl.show('SELECT nothing');
SELECT * FROM etl.show(NULL);

-- with the rights of the caller
CREATE ROLE lo_other;
GRANT etl_developer TO lo_other;
SET ROLE lo_other;
SELECT * FROM etl.preview('lo_files', '{"path": "in/*.csv"}');
SELECT step, ok FROM etl.test_source('lo_files', '{"path": "in/*.csv"}');
SELECT * FROM etl.discover('lo_files');
SELECT * FROM etl.show('SELECT * FROM public.lo_t');
RESET ROLE;
SELECT count(*) AS loads FROM etl.loads WHERE target LIKE 'etl.%';

DROP TABLE public.lo_t;
DROP ROLE lo_other;
SELECT etl.drop_source(s) FROM unnest('{lo_files,lo_outside,lo_http,lo_bare}'::text[]) AS s;
COPY (SELECT) TO PROGRAM :'clean';
