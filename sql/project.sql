-- A project drops what its script no longer defines, and nothing else; an export gives the same definitions again.
\set VERBOSITY terse
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SET client_min_messages = warning;
CREATE SCHEMA pj;

-- what is defined outside of the project is not its own
SELECT etl.define_model('pj.outside', 'SELECT 1 AS a', 'table');
SELECT etl.begin_project('pj');
SELECT etl.define_source('pj_push', 'push');
SELECT etl.define_stream('pj.events', 'pj_push', columns => 'id int, n int');
SELECT etl.define_model('pj.a', 'SELECT id, n FROM pj.events', 'table', options => '{"indexes": [["id"]]}', tags => '{x,y_y}');
SELECT etl.define_model('pj.b', 'SELECT sum(n) AS n FROM pj.a', 'table');
SELECT etl.define_model('pj.c', 'SELECT n FROM pj.b');
SELECT etl.define_check('pj.b', 'not_null', '{n}');
SELECT etl.define_check('pj.a', 'range', '{n}', '{"min": 0}');
SELECT etl.define_schedule('pj_nightly', 'pj.*', cron => '30 2 * * *', every => NULL, paused => true);
SELECT etl.define_sla('pj_morning', 'pj.b', freshness => '1 day');
SELECT etl.define_channel('pj_bell', 'notify', '{"channel": "pj"}');
SELECT etl.define_alert('pj_failed', '{run_failed}', '{pj_bell}', selector => 'pj.*');
SELECT etl.define_pool('pj_erp', 2, 'it''s "slow"');
SELECT * FROM etl.end_project();
SELECT etl.ingest('pj.events', '[{"id": 1, "n": 5}]') > 0;
CALL etl.run('pj.*');

-- the next version of the script is shorter
SELECT etl.begin_project('pj');
SELECT etl.define_source('pj_push', 'push');
SELECT etl.define_stream('pj.events', 'pj_push', columns => 'id int, n int');
SELECT etl.define_model('pj.a', 'SELECT id, n FROM pj.events', 'table', options => '{"indexes": [["id"]]}', tags => '{x,y_y}');
SELECT * FROM etl.end_project(dry_run => true);
SELECT * FROM etl.end_project(prune => false);
SELECT count(*) FROM etl.models WHERE target LIKE 'pj.%';
-- it has ended
SELECT * FROM etl.end_project();

-- what somebody else reads stays, and so does everything
SELECT etl.define_model('pj.reader', 'SELECT n FROM pj.c');
SELECT etl.begin_project('pj');
SELECT etl.define_source('pj_push', 'push');
SELECT etl.define_stream('pj.events', 'pj_push', columns => 'id int, n int');
SELECT etl.define_model('pj.a', 'SELECT id, n FROM pj.events', 'table', options => '{"indexes": [["id"]]}', tags => '{x,y_y}');
SELECT * FROM etl.end_project();
SELECT count(*) FROM etl.models WHERE target LIKE 'pj.%';
SELECT etl.drop_model('pj.reader');
SELECT * FROM etl.end_project();
SELECT target FROM etl.models WHERE target LIKE 'pj.%' ORDER BY target;
SELECT to_regclass('pj.b'), to_regclass('pj.c');
SELECT count(*) FROM etl.schedules WHERE name LIKE 'pj%';
-- a statement that fails defines nothing, and what it was to define is not dropped for that
SELECT etl.begin_project('pj') > 0;
SELECT etl.define_source('pj_push', 'push');
SELECT etl.define_stream('pj.events', 'pj_push', columns => 'id int, n int');
SELECT etl.define_model('pj.a', 'SELECT id, n FORM pj.events', 'table');
SELECT * FROM etl.end_project(dry_run => true);
SELECT * FROM etl.end_project();
SELECT target FROM etl.models WHERE target LIKE 'pj.%' ORDER BY target;
SELECT * FROM etl.end_project(prune => false);
SELECT etl.begin_project('pj') > 0;
SELECT etl.define_source('pj_push', 'push');
SELECT etl.define_stream('pj.events', 'pj_push', columns => 'id int, n int');
BEGIN;
SELECT etl.define_model('pj.a', 'SELECT id, n FROM pj.events', 'table', options => '{"indexes": [["id"]]}', tags => '{x,y_y}');
SELECT * FROM etl.end_project();
ROLLBACK;
SELECT * FROM etl.end_project();
SELECT target FROM etl.models WHERE target LIKE 'pj.%' ORDER BY target;
SELECT * FROM etl.end_project(prune => false);
-- a deployment that is rolled back was none
BEGIN;
SELECT etl.begin_project('pj') > 0;
ROLLBACK;
SELECT * FROM etl.end_project();
-- with the relations
SELECT etl.begin_project('pj') > 0;
SELECT * FROM etl.end_project(drop_relations => true);
SELECT to_regclass('pj.a'), to_regclass('pj.events'), to_regclass('pj.outside') IS NULL AS outside_not_built;
SELECT change FROM etl.definition_versions WHERE name = 'pj.a' ORDER BY version;
CREATE ROLE pj_stranger;
GRANT etl_developer TO pj_stranger;
SET ROLE pj_stranger;
SELECT etl.begin_project('pj');
SELECT etl.begin_project('');
RESET ROLE;

-- the export, of every kind
SELECT etl.drop_model(target) FROM etl.models WHERE target LIKE 'pj.%';
SET search_path = pj, public;
SET TimeZone = 'Europe/Berlin';
SET IntervalStyle = 'iso_8601';
SELECT etl.define_source('pj "files"', 'file', '{"root": "/srv/it''s"}', 'files $$ of "x"');
SELECT etl.define_secret('pj_key', env => 'PJ_KEY', allowed_hosts => '{a.example,"*.b.example"}', description => 'x');
SELECT etl.define_source('pj_api', 'http', '{"url": "https://a.example", "auth": {"type": "bearer", "token": {"secret": "pj_key"}}}');
SELECT etl.define_stream('pj."S x"', 'pj "files"', '{"path": "a/*.csv", "null": ["", "N/A"], "delimiter": ";"}', columns => 'id bigint, at timestamptz, note text',
	key => '{id}', mode => 'merge', event_time => 'at', schema_policy => '{"columns": "freeze"}', contract => '{"privacy_level": "restricted"}', tags => '{a,b}', description => E'two\nlines');
SELECT etl.define_stream('pj.orders', 'pj_api', '{"path": "/orders", "records": "$.data"}', format => 'json');
SET TimeZone = 'UTC';
SELECT etl.define_model('pj.m', $q$SELECT id, 'a\b' AS v, $$it's$$ AS w
FROM "S x" -- a comment
$q$, 'incremental', key => '{id}', strategy => 'merge', options => '{"unique": ["id, v"], "keep_versions": 2, "retry": {"attempts": 2}, "post_hook": ["SELECT 1"]}', tags => '{t_t}', description => 'it''s');
SELECT etl.define_model('pj.v', 'SELECT 1 AS a');
SELECT etl.define_check('pj.m', 'accepted_values', '{v}', '{"values": ["a", "b''c"], "max_failed": "1%"}', on_fail => 'quarantine', description => 'd');
SELECT etl.define_check('pj.v', 'expression', options => '{"expression": "a > 0"}', name => 'pos "a"', on_fail => 'warn', dimension => 'accuracy');
SELECT etl.define_schedule('pj_s', 'tag:x', every => '1 day 02:03:04', on_event => NULL, timezone => 'Europe/Berlin', overlap => 'queue', misfire => 'all', params => '{"p": 1}', paused => true, description => 'd');
SELECT etl.define_schedule('pj_e', 'pj.m', on_event => '{"published": "pj.v"}', paused => true);
SELECT etl.define_sla('pj_l', 'pj.m', freshness => '1 month 2 days 03:04:05.6', finish_by => '07:00', max_duration => '10 min', timezone => 'Europe/Berlin', description => 'd');
SELECT etl.define_channel('pj_c', 'webhook', '{"url": "https://a.example/hook", "signing_secret": {"secret": "pj_key"}}');
SELECT etl.define_alert('pj_a', '{run_failed,rejects}', '{pj_c}', selector => 'pj.*', severity => 'critical', options => '{"cooldown": "5 min"}');
SELECT etl.define_pool('pj_p', 3, 'd');
SET ROLE pj_stranger;
SET search_path = public;
SELECT etl.define_source('pj_other', 'push');
SELECT etl.export_definitions();
RESET ROLE;
RESET TimeZone;
RESET IntervalStyle;
RESET search_path;
CREATE TABLE pj.before AS SELECT kind, name, part, owner, definition FROM etl.definition_versions AS v
	WHERE name LIKE 'pj%' AND version = (SELECT max(version) FROM etl.definition_versions AS w WHERE (w.kind, w.name, w.part) IS NOT DISTINCT FROM (v.kind, v.name, v.part))
	AND definition IS NOT NULL;
SELECT kind, name, part FROM pj.before ORDER BY 1, 2, 3;
CREATE TABLE pj.settings AS SELECT target, settings FROM etl.model WHERE target LIKE 'pj.%' UNION ALL SELECT target, settings FROM etl.stream WHERE target LIKE 'pj.%';
SELECT etl.export_definitions() AS script \gset
CREATE FUNCTION pj.forget() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM etl.drop_alert(name) FROM etl.alert_rule WHERE name LIKE 'pj%';
	PERFORM etl.drop_channel(name) FROM etl.channels WHERE name LIKE 'pj%';
	PERFORM etl.drop_sla(name) FROM etl.slas WHERE name LIKE 'pj%';
	PERFORM etl.drop_schedule(name) FROM etl.schedules WHERE name LIKE 'pj%';
	PERFORM etl.drop_model('pj.m'), etl.drop_model('pj.v');
	PERFORM etl.drop_source(name, cascade => true) FROM etl.sources WHERE name LIKE 'pj%';
	PERFORM etl.drop_secret('pj_key', cascade => true), etl.drop_pool('pj_p');
END $$;
SELECT pj.forget();
\o /dev/null
:script
\o
RESET search_path;
CREATE TABLE pj.after AS SELECT kind, name, part, owner, definition FROM etl.definition_versions AS v
	WHERE name LIKE 'pj%' AND version = (SELECT max(version) FROM etl.definition_versions AS w WHERE (w.kind, w.name, w.part) IS NOT DISTINCT FROM (v.kind, v.name, v.part))
	AND definition IS NOT NULL;
SELECT kind, name, part, definition FROM pj.before EXCEPT SELECT kind, name, part, definition FROM pj.after;
SELECT kind, name, part, definition FROM pj.after EXCEPT SELECT kind, name, part, definition FROM pj.before;
SELECT kind, name, owner FROM pj.after WHERE owner <> current_user;
SELECT count(*) FROM pj.settings AS s JOIN (SELECT target, settings FROM etl.model UNION ALL SELECT target, settings FROM etl.stream) AS n USING (target, settings);
-- and again it changes nothing
\o /dev/null
:script
\o
SELECT count(*) FROM etl.definition_versions AS v WHERE name LIKE 'pj%' AND defined_at > (SELECT max(defined_at) FROM etl.definition_versions WHERE change = 'created' AND name LIKE 'pj%') AND kind <> 'secret';
SET client_min_messages = error;
SELECT pj.forget();
DROP OWNED BY pj_stranger;
DROP ROLE pj_stranger;
DROP SCHEMA pj CASCADE;
