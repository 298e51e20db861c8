-- Nothing bad is silent: what cannot land is a reject with its bytes, its place and all its reasons, and can be replayed.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY sqlstate
SELECT current_setting('data_directory') || '/etl_regress_sr' AS dir \gset
SELECT 'cat > /dev/null; rm -rf ' || :'dir' || '; mkdir ' || :'dir' AS prepare, 'cat > /dev/null; rm -rf ' || :'dir' AS clean, :'dir' || '/a.csv' AS a,
	:'dir' || '/m.csv' AS m \gset
COPY (SELECT) TO PROGRAM :'prepare';
SELECT set_config('etl.allowed_directories', :'dir', false) <> '' AS allowed;
SELECT etl.define_source('sr_files', 'file', jsonb_build_object('root', :'dir'));
CREATE VIEW public.sr_rejects AS
	SELECT target, position, record, status, closed_at IS NOT NULL AS closed, r->>'check' AS "check", r->>'column' AS "column",
		r->>'value' AS value, r->>'message' AS message
	FROM etl.rejects, jsonb_array_elements(reasons) WITH ORDINALITY AS e (r, n) WHERE target LIKE 'sr.%' ORDER BY reject_id, n;

-- every reason of a record is told: types, NOT NULL, CHECK, quarantining checks
COPY (VALUES ('id,day,amount,kind'), ('1,2024-01-01,5,a'), ('x,2024-13-01,5,a'), ('3,,7,a'), ('4,2024-01-04,-1,b'), ('5,2024-01-05,8,zz'),
	('6,2024-01-06'), ('7,2024-01-07,9,a,extra'), ('8,2024-01-08,10,')) TO :'a' (DELIMITER '|');
SELECT etl.define_stream('sr.a', 'sr_files', '{"path": "a.csv"}', columns => 'id int, day date NOT NULL, amount numeric CONSTRAINT positive CHECK (amount > 0), kind text');
SELECT etl.define_check('sr.a', 'accepted_values', '{kind}', '{"values": ["a", "b"]}', on_fail => 'quarantine');
CALL etl.run('sr.a');
SELECT _etl_row, id, day, amount, kind FROM sr.a ORDER BY id;
SELECT position, record, "check", "column", value, message FROM public.sr_rejects;
SELECT bool_and(convert_from(raw, 'UTF8') = record AND record_size = length(raw)) AS whole FROM etl.rejects WHERE target = 'sr.a';
SELECT rows_read, rows_loaded, rows_rejected FROM etl.loads WHERE target = 'sr.a';

-- replay with a patch, by a filter; a record keeps the load and position it was first read with
SELECT * FROM etl.replay('sr.a', 'position = 4', '{"day": "2024-01-03"}');
SELECT * FROM etl.replay('sr.a', $$reasons @> '[{"check": "accepted_values_kind"}]'$$, '{"kind": "b"}');
SELECT * FROM etl.replay('sr.a');
SELECT l.origin = 'replay' AS replay, l.rows_read, l.rows_loaded, l.rows_rejected FROM etl.loads l WHERE target = 'sr.a' ORDER BY load_id;
SELECT count(DISTINCT _etl_load_id) AS loads, array_agg(_etl_row ORDER BY _etl_row) FROM sr.a;
ALTER TABLE sr.a DROP CONSTRAINT positive;
SELECT * FROM etl.replay('sr.a', 'position IN (3, 5)', '{"day": "2024-01-02"}');
SELECT etl.discard('sr.a', $$record LIKE '%extra'$$), etl.discard('sr.a', 'false'), etl.discard('sr.a'), etl.discard('sr.a');
SELECT DISTINCT position, status, closed FROM public.sr_rejects ORDER BY position;
SELECT _etl_row, id, day, amount, kind FROM sr.a ORDER BY _etl_row;
SELECT * FROM etl.replay('sr.a');
SELECT * FROM etl.replay('sr.a', 'no_such_column = 1');
SELECT * FROM etl.replay('sr.a', NULL, '[1]');
SELECT * FROM etl.replay('sr.nothing');

-- max_rejects: up to it the load stays, above it the load fails whole and says what it saw
SELECT etl.define_stream('sr.m', 'sr_files', '{"path": "m.csv", "max_rejects": 2}', columns => 'id int');
COPY (SELECT CASE WHEN i % 4 = 0 THEN 'bad' ELSE i::text END AS id FROM generate_series(1, 10) AS i) TO :'m' (FORMAT csv, HEADER);
CALL etl.run('sr.m');
SELECT rows_read, rows_loaded, rows_rejected FROM etl.loads WHERE target = 'sr.m';
COPY (SELECT CASE WHEN i % 4 = 0 THEN 'bad' ELSE i::text END AS id FROM generate_series(1, 12) AS i) TO :'m' (FORMAT csv, HEADER);
CALL etl.run('sr.m');
SELECT sqlstate, error LIKE '%3 of 12 records' AS counted, detail LIKE '3 × type id: first at %m.csv:5, invalid input syntax for type integer: "bad".' AS told
FROM etl.tasks WHERE run_id = etl.last_run_id();
SELECT count(*) FROM sr.m;
SELECT etl.define_stream('sr.m', 'sr_files', '{"path": "m.csv", "max_rejects": "25%"}', columns => 'id int');
CALL etl.run('sr.m');
SELECT count(*) FROM sr.m;
-- the replaced load's rejects are closed with it
SELECT status, count(*) FROM etl.rejects WHERE target = 'sr.m' GROUP BY status ORDER BY status;

-- what only the relation can refuse: unique, foreign key, trigger; types without an own parser
CREATE TABLE sr.parent (id int PRIMARY KEY);
INSERT INTO sr.parent SELECT generate_series(1, 6);
CREATE DOMAIN sr.small AS int CHECK (VALUE < 100);
COPY (VALUES ('id,parent,s,r'), ('1,1,5,"[1,2]"'), ('1,2,5,"[1,2]"'), ('2,9,5,"[1,2]"'), ('3,3,500,"[1,2]"'), ('4,4,7,"[2,1]"'), ('5,5,8,"[3,4]"')) TO :'a' (DELIMITER '|', FORMAT text);
SELECT etl.define_stream('sr.c', 'sr_files', '{"path": "a.csv"}', columns => 'id int PRIMARY KEY, parent int REFERENCES sr.parent, s sr.small, r int4range');
CALL etl.run('sr.c');
SELECT id, parent, s, r FROM sr.c ORDER BY id;
SELECT position, "check", "column", value FROM public.sr_rejects WHERE target = 'sr.c';
SELECT rows_read, rows_loaded, rows_rejected FROM etl.loads WHERE target = 'sr.c';

DROP VIEW public.sr_rejects;
SELECT etl.drop_source('sr_files', cascade => true, drop_relation => true);
DROP SCHEMA sr CASCADE;
COPY (SELECT) TO PROGRAM :'clean';
