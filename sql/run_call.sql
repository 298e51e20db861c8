-- A run works node by node: a failure stops only what depends on it, is told, explained and retried; nothing to do is said.
\set VERBOSITY terse
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SET client_min_messages = warning;
CREATE SCHEMA rc;
CREATE TABLE rc.seed AS SELECT i, i % 3 AS g FROM generate_series(1, 9) AS i;
CREATE VIEW rc.last AS
	SELECT node, action, status, attempt, rows_inserted AS ins, rows_updated AS upd, rows_deleted AS del, sqlstate, skipped_because
	FROM etl.tasks WHERE run_id = etl.last_run_id() ORDER BY task_id;

SELECT etl.last_run_id();
SELECT etl.define_model('rc.e', 'SELECT count(*) AS n FROM rc.d', 'table');
SELECT etl.define_model('rc.d', 'SELECT 10 / (i - 5) AS q FROM rc.b', 'table');
SELECT etl.define_model('rc.b', 'SELECT * FROM rc.seed', 'table');
SELECT etl.define_model('rc.v', 'SELECT g, count(*) AS n FROM rc.b GROUP BY g');
SELECT etl.define_model('rc.p', 'SELECT etl.param(''region'', ''none'') AS region', 'table');
SELECT etl.define_model('rc.u', 'SELECT * FROM rc.nobody_makes_this');

-- rc.d divides by zero, rc.u has no input; the others succeed
\set VERBOSITY sqlstate
CALL etl.run('rc.*', params => '{"region": "EU"}');
\set VERBOSITY terse
SELECT * FROM rc.last;
SELECT count(*) FROM rc.b;
SELECT * FROM rc.v ORDER BY g;
SELECT * FROM rc.p;
SELECT status, nodes_total, nodes_succeeded, nodes_failed, nodes_skipped, error FROM etl.runs WHERE run_id = etl.last_run_id();
SELECT node, status, what, regexp_replace(why, 'Since [^\n]*', 'Since …') AS why FROM etl.explain_run();
SELECT node, replace(remedy, etl.last_run_id()::text, 'N') AS remedy FROM etl.explain_run(etl.last_run_id());
SELECT level, node, message FROM etl.logs WHERE run_id = etl.last_run_id() ORDER BY node;

-- retry_of runs exactly what did not succeed, with the parameters of then
SELECT etl.define_model('rc.d', 'SELECT 10 / i AS q FROM rc.b', 'table');
SELECT etl.drop_model('rc.u');
SELECT etl.last_run_id() AS failed_run \gset
CALL etl.run(retry_of => :failed_run);
SELECT * FROM rc.last;
SELECT * FROM rc.e;
SELECT * FROM etl.explain_run();
CALL etl.run(retry_of => 0 + etl.last_run_id());
SELECT * FROM rc.last;
CALL etl.run(retry_of => 999999999);

-- a view stays as it is; inside a transaction block the caller decides
SET client_min_messages = notice;
BEGIN;
INSERT INTO rc.seed VALUES (100, 1);
SET LOCAL client_min_messages = warning;
CALL etl.run('rc.b rc.v');
SELECT * FROM rc.last;
SELECT count(*) FROM rc.b;
ROLLBACK;
SET client_min_messages = warning;
SELECT count(*) FROM rc.b;
SELECT count(*) FROM rc.last;
BEGIN ISOLATION LEVEL REPEATABLE READ;
CALL etl.run('rc.v');
ROLLBACK;

-- in a transaction block a failure undoes everything, so the error carries the report
SELECT etl.define_model('rc.d', 'SELECT 10 / (i - 5) AS q FROM rc.b', 'table');
BEGIN;
SET LOCAL client_min_messages = error;
DO $$
DECLARE
	detail text;
	state text;
BEGIN
	CALL etl.run('rc.d rc.e');
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, state = RETURNED_SQLSTATE;
	RAISE EXCEPTION '%: %', state, detail;
END
$$;
ROLLBACK;

-- together: all or none
SELECT etl.define_model('rc.e', 'SELECT count(*) AS n, 1 AS more FROM rc.b', 'table');
\set VERBOSITY sqlstate
CALL etl.run('rc.d rc.e', publish => 'together');
\set VERBOSITY terse
SELECT * FROM rc.last;
SELECT * FROM rc.e;

-- a view that etl does not manage stops the run before any work, named with its definition
CREATE VIEW rc.theirs AS SELECT b.i FROM rc.b, rc.seed;
SELECT etl.define_model('rc.b', 'SELECT i::text AS i, g FROM rc.seed', 'table');
SELECT max(run_id) AS runs_before FROM etl.run \gset
\set VERBOSITY default
CALL etl.run('rc.*');
\set VERBOSITY terse
SELECT max(run_id) - :runs_before AS runs_since FROM etl.run;
SELECT node, reason FROM etl.plan('rc.b');
DROP VIEW rc.theirs;
SELECT etl.define_model('rc.b', 'SELECT * FROM rc.seed', 'table');

-- bad arguments
CALL etl.run(publish => 'sometimes');
CALL etl.run(params => '[1]');
CALL etl.run(workers => 0);
CALL etl.run('rc.v', since => '2026-01-01');
CALL etl.run(NULL, 'rc.* *', params => NULL, publish => NULL);
SELECT etl.param(NULL);
SET etl.params = 'nonsense';
SELECT etl.param('region');
RESET etl.params;
SELECT etl.param('region'), etl.param('region', 'x');
-- no lock stays behind
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();

SELECT etl.drop_model('rc.e', true, true), etl.drop_model('rc.d', true, true), etl.drop_model('rc.v', true, true),
	etl.drop_model('rc.b', true, true), etl.drop_model('rc.p', true, true);
DROP SCHEMA rc CASCADE;
