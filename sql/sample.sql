-- While developing a run may build of a part of its inputs: marked as such, built anew without, and never in production.
\set VERBOSITY terse
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE SCHEMA sa;
SELECT etl.define_source('sa_push', 'push');
SELECT etl.define_stream('sa.orders', 'sa_push', columns => 'id int, customer int, at timestamptz');
SELECT etl.ingest('sa.orders', (SELECT jsonb_agg(jsonb_build_object('id', i, 'customer', i % 20, 'at', '2026-01-01Z'::timestamptz + i * '1 hour'::interval)) FROM generate_series(1, 2000) AS i)) > 0;
CREATE TABLE sa.customers AS SELECT i AS id, 'customer ' || i AS name FROM generate_series(0, 19) AS i;
SELECT etl.define_model('sa.clean', 'SELECT id, customer, at FROM sa.orders', 'incremental', key => '{id}');
SELECT etl.define_model('sa.shown', 'SELECT * FROM sa.clean');
SELECT etl.define_model('sa.named', 'SELECT s.id, c.name FROM sa.shown AS s LEFT JOIN sa.customers AS c ON c.id = s.customer', 'table', key => '{id}');
SELECT etl.define_check('sa.clean', 'row_count', '{}', '{"min": 2000}');
CALL etl.run('sa.*');

-- production is never built of a part, by nobody
CALL etl.run('sa.*', params => '{"sample": "1%"}');
CALL etl.run('sa.*', params => '{"empty": true}');
SELECT etl.submit('sa.*', params => '{"empty": true}');
SELECT etl.define_schedule('sa_s', 'sa.*', every => '1 hour', params => '{"sample": "1%"}');
SET etl.params = '{"empty": true}';
CALL etl.run('sa.*');
SELECT etl.compile('sa.clean') LIKE '%TABLESAMPLE%' AS sampled;
RESET etl.params;
SELECT count(*) FROM sa.clean;

-- in an environment it is: the checks warn, and what is built of a sample is not sampled again
SET etl.environment = 'sa_dev';
SELECT etl.define_model('sa.clean', 'SELECT id, customer, at, 1 AS one FROM sa.orders', 'incremental', key => '{id}');
SELECT etl.define_check('sa.clean', 'row_count', '{}', '{"min": 2000}');
CALL etl.run(params => '{"sample": "10%"}');
SELECT count(*) BETWEEN 120 AND 280 AS tenth, count(*) = (SELECT count(*) FROM sa_dev__sa.named) AS once FROM sa_dev__sa.clean;
SELECT target, sample FROM etl.models WHERE target LIKE 'sa%' ORDER BY target;
SELECT node, action, reason FROM etl.tasks WHERE run_id = etl.last_run_id() ORDER BY task_id;
SELECT target, status FROM etl.check_results WHERE run_id = etl.last_run_id();
SELECT target, rows_removed BETWEEN 1720 AND 1880 AS removed, detail FROM etl.compare() WHERE column_name IS NULL AND target = 'sa.clean';
-- the same again has nothing to do, and is the same sample
CREATE TEMP TABLE before AS SELECT id FROM sa_dev__sa.clean;
CALL etl.run('sa.clean', params => '{"sample": "10%"}');
SELECT action, reason FROM etl.tasks WHERE run_id = etl.last_run_id();
SELECT count(*) FROM before FULL JOIN sa_dev__sa.clean USING (id) WHERE before.id IS NULL OR clean.id IS NULL;
-- what comes since belongs to the sample or not
RESET etl.environment;
SELECT etl.ingest('sa.orders', '[{"id": 2001}]') > 0;
SET etl.environment = 'sa_dev';
CALL etl.run('sa.clean', params => '{"sample": "10%"}');
SELECT action, reason FROM etl.tasks WHERE run_id = etl.last_run_id();
-- a model that reads one built of a sample is of a sample, too, whoever asks for it
CALL etl.run('sa.named');
SELECT target, sample FROM etl.models WHERE target = 'sa_dev__sa.named';
-- named relations only, by production's names; the plan follows etl.params
SET etl.params = '{"sample": {"sa.orders": "5%", "sa.other": "1%"}}';
SELECT node, action, reason FROM etl.plan('sa.clean+');
RESET etl.params;
CALL etl.run(params => '{"sample": {"sa.orders": "5%"}}');
SELECT count(*) BETWEEN 40 AND 170 AS twentieth, count(*) = count(name) AS all_joined FROM sa_dev__sa.named;
SELECT node, action, reason FROM etl.tasks WHERE run_id = etl.last_run_id() ORDER BY task_id;

-- empty
CALL etl.run(params => '{"empty": true}');
SELECT (SELECT count(*) FROM sa_dev__sa.clean), (SELECT count(*) FROM sa_dev__sa.named);
SELECT target, status FROM etl.check_results WHERE run_id = etl.last_run_id();
SET etl.params = '{"empty": true}';
SELECT etl.compile('sa.clean');
-- nothing of it comes into production, also when the session asks for the same
RESET etl.environment;
SELECT * FROM etl.promote('sa_dev');
SELECT count(*), count(one) FROM sa.clean;
SELECT count(*), count(name) FROM sa.named;
RESET etl.params;
-- and without, the environment is what it should be
SET etl.environment = 'sa_dev';
CALL etl.run();
SELECT (SELECT count(*) FROM sa_dev__sa.clean), (SELECT count(*) FROM sa_dev__sa.named), (SELECT count(*) FROM etl.models WHERE sample IS NOT NULL);
SELECT node, action, reason FROM etl.tasks WHERE run_id = etl.last_run_id() ORDER BY task_id;

-- the other kinds: an interval ledger, a snapshot, a materialized view
SELECT etl.define_model('sa.by_day', 'SELECT id, at FROM sa.orders WHERE at IS NOT NULL', 'incremental', event_time => 'at', batch_size => '1 month', options => '{"begin": "2026-01-01"}');
SELECT etl.define_model('sa.history', 'SELECT id, customer FROM sa.orders', 'snapshot', key => '{id}', strategy => 'check', options => '{"hard_deletes": "invalidate"}');
SELECT etl.define_model('sa.kept', 'SELECT id FROM sa.orders', 'materialized_view');
CALL etl.run('sa.by_day sa.history sa.kept', params => '{"sample": "10%"}');
SELECT (SELECT count(*) FROM sa_dev__sa.by_day) BETWEEN 120 AND 280 AS by_day, (SELECT count(*) FROM sa_dev__sa.history) BETWEEN 120 AND 280 AS history, (SELECT count(*) FROM sa_dev__sa.kept) BETWEEN 120 AND 280 AS kept;
CALL etl.run('sa.by_day sa.history sa.kept');
SELECT (SELECT count(*) FROM sa_dev__sa.by_day) AS by_day, (SELECT count(*) FROM sa_dev__sa.history) AS history, (SELECT count(*) FROM sa_dev__sa.history WHERE NOT is_current) AS closed, (SELECT count(*) FROM sa_dev__sa.kept) AS kept;
SELECT node, action, reason FROM etl.tasks WHERE run_id = etl.last_run_id() ORDER BY task_id;

-- rights are those of always: what a view does not let one read, a sample does not either
CREATE ROLE sa_dev;
GRANT etl_developer TO sa_dev;
DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO sa_dev', current_database()); END $$;
GRANT USAGE ON SCHEMA sa TO sa_dev;
CREATE TABLE sa.rows AS SELECT 1 AS id, 'sa_dev' AS who UNION ALL SELECT 2, 'another';
ALTER TABLE sa.rows ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON sa.rows USING (who = current_user);
GRANT SELECT ON sa.rows TO sa_dev;
CREATE VIEW sa.hidden AS SELECT * FROM sa.orders;
SET etl.environment = 'sa_two';
SET ROLE sa_dev;
SELECT etl.define_model('sa.mine', 'SELECT * FROM sa.rows', 'table');
SELECT etl.define_model('sa.theirs', 'SELECT * FROM sa.hidden', 'table');
SET client_min_messages = error;
\set VERBOSITY sqlstate
CALL etl.run(params => '{"sample": "100%"}');
\set VERBOSITY terse
SELECT node, status, error FROM etl.tasks WHERE run_id = etl.last_run_id() ORDER BY node;
SELECT id FROM sa_two__sa.mine;
-- wrong wishes
CALL etl.run(params => '{"sample": 5}');
CALL etl.run(params => '{"sample": "0%"}');
CALL etl.run(params => '{"sample": "101%"}');
CALL etl.run(params => '{"sample": {"sa.rows": 3}}');
CALL etl.run(params => '{"sample": ["1%"]}');
CALL etl.run(params => '{"empty": "yes"}');
CALL etl.run('sa.mine', params => '{"empty": false, "sample": null}');
SELECT target, sample FROM etl.models WHERE target = 'sa_two__sa.mine';
RESET ROLE;
RESET etl.environment;
SET client_min_messages = error;
SELECT etl.drop_environment('sa_two');
SELECT etl.drop_environment('sa_dev');
DROP SCHEMA sa CASCADE;
DROP OWNED BY sa_dev;
DROP ROLE sa_dev;
