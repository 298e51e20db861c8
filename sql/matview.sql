-- A materialized view is published whole: readers see nothing that failed a check, and what stands on it survives.
\set VERBOSITY terse
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SET timezone = 'UTC';
CREATE SCHEMA mv;
CREATE ROLE etl_mv_reader;
CREATE TABLE mv.sales (day date, "a""b; drop" text, amount int);
INSERT INTO mv.sales VALUES ('2026-01-01', 'x', 10), ('2026-01-01', 'y', 5), ('2026-01-02', NULL, 7);
SELECT etl.define_model('mv.daily', 'SELECT day, sum(amount) AS amount FROM mv.sales GROUP BY day', 'materialized_view', '{day}',
	options => '{"indexes": [["amount"]], "with": {"fillfactor": "90"}}', description => 'per day');
CALL etl.run('mv.*');
SELECT action, rows_inserted FROM etl.tasks WHERE run_id = etl.last_run_id();
TABLE mv.daily ORDER BY day;
SELECT relkind, relispopulated, reloptions, obj_description(oid) FROM pg_class WHERE oid = 'mv.daily'::regclass;
SELECT replace(pg_get_indexdef(indexrelid), indexrelid::regclass::text, '…') FROM pg_index WHERE indrelid = 'mv.daily'::regclass ORDER BY 1;
SELECT 'mv.daily'::regclass::oid AS oid \gset

-- refreshed in place: same relation, grants, indexes, comments, views of others
GRANT SELECT ON mv.daily TO etl_mv_reader;
CREATE INDEX mine ON mv.daily (day DESC);
COMMENT ON COLUMN mv.daily.day IS 'the day';
CREATE VIEW mv.of_others AS SELECT max(amount) AS top FROM mv.daily;
INSERT INTO mv.sales VALUES ('2026-01-03', 'z', 100);
CALL etl.run('mv.*');
SELECT action, rows_inserted FROM etl.tasks WHERE run_id = etl.last_run_id();
SELECT top FROM mv.of_others;
SELECT 'mv.daily'::regclass::oid = :oid AS same, count(*) AS indexes FROM pg_index WHERE indrelid = 'mv.daily'::regclass;
-- PostgreSQL refreshes it as well, as anybody's
REFRESH MATERIALIZED VIEW CONCURRENTLY mv.daily;

-- another query of the same columns replaces the query, and nothing else
SELECT etl.define_model('mv.daily', 'SELECT day, sum(amount) + 1 AS amount FROM mv.sales GROUP BY day', 'materialized_view', '{day}',
	options => '{"with": {"fillfactor": "80"}}', description => 'per day, and one');
CALL etl.run('mv.*');
SELECT top FROM mv.of_others;
REFRESH MATERIALIZED VIEW mv.daily;
SELECT top FROM mv.of_others;
SELECT 'mv.daily'::regclass::oid = :oid AS same, has_table_privilege('etl_mv_reader', 'mv.daily', 'SELECT') AS granted,
	(SELECT array_agg(indexrelid::regclass::text ~ 'etl_i') FROM pg_index WHERE indrelid = 'mv.daily'::regclass) AS indexes,
	(SELECT reloptions FROM pg_class WHERE oid = 'mv.daily'::regclass);

-- a check that fails leaves rows and definition as they were
SELECT etl.define_check('mv.daily', 'range', '{amount}', '{"max": 500}');
INSERT INTO mv.sales VALUES ('2026-01-04', 'z', 1000);
\set VERBOSITY sqlstate
CALL etl.run('mv.*');
\set VERBOSITY terse
SELECT status, sqlstate FROM etl.tasks WHERE run_id = etl.last_run_id();
SELECT top FROM mv.of_others;
SELECT etl.define_model('mv.daily', 'SELECT day, -1000 * sum(amount) AS amount FROM mv.sales GROUP BY day', 'materialized_view', '{day}');
SELECT etl.define_check('mv.daily', 'range', '{amount}', '{"min": 0}', 'quarantine');
CALL etl.run('mv.*');
SELECT status, rows_inserted, rows_rejected FROM etl.tasks WHERE run_id = etl.last_run_id();
SELECT count(*) FROM mv.daily;
SELECT etl.drop_check('mv.daily', 'range_amount');

-- other columns: made again with what it had; views of others stop it before any work
SELECT etl.define_model('mv.daily', 'SELECT day, sum(amount) AS amount, count(*) AS "n""; x" FROM mv.sales GROUP BY day', 'materialized_view', '{day}');
\set VERBOSITY sqlstate
CALL etl.run('mv.daily');
\set VERBOSITY terse
SELECT count(*) FROM mv.daily;
DROP VIEW mv.of_others;
SELECT etl.define_model('mv.top', 'SELECT max(amount) AS top FROM mv.daily');
CALL etl.run('mv.*');
SELECT * FROM mv.daily ORDER BY day;
TABLE mv.top;
SELECT has_table_privilege('etl_mv_reader', 'mv.daily', 'SELECT') AS granted, col_description('mv.daily'::regclass, 1),
	(SELECT count(*) FROM pg_index WHERE indrelid = 'mv.daily'::regclass AND indexrelid::regclass::text = 'mv.mine') AS mine;
-- nothing to do, since nothing etl feeds changed: but a plain table is not seen
CALL etl.run('mv.top');
-- a key that comes twice is told, and readers keep what they had
SELECT etl.define_model('mv.twice', 'SELECT amount / 1000 AS k FROM mv.sales', 'materialized_view', '{k}');
\set VERBOSITY sqlstate
CALL etl.run('mv.twice');
\set VERBOSITY terse
SELECT error FROM etl.tasks WHERE run_id = etl.last_run_id();

-- from one kind to another, and back; in the caller's transaction
SELECT etl.define_model('mv.turns', 'SELECT 1 AS a', 'table');
CALL etl.run('mv.turns');
SELECT etl.define_model('mv.turns', 'SELECT 2 AS a', 'materialized_view');
CALL etl.run('mv.turns');
SELECT relkind, (SELECT a FROM mv.turns) FROM pg_class WHERE oid = 'mv.turns'::regclass;
SELECT etl.define_model('mv.turns', 'SELECT 3 AS a', 'view');
CALL etl.run('mv.turns');
SELECT relkind, (SELECT a FROM mv.turns) FROM pg_class WHERE oid = 'mv.turns'::regclass;
SELECT etl.define_model('mv.turns', 'SELECT 4 AS a', 'materialized_view');
CALL etl.run('mv.turns');
SELECT etl.define_model('mv.turns', 'SELECT 5 AS a', 'materialized_view');
BEGIN;
CALL etl.run('mv.turns');
TABLE mv.turns;
ROLLBACK;
TABLE mv.turns;
SELECT etl.define_model('mv.turns', 'SELECT 6 AS a', 'table');
CALL etl.run('mv.turns');
SELECT relkind, (SELECT a FROM mv.turns) FROM pg_class WHERE oid = 'mv.turns'::regclass;

-- one of others is adopted only when told
CREATE MATERIALIZED VIEW mv.theirs AS SELECT 1 AS a;
SELECT etl.define_model('mv.theirs', 'SELECT 2 AS a', 'materialized_view');
\set VERBOSITY sqlstate
CALL etl.run('mv.theirs');
\set VERBOSITY terse
SELECT etl.define_model('mv.theirs', 'SELECT 2 AS a', 'materialized_view', options => '{"adopt": true}');
CALL etl.run('mv.theirs');
TABLE mv.theirs;
SELECT pg_get_viewdef('mv.theirs'::regclass);
SELECT etl.define_model('mv.x', 'SELECT 2 AS a', 'materialized_view', options => '{"keep_versions": 2}');
SELECT etl.define_model('mv.x', 'SELECT 2 AS a', 'materialized_view', strategy => 'merge');
-- an owner without any rights but his
CREATE ROLE etl_mv_owner;
CREATE SCHEMA AUTHORIZATION etl_mv_owner;
GRANT USAGE ON SCHEMA etl, mv TO etl_mv_owner;
GRANT etl_developer, etl_operator TO etl_mv_owner;
GRANT SELECT ON mv.sales TO etl_mv_owner;
SET ROLE etl_mv_owner;
SELECT etl.define_model('etl_mv_owner.v', 'SELECT current_user::text AS me, count(*) AS n FROM mv.sales', 'materialized_view');
RESET ROLE;
CALL etl.run('etl_mv_owner.*');
CALL etl.run('etl_mv_owner.*');
SELECT *, (SELECT relowner::regrole FROM pg_class WHERE oid = 'etl_mv_owner.v'::regclass) FROM etl_mv_owner.v;
SELECT etl.drop_model('etl_mv_owner.v', drop_relation => true);
SELECT to_regclass('etl_mv_owner.v');

SELECT count(etl.drop_model(target, true)) FROM etl.models WHERE target LIKE 'mv.%';
DROP SCHEMA mv CASCADE;
DROP OWNED BY etl_mv_owner;
DROP ROLE etl_mv_owner, etl_mv_reader;
