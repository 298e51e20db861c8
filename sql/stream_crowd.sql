-- Small files that land together are the loads, rows, rejects and ledger entries that they are one by one, in a few transactions; what is in the way of one of them concerns its load alone.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY sqlstate
SELECT current_setting('data_directory') || '/etl_regress_cw' AS dir \gset
SELECT 'cat > /dev/null; rm -rf ' || :'dir' || '; mkdir ' || :'dir' AS prepare, 'cat > /dev/null; rm -rf ' || :'dir' AS clean,
	'cd ' || :'dir' || ' && while read -r name line; do printf "%s\n" "$line" >> $name.csv; done; touch empty.csv' AS write,
	'cat > /dev/null; cd ' || :'dir' || ' && rm -f *.csv' AS clear \gset
COPY (SELECT) TO PROGRAM :'prepare';
SELECT set_config('etl.allowed_directories', :'dir', false) <> '' AS allowed;
SELECT etl.define_source('cw_files', 'file', jsonb_build_object('root', :'dir'));
CREATE SCHEMA cw;
-- what a stream holds: rows, loads, rejects and ledger, the loads by their order
CREATE VIEW public.cw_loads AS SELECT target, load_id, dense_rank() OVER (PARTITION BY target ORDER BY load_id) AS n, regexp_replace(origin, '.*/', '') AS file,
	rows_read AS read, rows_loaded AS loaded, rows_rejected AS rejected, bytes_read AS bytes, relfilenode IS NOT NULL AS placed, last_event_time AS event, fields FROM etl.load;
CREATE FUNCTION public.cw_outcome(what text) RETURNS TABLE (kind text, n bigint, hash text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY EXECUTE format('SELECT ''rows'', count(*), md5(string_agg(concat_ws(''|'', l.n, _etl_row, id, amount, t.day), E''\n'' ORDER BY l.n, _etl_row)) FROM %s AS t JOIN public.cw_loads AS l ON load_id = _etl_load_id', what);
	RETURN QUERY SELECT 'loads', count(*), md5(string_agg((to_jsonb(l) - 'load_id' - 'target')::text, E'\n' ORDER BY l.n)) FROM public.cw_loads AS l WHERE target = what;
	RETURN QUERY SELECT 'rejects', count(*), md5(string_agg(concat_ws('|', l.n, file, origin, position, record, replace(reasons::text, what, '')), E'\n' ORDER BY l.n, position)) FROM etl.rejects JOIN public.cw_loads AS l USING (target, load_id) WHERE target = what;
	RETURN QUERY SELECT 'files', count(*), md5(string_agg(concat_ws('|', l.n, uri, size, mtime, hash), E'\n' ORDER BY uri)) FROM etl.file JOIN public.cw_loads AS l USING (target, load_id) WHERE target = what;
END $$;

-- sixty files, among them rejects, no records, no bytes, another order of columns, a missing one, a line end in a quoted field
CREATE TABLE public.cw_lines AS SELECT 'f' || lpad(f::text, 2, '0') AS name, l, CASE
	WHEN l = 0 AND f = 18 THEN 'day,amount,id' WHEN l = 0 AND f = 25 THEN 'id,day' WHEN l = 0 THEN 'id,amount,day'
	WHEN f = 7 AND l = 3 THEN '73,no number,2026-01-01' WHEN f = 22 AND l = 2 THEN '1,2,2026-01-01,too many' WHEN f = 30 AND l = 1 THEN ',1,2026-01-01'
	WHEN f = 18 THEN '2026-02-01,' || l || '.5,' || f * 100 + l WHEN f = 25 THEN f * 100 + l || ',2026-03-01'
	WHEN f = 33 AND l = 1 THEN '3301,1.5,"2026-04-01' WHEN f = 33 AND l = 2 THEN '"'
	ELSE f * 100 + l || ',' || l || '.25,' || to_char(date '2026-01-01' + f, 'YYYY-MM-DD') END AS line
	FROM generate_series(1, 60) AS f, generate_series(0, 5) AS l WHERE NOT (f = 15 AND l > 0);
COPY (SELECT name || ' ' || line FROM public.cw_lines ORDER BY name, l) TO PROGRAM :'write' (FORMAT csv, QUOTE E'\x01', DELIMITER E'\x02');
SELECT etl.define_stream('cw.' || t, 'cw_files', '{"path": "*.csv"}', format => 'csv', columns => 'id bigint NOT NULL, amount numeric(10,2), day date', event_time => 'day')
	FROM unnest('{crowd,single}'::text[]) AS t;
-- a check judges load by load
SELECT etl.define_check('cw.single', 'range', '{id}', '{"min": 0}', 'warn');
CALL etl.run('cw.*');
SELECT * FROM public.cw_outcome('cw.crowd') AS c FULL JOIN public.cw_outcome('cw.single') AS s USING (kind, n, hash) WHERE c IS NULL OR s IS NULL;
SELECT kind, n FROM public.cw_outcome('cw.crowd');
SELECT target, count(DISTINCT xmin::text) < 5 AS together FROM etl.load WHERE target IN ('cw.crowd', 'cw.single') GROUP BY target ORDER BY target;
SELECT file, read, loaded, rejected, placed, to_char(event, 'YYYY-MM-DD') AS event, fields FROM public.cw_loads WHERE target = 'cw.crowd' AND (rejected > 0 OR loaded < 5) ORDER BY n;
-- each load knows where it lies
SELECT count(*) FROM cw.crowd AS t JOIN etl.load AS l ON l.load_id = t._etl_load_id WHERE (t.ctid::text::point)[0] NOT BETWEEN first_block AND last_block;
SELECT rows_held, rows_changed FROM etl.node_state WHERE target = 'cw.crowd';
SELECT pg_relation_filenode('cw.crowd') = ALL (SELECT relfilenode FROM etl.load WHERE target = 'cw.crowd' AND relfilenode IS NOT NULL) AS there;
-- nothing twice; a reject is replayed by the header of its own file
CALL etl.run('cw.*');
SELECT count(*) FROM etl.loads WHERE target LIKE 'cw.%';
SELECT * FROM etl.replay('cw.crowd', filter => $$position = 4 AND origin LIKE '%f07.csv'$$, patch => '{"amount": "7.5"}');
SELECT id, amount, _etl_row FROM cw.crowd WHERE id = 73;

-- a model takes each load once
SELECT etl.define_model('cw.days', 'SELECT day, count(*) AS n, sum(amount) AS amount FROM cw.crowd GROUP BY day', 'incremental');
CALL etl.run('cw.days');

-- new files, a changed one between them, one that adds a column
COPY (SELECT 'g' || lpad(f::text, 2, '0') || ' ' || CASE WHEN f = 6 AND l = 0 THEN 'id,amount,day,more' WHEN l = 0 THEN 'id,amount,day'
	ELSE 10000 + f * 100 + l || ',1,2026-06-01' || CASE WHEN f = 6 THEN ',new' ELSE '' END END
	FROM generate_series(1, 12) AS f, generate_series(0, 3) AS l ORDER BY f, l) TO PROGRAM :'write' (FORMAT csv, QUOTE E'\x01', DELIMITER E'\x02');
COPY (SELECT 'f60 9999,1,2026-06-02') TO PROGRAM :'write' (FORMAT csv, QUOTE E'\x01', DELIMITER E'\x02');
CALL etl.run('cw.*');
SELECT file, read, loaded, rejected, bytes, event, fields FROM public.cw_loads WHERE target = 'cw.single' EXCEPT ALL
	SELECT file, read, loaded, rejected, bytes, event, fields FROM public.cw_loads WHERE target = 'cw.crowd';
SELECT count(*), count(more), max(more) FROM cw.crowd;
SELECT count(*) FROM cw.crowd AS c FULL JOIN cw.single AS s USING (id, _etl_row) WHERE (c.id IS NULL OR s.id IS NULL OR c.more IS DISTINCT FROM s.more) AND c.id IS DISTINCT FROM 73;
SELECT file, read, loaded FROM public.cw_loads WHERE target = 'cw.crowd' ORDER BY n DESC LIMIT 13;
SELECT count(*) FROM (SELECT day, count(*) AS n, sum(amount) AS amount FROM cw.crowd GROUP BY day EXCEPT ALL SELECT * FROM cw.days) AS x;

-- one that fails its load: those before it stay, it is named, those behind it wait
COPY (SELECT) TO PROGRAM :'clear';
COPY (SELECT 'h' || lpad(f::text, 2, '0') || ' ' || CASE WHEN l = 0 THEN 'id' WHEN f = 9 THEN 'x' ELSE (f * 10 + l)::text END
	FROM generate_series(1, 12) AS f, generate_series(0, 3) AS l ORDER BY f, l) TO PROGRAM :'write' (FORMAT csv, QUOTE E'\x01', DELIMITER E'\x02');
SELECT etl.define_stream('cw.strict', 'cw_files', '{"path": "h*.csv", "max_rejects": 2}', columns => 'id int');
CALL etl.run('cw.strict');
SELECT sqlstate, error ~ 'h09.csv: 3 of 3 records' AS said FROM etl.tasks WHERE run_id = etl.last_run_id();
SELECT count(*), max(id) FROM cw.strict;
SELECT count(*), max(file) FROM public.cw_loads WHERE target = 'cw.strict';
SELECT etl.define_stream('cw.strict', 'cw_files', '{"path": "h*.csv"}', columns => 'id int');
CALL etl.run('cw.strict');
SELECT count(*), max(id) FROM cw.strict;
SELECT count(*), sum(rejected), max(file) FROM public.cw_loads WHERE target = 'cw.strict';

-- a partitioned table with constraints; in the caller's transaction; and files that are deleted after their load
CREATE TABLE cw.parts (id int CONSTRAINT small CHECK (id < 122), PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE cw.parts_1 PARTITION OF cw.parts FOR VALUES FROM (0) TO (50);
CREATE TABLE cw.parts_2 PARTITION OF cw.parts FOR VALUES FROM (50) TO (1000);
SELECT etl.define_stream('cw.parts', 'cw_files', '{"path": "h*.csv", "adopt": true, "after_load": "delete"}', columns => 'id int');
BEGIN;
CALL etl.run('cw.parts');
SELECT tableoid::regclass, count(*) FROM cw.parts GROUP BY 1 ORDER BY 1;
ROLLBACK;
CALL etl.run('cw.parts');
SELECT tableoid::regclass, count(*) FROM cw.parts GROUP BY 1 ORDER BY 1;
SELECT regexp_replace(origin, '.*/', '') AS file, position, record, reasons->0->>'check' AS "check" FROM etl.rejects WHERE target = 'cw.parts' ORDER BY origin, position;
SELECT count(*) FROM pg_ls_dir(:'dir');

SELECT etl.drop_source('cw_files', cascade => true) IS NOT NULL AS dropped;
DROP SCHEMA cw CASCADE;
DROP FUNCTION public.cw_outcome;
DROP VIEW public.cw_loads;
DROP TABLE public.cw_lines;
COPY (SELECT) TO PROGRAM :'clean';
