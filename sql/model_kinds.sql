-- Every kind of model can be exported and defined again, renamed and rolled back; what it was given beside rows goes along.
\set VERBOSITY terse
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SET timezone = 'UTC';
CREATE SCHEMA mk;
CREATE SCHEMA "mk 2";
CREATE TABLE mk.src (id int, day date, n int);
INSERT INTO mk.src VALUES (1, '2026-01-05', 10), (2, '2026-02-05', 20), (3, NULL, 30);
CREATE FUNCTION mk.fn(minimum int) RETURNS TABLE (id int, n int) LANGUAGE plpgsql STABLE AS $$
BEGIN
	FOR id, n IN SELECT s.id, s.n FROM mk.src s WHERE s.n >= minimum LOOP
		RETURN NEXT;
	END LOOP;
END $$;
SELECT etl.define_model('mk.seed', $$VALUES (1, 'it''s "x"'), (2, NULL)$$, 'seed', '{column1}', options => '{"comments": {"column2": "a; b"}, "grants": {"public": "SELECT"}}', tags => '{t}', description => 'a ''seed''');
SELECT etl.define_model('mk.part', 'SELECT * FROM mk.src', 'table', '{id,day}', options => '{"partition_by": {"range": "day", "interval": "1 month"}, "keep_versions": 2, "indexes": [["n"]], "constraints": ["CHECK (n < 1000)"], "not_null": ["n"]}');
SELECT etl.define_model('mk.snap', 'SELECT * FROM mk.src', 'snapshot', '{id}', 'check', options => '{"check_columns": ["n"], "hard_deletes": "new_record", "constraints": ["CHECK (n < 1000)"]}');
SELECT etl.define_model('mk.mview', 'SELECT day, sum(n) AS n FROM mk.src GROUP BY day', 'materialized_view', '{day}', options => '{"indexes": [["n"]], "comments": {"n": "sum"}, "grants": {"public": "SELECT"}}');
SELECT etl.define_model('mk.pl', 'SELECT * FROM mk.fn(15)', 'table', '{id}', options => '{"depends_on": ["mk.src"], "settings": {"work_mem": "9MB"}, "keep_versions": 1}');
SELECT etl.define_model('mk.inc', 'SELECT day, n FROM mk.src', 'incremental', '{day}', 'partition_replace', options => '{"partition_by": {"list": "day"}}');
CALL etl.run('mk.*');
CREATE VIEW mk.shape AS SELECT c.relname, c.relkind, obj_description(c.oid) AS comment, c.relacl IS NOT NULL AS granted,
	(SELECT count(*) FROM pg_index WHERE indrelid = c.oid) AS indexes, (SELECT count(*) FROM pg_constraint WHERE conrelid = c.oid) AS constraints,
	(SELECT count(*) FROM pg_inherits WHERE inhparent = c.oid) AS parts, (SELECT string_agg(col_description(c.oid, attnum), ',') FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0) AS comments
	FROM pg_class c WHERE relnamespace IN ('mk'::regnamespace, '"mk 2"'::regnamespace) AND relkind IN ('r', 'm', 'p') AND NOT relispartition AND relname NOT IN ('src', 'was', 'shapes');
SELECT * FROM mk.shape ORDER BY 1;

-- exported: the script finds nothing to change, and makes the same of nothing
SELECT etl.export_definitions() AS script \gset
CREATE TABLE mk.was AS SELECT target, query, materialized, key, strategy, options, tags, description FROM etl.models WHERE target LIKE 'mk.%';
CREATE TABLE mk.shapes AS TABLE mk.shape;
\o /dev/null
:script
\o
SELECT DISTINCT version, served_version FROM etl.models WHERE target LIKE 'mk.%';
SELECT count(*) FROM etl.plan('mk.*') WHERE reason LIKE '%definition%';
SELECT count(etl.drop_model(target, true, true)) FROM etl.models WHERE target LIKE 'mk.%';
SELECT relname FROM mk.shape;
\o /dev/null
:script
\o
SELECT count(*) FROM mk.was FULL JOIN etl.models m USING (target) WHERE m.target LIKE 'mk.%' AND (was.query, was.materialized, was.key, was.strategy, was.options, was.tags, was.description)
	IS DISTINCT FROM (m.query, m.materialized, m.key, m.strategy, m.options, m.tags, m.description);
CALL etl.run('mk.*');
SELECT work_mem FROM (SELECT options -> 'settings' ->> 'work_mem' AS work_mem, current_setting('work_mem') AS here FROM etl.models WHERE target = 'mk.pl') x WHERE here <> work_mem;
(TABLE mk.shape EXCEPT TABLE mk.shapes) UNION ALL (TABLE mk.shapes EXCEPT TABLE mk.shape);

-- renamed, in its schema and into another: nothing is built again, and what comes finds its place
SELECT name, effect FROM etl.rename('mk.part', '"mk 2"."pa""rt"'), LATERAL (SELECT 1) x;
SELECT count(*) FROM (SELECT etl.rename('mk.' || k, 'mk.' || k || '_new') FROM unnest('{seed,snap,mview,pl,inc}'::text[]) k) x;
SELECT inhrelid::regclass::text ~ '^"mk 2"\."pa""rt_' AS follows, count(*) FROM pg_inherits WHERE inhparent = '"mk 2"."pa""rt"'::regclass GROUP BY 1;
SELECT conrelid::regclass AS rel, count(*) FROM pg_constraint WHERE conname ~ 'etl_[cv]' AND coninhcount = 0 AND conname !~ ('^' || replace((SELECT relname FROM pg_class WHERE oid = conrelid), '"', '.')) AND connamespace IN ('mk'::regnamespace, '"mk 2"'::regnamespace) GROUP BY 1;
SELECT node, action, reason FROM etl.plan('mk.* "mk 2".*') WHERE action <> 'full' OR reason !~ 'src' ORDER BY 1;
INSERT INTO mk.src VALUES (4, '2026-03-05', 40);
DELETE FROM mk.src WHERE id = 1;
SELECT oid FROM pg_class WHERE oid = '"mk 2"."pa""rt"'::regclass \gset
CALL etl.run('mk.* "mk 2".*');
SELECT node, action, rows_inserted, rows_updated, rows_deleted FROM etl.tasks WHERE run_id = etl.last_run_id() AND action <> 'unchanged' ORDER BY 1;
SELECT oid = :oid AS same FROM pg_class WHERE oid = '"mk 2"."pa""rt"'::regclass;
SELECT * FROM mk.shape WHERE relname !~ 'etl_v' ORDER BY 1;
SELECT id, n, is_current, is_deleted FROM mk.snap_new ORDER BY id, valid_from;

-- rolled back: rows with the definition where they are kept or stand in it, and told where they are not
SELECT etl.define_model('mk.seed_new', $$VALUES (1, 'other')$$, 'seed', '{column1}');
SELECT etl.define_model('"mk 2"."pa""rt"', 'SELECT id, day, -n AS n FROM mk.src', 'table', '{id,day}', options => '{"partition_by": {"range": "day", "interval": "1 month"}, "keep_versions": 2}');
SELECT etl.define_model('mk.pl_new', 'SELECT * FROM mk.fn(25)', 'table', '{id}', options => '{"depends_on": ["mk.src"], "keep_versions": 1}');
SELECT etl.define_model('mk.mview_new', 'SELECT day, 0 AS n FROM mk.src GROUP BY day', 'materialized_view', '{day}');
SELECT etl.define_model('mk.snap_new', 'SELECT id, n FROM mk.src', 'snapshot', '{id}', 'check');
CALL etl.run('mk.* "mk 2".*');
SELECT etl.rollback('mk.seed_new') ~ 'seed' AS told;
TABLE mk.seed_new ORDER BY 1;
SELECT etl.rollback('"mk 2"."pa""rt"') ~ 'rows of publication' AS told;
SELECT * FROM "mk 2"."pa""rt" ORDER BY id;
SELECT relkind, (SELECT count(*) FROM pg_inherits WHERE inhparent = c.oid) > 1 AS parts FROM pg_class c WHERE oid = '"mk 2"."pa""rt"'::regclass;
SELECT etl.rollback('mk.pl_new') ~ 'rows of publication' AS told;
TABLE mk.pl_new ORDER BY 1;
SELECT etl.rollback('mk.mview_new');
SELECT etl.rollback('mk.snap_new');
SELECT version, served_version FROM etl.models WHERE target IN ('mk.mview_new', 'mk.snap_new');
-- and they go on
UPDATE mk.src SET n = n + 1;
CALL etl.run('mk.* "mk 2".*');
SELECT n FROM "mk 2"."pa""rt" ORDER BY id;
SELECT etl.define_model('mk.x', 'VALUES (1)', 'seed', options => '{"keep_versions": 1}');

SELECT count(etl.drop_model(target, true, true)) FROM etl.models WHERE target ~ '^(mk|"mk 2")\.';
SELECT relname FROM mk.shape;
DROP SCHEMA mk, "mk 2" CASCADE;
