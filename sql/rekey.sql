-- A definition with another key or unique columns is built where the former ones would be doubled: what was unique goes before the rows come.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY terse
SELECT etl.define_source('rk_push', 'push');
SELECT etl.define_stream('rk.s', 'rk_push', columns => 'a text, b int');
SELECT etl.ingest('rk.s', '[{"a": "x", "b": 2}, {"a": "x", "b": 5}, {"a": null, "b": 9}, {"a": null, "b": 8}]') > 0 AS loaded;
CREATE FUNCTION rk.define(key text[], query text) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT etl.define_model('rk.swapped', query, 'incremental', key);
	SELECT etl.define_model('rk.by_table', query, 'table', key);
	SELECT etl.define_model('rk.in_place', query, 'incremental', key, options => '{"post_hook": "SELECT 1"}');
	SELECT etl.define_model('rk.parted', query, 'incremental', key, options => '{"partition_by": {"list": "a"}}');
	SELECT etl.define_model('rk.kept', query, 'incremental', key, options => '{"keep_versions": 2}') $$;
SELECT rk.define('{a}', 'SELECT a, max(b) AS b FROM rk.s GROUP BY 1');
CALL etl.run('rk.*');
CREATE VIEW rk.indexes AS SELECT indrelid::regclass AS "table", pg_get_indexdef(indexrelid) ~ 'UNIQUE' AS is_unique,
	regexp_replace(pg_get_indexdef(indexrelid), '^.* USING ', '') AS index FROM pg_index
	WHERE indrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'rk'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition AND relname <> 's');
SELECT * FROM rk.indexes ORDER BY 1;
SELECT rk.define('{a,b}', 'SELECT a, b FROM rk.s GROUP BY 1, 2');

-- in a transaction block, where nothing is swapped, and outside
BEGIN;
CALL etl.run('rk.swapped rk.parted');
SELECT (SELECT count(*) FROM rk.swapped) AS swapped, (SELECT count(*) FROM rk.parted) AS parted;
ROLLBACK;
CALL etl.run('rk.*');
SELECT (SELECT count(*) FROM rk.swapped) AS swapped, (SELECT count(*) FROM rk.by_table) AS by_table, (SELECT count(*) FROM rk.in_place) AS in_place,
	(SELECT count(*) FROM rk.parted) AS parted, (SELECT count(*) FROM rk.kept) AS kept;
SELECT * FROM rk.indexes ORDER BY 1;

-- what is unique besides the key goes, too, when the definition says so no longer; with the same columns and rows, by the index alone
SELECT etl.define_model('rk.swapped', 'SELECT a, b FROM rk.s GROUP BY 1, 2', 'incremental', '{a,b}', options => '{"unique": [["b"]], "indexes": ["lower(a)"]}');
CALL etl.run('rk.swapped');
SELECT * FROM rk.indexes WHERE "table" = 'rk.swapped'::regclass ORDER BY 3;
SELECT etl.define_model('rk.swapped', 'SELECT a, b FROM rk.s GROUP BY 1, 2', 'incremental', '{a,b}');
SELECT etl.ingest('rk.s', '[{"a": "y", "b": 2}]') > 0 AS loaded;
CALL etl.run('rk.swapped');
SELECT * FROM rk.indexes WHERE "table" = 'rk.swapped'::regclass ORDER BY 3;
SET enable_seqscan = off;
SELECT * FROM rk.swapped WHERE a = 'x' ORDER BY b;
RESET enable_seqscan;

-- back to one row a key, and an older publication
SELECT etl.rollback('rk.kept');
SELECT * FROM rk.kept ORDER BY 1;
SELECT rk.define('{a}', 'SELECT a, max(b) AS b FROM rk.s GROUP BY 1');
BEGIN;
CALL etl.run('rk.swapped rk.parted');
SELECT * FROM rk.swapped JOIN rk.parted USING (a, b) ORDER BY 1;
ROLLBACK;
CALL etl.run('rk.*');
SELECT * FROM rk.parted ORDER BY 1;
SELECT * FROM rk.swapped JOIN rk.by_table USING (a, b) ORDER BY 1;
SELECT * FROM rk.indexes ORDER BY 1;

SELECT etl.drop_source('rk_push', cascade => true, drop_relation => true) IS NOT NULL AS dropped;
DROP SCHEMA rk CASCADE;
