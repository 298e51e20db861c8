-- When an input did not succeed, another relation is read in its place, and all say so until the input is well again.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY terse
SET client_min_messages = error;
CREATE SCHEMA fb;
CREATE TABLE fb.switch (bad boolean);
INSERT INTO fb.switch VALUES (false);
CREATE FUNCTION fb.rate() RETURNS int LANGUAGE plpgsql AS
$$BEGIN
	IF (SELECT bad FROM fb.switch) THEN RAISE EXCEPTION 'the switch is on' USING ERRCODE = '22000'; END IF;
	RETURN 2;
END$$;
CREATE TABLE fb."old rates" (currency text, rate int);
INSERT INTO fb."old rates" VALUES ('EUR', 1), ('USD', 1);
CREATE TABLE fb.short (currency text);

SELECT etl.define_source('fb', 'push');
SELECT etl.define_stream('fb.sales', 'fb', format => 'json', columns => 'id int, currency text, amount int');
SELECT etl.ingest('fb.sales', '[{"id": 1, "currency": "EUR", "amount": 10}, {"id": 2, "currency": "USD", "amount": 20}]') > 0 AS landed;
SELECT etl.define_model('fb.rates', $$SELECT c AS currency, fb.rate() AS rate, now() AS at FROM unnest('{EUR,USD}'::text[]) AS c$$, 'table');
SELECT etl.define_model('fb.worth', 'SELECT s.id, s.amount * rates.rate AS worth FROM fb.sales s JOIN fb.rates USING (currency)',
	'incremental', key => '{id}', options => '{"fallback": {"fb.rates": "fb.\"old rates\""}}');
SELECT etl.define_model('fb.total', 'SELECT sum(worth) AS worth FROM fb.worth', 'table');
CREATE VIEW fb.said AS SELECT node, action, status, reason, skipped_because FROM etl.tasks WHERE run_id = etl.last_run_id() AND kind = 'model';
CALL etl.run('fb.*');
TABLE fb.worth ORDER BY id;

-- the input fails: the other is read, twice if need be
UPDATE fb.switch SET bad = true;
\set VERBOSITY sqlstate
CALL etl.run('fb.*');
\set VERBOSITY terse
TABLE fb.said ORDER BY node;
TABLE fb.worth ORDER BY id;
TABLE fb.total;
SELECT status, incomplete FROM etl.run WHERE run_id = etl.last_run_id();
SELECT target, incomplete FROM etl.node_state WHERE target LIKE 'fb.%' AND incomplete IS NOT NULL ORDER BY target;
SELECT target, state FROM etl.freshness WHERE target LIKE 'fb.%' ORDER BY target;
SELECT node, what, split_part(why, E'\n', 1) AS why, remedy FROM etl.explain_run() WHERE node = 'fb.worth';
INSERT INTO fb."old rates" VALUES ('NOK', 3);
SELECT etl.ingest('fb.sales', '[{"id": 3, "currency": "NOK", "amount": 30}]') > 0 AS landed;
\set VERBOSITY sqlstate
CALL etl.run('fb.*');
\set VERBOSITY terse
TABLE fb.worth ORDER BY id;

-- well again, with the same rates as before the failure: what was built of the other goes
UPDATE fb.switch SET bad = false;
SELECT node, action, reason FROM etl.plan('fb.worth');
CALL etl.run('fb.*');
TABLE fb.said ORDER BY node;
TABLE fb.worth ORDER BY id;
TABLE fb.total;
SELECT count(*) FROM etl.node_state WHERE target LIKE 'fb.%' AND incomplete IS NOT NULL;
-- and follows its changes in part
SELECT etl.ingest('fb.sales', '[{"id": 4, "currency": "EUR", "amount": 40}]') > 0 AS landed;
CALL etl.run('fb.worth');
TABLE fb.said;
TABLE fb.worth ORDER BY id;

-- what cannot be read instead fails the node, by name; an input that the option does not name skips it
UPDATE fb.switch SET bad = true;
SELECT etl.define_model('fb.worth', 'SELECT s.id, s.amount * rates.rate AS worth FROM fb.sales s JOIN fb.rates USING (currency)',
	'incremental', key => '{id}', options => '{"fallback": {"fb.rates": "fb.short"}}');
SELECT etl.define_model('fb.total', 'SELECT sum(rate) AS worth FROM fb.rates', 'table', options => '{"fallback": {"fb.sales": "fb.short"}}');
\set VERBOSITY sqlstate
CALL etl.run('fb.*');
\set VERBOSITY terse
SELECT node, status, sqlstate, error, skipped_because FROM etl.tasks WHERE run_id = etl.last_run_id() AND kind = 'model' ORDER BY node;
TABLE fb.worth ORDER BY id;
-- other types would change the table
ALTER TABLE fb.short ADD rate numeric DEFAULT 1.5;
\set VERBOSITY sqlstate
CALL etl.run('fb.rates fb.worth');
\set VERBOSITY terse
SELECT node, status, sqlstate, error FROM etl.tasks WHERE run_id = etl.last_run_id() AND node = 'fb.worth';

-- refused where it is defined
SELECT etl.define_model('fb.v', 'SELECT 1 AS x', options => '{"fallback": {"fb.rates": "fb.short"}}');
SELECT etl.define_model('fb.v', 'SELECT 1 AS x', 'table', options => '{"fallback": "best"}');
SELECT etl.define_model('fb.v', 'SELECT 1 AS x', 'table', options => '{"fallback": {"fb.rates": 3}}');
SELECT etl.define_model('fb.v', 'SELECT 1 AS x', 'table', options => '{"fallback": ["fb.rates"]}');

SET client_min_messages = error;
SELECT count(etl.drop_model(target, cascade => true)) FROM etl.models WHERE target = 'fb.rates';
DROP SCHEMA fb CASCADE;
