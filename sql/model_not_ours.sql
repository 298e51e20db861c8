-- A relation that etl did not create is never replaced: not one that was there before, nor one that somebody made in the place of a model's.
\set VERBOSITY sqlstate
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
CREATE SCHEMA no;
CREATE FUNCTION no.said() RETURNS TABLE (node text, status text, error text, detail text) LANGUAGE sql AS
	$$SELECT t.node, t.status, t.error, t.detail FROM etl.tasks t WHERE t.run_id = etl.last_run_id()$$;

-- there before: the plan says so, and others are built
CREATE TABLE no.before (a int);
INSERT INTO no.before VALUES (42);
SELECT etl.define_model('no.before', 'SELECT 1 AS a', 'table');
SELECT etl.define_model('no.other', 'SELECT 1 AS a', 'table');
SELECT node, action, reason FROM etl.plan('no.*');
CALL etl.run('no.*');
SELECT * FROM no.said();
TABLE no.before;
SELECT etl.define_model('no.before', 'SELECT 1 AS a', 'table', options => '{"adopt": true}');
SELECT node, action, reason FROM etl.plan('no.before');
CALL etl.run('no.before');
TABLE no.before;

-- in the place of a view: a table with the rows of somebody
SELECT etl.define_model('no."v ""1"""', 'SELECT 1 AS a');
CALL etl.run('no."v ""1"""');
DROP VIEW no."v ""1""";
CREATE TABLE no."v ""1""" (precious text);
INSERT INTO no."v ""1""" VALUES ('mine');
SELECT node, action, reason FROM etl.plan('no."v ""1"""');
CALL etl.run('no."v ""1"""');
SELECT * FROM no.said();
SELECT etl.define_model('no."v ""1"""', 'SELECT 2 AS a', 'table');
CALL etl.run('no."v ""1"""');
SELECT * FROM no.said();
TABLE no."v ""1""";

-- in the place of a table: a view, or a materialized view
DROP TABLE no.other;
CREATE VIEW no.other AS SELECT 7 AS a;
CALL etl.run('no.other', full_refresh => true);
SELECT * FROM no.said();
DROP VIEW no.other;
CREATE MATERIALIZED VIEW no.other AS SELECT 7 AS a;
CALL etl.run('no.other');
SELECT * FROM no.said();
TABLE no.other;

-- a kind that the definition changes is no such case
DROP MATERIALIZED VIEW no.other;
CALL etl.run('no.other');
SELECT etl.define_model('no.other', 'SELECT 2 AS a');
CALL etl.run('no.other');
SELECT etl.define_model('no.other', 'SELECT 3 AS a', 'materialized_view');
CALL etl.run('no.other');
SELECT etl.define_model('no.other', 'SELECT 4 AS a', 'incremental', '{a}');
CALL etl.run('no.other');
SELECT * FROM no.said();
TABLE no.other;

SELECT count(etl.drop_model(target, true)) FROM etl.models WHERE target LIKE 'no.%';
DROP SCHEMA no CASCADE;
