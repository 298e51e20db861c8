-- Whether a node is tried follows its trigger_rule, its condition and its fallback; what was built on old input says so.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY terse
SET client_min_messages = error;
CREATE SCHEMA rr;
CREATE TABLE rr.switch (bad boolean, wanted boolean);
INSERT INTO rr.switch VALUES (false, false);
CREATE FUNCTION rr.check_switch() RETURNS int LANGUAGE plpgsql AS
$$BEGIN
	IF (SELECT bad FROM rr.switch) THEN RAISE EXCEPTION 'the switch is on' USING ERRCODE = '22000'; END IF;
	RETURN 1;
END$$;

SELECT etl.define_model('rr.root', 'SELECT rr.check_switch() AS x, now() AS at', 'table');
SELECT etl.define_model('rr.good', 'SELECT 1 AS x', 'table');
SELECT etl.define_model('rr.conditional', 'SELECT 2 AS x, now() AS at', 'table', options => '{"run_if": "(SELECT wanted FROM rr.switch)"}');
SELECT count(etl.define_model('rr.on_' || up || '_' || rule, format('SELECT count(*) AS n FROM rr.%s, rr.good', up), 'table',
	options => jsonb_build_object('trigger_rule', rule)))
FROM unnest('{root,conditional}'::text[]) AS up, unnest('{all_success,none_failed,all_done,one_failed}'::text[]) AS rule;

-- everything well, the condition holds
UPDATE rr.switch SET wanted = true;
\set VERBOSITY sqlstate
CALL etl.run('rr.*');
\set VERBOSITY terse
SELECT node, status, reason, skipped_because FROM etl.tasks WHERE run_id = etl.last_run_id() AND status <> 'succeeded' ORDER BY node;
-- the condition does not hold: no failure
UPDATE rr.switch SET wanted = false;
\set VERBOSITY sqlstate
CALL etl.run('rr.*', full_refresh => true);
\set VERBOSITY terse
SELECT node, status, reason, skipped_because FROM etl.tasks WHERE run_id = etl.last_run_id() AND status <> 'succeeded' ORDER BY node;
SELECT status, nodes_skipped, nodes_failed FROM etl.runs WHERE run_id = etl.last_run_id();
-- the root fails
UPDATE rr.switch SET bad = true;
\set VERBOSITY sqlstate
CALL etl.run('rr.*', full_refresh => true);
\set VERBOSITY terse
SELECT node, status, coalesce(error, reason) AS why, skipped_because FROM etl.tasks
WHERE run_id = etl.last_run_id() AND node <> 'rr.good' ORDER BY node;

-- a condition may be a query; null does not hold; what is wrong with it is the node's failure
SELECT etl.define_model('rr.c1', 'SELECT 1 AS x', 'table', options => '{"run_if": "SELECT NOT bad FROM rr.switch"}');
SELECT etl.define_model('rr.c2', 'SELECT 1 AS x', 'table', options => '{"run_if": "NULL"}');
SELECT etl.define_model('rr.c3', 'SELECT 1 AS x', 'table', options => '{"run_if": "SELECT 1"}');
SELECT etl.define_model('rr.c4', 'SELECT 1 AS x', 'table', options => '{"run_if": "nonsense"}');
SELECT etl.define_model('rr.c5', 'SELECT 1 AS x', 'table', options => '{"run_if": "EXISTS (SELECT FROM rr.switch)"}');
\set VERBOSITY sqlstate
CALL etl.run('rr.c*');
\set VERBOSITY terse
SELECT node, status, sqlstate, coalesce(error, reason) AS why FROM etl.tasks
WHERE run_id = etl.last_run_id() AND node LIKE 'rr.c_' ORDER BY node;

-- fallback: built on the last good publication, and flagged, with what is below, until the input is well again
SELECT etl.define_model('rr.fallback', 'SELECT count(*) AS n FROM rr.root', 'table', options => '{"fallback": "last_good"}');
SELECT etl.define_model('rr.report', 'SELECT n FROM rr.fallback', 'table');
\set VERBOSITY sqlstate
CALL etl.run('rr.root+1 rr.report', exclude => 'rr.on_*');
\set VERBOSITY terse
SELECT node, status, coalesce(error, reason) AS why FROM etl.tasks WHERE run_id = etl.last_run_id() ORDER BY node;
SELECT incomplete FROM etl.run WHERE run_id = etl.last_run_id();
SELECT target, incomplete FROM etl.node_state WHERE incomplete IS NOT NULL ORDER BY target;
SELECT target, state FROM etl.freshness WHERE target IN ('rr.fallback', 'rr.report', 'rr.good') ORDER BY target;
SELECT node, status, what, remedy FROM etl.explain_run() WHERE node IN ('rr.fallback', 'rr.report');
UPDATE rr.switch SET bad = false;
\set VERBOSITY sqlstate
CALL etl.run('rr.root+1 rr.report', exclude => 'rr.on_*');
\set VERBOSITY terse
SELECT incomplete FROM etl.run WHERE run_id = etl.last_run_id();
SELECT target, incomplete FROM etl.node_state WHERE incomplete IS NOT NULL ORDER BY target;

SET client_min_messages = error;
SELECT count(etl.drop_model(target, cascade => true)) FROM etl.models WHERE target IN ('rr.root', 'rr.good', 'rr.conditional') OR target LIKE 'rr.c_';
DROP SCHEMA rr CASCADE;
