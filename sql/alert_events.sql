-- Each event fires when it should and at no other time, names its object, counts what repeats, and is over when its cause is gone.
CREATE DATABASE regress_alert_events;
\c regress_alert_events
SET client_min_messages = error;
SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres';
CREATE EXTENSION etl;
CREATE SCHEMA e; CREATE SCHEMA raw;
-- alerts and what is on its way, since the last look
CREATE VIEW e.told AS SELECT a.rule, a.event, a.object, a.state, a.occurrences AS n,
	regexp_replace(regexp_replace(what, '\m(in run|run) \d+', '\1 N'), '\d+ s\M', 'N s', 'g') AS what
	FROM etl.alerts AS a ORDER BY a.alert_id;
SELECT etl.define_channel('bell', 'notify', '{"channel": "etl_alerts"}');
-- run_slow: much longer than usual, and long enough; by the measure of each rule, for its nodes
SELECT etl.define_alert('slow', '{run_slow}', '{bell}', selector => 'e.naps', options => '{"slow_factor": 5, "slow_min": "500 ms"}');
SELECT etl.define_alert('slower', '{run_slow}', '{bell}', selector => 'e.naps', options => '{"slow_factor": 5, "slow_min": "1 h"}');
CREATE TABLE e.pause AS SELECT 1.0::float AS seconds;
SELECT etl.define_model('e.naps', 'SELECT pg_sleep(seconds) IS NULL AS x, now() AS at FROM e.pause', 'table');
SELECT etl.define_model('e.naps_too', 'SELECT pg_sleep(seconds) IS NULL AS x, now() AS at FROM e.pause', 'table');
CALL etl.run('e.*');
SELECT count(*) AS first_time FROM e.told;
UPDATE e.pause SET seconds = 0.01;
CALL etl.run('e.*');
DELETE FROM etl.task;
CALL etl.run('e.*');
CALL etl.run('e.*');
CALL etl.run('e.*');
SELECT count(*) AS as_usual FROM e.told;
UPDATE e.pause SET seconds = 1;
CALL etl.run('e.*');
SELECT * FROM e.told;
CALL etl.run('e.naps');
SELECT * FROM e.told;
SELECT message, count(*) FROM etl.deliveries GROUP BY 1;
SELECT etl.drop_alert('slow'), etl.drop_alert('slower');
TRUNCATE etl.alert, etl.alert_open, etl.outbox;
-- rejects: records put aside; over when a load had none, or none is open any more, and not by a run without anything new
SELECT etl.define_alert('bad', '{rejects}', '{bell}', selector => 'raw.in');
SELECT current_setting('data_directory') || '/etl_alert_events' AS dir \gset
SELECT 'cat > /dev/null; rm -rf ' || :'dir' || '; mkdir ' || :'dir' AS prepare, 'cat > /dev/null; rm -rf ' || :'dir' AS clean \gset
SELECT :'dir' || '/a1.csv' AS a1, :'dir' || '/a2.csv' AS a2, :'dir' || '/a3.csv' AS a3, :'dir' || '/a4.csv' AS a4, :'dir' || '/a5.csv' AS a5 \gset
COPY (SELECT) TO PROGRAM :'prepare';
SELECT set_config('etl.allowed_directories', :'dir', false) <> '' AS allowed;
SELECT etl.define_source('files', 'file', jsonb_build_object('root', :'dir'));
SELECT etl.define_stream('raw.in', 'files', '{"path": "a*.csv"}', columns => 'id int');
COPY (VALUES ('id'), ('1')) TO :'a1';
CALL etl.run('raw.in');
SELECT count(*) AS none FROM e.told;
COPY (VALUES ('id'), ('x'), ('y'), ('2')) TO :'a2';
CALL etl.run('raw.in');
SELECT * FROM e.told;
CALL etl.run('raw.in');
SELECT state, n FROM e.told;
COPY (VALUES ('id'), ('z')) TO :'a3';
CALL etl.run('raw.in');
SELECT * FROM e.told;
SELECT etl.discard('raw.in');
CALL etl.run('raw.in');
SELECT state, n FROM e.told;
COPY (VALUES ('id'), ('z')) TO :'a3';
CALL etl.run('raw.in');
COPY (VALUES ('id'), ('3')) TO :'a4';
CALL etl.run('raw.in');
SELECT event, object, state, n FROM e.told;
SELECT etl.drop_alert('bad');
TRUNCATE etl.alert, etl.alert_open, etl.outbox;
-- schema_changed: other columns than before; at once over
SELECT etl.define_alert('columns', '{schema_changed}', '{bell}');
CALL etl.run('raw.in');
SELECT count(*) AS none FROM e.told;
COPY (VALUES ('id,colour,size'), ('4,red,7')) TO :'a5';
CALL etl.run('raw.in');
SELECT * FROM e.told;
SELECT etl.drop_alert('columns');
TRUNCATE etl.alert, etl.alert_open, etl.outbox;
-- check_failed: by check; a rule may leave out what only warns; over when that check passes
SELECT etl.define_alert('checks', '{check_failed}', '{bell}', options => '{"warnings": false}');
SELECT etl.define_alert('warnings', '{check_failed}', '{bell}');
SELECT etl.define_alert('others', '{check_failed}', '{bell}', selector => 'raw.*');
SELECT etl.define_alert('failures', '{run_failed}', '{bell}');
CREATE TABLE e.rows AS SELECT 1 AS a, 1 AS b, 0 AS c;
SELECT etl.define_model('e.checked', 'SELECT a, b, c FROM e.rows', 'table');
SELECT etl.define_check('e.checked', 'range', '{a}', '{"max": 1}');
SELECT etl.define_check('e.checked', 'range', '{b}', '{"max": 1}', on_fail => 'warn');
SELECT etl.define_check('e.checked', 'expression', '{}', '{"expression": "1 / (c + 1) >= 0"}', on_fail => 'warn', name => 'quotient');
CALL etl.run('e.checked');
SELECT count(*) AS none FROM e.told;
UPDATE e.rows SET b = 2;
CALL etl.run('e.checked');
SELECT * FROM e.told;
UPDATE e.rows SET a = 2;
CALL etl.run('e.checked');
SELECT * FROM e.told;
UPDATE e.rows SET a = 1;
CALL etl.run('e.checked');
SELECT rule, object, state, n FROM e.told;
UPDATE e.rows SET b = 1;
CALL etl.run('e.checked');
SELECT rule, object, state, n FROM e.told;
SELECT etl.drop_alert(name) FROM etl.alert_rules;
TRUNCATE etl.alert, etl.alert_open, etl.outbox, etl.alert_node;
-- no_run: nobody tried a node for as long as the rule says; over when somebody does
SELECT etl.define_alert('idle', '{no_run}', '{bell}', selector => 'e.checked e.naps', options => '{"no_run_for": "2 days"}');
CALL etl.tick();
SELECT count(*) AS none FROM e.told;
SELECT (now() + interval '47 hours')::text AS soon, (now() + interval '49 hours')::text AS late, (now() + interval '60 hours')::text AS later,
	(now() + interval '73 hours')::text AS latest \gset
SET etl.test_now = :'soon';
CALL etl.tick();
SELECT count(*) AS none FROM e.told;
SET etl.test_now = :'late';
CALL etl.tick();
CALL etl.tick();
SELECT * FROM e.told;
CALL etl.run('e.naps');
SELECT state FROM e.told;
CALL etl.run('e.checked');
SELECT state FROM e.told;
SELECT message, count(*) FROM etl.deliveries GROUP BY 1 ORDER BY 1;
SELECT etl.drop_alert('idle');
RESET etl.test_now;
TRUNCATE etl.alert, etl.alert_open, etl.outbox, etl.alert_node;
-- freshness: a promise that is not kept, whether anything ran or not; over when there is something new
SELECT etl.define_alert('stale', '{freshness}', '{bell}');
SELECT etl.define_alert('missed', '{sla_missed}', '{bell}', selector => 'e.nothing_here');
SELECT etl.define_sla('daily', 'e.checked', freshness => '2 days');
CALL etl.tick();
SELECT count(*) AS none FROM e.told;
SET etl.test_now = :'soon';
CALL etl.tick();
SELECT count(*) AS none FROM e.told;
SET etl.test_now = :'latest';
CALL etl.tick();
SET etl.test_now = :'latest';
CALL etl.tick();
SELECT * FROM e.told;
SELECT target, state FROM etl.freshness WHERE target = 'e.checked';
RESET etl.test_now;
CALL etl.run('e.checked');
CALL etl.tick();
SELECT rule, object, state, n FROM e.told;
-- the end
COPY (SELECT) TO PROGRAM :'clean';
\c postgres
DROP DATABASE regress_alert_events;
