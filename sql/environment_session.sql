-- A session is in an environment when it or its client says so, in production when the configuration does; in an environment nothing of production changes.
CREATE DATABASE regress_session;
\c regress_session
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION etl;
CREATE SCHEMA es;
CREATE TABLE es.plain (id int);
INSERT INTO es.plain VALUES (1);
CREATE TABLE es.audit (what text);
SELECT etl.define_source('es_push', 'push');
SELECT etl.define_stream('es.s', 'es_push', columns => 'id int, at timestamptz, n int, j json', mode => 'merge', key => '{id}');
SELECT etl.define_model('es."we""ird m"', 'SELECT id, n AS "n""x; drop", j, at FROM es.s', 'table');
SELECT etl.define_model('es.days', 'SELECT id, at FROM es.s WHERE at IS NOT NULL', 'incremental', key => '{id}', event_time => 'at', batch_size => '1 day');
SELECT etl.define_check('es.s', 'range', '{n}', '{"min": 0}', on_fail => 'quarantine');
SELECT etl.ingest('es.s', '[{"id": 1, "at": "2026-01-01Z", "n": 1, "j": {"a": 1}}, {"id": 2, "at": "2026-01-02Z", "n": 2, "j": [1]}, {"id": 3, "n": -1}]') AS load \gset
CALL etl.run();
SELECT etl.last_run_id() AS run \gset
CREATE FUNCTION es.recorders() RETURNS bigint LANGUAGE sql AS $$SELECT count(*) FROM pg_trigger WHERE tgrelid IN ('es.s'::regclass, 'es.plain'::regclass)$$;
SELECT es.recorders() AS recorders \gset

-- the configuration names production: that is no environment, and neither is saying it again
ALTER DATABASE regress_session SET etl.environment = 'prod';
\c -
\set VERBOSITY terse
SET client_min_messages = notice;
SELECT etl.define_model('es.kept', 'SELECT id FROM es.plain');
SET etl.environment = 'prod';
SELECT etl.define_model('es.kept', 'SELECT id FROM es.plain', description => 'again');
SELECT count(*) FROM etl.environments;
-- what a client says when it connects is one
\connect -reuse-previous=on "options='-c etl.environment=es_1'"
\set VERBOSITY terse
SHOW etl.environment;
SELECT etl.define_model('es.kept', 'SELECT id, 1 AS one FROM es.plain');
SELECT environment, target, node FROM etl.environments;
SELECT target, version FROM etl.models WHERE target = 'es.kept';
SET etl.environment = 'prod2';
RESET etl.environment;
SHOW etl.environment;
SELECT etl.define_model('es.kept', 'SELECT id, 2 AS two FROM es.plain');
SELECT count(*) FROM etl.environments;

-- whatever changes production is refused, or left out of the script
SELECT etl.unload(:load);
SELECT etl.replay('es.s');
SELECT etl.discard('es.s');
SELECT etl.reset('es.s');
SELECT etl.reload('es.s');
SELECT etl.ingest('es.s', '{"id": 9}');
SELECT etl.reset_intervals('es.days', '2026-01-01', '2026-01-03');
SELECT * FROM etl.backfill('es.days', '2026-01-01', '2026-01-03', reprocess => 'all');
SELECT etl.mark(:run, 'es.days', 'failed', 'x');
SELECT etl.retry(:run);
CALL etl.run(retry_of => :run);
SELECT etl.expire('es.s');
SELECT etl.drop_check('es.s', 'range_n');
SELECT etl.drop_model('es.days');
SELECT etl.pause();
SELECT etl.resume();
CALL etl.tick();
SELECT etl.unwatch('es.plain');
SELECT etl.watch('es.plain');
SELECT etl.define_unit_test('es.days', 'u', '{}', '[]');
SELECT etl.define_secret('es_k', 'v');
SELECT etl.define_channel('es_c', 'notify', '{"channel": "x"}');
SELECT etl.define_sla('es_l', 'es.days', freshness => '1 day');
SELECT (SELECT count(*) FROM etl.secrets) + (SELECT count(*) FROM etl.channels) + (SELECT count(*) FROM etl.slas) + (SELECT count(*) FROM etl.unit_tests) AS defined;

-- hooks do not run, and a table that is adopted in production is another one here
SELECT etl.define_model('es.hooked', 'SELECT 1 AS a', 'table', options => '{"post_hook": "INSERT INTO es.audit VALUES (''x'')"}');
SELECT etl.define_model('es.plain', 'SELECT 7 AS id', 'table', options => '{"adopt": true}');
-- an incremental model that reads a merge stream of production records nothing there
SELECT etl.define_model('es.sums', 'SELECT id, sum(n) AS n FROM es.s GROUP BY id', 'incremental', key => '{id}');
SELECT etl.define_model('es."we""ird m"', 'SELECT id, n + id - 1 AS "n""x; drop", j::jsonb AS j, at FROM es.s', 'table', key => '{id}');
SET client_min_messages = warning;
CALL etl.run();
SELECT (SELECT count(*) FROM es.audit) AS audited, (SELECT array_agg(id) FROM es.plain) AS plain, (SELECT array_agg(id) FROM es_1__es.plain) AS beside;
SELECT es.recorders() = :recorders AS same;
SELECT * FROM etl.compare();
SELECT target, version FROM etl.models WHERE target LIKE 'es.%' ORDER BY target;
SELECT node, status FROM etl.tasks WHERE run_id = :run ORDER BY node;
SELECT count(*) FROM etl.runs WHERE status = 'queued';
SELECT DISTINCT status FROM etl.intervals WHERE target = 'es.days';
\connect -reuse-previous=on "dbname=postgres options=''"
DROP DATABASE regress_session;
