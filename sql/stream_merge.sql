-- merge keeps, per key, the record greatest in (event_time, load, position), and does not touch a row that stays the same.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY sqlstate
SELECT current_setting('data_directory') || '/etl_regress_sm' AS dir \gset
SELECT 'cat > /dev/null; rm -rf ' || :'dir' || '; mkdir ' || :'dir' AS prepare, 'cat > /dev/null; rm -rf ' || :'dir' AS clean, :'dir' || '/1.csv' AS f1,
	:'dir' || '/2.csv' AS f2, :'dir' || '/3.csv' AS f3 \gset
COPY (SELECT) TO PROGRAM :'prepare';
SELECT set_config('etl.allowed_directories', :'dir', false) <> '' AS allowed;
SELECT etl.define_source('sm_files', 'file', jsonb_build_object('root', :'dir'));
CREATE VIEW public.sm_loads AS
	SELECT rows_read AS read, rows_loaded AS loaded, rows_updated AS upd, rows_unchanged AS same, rows_deduplicated AS dup, rows_rejected AS rej
	FROM etl.loads WHERE target LIKE 'sm.%' ORDER BY load_id;

SELECT etl.define_stream('sm.u', 'sm_files', '{"path": "*.csv"}', columns => '"Id" bigint, seen timestamptz, "the name" text', key => '{Id}', mode => 'merge', event_time => 'seen');
COPY (VALUES (1, '2024-01-01 00:00Z'::timestamptz, 'a'), (2, '2024-01-01 00:00Z', 'b'), (1, '2024-01-03 00:00Z', 'a3'),
	(1, '2024-01-02 00:00Z', 'a2'), (NULL, NULL, 'no key'), (3, NULL, 'no time'), (4, '2024-01-01 00:00Z', 'first'), (4, '2024-01-01 00:00Z', 'last')) TO :'f1' (FORMAT csv);
SELECT etl.define_stream('sm.u', 'sm_files', '{"path": "*.csv", "header": false}', columns => '"Id" bigint, seen timestamptz, "the name" text', key => '{Id}', mode => 'merge', event_time => 'seen');
CALL etl.run('sm.u');
SELECT _etl_row, "Id", "the name" FROM sm.u ORDER BY 2;
SELECT * FROM public.sm_loads;
SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'sm.u'::regclass AND contype = 'p';
CREATE TABLE public.sm_before AS SELECT "Id", ctid AS c, xmin::text AS x FROM sm.u;

-- older, the same, newer, new, and a first time for what had none
COPY (VALUES (1, '2024-01-02 00:00Z'::timestamptz, 'late'), (2, '2024-01-01 00:00Z', 'b'), (4, '2024-01-05 00:00Z', 'newer'),
	(5, '2024-01-01 00:00Z', 'new'), (3, '2020-01-01 00:00Z', 'time')) TO :'f2' (FORMAT csv);
CALL etl.run('sm.u');
SELECT _etl_row, "Id", "the name" FROM sm.u ORDER BY 2;
SELECT * FROM public.sm_loads OFFSET 1;
SELECT u."Id", u.ctid = b.c AND u.xmin::text = b.x AS untouched FROM sm.u u JOIN public.sm_before b USING ("Id") ORDER BY 1;
-- a changed file is merged
COPY (VALUES (1, '2024-01-02 00:00Z'::timestamptz, 'late'), (6, '2024-01-01 00:00Z', 'six')) TO :'f2' (FORMAT csv);
CALL etl.run('sm.u');
SELECT * FROM public.sm_loads OFFSET 2;

-- a replayed record that is older than what is there is superseded, a newer one lands
SELECT etl.define_check('sm.u', 'accepted_values', '{"the name"}', '{"values": ["ok"]}', on_fail => 'quarantine', name => 'names');
COPY (VALUES (1, '2023-01-01 00:00Z'::timestamptz, 'older'), (2, '2025-01-01 00:00Z', 'newest')) TO :'f3' (FORMAT csv);
CALL etl.run('sm.u');
SELECT etl.drop_check('sm.u', 'names');
SELECT * FROM etl.replay('sm.u', $$record NOT LIKE '%no key%'$$);
SELECT record LIKE '%older%' AS older, status FROM etl.rejects WHERE target = 'sm.u' ORDER BY reject_id;
SELECT "Id", "the name" FROM sm.u WHERE "Id" < 3 ORDER BY 1;

-- without event_time the later record wins, and a replayed one only fills a gap
SELECT etl.define_stream('sm.k', 'sm_files', '{"path": "1.csv", "header": false}', columns => 'a bigint, b text, c text CHECK (c <> ''b'')', key => '{a}', mode => 'merge');
CALL etl.run('sm.k');
SELECT a, c FROM sm.k ORDER BY a;
ALTER TABLE sm.k DROP CONSTRAINT k_c_check;
INSERT INTO sm.k (_etl_load_id, _etl_row, a, c) VALUES (0, 0, 2, 'present');
SELECT * FROM etl.replay('sm.k', $$record LIKE '2,%'$$);
DELETE FROM sm.k WHERE a = 2;
UPDATE etl.reject SET status = 'open' WHERE target = 'sm.k' AND status = 'superseded';
SELECT * FROM etl.replay('sm.k', $$record LIKE '2,%'$$);
SELECT a, c FROM sm.k ORDER BY a;

-- a key that no column has
SELECT etl.define_stream('sm.n', 'sm_files', '{"path": "1.csv", "header": false}', columns => 'a bigint', key => '{nope}', mode => 'merge');
CALL etl.run('sm.n');
SELECT sqlstate, error FROM etl.tasks WHERE run_id = etl.last_run_id();

DROP VIEW public.sm_loads;
DROP TABLE public.sm_before;
SELECT etl.drop_source('sm_files', cascade => true, drop_relation => true);
DROP SCHEMA sm CASCADE;
COPY (SELECT) TO PROGRAM :'clean';
