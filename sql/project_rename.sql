-- A node that is renamed keeps its rows, ledger and history, what reads it follows, and what cannot is told.
\set VERBOSITY terse
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SET client_min_messages = warning;
CREATE SCHEMA rn;
CREATE SCHEMA "rn 2";
SELECT etl.define_source('rn_push', 'push');
SELECT etl.define_stream('rn.events', 'rn_push', columns => 'id int, n int', key => '{id}', mode => 'merge');
SELECT etl.define_model('rn.a', $$SELECT events.id, /* of rn.events */ rn.events.n, 'rn.events' AS said FROM rn.events WHERE n > 0$$, 'incremental', key => '{id}', options => '{"keep_versions": 1}');
SELECT etl.define_model('rn.v', $$WITH events AS (SELECT 1 AS id) SELECT a.id, (SELECT count(*) FROM rn.events e WHERE e.id = a.id) AS c
FROM events JOIN ONLY "rn"."a" USING (id)$$);
SELECT etl.define_model('rn.d', $$SELECT id, n FROM etl.dedupe(NULL::rn.events, '{id}')$$, 'table', options => '{"depends_on": ["rn.events"]}');
SELECT etl.define_model('rn.later', 'SELECT * FROM rn.missing JOIN rn.events USING (id)', 'table');
SELECT etl.define_check('rn.a', 'relationship', '{id}', '{"to": "rn.events", "columns": ["id"]}');
SELECT etl.define_check('rn.events', 'not_null', '{n}');
SELECT etl.define_schedule('rn_s', '+rn.events+1 rn.events2* @rn.events,tag:x', on_event => '{"any": [{"published": "rn.a"}, {"published": "rn.events"}]}', paused => true);
SELECT etl.define_sla('rn_l', 'events', freshness => '1 day');
SELECT etl.ingest('rn.events', '[{"id": 1, "n": 5}, {"id": 2, "n": 0}]', 'k') > 0;
CALL etl.run('rn.a rn.v rn.d');
CREATE FUNCTION rn.f() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM rn.events';
CREATE VIEW rn.theirs AS SELECT id FROM rn.events;
SELECT 'rn.events'::regclass::oid AS oid \gset

SELECT * FROM etl.rename('rn.events', '"rn 2"."the ""events"""');
SELECT '"rn 2"."the ""events"""'::regclass::oid = :oid AS same_oid, to_regclass('rn.events') AS old;
SELECT target, query, options, version, served_version FROM etl.models WHERE target LIKE 'rn.%' ORDER BY target;
SELECT * FROM etl.dependencies WHERE node LIKE 'rn.%' ORDER BY 1, 2;
SELECT target, column_name, source FROM etl.column_lineage WHERE target = 'rn.a' AND transformation = 'identity' ORDER BY 2;
SELECT target, rows_loaded FROM etl.loads WHERE target LIKE '%the ""events%';
SELECT target, name FROM etl.checks WHERE target LIKE '%the ""events%';
SELECT options FROM etl.checks WHERE target = 'rn.a';
SELECT selector, on_event FROM etl.schedules WHERE name = 'rn_s';
SELECT name, version, change FROM etl.definition_versions WHERE name LIKE '%the ""events%' OR name IN ('rn.a', 'rn.v') ORDER BY kind, name, version;
SELECT * FROM rn.theirs ORDER BY id;
-- nothing is to be built, and the ledger knows what was pushed
SELECT node, action, reason FROM etl.plan('rn.a rn.v rn.d');
SELECT etl.ingest('"rn 2"."the ""events"""', '[{"id": 1, "n": 5}, {"id": 2, "n": 0}]', 'k') > 0;
SELECT etl.ingest('"rn 2"."the ""events"""', '[{"id": 2, "n": 7}]') > 0;
SELECT node, action FROM etl.plan('rn.a');
CALL etl.run('rn.a rn.v');
SELECT * FROM rn.a ORDER BY id;
SELECT count(*) FROM etl.loads WHERE target = '"rn 2"."the ""events"""';

-- a model is renamed with its indexes and what was kept of it
SELECT * FROM etl.rename('rn.a', 'rn.b');
SELECT indexrelid::regclass::text LIKE 'rn.b\_etl\_%' AS renamed FROM pg_index WHERE indrelid = 'rn.b'::regclass;
SELECT node, action, reason FROM etl.plan('rn.b rn.v');
CALL etl.run('rn.b', full_refresh => true);
SELECT count(*) FROM pg_index WHERE indrelid = 'rn.b'::regclass;
SELECT etl.rollback('rn.b');

-- a version from before, which names what is gone, does not come back
SELECT etl.rollback('rn.b', 1);

-- the rows that unit tests give follow, whatever the names
SELECT etl.define_model('rn."on ""q"""', 'SELECT id FROM rn.b', 'table');
SELECT etl.define_model('rn.above', 'SELECT id FROM rn."on ""q"""', 'table');
SELECT etl.define_unit_test('rn.above', 'u1', jsonb_build_object('rn."on ""q"""', '[{"id": 1}]'::jsonb), '[{"id": 1}]');
SELECT etl.define_unit_test('rn.above', 'u2', jsonb_build_array(jsonb_build_object('rn."on ""q"""', '[{"id": 1}]'::jsonb), jsonb_build_object('rn."on ""q"""', '[{"id": 2}]'::jsonb)), '{"table": [{"id": 2}]}');
CALL etl.run('1+rn.above');
SELECT kind, name, part, effect, detail FROM etl.rename('rn."on ""q"""', 'rn.plain') ORDER BY 1, 3;
SELECT name, given FROM etl.unit_tests WHERE target = 'rn.above' ORDER BY 1;
SELECT test_name, status FROM etl.test('rn.above');
SELECT etl.drop_model('rn.plain', cascade => true, drop_relation => true);

-- a text that cannot follow is told, and stays
SELECT etl.define_model('rn.hard', 'SELECT b.id FROM rn.b b, LATERAL (TABLE rn.b) AS x', 'table');
CALL etl.run('rn.hard');
SELECT kind, name, effect, detail FROM etl.rename('rn.b', 'rn.c');
SELECT query FROM etl.models WHERE target = 'rn.hard';

-- what cannot be
SELECT etl.rename('rn.c', 'rn.c');
SELECT etl.rename('rn.c', 'rn.v');
SELECT etl.rename('rn.c', 'rn.theirs');
SELECT etl.rename('rn.nothing', 'rn.x');
SELECT etl.rename('rn.c', 'nowhere.x');
SELECT etl.rename('rn.c', 'etl.x');
CREATE ROLE rn_stranger;
GRANT etl_developer TO rn_stranger;
SET ROLE rn_stranger;
SELECT etl.rename('rn.c', 'rn.x');
RESET ROLE;
SELECT to_regclass('rn.c');
-- a name that was another's before goes on counting
SELECT etl.drop_model('rn.hard', drop_relation => true);
SELECT etl.define_model('rn.old', 'SELECT 1 AS a', 'table');
SELECT etl.drop_model('rn.old');
SELECT effect FROM etl.rename('rn.c', 'rn.old');
SELECT version, change FROM etl.definition_versions WHERE kind = 'model' AND name = 'rn.old' ORDER BY version;
SELECT version = served_version AS served FROM etl.models WHERE target = 'rn.old';
SET client_min_messages = error;
SELECT etl.drop_schedule('rn_s'), etl.drop_sla('rn_l');
DO $$ BEGIN PERFORM etl.drop_model(target, cascade => true, drop_relation => true) FROM etl.models WHERE target LIKE 'rn.%'; END $$;
DROP VIEW rn.theirs;
SELECT etl.drop_source('rn_push', cascade => true, drop_relation => true);
DROP OWNED BY rn_stranger;
DROP ROLE rn_stranger;
DROP SCHEMA rn CASCADE;
DROP SCHEMA "rn 2" CASCADE;
