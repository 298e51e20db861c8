-- Tolerance is inclusive, quarantine moves rows and goes on, fail publishes nothing, error blocks like fail.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
CREATE SCHEMA qv;
CREATE TABLE qv.input (id int, v int);
INSERT INTO qv.input SELECT g, CASE WHEN g <= 10 THEN -g ELSE g END FROM generate_series(1, 100) g;

-- status by on_fail and max_failed: 10 of 100 rows fail
SELECT etl.define_check('qv.input', 'range', '{v}', jsonb_strip_nulls(jsonb_build_object('min', 0, 'max_failed', m)), f,
	name => f || ' ' || coalesce(m #>> '{}', 'unlimited'))
FROM unnest('{warn,quarantine,fail}'::text[]) f,
	unnest(ARRAY[NULL, '9', '10', '"9.9%"', '"10%"', '"100%"', '0']::jsonb[]) m \g /dev/null
SELECT check_name, status, failed FROM etl.check('qv.input') ORDER BY check_name COLLATE "C";
SELECT etl.drop_check('qv.input', name) FROM etl.checks WHERE target = 'qv.input' \g /dev/null

-- in a run
CREATE FUNCTION qv.report(node text) RETURNS TABLE (check_name text, status text, evaluated bigint, failed bigint, detail text)
LANGUAGE sql AS $$ SELECT check_name, status, evaluated, failed, detail FROM etl.check_results
	WHERE target = node AND run_id = etl.last_run_id() ORDER BY check_name COLLATE "C" $$;
SELECT etl.define_model('qv.t', 'SELECT id % 50 AS id, v FROM qv.input', 'table');
SELECT etl.define_check('qv.t', 'range', '{v}', '{"min": -8}', 'quarantine');
SELECT etl.define_check('qv.t', 'unique', '{id}', '{"order_by": "v DESC"}', 'quarantine');
SELECT etl.define_check('qv.t', 'expression', '{id,v}', '{"expression": "v <> -9"}', 'warn');
SELECT etl.define_check('qv.t', 'row_count', '{}', '{"min": 50, "max": 50}');
CALL etl.run('qv.t');
SELECT * FROM qv.report('qv.t');
SELECT count(*), min(v), max(v) FROM qv.t;
SELECT reasons, count(*) FROM etl.reject WHERE target = 'qv.t' AND status = 'open' AND reasons @? '$[*] ? (@.check == "range_v")' GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM etl.reject WHERE target = 'qv.t' AND status = 'open' AND reasons @? '$[*] ? (@.check == "unique_id")';
-- a full refresh replaces the open rejects
CALL etl.run('qv.t', full_refresh => true);
SELECT count(*) FROM etl.reject WHERE target = 'qv.t' AND status = 'open';

-- more than max_failed: nothing is published, and everything is said
SELECT etl.define_check('qv.t', 'range', '{v}', '{"min": -8, "max_failed": 1}', 'quarantine');
INSERT INTO qv.input VALUES (1000, 1000);
\set VERBOSITY sqlstate
CALL etl.run('qv.t');
\set VERBOSITY default
SELECT max(v) FROM qv.t;
SELECT * FROM qv.report('qv.t');
SELECT error, detail FROM etl.tasks WHERE run_id = etl.last_run_id();
SELECT etl.define_check('qv.t', 'range', '{v}', '{"min": -8, "max_failed": 2}', 'quarantine');
CALL etl.run('qv.t');
SELECT max(v) FROM qv.t;
-- an error blocks like fail, also of a check that would only warn
SELECT etl.define_check('qv.t', 'expression', '{v}', '{"expression": "10 / (v - 50) IS NOT NULL"}', 'warn');
\set VERBOSITY sqlstate
CALL etl.run('qv.t', full_refresh => true);
\set VERBOSITY default
SELECT * FROM qv.report('qv.t') WHERE status = 'error';
SELECT etl.drop_check('qv.t', 'expression_v');

-- more rejects than one batch, judged against another relation
CREATE TABLE qv.many AS SELECT g % 1200 AS k FROM generate_series(1, 12000) g;
CREATE TABLE qv.parent AS SELECT g AS k FROM generate_series(1, 900) g;
SELECT etl.define_model('qv.m', 'SELECT k FROM qv.many', 'table');
SELECT etl.define_check('qv.m', 'relationship', '{k}', '{"to": "qv.parent"}', 'quarantine');
CALL etl.run('qv.m');
SELECT * FROM qv.report('qv.m');
SELECT count(*) FROM qv.m;
SELECT count(*), count(DISTINCT record) FROM etl.rejects WHERE target = 'qv.m' AND status = 'open';
SELECT etl.drop_model('qv.m', drop_relation => true);

-- a view is checked before it replaces the old one
SELECT etl.define_model('qv.v', 'SELECT id, v FROM qv.t', 'view');
SELECT etl.define_check('qv.v', 'range', '{v}', '{"max": 2000}');
CALL etl.run('qv.v');
SELECT etl.define_model('qv.v', 'SELECT id, v * 3 AS v FROM qv.t', 'view');
\set VERBOSITY sqlstate
CALL etl.run('qv.v');
\set VERBOSITY default
SELECT max(v) FROM qv.v;
SELECT * FROM qv.report('qv.v');

SELECT etl.drop_model('qv.v', drop_relation => true), etl.drop_model('qv.t', drop_relation => true);
DROP SCHEMA qv CASCADE;
