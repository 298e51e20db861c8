-- Every slot of a schedule is run at most once, skipped ones are told, and misfire, overlap, jitter, calendars and pauses decide by the clock that tests set.
\set VERBOSITY terse
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO, YMD';
CREATE SCHEMA sf;
-- what other tests fired is no matter here
DELETE FROM etl.schedule_slot;
DELETE FROM etl.run WHERE trigger <> 'manual';
SELECT etl.define_model('sf.m', 'SELECT 1 AS x', 'table');
SELECT etl.define_model('sf.bad', 'SELECT 1 / (SELECT count(*) - count(*) FROM sf.nothing) AS x', 'table');
CREATE TABLE sf.nothing (i int);
CREATE VIEW sf.slots AS
	SELECT schedule, status, reason, count(*) AS n, min(due_at) AS first, max(due_at) AS last
	FROM etl.schedule_slots GROUP BY 1, 2, 3;
CREATE VIEW sf.runs AS
	SELECT trigger, trigger_name, status, count(*) FROM etl.runs WHERE trigger <> 'manual' GROUP BY 1, 2, 3 ORDER BY 2, 3;

-- ---- misfire: 24 hours down on an hourly schedule are 0, 1 and 24 runs ----
SET etl.test_now = '2026-06-01 00:30Z';
SELECT etl.define_schedule('down ' || m, 'sf.m', cron => '0 * * * *', misfire => m) FROM unnest('{skip,once,all}'::text[]) AS m;
CALL etl.tick();
SELECT * FROM sf.runs;
SET etl.test_now = '2026-06-02 00:30Z';
CALL etl.tick();
CALL etl.tick();
SELECT * FROM sf.runs;
SELECT * FROM sf.slots ORDER BY schedule, status;
SELECT level, message, detail FROM etl.logs WHERE message LIKE 'schedule "down%' ORDER BY message;
SELECT name, next_due, last_due FROM etl.schedules ORDER BY name;
-- in time, all three run
SET etl.test_now = '2026-06-02 01:00:59Z';
CALL etl.tick();
SELECT schedule, due_at, status FROM etl.schedule_slots WHERE due_at > '2026-06-02 00:30Z' ORDER BY 1;
-- the same slots again, as a second scheduler would find them: nothing is run twice
SELECT count(*) AS runs FROM etl.runs WHERE trigger = 'schedule' \gset before_
BEGIN;
UPDATE etl.schedule SET next_due = '2026-06-02 01:00Z', fire_at = '2026-06-02 01:00Z' WHERE name LIKE 'down%';
COMMIT;
CALL etl.tick();
SELECT count(*) - :before_runs AS more FROM etl.runs WHERE trigger = 'schedule';
SELECT etl.drop_schedule('down ' || m) FROM unnest('{skip,once,all}'::text[]) AS m;
DELETE FROM etl.run WHERE trigger = 'schedule';

-- ---- every: from its anchor, without drift; the grid goes on when it is late ----
SET etl.test_now = '2026-06-02 10:07:13.5Z';
SELECT etl.define_schedule('every', 'sf.m', every => '25 minutes');
SELECT etl.define_schedule('every', 'sf.m', every => '25 minutes');
SELECT array_agg(s) FROM etl.next_runs('every', 3) AS s;
SET etl.test_now = '2026-06-02 10:33:30Z';
CALL etl.tick();
SELECT next_due, last_due FROM etl.schedules;
SELECT etl.define_schedule('every', 'sf.m', every => '25 minutes', description => 'its grid stays');
SELECT next_due, last_due FROM etl.schedules;
SELECT array_agg(s) FROM etl.next_runs('every', 3, '2026-06-02 09:00Z') AS s;
-- from start on, months and days by the clock of the zone
SELECT etl.define_schedule('every', 'sf.m', every => '1 month', timezone => 'Europe/Berlin', options => '{"start": "2026-01-31 06:00", "end": "2026-05-01"}');
SELECT array_agg(s) FROM etl.next_runs('every', 10, '2026-01-01Z') AS s;
SELECT etl.define_schedule('every', 'sf.m', every => '1 day', timezone => 'Europe/Berlin', options => '{"start": "2026-03-28 02:30"}');
SELECT array_agg(s) FROM etl.next_runs('every', 3, '2026-01-01Z') AS s;
SELECT etl.define_schedule('every', 'sf.m', every => '24 hours', timezone => 'Europe/Berlin', options => '{"start": "2026-03-28 02:30"}');
SELECT array_agg(s) FROM etl.next_runs('every', 3, '2026-01-01Z') AS s;
SELECT etl.drop_schedule('every');

-- ---- jitter: the same for the same slot, within its bound, and the slot is what counts ----
SET etl.test_now = '2026-06-02 00:00Z';
SELECT etl.define_schedule('jitter', 'sf.m', cron => '*/10 * * * *', options => '{"jitter": "5 min"}');
SELECT fire_at - next_due BETWEEN '0' AND '5 min', fire_at <> next_due FROM etl.schedule;
SELECT array_agg(s) FROM etl.next_runs('jitter', 2) AS s;
SELECT set_config('etl.test_now', (fire_at - interval '1 ms')::text, false) <> '' AS early FROM etl.schedule;
CALL etl.tick();
SELECT count(*) FROM etl.runs WHERE trigger_name = 'jitter';
SELECT set_config('etl.test_now', fire_at::text, false) <> '' AS there FROM etl.schedule;
CALL etl.tick();
SELECT due_at, status FROM etl.schedule_slots WHERE schedule = 'jitter';
SELECT etl.drop_schedule('jitter');

-- ---- start, end, blackouts and days off take slots out ----
SET etl.test_now = '2026-12-20 00:00Z';
CREATE TABLE sf.holidays (name text, day date);
INSERT INTO sf.holidays VALUES ('Christmas', '2026-12-25'), ('New Year', '2027-01-01');
SELECT etl.define_schedule('calendar', 'sf.m', cron => '0 9 * * *', timezone => 'Europe/Berlin', options => '{"calendar": "sf.holidays"}');
SELECT array_agg(s) FROM etl.next_runs('calendar', 10) AS s;
SELECT etl.define_schedule('calendar', 'sf.m', cron => '0 9 * * *', options => '{"calendar": ["2026-12-22"], "weekend": "fri,sat"}');
SELECT array_agg(s) FROM etl.next_runs('calendar', 5) AS s;
SELECT etl.define_schedule('calendar', 'sf.m', cron => '0 9 * * *', options => '{"weekend": "mon-thu"}');
SELECT array_agg(s) FROM etl.next_runs('calendar', 4) AS s;
SELECT etl.define_schedule('calendar', 'sf.m', cron => '0 */6 * * *', timezone => 'Europe/Berlin',
	options => '{"blackout": [{"since": "2026-12-24", "until": "2026-12-27 12:00"}, {"since": "22:00", "until": "06:00"}], "start": "2026-12-23", "end": "2026-12-28T00:00+01"}');
SELECT array_agg(s) FROM etl.next_runs('calendar', 10) AS s;
SELECT etl.define_schedule('calendar', 'sf.m', cron => '30 */8 * * *', options => '{"blackout": {"since": "20:00", "until": "10:00", "days": "fri-sat"}}');
SELECT array_agg(to_char(s, 'Dy DD HH24:MI')) FROM etl.next_runs('calendar', 8, '2026-12-24 12:00Z') AS s;
-- a calendar is read again
SELECT etl.define_schedule('calendar', 'sf.m', cron => '0 9 * * *', options => '{"calendar": "sf.holidays"}');
INSERT INTO sf.holidays VALUES ('Monday', '2026-12-21');
UPDATE etl.schedule SET days_off_at = days_off_at - interval '61 min';
CALL etl.tick();
SELECT next_due FROM etl.schedules;
-- one that is gone keeps what was read, and is reported
DROP TABLE sf.holidays;
UPDATE etl.schedule SET days_off_at = days_off_at - interval '61 min';
CALL etl.tick();
SELECT next_due FROM etl.schedules;
SELECT message, detail FROM etl.logs WHERE message LIKE 'the calendar%';
SELECT etl.drop_schedule('calendar');

-- ---- overlap ----
SET etl.test_now = '2026-06-02 00:00Z';
SELECT etl.define_schedule('overlap ' || o, 'sf.m', cron => '* * * * *', overlap => o) FROM unnest('{skip,queue,parallel}'::text[]) AS o;
-- a run of each is still there
INSERT INTO etl.run (selector, trigger, trigger_name, status, led_by, held, requested_by, lane)
	SELECT 'sf.m', 'schedule', 'overlap ' || o, 'queued', 'queue', true, current_user, nullif('schedule:overlap ' || o, 'schedule:overlap parallel')
	FROM unnest('{skip,queue,parallel}'::text[]) AS o;
SET etl.test_now = '2026-06-02 00:01:10Z';
CALL etl.tick();
SELECT schedule, due_at, status, regexp_replace(reason, '\d+', 'N') AS reason FROM etl.schedule_slots WHERE schedule LIKE 'overlap%' ORDER BY 1;
SELECT * FROM sf.runs;
SELECT etl.drop_schedule('overlap ' || o) FROM unnest('{skip,queue,parallel}'::text[]) AS o;
DELETE FROM etl.run WHERE trigger = 'schedule';

-- ---- what a run gets: parameters, options, its owner ----
CREATE ROLE sf_owner NOLOGIN;
GRANT etl_developer TO sf_owner;
GRANT ALL ON SCHEMA sf TO sf_owner;
SET ROLE sf_owner;
SELECT etl.define_model('sf.p', 'SELECT current_user::text AS who, etl.param(''region'', ''none'') AS region', 'table');
SELECT etl.define_schedule('params', 'sf.p', cron => '@hourly', params => '{"region": "EU"}', options => '{"timeout": "10 min", "priority": 7, "workers": 2, "retry": {"attempts": 2}}');
RESET ROLE;
SET etl.test_now = '2026-06-02 01:00Z';
CALL etl.tick();
SELECT * FROM sf.p;
SELECT trigger, trigger_name, status, requested_by FROM etl.runs WHERE trigger_name = 'params';
SELECT due_at, priority, timeout_ms, workers, retry FROM etl.run WHERE trigger_name = 'params';
-- a run that fails is told and does not stop the tick
SELECT etl.define_schedule('fails', 'sf.bad', cron => '@hourly');
SET etl.test_now = '2026-06-02 02:00Z';
CALL etl.tick();
SELECT trigger_name, status, error FROM etl.runs WHERE trigger_name IN ('fails', 'params') ORDER BY 1, run_id;
SELECT etl.drop_schedule('fails'), etl.drop_schedule('params');

-- ---- pause and resume: what was due meanwhile is not made up for ----
SELECT etl.define_schedule('a', 'sf.m', cron => '@hourly', misfire => 'all');
SELECT etl.define_schedule('b', 'sf.m', cron => '@hourly', misfire => 'all', paused => true);
SELECT name, paused FROM etl.schedules ORDER BY 1;
SELECT etl.pause('a');
-- the definition again does not undo it
SELECT etl.define_schedule('a', 'sf.m', cron => '@hourly', misfire => 'all');
SELECT name, paused FROM etl.schedules ORDER BY 1;
SET etl.test_now = '2026-06-02 05:30Z';
CALL etl.tick();
SELECT etl.resume('a');
CALL etl.tick();
SELECT count(*) FROM etl.runs WHERE trigger_name IN ('a', 'b');
SELECT name, paused, next_due FROM etl.schedules ORDER BY 1;
-- all of them at once; single ones stay as they were
SELECT etl.pause();
SELECT name, paused FROM etl.schedules ORDER BY 1;
SET etl.test_now = '2026-06-02 08:30Z';
CALL etl.tick();
SELECT etl.resume();
SELECT name, paused, next_due FROM etl.schedules ORDER BY 1;
-- nothing is paused as a whole: every schedule
SELECT etl.resume();
SELECT name, paused FROM etl.schedules ORDER BY 1;
CALL etl.tick();
SELECT count(*) FROM etl.runs WHERE trigger_name IN ('a', 'b');

-- ---- another database's state does nothing until it is resumed ----
SET etl.test_now = '2026-06-02 09:30Z';
UPDATE etl.instance SET database_oid = 1;
INSERT INTO etl.run (selector, trigger, status, led_by, requested_by) VALUES ('sf.m', 'manual', 'queued', 'queue', current_user);
CALL etl.tick();
SELECT name, paused FROM etl.schedules ORDER BY 1;
SELECT count(*) FROM etl.runs WHERE trigger_name IN ('a', 'b');
SELECT etl.resume('a');
CALL etl.tick();
SELECT count(*) FROM etl.runs WHERE trigger_name IN ('a', 'b');
SELECT etl.resume();
SELECT status, error FROM etl.runs ORDER BY run_id DESC LIMIT 1;
SET etl.test_now = '2026-06-02 10:00:10Z';
CALL etl.tick();
SELECT trigger_name, due_at, status FROM etl.run WHERE trigger_name IN ('a', 'b') ORDER BY 1;
SELECT etl.drop_schedule('a'), etl.drop_schedule('b');

-- ---- who may ----
CREATE ROLE sf_other NOLOGIN;
GRANT etl_developer TO sf_other;
GRANT USAGE ON SCHEMA sf TO sf_other;
SET ROLE sf_owner;
SELECT etl.define_schedule('mine', 'sf.p', cron => '@hourly');
RESET ROLE;
SET ROLE sf_other;
SELECT etl.define_schedule('mine', 'sf.p', cron => '@daily');
SELECT etl.drop_schedule('mine');
SELECT etl.pause('mine');
SELECT etl.pause();
SELECT etl.resume();
RESET ROLE;
SELECT etl.drop_schedule('mine'), etl.drop_schedule('mine');

-- ---- arguments ----
SELECT etl.define_schedule('', cron => '@daily');
SELECT etl.define_schedule(NULL, cron => '@daily');
SELECT etl.define_schedule('t');
SELECT etl.define_schedule('t', cron => '@daily', every => '1 day');
SELECT etl.define_schedule('t', every => '0.5 s');
SELECT etl.define_schedule('t', every => '-1 day');
SELECT etl.define_schedule('t', every => '1 month -1 day');
SELECT etl.define_schedule('t', every => '200 years');
SELECT etl.define_schedule('t', cron => '@daily', overlap => 'wait');
SELECT etl.define_schedule('t', cron => '@daily', misfire => 'none');
SELECT etl.define_schedule('t', cron => '@daily', params => '[1]');
SELECT etl.define_schedule('t', cron => '@daily', options => '{"jiter": "5 s"}');
SELECT etl.define_schedule('t', cron => '@daily', options => '{"jitter": "-5 s"}');
SELECT etl.define_schedule('t', cron => '@daily', options => '{"timeout": "0"}');
SELECT etl.define_schedule('t', cron => '@daily', options => '{"start": "soon"}');
SELECT etl.define_schedule('t', cron => '@daily', options => '{"start": "2026-02-01", "end": "2026-01-01"}');
SELECT etl.define_schedule('t', cron => '@daily', options => '{"blackout": "always"}');
SELECT etl.define_schedule('t', cron => '@daily', options => '{"blackout": {"since": "2026-02-01", "until": "2026-01-01"}}');
SELECT etl.define_schedule('t', cron => '@daily', options => '{"blackout": {"since": "10:00", "until": "25:00"}}');
SELECT etl.define_schedule('t', cron => '@daily', options => '{"weekend": "mon-sun"}');
SELECT etl.define_schedule('t', cron => '@daily', options => '{"weekend": "someday"}');
SELECT etl.define_schedule('t', cron => '@daily', options => '{"calendar": ["2026-13-01"]}');
SELECT etl.define_schedule('t', cron => '@daily', options => '{"calendar": "sf.no_such"}');
SELECT etl.define_schedule('t', cron => '@daily', options => '{"calendar": "sf.nothing"}');
SELECT etl.define_schedule('stream:x', cron => '@daily');
SELECT etl.next_runs('nightli');
SELECT etl.define_schedule('nightly', cron => '@daily');
SELECT etl.next_runs('nightli');
SELECT etl.next_runs('nightly', -1);
SELECT etl.pause('nightli');
SELECT * FROM etl.next_runs('nightly', 0);
-- never again: the last slot has passed
SELECT etl.define_schedule('nightly', cron => '@daily', options => '{"end": "2020-01-01"}');
SELECT * FROM etl.next_runs('nightly');
SELECT next_due FROM etl.schedules;
SET client_min_messages = notice;
SELECT etl.define_schedule('nightly', 'sf.not_yet_there tag:none', cron => '@daily');
SELECT etl.define_schedule('nightly', '1++x', cron => '@daily');
SET client_min_messages = error;
SELECT etl.drop_schedule('nightly');
BEGIN;
CALL etl.tick();
ROLLBACK;

DROP SCHEMA sf CASCADE;
SELECT etl.drop_model(m) FROM unnest('{sf.m,sf.bad,sf.p}'::text[]) AS m;
DROP OWNED BY sf_owner, sf_other;
DROP ROLE sf_owner, sf_other;
