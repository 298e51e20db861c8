-- A model with batch_size keeps a ledger of the intervals it has built, builds what is missing, failed or touched and nothing else, and equals its query.
\set VERBOSITY default
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO, YMD';
SET etl.test_now = '2026-03-05 12:00:00+00';
CREATE SCHEMA mb;
SELECT etl.define_source('mb_push', 'push');
SELECT etl.define_stream('mb.ev', 'mb_push', columns => 'id bigint, at timestamptz, cust int, amount numeric');
SELECT etl.define_stream('mb.cust', 'mb_push', columns => 'id int, name text', key => '{id}', mode => 'merge');
SELECT etl.ingest('mb.ev', '[{"id":1,"at":"2026-03-01T01:00:00Z","cust":1,"amount":5},{"id":2,"at":"2026-03-02T01:00:00Z","cust":1,"amount":6},
	{"id":3,"at":"2026-03-04T01:00:00Z","cust":2,"amount":7}]') > 0;
SELECT etl.ingest('mb.cust', '[{"id":1,"name":"a"},{"id":2,"name":"b"}]') > 0;
CREATE VIEW mb.last AS SELECT node, action, reason, rows_inserted AS ins, rows_updated AS upd, rows_deleted AS del, status, sqlstate
	FROM etl.tasks WHERE task_id = (SELECT max(task_id) FROM etl.tasks WHERE node LIKE 'mb.%');
CREATE VIEW mb.ledger AS SELECT target, since::date, until::date, status, reason, rows FROM etl.intervals WHERE target LIKE 'mb.%' ORDER BY 1, 2;

-- ---- gaps from the first event to now ----
SELECT etl.define_model('mb.daily', 'SELECT date_trunc(''day'', at) AS day, count(*) AS n, sum(amount) AS amount FROM mb.ev GROUP BY 1',
	'incremental', key => '{day}', event_time => 'day', batch_size => '1 day');
SELECT action, reason FROM etl.plan('mb.daily');
SELECT etl.compile('mb.daily');
CALL etl.run('mb.daily');
SELECT * FROM mb.last;
TABLE mb.daily ORDER BY 1;
TABLE mb.ledger;
CALL etl.run('mb.daily');
SELECT * FROM mb.last;
-- time goes on: one interval more
SET etl.test_now = '2026-03-06 01:00:00+00';
SELECT action, reason FROM etl.plan('mb.daily');
CALL etl.run('mb.daily');

-- ---- late rows, however late, and rows before the first ----
SELECT etl.ingest('mb.ev', '[{"id":4,"at":"2026-03-01T05:00:00Z","cust":1,"amount":50}]') > 0;
SELECT action, reason FROM etl.plan('mb.daily');
SELECT etl.compile('mb.daily') LIKE '-- interval [2026-03-01, 2026-03-02), the first of 1 that are due%';
CALL etl.run('mb.daily');
SELECT * FROM mb.last;
SELECT etl.ingest('mb.ev', '[{"id":5,"at":"2026-02-26T05:00:00Z","cust":2,"amount":1}]') > 0;
CALL etl.run('mb.daily');
SELECT * FROM mb.last;
-- one of the future waits until its time has come
SELECT etl.ingest('mb.ev', '[{"id":6,"at":"2026-03-07T05:00:00Z","cust":2,"amount":2}]') > 0;
CALL etl.run('mb.daily');
SELECT * FROM mb.last;
SET etl.test_now = '2026-03-07 01:00:00+00';
CALL etl.run('mb.daily');
SELECT * FROM mb.last;
SELECT count(*) FROM (TABLE mb.daily EXCEPT SELECT date_trunc('day', at), count(*), sum(amount) FROM mb.ev GROUP BY 1) AS x;
SELECT count(*), sum(amount) FROM mb.daily;

-- ---- asked for: reset_intervals, since and until ----
UPDATE mb.daily SET n = 0 WHERE day IN ('2026-03-02', '2026-03-04');
SET client_min_messages = notice;
SELECT etl.reset_intervals('mb.daily', '2026-03-02 12:00', '2026-03-03');
SET client_min_messages = error;
SELECT action, reason FROM etl.plan('mb.daily');
CALL etl.run('mb.daily');
SELECT * FROM mb.last;
CALL etl.run('mb.daily', since => '2026-03-03', until => '2026-03-04 00:01');
SELECT * FROM mb.last;
SELECT etl.reset_intervals('mb.ev', '2026-03-02', '2026-03-03');
SELECT etl.reset_intervals('mb.daily', '2026-03-03', '2026-03-03');
CREATE ROLE mb_nobody;
GRANT USAGE ON SCHEMA etl TO mb_nobody;
GRANT EXECUTE ON FUNCTION etl.reset_intervals TO mb_nobody;
SET ROLE mb_nobody;
SELECT etl.reset_intervals('mb.daily', '2026-03-02', '2026-03-03');
RESET ROLE;

-- ---- a failed interval fails alone, and is tried again alone ----
SELECT etl.define_model('mb.ratio', 'SELECT id, at, 100 / nullif(amount - 6, -1000) AS r FROM mb.ev', 'incremental',
	key => '{id}', event_time => 'at', batch_size => '1 day', options => '{"begin": "2026-03-01"}');
\set VERBOSITY sqlstate
CALL etl.run('mb.ratio');
\set VERBOSITY default
SELECT node, action, status, sqlstate, ins FROM mb.last;
SELECT error, detail FROM etl.tasks WHERE node = 'mb.ratio';
SELECT since::date, status, error, attempts FROM etl.intervals WHERE target = 'mb.ratio' ORDER BY 1;
SELECT id FROM mb.ratio ORDER BY 1;
SELECT action, reason FROM etl.plan('mb.ratio');
UPDATE mb.ev SET amount = 10 WHERE id = 2;
CALL etl.run('mb.ratio');
SELECT * FROM mb.last;
SELECT count(*) FILTER (WHERE status = 'done') AS done, count(*) FROM etl.intervals WHERE target = 'mb.ratio';

-- ---- a dimension that changes touches the intervals of its facts; a key that moves, moves ----
SELECT etl.define_model('mb.named', 'SELECT e.id, e.at, c.name FROM mb.ev e LEFT JOIN mb.cust c ON c.id = e.cust', 'incremental',
	key => '{id}', event_time => 'at', batch_size => '1 month', lookback => '1 month');
CALL etl.run('mb.named');
SELECT * FROM mb.last;
SELECT etl.ingest('mb.cust', '[{"id":2,"name":"B"}]') > 0;
CALL etl.run('mb.named');
SELECT * FROM mb.last;
SELECT count(*) FROM (TABLE mb.named EXCEPT SELECT e.id, e.at, c.name FROM mb.ev e LEFT JOIN mb.cust c ON c.id = e.cust) AS x;
SELECT etl.define_stream('mb.ord', 'mb_push', columns => 'id int, day date, v int', key => '{id}', mode => 'merge');
SELECT etl.ingest('mb.ord', '[{"id":1,"day":"2026-03-02","v":1},{"id":2,"day":"2026-03-03","v":1},{"id":3,"day":"2026-03-05","v":1}]') > 0;
SELECT etl.define_model('mb.ords', 'SELECT id, day, v FROM mb.ord', 'incremental', key => '{id}', event_time => 'day', batch_size => '1 day', strategy => 'merge');
CALL etl.run('mb.ords');
SELECT etl.ingest('mb.ord', '[{"id":3,"day":"2026-03-02","v":2},{"id":1,"day":"2026-03-05","v":2}]') > 0;
CALL etl.run('mb.ords');
SELECT * FROM mb.last;
TABLE mb.ords ORDER BY id;
DELETE FROM mb.ord WHERE id = 2;
CALL etl.run('mb.ords');
SELECT * FROM mb.last;

-- ---- rows in no interval, or in another one ----
SELECT etl.ingest('mb.ord', '[{"id":9,"day":null,"v":2}]') > 0;
\set VERBOSITY sqlstate
CALL etl.run('mb.ords');
\set VERBOSITY default
SELECT sqlstate, error, detail FROM etl.tasks WHERE node = 'mb.ords' AND status = 'failed';
DELETE FROM mb.ord WHERE id = 9;
CALL etl.run('mb.ords');
SELECT status FROM mb.last;
CREATE SEQUENCE mb.calls;
CREATE FUNCTION mb.drift(at timestamptz) RETURNS timestamptz LANGUAGE plpgsql STABLE AS
	$$BEGIN RETURN at + pg_catalog.nextval('mb.calls') % 2 * interval '3 days'; END$$;
SELECT etl.define_model('mb.drifts', 'SELECT id, mb.drift(at) AS at FROM mb.ev WHERE id = 1', 'incremental', event_time => 'at',
	batch_size => '1 day', options => '{"begin": "2026-03-01"}');
\set VERBOSITY sqlstate
CALL etl.run('mb.drifts');
\set VERBOSITY default
SELECT sqlstate, error, detail FROM etl.tasks WHERE node = 'mb.drifts';

-- ---- a change of the definition, a parameter, an input that etl does not see: the whole, at once, and the ledger with it ----
SELECT etl.define_model('mb.daily', 'SELECT date_trunc(''day'', at) AS day, count(*) AS n FROM mb.ev GROUP BY 1',
	'incremental', key => '{day}', event_time => 'day', batch_size => '1 month', options => '{"begin": "2026-03-01"}');
CALL etl.run('mb.daily');
SELECT * FROM mb.last;
SELECT * FROM mb.ledger WHERE target = 'mb.daily';
SELECT min(day) FROM mb.daily;
CREATE TABLE mb.plain AS SELECT i AS id, timestamp '2026-03-01' + i * interval '6 hours' AS at FROM generate_series(1, 20) AS i;
SELECT etl.define_model('mb.p', 'SELECT id, at FROM mb.plain', 'incremental', event_time => 'at', batch_size => '12 hours');
SELECT etl.define_model('mb.pl', 'SELECT id, at FROM mb.plain', 'incremental', event_time => 'at', batch_size => '12 hours', lookback => '1 day');
CALL etl.run('mb.p mb.pl');
SELECT count(*) FROM mb.p;
INSERT INTO mb.plain VALUES (30, '2026-03-01 01:00'), (31, '2026-03-06 01:00');
SELECT node, action, reason FROM etl.plan('mb.p mb.pl');
CALL etl.run('mb.p mb.pl');
SELECT 'p' AS model, id FROM mb.p WHERE id >= 30 UNION ALL SELECT 'pl', id FROM mb.pl WHERE id >= 30 ORDER BY 1, 2;

-- ---- a query that cannot be cut is built in full ----
SELECT etl.define_model('mb.latest', 'SELECT DISTINCT ON (cust) cust, at FROM mb.ev ORDER BY cust, at DESC', 'incremental', key => '{cust}', event_time => 'at', batch_size => '1 day');
CALL etl.run('mb.latest');
SELECT etl.ingest('mb.ev', '[{"id":7,"at":"2026-03-06T05:00:00Z","cust":1,"amount":2}]') > 0;
SELECT action, reason FROM etl.plan('mb.latest');
CALL etl.run('mb.latest');
TABLE mb.latest ORDER BY 1;

-- ---- in a transaction block, and none at all ----
BEGIN;
SELECT etl.ingest('mb.ev', '[{"id":8,"at":"2026-03-06T06:00:00Z","cust":1,"amount":2}]') > 0;
CALL etl.run('mb.daily');
SELECT * FROM mb.last;
ROLLBACK;
SELECT etl.define_stream('mb.none', 'mb_push', columns => 'at timestamptz');
SELECT etl.define_model('mb.empty', 'SELECT at FROM mb.none', 'incremental', event_time => 'at', batch_size => '1 day');
CALL etl.run('mb.empty');
SELECT * FROM mb.last;
SELECT etl.ingest('mb.none', '[{"at":"2026-03-06T06:00:00Z"}]') > 0;
CALL etl.run('mb.empty');
SELECT * FROM mb.last;
-- a local day of 23 hours
SET TimeZone = 'Europe/Berlin';
SELECT etl.ingest('mb.none', '[{"at":"2026-03-28T22:59:00Z"},{"at":"2026-03-28T23:01:00Z"},{"at":"2026-03-29T21:59:00Z"},{"at":"2026-03-29T22:01:00Z"}]') > 0;
SET etl.test_now = '2026-03-30 01:00:00+00';
SELECT etl.define_model('mb.berlin', 'SELECT at, at::date AS day FROM mb.none WHERE at > ''2026-03-20''', 'incremental', event_time => 'at', batch_size => '1 day');
CALL etl.run('mb.berlin');
SELECT since, until, rows FROM etl.intervals WHERE target = 'mb.berlin' ORDER BY 1;
RESET TimeZone;

-- ---- arguments ----
\set VERBOSITY terse
SELECT etl.define_model('mb.x', 'SELECT id, at FROM mb.ev', 'incremental', batch_size => '1 day');
SELECT etl.define_model('mb.x', 'SELECT id, at FROM mb.ev', 'incremental', event_time => 'id', batch_size => '1 day');
SELECT etl.define_model('mb.x', 'SELECT id, at FROM mb.ev', 'incremental', event_time => 'when', batch_size => '1 day');
SELECT etl.define_model('mb.x', 'SELECT id, at FROM mb.ev', 'incremental', event_time => 'at', batch_size => '1 day 2 hours');
SELECT etl.define_model('mb.x', 'SELECT id, at FROM mb.ev', 'incremental', event_time => 'at', batch_size => '-1 day');
SELECT etl.define_model('mb.x', 'SELECT id, at::date AS at FROM mb.ev', 'incremental', event_time => 'at', batch_size => '1 hour');
SELECT etl.define_model('mb.x', 'SELECT id, at FROM mb.ev', 'incremental', event_time => 'at', lookback => '1 day');
SELECT etl.define_model('mb.x', 'SELECT id, at FROM mb.ev', 'incremental', event_time => 'at', batch_size => '1 day', lookback => '-1 day');
SELECT etl.define_model('mb.x', 'SELECT id, at FROM mb.ev', 'table', event_time => 'at', batch_size => '1 day');
SELECT etl.define_model('mb.x', 'SELECT id, at FROM mb.ev', 'incremental', event_time => 'at', batch_size => '1 day', strategy => 'append');
SELECT etl.define_model('mb.x', 'SELECT id, at FROM mb.ev', 'incremental', event_time => 'at', batch_size => '1 day', options => '{"begin": "yesteryear"}');
SELECT etl.define_model('mb.x', 'SELECT id, at FROM mb.ev', 'incremental', event_time => 'at', batch_size => '1 ms', options => '{"begin": "2020-01-01"}');
SELECT reason FROM etl.plan('mb.x');

SELECT etl.drop_model(m, cascade => true, drop_relation => true) FROM unnest('{mb.daily,mb.ratio,mb.named,mb.ords,mb.drifts,mb.p,mb.pl,mb.latest,mb.empty,mb.berlin,mb.x}'::text[]) AS m;
SELECT count(*) FROM etl.intervals WHERE target LIKE 'mb.%';
SELECT etl.drop_stream(s, drop_relation => true) FROM unnest('{mb.ev,mb.cust,mb.ord,mb.none}'::text[]) AS s;
SELECT etl.drop_source('mb_push');
DROP VIEW mb.last, mb.ledger;
SET client_min_messages = error;
DROP SCHEMA mb CASCADE;
DROP OWNED BY mb_nobody;
DROP ROLE mb_nobody;
