-- History is partitioned by number; what is old, or too much, goes; what counts stays.
CREATE DATABASE regress_history;
\c regress_history
SET client_min_messages = warning;
CREATE EXTENSION etl;
CREATE SCHEMA history_test;
CREATE TABLE history_test.input AS SELECT 1 AS n;
SELECT etl.define_model('history_test.m', 'SELECT n FROM history_test.input', materialized => 'table');
SELECT etl.define_check('history_test.m', 'not_null', '{n}');
-- a row never lacks a partition, however far the numbers jump
SELECT max(run_id) AS before FROM etl.runs \gset
SELECT setval('etl.run_id_seq', 29998), setval('etl.task_id_seq', 299998), setval('etl.event_id_seq', 299998);
CALL etl.run('history_test.m');
CALL etl.run('history_test.m');
CALL etl.run('history_test.m');
SELECT run_id, tableoid::regclass FROM etl.run WHERE run_id > 29000 ORDER BY 1;
SELECT DISTINCT tableoid::regclass FROM etl.check_result WHERE target = 'history_test.m' ORDER BY 1;
SELECT count(*) FROM etl.tasks WHERE node = 'history_test.m';
-- a partition that was made in a transaction that is rolled back is made again
SELECT setval('etl.run_id_seq', 59998);
BEGIN;
CALL etl.run('history_test.m');
ROLLBACK;
CALL etl.run('history_test.m');
SELECT run_id, tableoid::regclass FROM etl.run WHERE run_id > 59000 ORDER BY 1;
-- too many: the newest stay, and the newest result of each check although its run has gone
SET etl.history_max_runs = 1;
SELECT relation, rows > 0 AS some, partitions > 0 AS whole_ones FROM etl.trim_history(dry_run => true) ORDER BY 1;
SELECT count(*) > 1 AS dry FROM etl.runs;
SELECT count(*) FROM etl.trim_history();
SELECT run_id FROM etl.runs;
SELECT count(*) FROM etl.tasks;
SELECT status FROM etl.check_results WHERE target = 'history_test.m';
SELECT score FROM etl.quality_score('history_test.m') WHERE dimension = 'overall';
SELECT * FROM etl.trim_history() ORDER BY 1;
-- too old
SET etl.history_max_age = '30d';
SELECT sum(rows) FROM etl.trim_history();
SET etl.test_now = '2999-01-01';
SELECT relation, rows, partitions FROM etl.trim_history(dry_run => true) WHERE relation = 'run';
RESET etl.test_now;
-- a run that has not ended holds what comes after it
UPDATE etl.run SET status = 'queued' WHERE run_id = 60000;
SET etl.test_now = '2999-01-01';
SELECT sum(rows) FROM etl.trim_history() WHERE relation = 'run';
RESET etl.test_now;
RESET etl.history_max_runs;
-- too many of each other kind: the newest stay, and so do open alerts, deliveries that wait, and newest results of checks
SET etl.history_max_age = 0;
SELECT etl.define_channel('bell', 'notify', '{"channel": "bell"}');
SELECT etl.define_alert('all', '{run_failed}', '{bell}');
SELECT count(etl.define_model('history_test.f' || i, 'SELECT 1 / n AS x FROM history_test.input', 'table')) FROM generate_series(1, 5) AS i;
UPDATE etl.run SET status = 'failed';
UPDATE history_test.input SET n = 0;
SET client_min_messages = error;
\set VERBOSITY sqlstate
CALL etl.run('history_test.f*');
UPDATE history_test.input SET n = 1;
CALL etl.run('history_test.f1 history_test.f2 history_test.f3 history_test.m');
CALL etl.run('history_test.m');
CALL etl.tick();
SELECT state, count(*) FROM etl.alerts GROUP BY 1 ORDER BY 1;
SELECT status, count(*) FROM etl.deliveries GROUP BY 1 ORDER BY 1;
UPDATE etl.outbox SET status = 'waiting' WHERE delivery_id = (SELECT min(delivery_id) FROM etl.outbox);
SET etl.history_max_entries = 1;
SELECT relation FROM etl.trim_history(dry_run => true) WHERE rows > 0 ORDER BY 1;
SELECT count(*) FROM etl.trim_history();
SELECT state, count(*) FROM etl.alerts GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM etl.alert_open;
SELECT status, count(*) FROM etl.deliveries GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM etl.logs;
SELECT target, check_name, count(*) FROM etl.check_results GROUP BY 1, 2;
SELECT count(*) > 1 AS runs_stay FROM etl.runs;
SELECT sum(rows) FROM etl.trim_history();
RESET etl.history_max_entries;
RESET etl.history_max_age;
\c postgres
DROP DATABASE regress_history;
