-- Runs from outside: queued, waited for, cancelled, tried again and marked, by whom it is allowed.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE SCHEMA rc;
CREATE TABLE rc.switch (bad boolean);
INSERT INTO rc.switch VALUES (true);
SELECT etl.define_model('rc.a', 'SELECT 1 AS x', 'table');
SELECT etl.define_model('rc.b', 'SELECT 1 / (CASE WHEN bad THEN 0 ELSE 1 END) AS x FROM rc.switch', 'table');
SELECT etl.define_model('rc.c', 'SELECT x FROM rc.b', 'table');

-- without workers a run waits in the queue; what is wrong with it is said at once
SELECT etl.submit('rc.*') AS run \gset
SELECT selector, trigger, status, nodes_total, requested_by = current_user AS mine FROM etl.runs WHERE run_id = :run;
SELECT etl.wait(:run, '10 ms');
SELECT etl.submit('rc.nothing');
SELECT etl.submit(params => '[]');
SELECT etl.submit(publish => 'now and then');
SELECT etl.submit('rc.a', since => '2024-01-01');
-- it would begin only after the statement that waits for it
\set VERBOSITY sqlstate
SELECT etl.wait(etl.submit('rc.a'));
\set VERBOSITY terse
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT etl.wait(:run, '1 ms');
ROLLBACK;

-- cancelled before it began; twice is no harm
SELECT etl.cancel(:run);
SELECT status, error = 'cancelled by ' || current_user AS told FROM etl.runs WHERE run_id = :run;
SELECT etl.wait(:run);
SELECT etl.cancel(:run);
SELECT etl.cancel(0);
SELECT etl.wait(0);
SELECT etl.wait(NULL);

-- a retry is queued with exactly what did not succeed
\set VERBOSITY sqlstate
SET client_min_messages = error;
CALL etl.run('rc.*');
SET client_min_messages = warning;
\set VERBOSITY terse
SELECT etl.last_run_id() AS failed \gset
SELECT etl.retry(:failed) AS again \gset
SELECT retry_of = :failed AS of_it, trigger, status FROM etl.run WHERE run_id = :again;
SELECT etl.cancel(:again);
SELECT etl.retry(0);
\set VERBOSITY sqlstate
SET client_min_messages = error;
CALL etl.run(retry_of => :failed);
SET client_min_messages = warning;
\set VERBOSITY terse
SELECT node, attempt, status FROM etl.tasks WHERE run_id = etl.last_run_id() ORDER BY node;

-- marked by hand: the run follows, a retry leaves it out, the log remembers
SELECT etl.mark(:failed, 'rc.b', 'succeeded', 'loaded by hand');
SELECT node, status, reason LIKE 'marked succeeded by %: loaded by hand' AS told FROM etl.tasks WHERE run_id = :failed ORDER BY node;
SELECT status, nodes_succeeded, nodes_failed, nodes_skipped, error FROM etl.runs WHERE run_id = :failed;
SELECT level, node, detail FROM etl.logs WHERE run_id = :failed AND level = 'warning';
UPDATE rc.switch SET bad = false;
\set VERBOSITY sqlstate
SET client_min_messages = error;
CALL etl.run('rc.b');
SET client_min_messages = warning;
\set VERBOSITY terse
\set VERBOSITY sqlstate
SET client_min_messages = error;
CALL etl.run(retry_of => :failed);
SET client_min_messages = warning;
\set VERBOSITY terse
SELECT node, status FROM etl.tasks WHERE run_id = etl.last_run_id() ORDER BY node;
SELECT etl.mark(:failed, 'rc.b', 'failed', 'it was wrong');
SELECT status, error FROM etl.runs WHERE run_id = :failed;
SELECT etl.mark(:failed, 'rc.b', 'perfect', 'x');
SELECT etl.mark(:failed, 'rc.b', 'failed', '');
\set VERBOSITY sqlstate
SELECT etl.mark(:failed, 'rc.z', 'failed', 'x');
\set VERBOSITY terse
SELECT etl.mark(0, 'rc.b', 'failed', 'x');

-- pools
SELECT etl.define_pool('rc', 2), etl.define_pool('rc', 2), etl.define_pool('rc', 3, 'three');
SELECT name, slots, description FROM etl.pools WHERE name = 'rc';
SELECT etl.define_pool('rc', 0);
SELECT etl.define_pool('', 1);
SELECT etl.define_model('rc.a', 'SELECT 1 AS x', 'table', options => '{"pool": "rc"}');
\set VERBOSITY sqlstate
SET client_min_messages = error;
CALL etl.run('rc.a');
SET client_min_messages = warning;
\set VERBOSITY terse
SELECT etl.drop_pool('rc');
SELECT etl.drop_pool('rc');
\set VERBOSITY sqlstate
SET client_min_messages = error;
CALL etl.run('rc.a', full_refresh => true);
SET client_min_messages = warning;
\set VERBOSITY terse
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();

-- others may look only at what they may read, and do nothing
CREATE ROLE rc_other;
GRANT etl_developer TO rc_other;
SET ROLE rc_other;
\set VERBOSITY sqlstate
SELECT etl.cancel(:failed);
SELECT etl.retry(:failed);
SELECT etl.mark(:failed, 'rc.b', 'failed', 'x');
SELECT etl.submit('rc.*');
\set VERBOSITY terse
RESET ROLE;

SET client_min_messages = error;
SELECT etl.drop_model('rc.a'), etl.drop_model('rc.b', cascade => true);
DROP OWNED BY rc_other;
DROP ROLE rc_other;
DROP SCHEMA rc CASCADE;
