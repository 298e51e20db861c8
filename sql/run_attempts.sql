-- A node is tried again when its error may heal, and only then; limits of time end an attempt, not the run.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE SCHEMA ra;
CREATE FUNCTION ra.fail(code text) RETURNS int LANGUAGE plpgsql AS
$$BEGIN RAISE EXCEPTION 'asked for %', code USING ERRCODE = code; END$$;
CREATE FUNCTION ra.slow(seconds float) RETURNS float LANGUAGE plpgsql AS
$$BEGIN PERFORM pg_sleep(seconds); RETURN seconds; END$$;

-- the table of codes: what heals has three attempts
SELECT count(etl.define_model('ra.e_' || lower(code), format('SELECT ra.fail(%L) AS x', code), 'table',
	options => '{"retry": {"base": "1 ms", "cap": "5 ms"}}'))
FROM unnest('{22012,22P02,23505,42P01,42501,57014,40001,40P01,08006,53300,55P03,57P01,58030,P0001}'::text[]) AS code;
SET client_min_messages = error;
\set VERBOSITY sqlstate
CALL etl.run('ra.e_*');
\set VERBOSITY terse
SET client_min_messages = warning;
SELECT sqlstate, count(*) AS attempts, array_agg(DISTINCT status) AS status, max(attempt) AS last
FROM etl.tasks WHERE run_id = etl.last_run_id() GROUP BY sqlstate ORDER BY sqlstate COLLATE "C";
SELECT status, nodes_total, nodes_failed, nodes_succeeded FROM etl.runs WHERE run_id = etl.last_run_id();
-- every attempt is in the log
SELECT count(*) FROM etl.logs WHERE run_id = etl.last_run_id() AND level = 'error' AND node = 'ra.e_40001';

-- the second attempt may succeed; the policy is the model's own
CREATE SEQUENCE ra.tries;
CREATE FUNCTION ra.third() RETURNS int LANGUAGE plpgsql AS
$$BEGIN
	IF nextval('ra.tries') < 4 THEN RAISE EXCEPTION 'not yet' USING ERRCODE = '40001'; END IF;
	RETURN 1;
END$$;
SELECT etl.define_model('ra.heals', 'SELECT ra.third() AS x', 'table',
	options => '{"retry": {"attempts": 5, "base": "1 ms", "cap": "1 ms"}}');
SELECT etl.define_model('ra.below', 'SELECT x + 1 AS y FROM ra.heals', 'table');
CALL etl.run('ra.heals+');
SELECT node, attempt, status, sqlstate FROM etl.tasks WHERE run_id = etl.last_run_id() ORDER BY task_id;
SELECT status, nodes_failed FROM etl.runs WHERE run_id = etl.last_run_id();
SELECT * FROM etl.explain_run();

-- nodes that publish together are tried again together
ALTER SEQUENCE ra.tries RESTART;
SELECT etl.define_model('ra.g1', 'SELECT 1 AS a', 'table', options => '{"publish": "together"}');
SELECT etl.define_model('ra.g2', 'SELECT ra.third() AS x FROM ra.g1', 'table',
	options => '{"publish": "together", "retry": {"attempts": 5, "base": "1 ms", "cap": "1 ms"}}');
CALL etl.run('ra.g*');
SELECT node, attempt, status, sqlstate FROM etl.tasks WHERE run_id = etl.last_run_id() ORDER BY node, task_id;
SELECT * FROM ra.g1, ra.g2;

-- in a transaction block there is one attempt
BEGIN;
SET client_min_messages = error;
\set VERBOSITY sqlstate
CALL etl.run('ra.e_40001');
\set VERBOSITY terse
SET client_min_messages = warning;
ROLLBACK;

-- limits of time: of an attempt, of a statement
SELECT etl.define_model('ra.task', 'SELECT ra.slow(5) AS x', 'table', options => '{"timeout": "50 ms"}');
SELECT etl.define_model('ra.statement', 'SELECT ra.slow(5) AS x', 'table', options => '{"statement_timeout": "50 ms"}');
SELECT etl.define_model('ra.other', 'SELECT 1 AS x', 'table');
SET client_min_messages = error;
\set VERBOSITY sqlstate
CALL etl.run('ra.task ra.statement ra.other');
\set VERBOSITY terse
SET client_min_messages = warning;
SELECT node, attempt, status, sqlstate, error, hint FROM etl.tasks WHERE run_id = etl.last_run_id() ORDER BY node;
-- of the run; what it had not begun is cancelled, and the session goes on
SELECT etl.define_model('ra.long', 'SELECT ra.slow(5) AS x FROM ra.other', 'table');
SELECT etl.define_model('ra.never', 'SELECT 1 AS x FROM ra.long', 'table');
SET etl.run_timeout = '300 ms';
CALL etl.run('ra.other+', full_refresh => true);
RESET etl.run_timeout;
SELECT node, status, sqlstate, error FROM etl.tasks WHERE run_id = etl.last_run_id() ORDER BY task_id;
SELECT status, error FROM etl.runs WHERE run_id = etl.last_run_id();
SELECT pg_sleep(0.05);
BEGIN;
SET client_min_messages = error;
\set VERBOSITY sqlstate
CALL etl.run('ra.task');
\set VERBOSITY terse
SET client_min_messages = warning;
ROLLBACK;

-- options are judged when they are given
SELECT etl.define_model('ra.bad', 'SELECT 1 AS x', options => '{"retry": {"attempts": 0}}');
SELECT etl.define_model('ra.bad', 'SELECT 1 AS x', options => '{"retry": {"atempts": 2}}');
SELECT etl.define_model('ra.bad', 'SELECT 1 AS x', options => '{"retry": {"base": "soon"}}');
SELECT etl.define_model('ra.bad', 'SELECT 1 AS x', options => '{"timeout": "-1 s"}');
SELECT etl.define_model('ra.bad', 'SELECT 1 AS x', options => '{"trigger_rule": "always"}');

SELECT count(etl.drop_model(target, cascade => true)) FROM etl.models WHERE target LIKE 'ra.%' AND target NOT IN
	('ra.below', 'ra.g2', 'ra.long', 'ra.never');
SET client_min_messages = error;
DROP SCHEMA ra CASCADE;
