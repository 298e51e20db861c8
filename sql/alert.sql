-- Who is told of what, once: fingerprints, cooldown, inhibition, silences, acknowledgement, resolution; no value of the data gets out.
CREATE DATABASE regress_alert;
\c regress_alert
SET client_min_messages = error;
SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres';
CREATE EXTENSION etl;
-- the clock of this test is years ahead of its runs
SET etl.history_max_age = 0;
CREATE SCHEMA a;
CREATE TABLE a.input (n int);
INSERT INTO a.input VALUES (0);
-- definitions
SELECT etl.define_channel('bell', 'notify', '{"channel": "etl_alerts"}');
SELECT etl.define_channel('bell', 'notify', '{"channel": "etl_alerts"}');
SELECT etl.define_channel('bell', 'notify', '{"channel": "etl_alarm"}');
SELECT etl.define_channel('hook', 'webhook', '{"url": "https://hooks.example/T00/secretpath?token=t", "signing_secret": "visible", "headers": {"Authorization": "Bearer x"}}');
SELECT etl.define_channel('pager', 'pagerduty', '{"routing_key": "0123456789abcdef0123456789abcdef"}');
SELECT etl.define_channel('chat', 'slack', '{"url": {"secret": "slack_url"}}');
SELECT etl.define_channel('mail', 'smtp', '{"url": "smtp://mail.example:587", "from": "etl@shop.example", "to": ["a@shop.example"], "user": "u", "password": "visible"}');
SELECT name, kind, options, state FROM etl.channels ORDER BY name;
-- what is refused
\set VERBOSITY terse
SELECT etl.define_channel('x', 'fax', '{}');
SELECT etl.define_channel('x', 'webhook', '{"ur": "https://x.example"}');
SELECT etl.define_channel('x', 'webhook', '{"url": "ftp://x.example"}');
SELECT etl.define_channel('x', 'webhook', '{"url": "https://u:p@x.example"}');
SELECT etl.define_channel('x', 'webhook', '{"url": "https://x.example", "headers": {"A": "b\r\nC: d"}}');
SELECT etl.define_channel(E'x\r\nBcc: y', 'notify', '{"channel": "c"}');
SELECT etl.define_channel('x', 'smtp', '{"url": "smtp://m.example", "from": "a@b\r\nBcc: c@d", "to": "x@y"}');
SELECT etl.define_channel('x', 'smtp', '{"url": "smtp://m.example", "from": "a@b", "to": ["x@y>,z@w"]}');
SELECT etl.define_channel('x', 'smtp', '{"url": "smtp://m.example", "from": "a@b", "to": "x@y", "tls": "none"}');
SELECT etl.define_channel('x', 'slack', '{}');
SELECT etl.define_alert('x', '{run_faild}', '{bell}');
SELECT etl.define_alert('x', '{}', '{bell}');
SELECT etl.define_alert('x', '{run_failed}', '{bel}');
SELECT etl.define_alert('x', '{run_failed}', '{bell}', severity => 'fatal');
SELECT etl.define_alert('x', '{run_failed}', '{bell}', options => '{"coldown": "1 h"}');
SELECT etl.define_alert('x', '{run_failed}', '{bell}', options => '{"escalate": {"channels": ["bell"]}}');
SELECT etl.define_sla('x', 'a.*');
SELECT etl.define_sla('x', 'a.*', freshness => '-1 hour');
SELECT etl.define_sla('x', 'a.*', finish_by => '07:00', timezone => 'Mars/Phobos');
\set VERBOSITY default
-- one failed root and forty nodes below it: one alert, which names the root and counts the rest
SELECT etl.define_alert('ops', '{run_failed, check_failed, rejects}', '{bell}', severity => 'error', options => '{"cooldown": "30 min"}');
SELECT etl.define_model('a.root', 'SELECT 1 / n AS x FROM a.input', materialized => 'table');
SELECT count(etl.define_model('a.m' || i, 'SELECT x FROM a.root')) FROM generate_series(1, 40) AS i;
SET etl.test_now = '2030-01-01 10:00+00';
CALL etl.run();
SELECT alert_id, rule, event, severity, state, object, regexp_replace(what, 'run \d+', 'run N') AS what, since, error, cause, others, occurrences FROM etl.alerts;
SELECT channel, message, status FROM etl.deliveries ORDER BY delivery_id;
-- again within the cooldown: counted, not told; after it: told again
CALL etl.run();
SET etl.test_now = '2030-01-01 10:20+00';
CALL etl.run();
SELECT occurrences, last_at FROM etl.alerts;
SELECT message, count(*) FROM etl.deliveries GROUP BY 1 ORDER BY 1;
SET etl.test_now = '2030-01-01 10:31+00';
CALL etl.run();
SELECT message, count(*) FROM etl.deliveries GROUP BY 1 ORDER BY 1;
-- acknowledged: not told again, and visible where people look
SELECT etl.acknowledge(1, E'on it\nreally');
SELECT etl.acknowledge(1);
SELECT etl.acknowledge(99);
SELECT state, acknowledged_by = session_user AS me, note FROM etl.alerts;
SELECT state FROM etl.freshness WHERE target = 'a.root';
SET etl.test_now = '2030-01-01 12:00+00';
CALL etl.run();
SELECT message, count(*) FROM etl.deliveries GROUP BY 1 ORDER BY 1;
-- resolved by itself, and told
UPDATE a.input SET n = 1;
CALL etl.run();
SELECT state, resolved_at FROM etl.alerts;
SELECT message, count(*) FROM etl.deliveries GROUP BY 1 ORDER BY 1;
SELECT state FROM etl.freshness WHERE target = 'a.root';
-- another one comes later; when it flaps within the cooldown it is the same alert, told only when it lasts
UPDATE a.input SET n = 0;
SET etl.test_now = '2030-01-01 12:05+00';
CALL etl.run();
SELECT alert_id, state, occurrences FROM etl.alerts ORDER BY 1;
UPDATE a.input SET n = 1;
CALL etl.run();
UPDATE a.input SET n = 0;
SET etl.test_now = '2030-01-01 12:10+00';
CALL etl.run();
SELECT alert_id, state, occurrences FROM etl.alerts ORDER BY 1;
SELECT message, count(*) FROM etl.deliveries GROUP BY 1 ORDER BY 1;
SET etl.test_now = '2030-01-01 12:36+00';
CALL etl.tick();
SELECT message, count(*) FROM etl.deliveries GROUP BY 1 ORDER BY 1;
UPDATE a.input SET n = 1;
CALL etl.run();
UPDATE a.input SET n = 0;
SET etl.test_now = '2030-01-02 12:00+00';
CALL etl.run();
SELECT alert_id, state, occurrences FROM etl.alerts ORDER BY 1;
-- a silence: it stands there and is not told; what lasts is told when it ends
UPDATE a.input SET n = 1;
CALL etl.run();
SELECT count(*) AS before FROM etl.deliveries \gset
SET etl.test_now = '2030-01-03 12:00+00';
SELECT etl.silence('a.*', '1 hour', reason => 'repairs') AS silence \gset
SELECT etl.silence('a.*', '-1 hour');
UPDATE a.input SET n = 0;
CALL etl.run();
SELECT alert_id, state FROM etl.alerts ORDER BY alert_id DESC LIMIT 1;
SELECT count(*) - :before AS told FROM etl.deliveries;
SET etl.test_now = '2030-01-03 13:01+00';
CALL etl.tick();
SELECT alert_id, state FROM etl.alerts ORDER BY alert_id DESC LIMIT 1;
SELECT message FROM etl.deliveries ORDER BY delivery_id DESC LIMIT 1;
SELECT etl.unsilence(:silence), object, reason FROM etl.silences;
UPDATE a.input SET n = 1;
CALL etl.run();
-- escalation, unless somebody takes it
SELECT etl.define_channel('boss', 'notify', '{"channel": "etl_boss"}');
SELECT etl.define_alert('ops', '{run_failed, check_failed, rejects}', '{bell}', severity => 'error', options => '{"escalate": {"after": "15 min", "channels": ["boss"], "severity": "critical"}}');
SET etl.test_now = '2030-01-04 12:00+00';
UPDATE a.input SET n = 0;
CALL etl.run();
SET etl.test_now = '2030-01-04 12:10+00';
CALL etl.tick();
SELECT channel, message FROM etl.deliveries WHERE channel = 'boss';
SET etl.test_now = '2030-01-04 12:16+00';
CALL etl.tick();
CALL etl.tick();
SELECT channel, message, status FROM etl.deliveries WHERE channel = 'boss';
SELECT severity, escalated_at FROM etl.alerts ORDER BY alert_id DESC LIMIT 1;
UPDATE a.input SET n = 1;
CALL etl.run();
-- checks: one alert for the node that they stop, and for each that only warns
SET etl.test_now = '2030-01-05 12:00+00';
SELECT etl.define_check('a.root', 'range', '{x}', '{"max": 0}');
SELECT etl.define_check('a.m1', 'range', '{x}', '{"max": 0}', on_fail => 'warn', name => 'small');
UPDATE a.input SET n = -1;
CALL etl.run();
UPDATE a.input SET n = 1;
CALL etl.run();
SELECT event, object, what, remedy FROM etl.alerts WHERE state = 'firing' ORDER BY alert_id;
SELECT etl.drop_check('a.root', 'range_x'), etl.drop_check('a.m1', 'small');
SELECT etl.resolve_alert(alert_id) FROM etl.alerts WHERE state = 'firing';
-- many at once are few alerts and few deliveries
SELECT count(etl.define_model('a.f' || i, 'SELECT 1 / n AS x FROM a.input WHERE n = 0', materialized => 'table')) FROM generate_series(1, 60) AS i;
UPDATE a.input SET n = 0;
SELECT count(*) AS before FROM etl.deliveries \gset
SET etl.test_now = '2030-01-06 12:00+00';
CALL etl.run('a.f*');
SELECT count(*) - :before AS told FROM etl.deliveries;
SELECT object, occurrences, regexp_replace(what, 'run \d+', 'run N') AS what FROM etl.alerts WHERE state = 'firing' AND object = 'a.f*';
SELECT count(*) FROM etl.alerts WHERE state = 'firing';
UPDATE a.input SET n = 1;
CALL etl.run('a.f*');
SELECT count(*) FROM etl.alerts WHERE state = 'firing';
-- values of the data stay inside
SET etl.test_now = '2030-01-07 12:00+00';
CREATE TABLE a.person (mail text);
INSERT INTO a.person VALUES ('john.doe@example.com'), ('john.doe@example.com');
CREATE FUNCTION a.shout(text) RETURNS int LANGUAGE plpgsql AS $$BEGIN RAISE 'bad customer %', $1; END$$;
SELECT etl.define_model('a.p1', 'SELECT mail::int AS i FROM a.person', materialized => 'table');
SELECT etl.define_model('a.p2', 'SELECT a.shout(mail) AS i FROM a.person', materialized => 'table');
SELECT etl.define_model('a.p3', 'SELECT mail FROM a.person', materialized => 'table', key => '{mail}');
CALL etl.run('a.p1 a.p2 a.p3');
SELECT object, error, cause, regexp_replace(remedy, '\d+', 'N') AS remedy FROM etl.alerts WHERE state = 'firing' ORDER BY object;
SELECT count(*) AS leaks FROM etl.alert AS t WHERE t::text LIKE '%john%';
SELECT count(*) AS leaks FROM etl.outbox AS t WHERE t::text LIKE '%john%';
-- selectors, recovery, and nobody else's rules
SELECT etl.define_alert('back', '{run_recovered}', '{bell}', selector => 'a.p1');
UPDATE a.person SET mail = '7';
CALL etl.run('a.p1 a.p2 a.p3');
SELECT event, object, state FROM etl.alerts WHERE rule = 'back';
-- a run that is rolled back tells nothing
UPDATE a.input SET n = 0;
SELECT count(*) AS before FROM etl.alerts \gset
BEGIN;
CALL etl.run('a.root');
ROLLBACK;
SELECT count(*) - :before AS more FROM etl.alerts;
-- the summary of the day
SET etl.test_now = '2030-01-08 05:00+00';
SELECT etl.define_alert('daily', '{digest}', '{bell}', options => '{"digest_at": "08:00", "timezone": "Europe/Berlin"}');
SET etl.test_now = '2030-01-08 07:01+00';
CALL etl.tick();
CALL etl.tick();
SELECT event, severity, state, regexp_replace(what, '\d+', 'N', 'g') AS what FROM etl.alerts WHERE rule = 'daily';
-- nobody tries a node
SELECT etl.define_alert('idle', '{no_run}', '{bell}', selector => 'a.root a.m1', options => '{"no_run_for": "2 days"}');
SET etl.test_now = '2040-01-01 12:00+00';
CALL etl.tick();
SELECT state, object, what, others FROM etl.alerts WHERE rule = 'idle';
-- dropping
SELECT etl.drop_channel('bell');
SELECT etl.drop_alert('ops'), etl.drop_alert('ops');
SELECT count(*) FROM etl.alerts WHERE rule = 'ops' AND state <> 'resolved';
SELECT etl.drop_channel('bell', true);
SELECT name, channels FROM etl.alert_rules ORDER BY name;
-- rights: one sees what one may read, and changes nothing of others
CREATE ROLE regress_alert_viewer IN ROLE etl_viewer;
SET ROLE regress_alert_viewer;
SELECT count(*) FROM etl.alerts;
SELECT count(*) FROM etl.deliveries;
SELECT etl.acknowledge(1);
SELECT etl.define_alert('x', '{run_failed}', '{}');
SELECT * FROM etl.outbox;
RESET ROLE;
CREATE ROLE regress_alert_dev IN ROLE etl_developer;
SET ROLE regress_alert_dev;
SELECT etl.define_alert('daily', '{run_failed}', '{}');
SELECT etl.drop_channel('boss', true);
RESET ROLE;
\c postgres
DROP DATABASE regress_alert;
DROP ROLE regress_alert_viewer, regress_alert_dev;
