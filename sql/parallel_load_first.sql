-- The first load of a merge stream builds the index of its key after its rows and leaves what a merge row by row would.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY terse
CREATE SCHEMA plf;
SELECT current_setting('data_directory') || '/etl_regress_plf' AS dir \gset
SELECT 'cat > /dev/null; rm -rf ' || :'dir' || '; mkdir -p ' || :'dir' || '/first' AS prepare,
	'cat > /dev/null; rm -rf ' || :'dir' AS clean, :'dir' || '/first/a.csv' AS a, :'dir' || '/first/b.csv' AS b,
	:'dir' || '/long.csv' AS long \gset
COPY (SELECT) TO PROGRAM :'prepare';
SELECT set_config('etl.allowed_directories', :'dir', false) <> '' AS allowed;
COPY (VALUES ('id', 'at', 'note'), ('1', '2026-01-02', 'newest'), ('1', '2026-01-01', 'older'), ('2', '2026-01-01', 'only'),
	('3', NULL, 'no time'), ('3', '2026-01-01', 'timed'), ('4', '2026-01-01', 'same time'), ('4', '2026-01-01', 'last line'),
	(NULL, '2026-01-01', 'no key'), ('x', '2026-01-01', 'no number')) TO :'a' (FORMAT csv);
SELECT etl.define_source('plf', 'file', jsonb_build_object('root', :'dir'));
-- duplicates: the newest by event time stays, then the last line
SELECT etl.define_stream('plf.timed', 'plf', '{"path": "first/*.csv"}', format => 'csv', columns => 'id bigint, at date, note text',
	key => '{id}', mode => 'merge', event_time => 'at');
SELECT etl.define_stream('plf.untimed', 'plf', '{"path": "first/*.csv"}', format => 'csv', columns => 'id bigint, at date, note text',
	key => '{id}', mode => 'merge');
-- the same, merged into a relation that is there
SELECT etl.define_stream('plf.existing', 'plf', '{"path": "first/*.csv", "adopt": true}', format => 'csv',
	columns => 'id bigint, at date, note text', key => '{id}', mode => 'merge', event_time => 'at');
CREATE TABLE plf.existing (id bigint PRIMARY KEY, at date, note text);
CALL etl.run('plf.*');
SELECT target, rows_read, rows_loaded, rows_updated, rows_deduplicated, rows_rejected FROM etl.loads WHERE target LIKE 'plf.%'
	ORDER BY target;
SELECT 'timed' AS t, id, at, note, _etl_row FROM plf.timed UNION ALL SELECT 'untimed', id, at, note, _etl_row FROM plf.untimed ORDER BY 1, 2;
SELECT count(*) AS differ FROM (SELECT id, at, note, _etl_row FROM plf.timed EXCEPT SELECT id, at, note, _etl_row FROM plf.existing) d;
-- the index of the key is whole, and used
SET enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT note FROM plf.timed WHERE id = 1;
SELECT note FROM plf.timed WHERE id = 1;
RESET enable_seqscan;
-- later loads merge
COPY (VALUES ('id', 'at', 'note'), ('1', '2026-01-03', 'third'), ('2', '2025-01-01', 'too late'), ('5', '2026-01-01', 'new'))
	TO :'b' (FORMAT csv);
CALL etl.run('plf.timed');
SELECT id, note FROM plf.timed ORDER BY id;
-- a key that no index entry holds is a reject, as it is row by row
COPY (SELECT 'id', 'note' UNION ALL SELECT 'short', '1'
	UNION ALL SELECT string_agg(md5(i::text), ''), '2' FROM generate_series(1, 300) AS i) TO :'long' (FORMAT csv);
SELECT etl.define_stream('plf.long', 'plf', '{"path": "long.csv"}', format => 'csv', columns => 'id text, note text',
	key => '{id}', mode => 'merge');
CALL etl.run('plf.long');
SELECT id, note FROM plf.long;
SELECT position, reasons->0->>'check' AS "check", reasons->0->>'message' AS message FROM etl.rejects WHERE target = 'plf.long';
-- an identity column counts as ever
SELECT etl.define_stream('plf.identity', 'plf', '{"path": "first/*.csv"}', format => 'csv',
	columns => 'n bigint GENERATED ALWAYS AS IDENTITY, id bigint, at date, note text', key => '{id}', mode => 'merge');
CALL etl.run('plf.identity');
SELECT count(*), count(DISTINCT n) FROM plf.identity;
SELECT count(*) FROM (SELECT etl.drop_stream(target, true, true) FROM etl.streams WHERE target LIKE 'plf.%') d;
DROP SCHEMA plf CASCADE;
SELECT etl.drop_source('plf');
COPY (SELECT) TO PROGRAM :'clean';
