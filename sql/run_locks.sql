-- What a run executes cannot give back the locks of the run; outside a run nothing is different.
\set VERBOSITY sqlstate
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
CREATE SCHEMA run_locks;

SELECT etl.define_model('run_locks.rude', 'SELECT pg_advisory_unlock_all() IS NULL AS x',
                        materialized => 'table');
CALL etl.run('run_locks.rude');
SELECT node, status, sqlstate, error, hint FROM etl.tasks WHERE run_id = etl.last_run_id();

SELECT pg_advisory_lock(4711);
SELECT pg_advisory_unlock_all();
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();

SELECT etl.drop_model('run_locks.rude');
DROP SCHEMA run_locks CASCADE;
