-- Tables that foreign keys link are published together: parents' rows come first, children's go first, whichever is built first.
\set VERBOSITY terse
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SET client_min_messages = warning;
CREATE SCHEMA rg;
CREATE TABLE rg.seed AS SELECT i, i % 4 AS p FROM generate_series(1, 12) AS i;
CREATE TABLE rg.z_parent (p int PRIMARY KEY);
CREATE TABLE rg.a_child (i int PRIMARY KEY, p int NOT NULL REFERENCES rg.z_parent);
CREATE VIEW rg.last AS
	SELECT node, status, rows_inserted AS ins, rows_updated AS upd, rows_deleted AS del, sqlstate, skipped_because
	FROM etl.tasks WHERE run_id = etl.last_run_id() ORDER BY node;
SELECT etl.define_model('rg.a_child', 'SELECT i, p FROM rg.seed', 'table', key => '{i}', options => '{"adopt": true}');
SELECT etl.define_model('rg.z_parent', 'SELECT DISTINCT p FROM rg.seed', 'table', key => '{p}', options => '{"adopt": true}');
CALL etl.run('rg.*');
SELECT * FROM rg.last;

-- new parents and children, and others that are gone
DELETE FROM rg.seed WHERE p = 2;
INSERT INTO rg.seed VALUES (100, 50), (101, 51);
CALL etl.run('rg.*');
SELECT * FROM rg.last;
SELECT count(*), count(DISTINCT p), max(p) FROM rg.a_child;

-- a child whose parent is really missing fails, and nothing of the group is published
SELECT etl.define_model('rg.z_parent', 'SELECT DISTINCT p FROM rg.seed WHERE p < 50', 'table', key => '{p}', options => '{"adopt": true}');
INSERT INTO rg.seed VALUES (102, 3);
\set VERBOSITY sqlstate
CALL etl.run('rg.*');
\set VERBOSITY terse
SELECT node, status, sqlstate FROM etl.tasks WHERE run_id = etl.last_run_id() ORDER BY status;
SELECT count(*), count(DISTINCT p), max(p) FROM rg.a_child;

SELECT etl.drop_model('rg.a_child', true, true), etl.drop_model('rg.z_parent', true, true);
DROP SCHEMA rg CASCADE;
