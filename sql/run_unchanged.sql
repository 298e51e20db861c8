-- What has nothing to do for certain is written once, before the work, and told; where anything above can change, nobody says so early.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY terse
SET client_min_messages = error;
CREATE SCHEMA ru;
CREATE TABLE ru.outside (x int);
SELECT etl.define_model('ru.a', 'SELECT 1 AS x');
SELECT etl.define_model('ru.b', 'SELECT x + 1 AS x FROM ru.a');
SELECT etl.define_model('ru.between', 'SELECT * FROM ru.b');
SELECT etl.define_model('ru.d', 'SELECT * FROM ru.between');
SELECT etl.define_model('ru.clock', 'SELECT now() AS x', 'table');
SELECT etl.define_model('ru.below', 'SELECT * FROM ru.clock');
SELECT etl.define_model('ru.both', 'SELECT a.x, c.x AS at FROM ru.a, ru.clock AS c');
SELECT etl.define_model('ru.repair', 'SELECT x FROM ru.a', options => '{"trigger_rule": "one_failed"}');
SELECT etl.define_model('ru.wide', 'SELECT * FROM ru.outside');
CALL etl.run('ru.*');

CREATE FUNCTION ru.updates() RETURNS bigint LANGUAGE sql AS
$$SELECT pg_stat_force_next_flush(); SELECT sum(n_tup_upd)::bigint FROM pg_stat_all_tables WHERE schemaname = 'etl' AND relname LIKE 'task\_%'$$;
SELECT pg_stat_force_next_flush();
SELECT ru.updates() AS before \gset
SET client_min_messages = notice;
\set VERBOSITY sqlstate
CALL etl.run('ru.a ru.b ru.d');
\set VERBOSITY terse
SET client_min_messages = error;
SELECT pg_stat_force_next_flush();
SELECT ru.updates() - :before AS updated;
SELECT node, action, reason, status, attempt, started_at IS NOT NULL AND finished_at = started_at AS at_once
FROM etl.tasks WHERE run_id = etl.last_run_id() ORDER BY node COLLATE "C";
SELECT status, nodes_total, nodes_succeeded FROM etl.runs WHERE run_id = etl.last_run_id();

-- below what is built nothing is certain; a rule is asked
CALL etl.run('ru.*');
SELECT node, action, status, reason, started_at >= (SELECT finished_at FROM etl.tasks WHERE run_id = etl.last_run_id() AND node = 'ru.clock') AS after_the_build
FROM etl.tasks WHERE run_id = etl.last_run_id() ORDER BY node COLLATE "C";
SELECT status, nodes_succeeded, nodes_skipped FROM etl.runs WHERE run_id = etl.last_run_id();

-- a view whose input has another column now, and one whose place something else has taken
ALTER TABLE ru.outside ADD COLUMN y int;
SELECT node, action, reason FROM etl.plan('ru.wide');
CALL etl.run('ru.wide');
SELECT node, action, reason FROM etl.plan('ru.wide');
DROP VIEW ru.wide;
SELECT node, action, reason FROM etl.plan('ru.wide');

-- in a transaction block
BEGIN;
CALL etl.run('ru.a ru.b');
SELECT node, status, finished_at = started_at AS at_once FROM etl.tasks WHERE run_id = etl.last_run_id() ORDER BY node COLLATE "C";
ROLLBACK;

DROP SCHEMA ru CASCADE;
