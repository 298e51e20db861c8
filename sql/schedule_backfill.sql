-- A backfill is queued step by step below all other runs, can be paused, tells what it would do, and is refused where no node can build an interval.
\set VERBOSITY terse
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SET TimeZone = 'Europe/Berlin';
SET DateStyle = 'ISO, YMD';
CREATE SCHEMA sb;
CREATE TABLE sb.seed AS SELECT i AS id, timestamptz '2026-03-01' + i * interval '1 hour' AS at FROM generate_series(1, 100) AS i;
SELECT etl.define_model('sb.hours', 'SELECT id, at FROM sb.seed', 'incremental', event_time => 'at', key => '{id}');
SELECT etl.define_model('sb.other', 'SELECT count(*) AS n FROM sb.hours', 'table');

\set VERBOSITY default
SELECT * FROM etl.backfill('sb.*', '2026-03-01', '2026-04-01');
\set VERBOSITY terse
CALL etl.run('sb.*', since => '2026-03-01', until => '2026-04-01');
SELECT etl.define_model('sb.hours', 'SELECT id, at FROM sb.seed', 'incremental', event_time => 'at', key => '{id}', batch_size => '1 day');

SELECT * FROM etl.backfill('sb.*', '2026-03-28', '2026-03-31 12:00', '1 day', dry_run => true);
SELECT count(*) FROM etl.runs WHERE trigger = 'backfill';
SELECT run_id IS NOT NULL AS run, since, until, nodes, status FROM etl.backfill('sb.*', '2026-03-28', '2026-03-31 12:00', '1 day');
SELECT since, until, status, priority, lane = trigger_name AS in_lane, trigger_name ~ '^backfill:\d+$' AS named FROM etl.run WHERE trigger = 'backfill' ORDER BY run_id;
-- what waits or runs is not queued again
SELECT since, status FROM etl.backfill('sb.*', '2026-03-28', '2026-03-31 12:00', '1 day', 'all');
-- the first has succeeded, the second failed, and so say the runs and the ledger
UPDATE etl.run SET status = CASE since WHEN '2026-03-28' THEN 'succeeded' WHEN '2026-03-29' THEN 'failed' ELSE status END WHERE trigger = 'backfill';
INSERT INTO etl.model_interval (model, since, until, status) VALUES ('sb.hours', '2026-03-28', '2026-03-29', 'done'), ('sb.hours', '2026-03-29', '2026-03-30', 'failed');
SELECT since, status FROM etl.backfill('sb.*', '2026-03-28', '2026-03-31 12:00', '1 day', dry_run => true);
SELECT since, status FROM etl.backfill('sb.*', '2026-03-28', '2026-03-31 12:00', '1 day', 'failed', dry_run => true);
SELECT since, status FROM etl.backfill('sb.*', '2026-03-28', '2026-03-31 12:00', '1 day', 'all', dry_run => true);
-- another interval was never tried
SELECT since, until, status FROM etl.backfill('sb.*', '2026-01-01', '2026-03-01', '1 month', 'failed', dry_run => true);
SELECT since, until, status FROM etl.backfill('sb.hours', '2026-01-31', '2026-04-15', '1 month', dry_run => true);
SELECT since, until, status FROM etl.backfill('sb.hours', '2026-01-31', '2026-04-15', dry_run => true);

-- ---- below all others, one after another, and not while it is paused ----
SELECT trigger_name AS name FROM etl.runs WHERE trigger = 'backfill' LIMIT 1 \gset
SELECT etl.pause(:'name');
INSERT INTO etl.run (selector, status, led_by, requested_by) VALUES ('sb.other', 'queued', 'queue', current_user);
CALL etl.tick();
SELECT trigger, status, count(*) FROM etl.runs WHERE selector LIKE 'sb%' GROUP BY 1, 2 ORDER BY 1, 2;
SELECT etl.resume(:'name');
INSERT INTO etl.run (selector, status, led_by, requested_by) VALUES ('sb.other', 'queued', 'queue', current_user);
CALL etl.tick();
SELECT trigger, since, status FROM etl.run WHERE selector LIKE 'sb%' AND status = 'succeeded' AND started_at IS NOT NULL AND (trigger = 'backfill' OR run_id = (SELECT max(run_id) FROM etl.run)) ORDER BY started_at;

-- ---- arguments ----
SELECT * FROM etl.backfill(NULL, '2026-01-01', '2026-02-01');
SELECT * FROM etl.backfill('sb.hours', '2026-02-01', '2026-02-01');
SELECT * FROM etl.backfill('sb.hours', '-infinity', '2026-02-01');
SELECT * FROM etl.backfill('sb.hours', '2026-01-01', '2026-02-01', '0');
SELECT * FROM etl.backfill('sb.hours', '2026-01-01', '2026-02-01', '-1 day');
SELECT * FROM etl.backfill('sb.hours', '2026-01-01', '2026-02-01', '1 s');
SELECT * FROM etl.backfill('sb.hours', '2026-01-01', '2026-02-01', reprocess => 'some');
SELECT * FROM etl.backfill('sb.no_such', '2026-01-01', '2026-02-01');
SELECT etl.pause('backfill:0');

DELETE FROM etl.run WHERE selector LIKE 'sb%';
SELECT etl.drop_model(m, cascade => true, drop_relation => true) FROM unnest('{sb.hours}'::text[]) AS m;
DROP SCHEMA sb CASCADE;
