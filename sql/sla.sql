-- Promises are judged by the clock, also when nothing runs; what is missed is told once and counted until it is made good.
CREATE DATABASE regress_sla;
\c regress_sla
SET client_min_messages = error;
SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres';
CREATE EXTENSION etl;
-- the clock of this test is years ahead of its runs
SET etl.history_max_age = 0;
CREATE SCHEMA s;
CREATE TABLE s.input AS SELECT 1 AS n;
SELECT etl.define_model('s.root', 'SELECT n FROM s.input', materialized => 'table');
SELECT count(etl.define_model('s.m' || i, 'SELECT n FROM s.root')) FROM generate_series(1, 40) AS i;
SELECT etl.define_channel('bell', 'notify', '{"channel": "etl_alerts"}');
SELECT etl.define_alert('late', '{sla_missed, freshness}', '{bell}');
-- the clock of the tests; what runs do is moved to it
CREATE PROCEDURE s.done(at timestamptz) LANGUAGE sql AS $$
	UPDATE etl.task SET started_at = at - interval '10 min', finished_at = at WHERE started_at > '2031-01-01' OR started_at < '2029-01-01';
	UPDATE etl.node_state SET last_success_at = at WHERE last_success_at > '2031-01-01' OR last_success_at < '2029-01-01';
$$;
SET etl.test_now = '2030-01-01 06:00+00';
SELECT etl.define_sla('morning', 's.*', finish_by => '07:00', timezone => 'Europe/Berlin');
SELECT etl.define_sla('morning', 's.*', finish_by => '07:00', timezone => 'Europe/Berlin');
SELECT name, selector, finish_by, timezone FROM etl.slas;
-- the deadline of 06:00 UTC was there before the promise; the next one passes without a run
CALL etl.tick();
SELECT count(*) FROM etl.sla_results;
SET etl.test_now = '2030-01-02 05:59+00';
CALL etl.tick();
SELECT count(*) FROM etl.sla_results;
SET etl.test_now = '2030-01-02 06:00+00';
CALL etl.tick();
SELECT measure, due_at, met, count(*) FROM etl.sla_results GROUP BY 1, 2, 3;
SELECT event, object, what, since, others, state FROM etl.alerts;
SELECT message, count(*) FROM etl.deliveries GROUP BY 1;
-- the run comes 80 minutes late: made good, and the alert is over
CALL etl.run();
CALL s.done('2030-01-02 07:20+00');
SET etl.test_now = '2030-01-02 07:21+00';
UPDATE etl.sla SET check_at = NULL;
CALL etl.tick();
SELECT met, done_at, count(*) FROM etl.sla_results GROUP BY 1, 2;
SELECT state FROM etl.alerts;
-- nothing runs on the next day; on the one after a run in time makes good for both
SET etl.test_now = '2030-01-03 06:00+00';
CALL etl.tick();
SELECT due_at, met, count(*) FROM etl.sla_results GROUP BY 1, 2 ORDER BY 1;
CALL etl.run(full_refresh => true);
CALL s.done('2030-01-04 05:00+00');
SET etl.test_now = '2030-01-04 06:00+00';
CALL etl.tick();
SELECT due_at, met, count(*) FROM etl.sla_results GROUP BY 1, 2 ORDER BY 1;
-- by hand: 3 deadlines of 41 nodes, those of one day in time; made good after 1:20 and 23:00 hours, 12:10 on average
SELECT sla, deadlines, met, share_met, worst_node, worst_late, mean_time_to_recover FROM etl.sla_report('2030-01-01', '2030-01-05');
-- two runs of 41 nodes, and where both tries of one had failed 80 of 82; what was before or after does not count
SELECT tries, success_rate FROM etl.sla_report('2030-01-01', '2030-01-05');
BEGIN;
UPDATE etl.task SET status = 'failed' WHERE node = 's.m1';
SELECT tries, success_rate FROM etl.sla_report('2030-01-01', '2030-01-05');
SELECT tries, success_rate, deadlines FROM etl.sla_report('2030-01-03', '2030-01-04');
ROLLBACK;
SELECT etl.drop_sla('morning');
SELECT state, count(*) FROM etl.alerts GROUP BY 1;
-- three days off: the deadlines are judged when somebody looks again; in summer it is 05:00 UTC
SET etl.test_now = '2030-03-30 12:00+00';
SELECT etl.define_sla('summer', 's.root', finish_by => '07:00', timezone => 'Europe/Berlin');
SET etl.test_now = '2030-04-02 12:00+00';
CALL etl.tick();
SELECT due_at, met FROM etl.sla_results WHERE sla = 'summer' ORDER BY 1;
SELECT etl.drop_sla('summer');
-- freshness: state of the nodes, one alert for root and children
SET etl.test_now = '2030-05-01 12:00+00';
CALL etl.run(full_refresh => true);
CALL s.done('2030-05-01 12:00+00');
UPDATE etl.node_state SET last_success_at = '2030-05-01 12:00+00';
SELECT etl.define_sla('fresh', 's.root s.m1', freshness => '6 hours');
SELECT etl.define_sla('stale', 's.root', freshness => '1 day');
SELECT target, age, sla, state FROM etl.freshness WHERE target IN ('s.root', 's.m1', 's.m2') ORDER BY 1;
SET etl.test_now = '2030-05-01 18:01+00';
SELECT target, age, sla, state FROM etl.freshness WHERE target IN ('s.root', 's.m1', 's.m2') ORDER BY 1;
CALL etl.tick();
SELECT event, object, what, since, others FROM etl.alerts WHERE state = 'firing';
CALL etl.tick();
SELECT occurrences FROM etl.alerts WHERE state = 'firing';
SELECT etl.acknowledge(alert_id) FROM etl.alerts WHERE state = 'firing';
SELECT target, state FROM etl.freshness WHERE target IN ('s.root', 's.m1', 's.m2') ORDER BY 1;
UPDATE etl.node_state SET last_success_at = '2030-05-01 19:00+00';
SET etl.test_now = '2030-05-01 19:01+00';
UPDATE etl.sla SET check_at = NULL;
CALL etl.tick();
SELECT count(*) FROM etl.alerts WHERE state <> 'resolved';
SELECT node, measure, due_at, met, done_at FROM etl.sla_results WHERE sla = 'fresh' ORDER BY 1;
-- a day on which it was fresh all the time is one deadline that was met
UPDATE etl.node_state SET last_success_at = '2030-05-03 00:00+00';
SET etl.test_now = '2030-05-03 00:00+00';
UPDATE etl.sla SET check_at = NULL;
CALL etl.tick();
SELECT node, due_at, met FROM etl.sla_results WHERE sla = 'fresh' ORDER BY 1, 2;
-- who is told of the failure of the root is not told that what is below it is late
SELECT etl.define_alert('late', '{sla_missed, freshness, run_failed}', '{bell}');
ALTER TABLE s.input RENAME TO gone;
CALL etl.run(full_refresh => true);
SELECT event, object, others FROM etl.alerts WHERE state = 'firing';
SET etl.test_now = '2030-05-04 12:00+00';
CALL etl.tick();
SELECT event, object, others FROM etl.alerts WHERE state = 'firing';
SELECT state FROM etl.freshness WHERE target = 's.m1';
ALTER TABLE s.gone RENAME TO input;
CALL etl.run(full_refresh => true);
-- a try takes too long
SELECT etl.drop_sla('fresh'), etl.drop_sla('stale');
SET etl.test_now = '2030-06-01 12:00+00';
SELECT etl.define_sla('quick', 's.root', max_duration => '30 min');
INSERT INTO etl.task (run_id, node, kind, status, started_at) VALUES (1, 's.root', 'model', 'running', '2030-06-01 12:05+00');
SET etl.test_now = '2030-06-01 12:34+00';
UPDATE etl.sla SET check_at = NULL;
CALL etl.tick();
SELECT count(*) FROM etl.sla_results WHERE sla = 'quick';
SET etl.test_now = '2030-06-01 12:35+00';
CALL etl.tick();
SELECT due_at, met, done_at FROM etl.sla_results WHERE sla = 'quick';
SELECT object, what FROM etl.alerts WHERE state = 'firing';
UPDATE etl.task SET status = 'succeeded', finished_at = '2030-06-01 12:50+00' WHERE status = 'running';
SET etl.test_now = '2030-06-01 13:00+00';
UPDATE etl.sla SET check_at = NULL;
CALL etl.tick();
SELECT due_at, met, done_at FROM etl.sla_results WHERE sla = 'quick';
SELECT count(*) FROM etl.alerts WHERE state = 'firing';
-- a selector that fits nothing yet, and a promise that cannot be judged, harm nobody
SELECT etl.define_sla('later', 'tag:none', freshness => '1 hour');
CALL etl.tick();
\c postgres
DROP DATABASE regress_sla;
