-- A model that becomes another kind of relation: what others added to the old one is taken along, or told; triggers and rules stop the run before any work.
\set VERBOSITY terse
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SET client_min_messages = warning;
CREATE SCHEMA ak;
CREATE TABLE ak.input AS SELECT i AS id, i % 3 AS g FROM generate_series(1, 6) AS i;
CREATE FUNCTION ak.note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE FUNCTION ak.is() RETURNS text LANGUAGE sql AS $$SELECT relkind::text || ' ' || (SELECT status || coalesce(' ' || error, '') FROM etl.tasks WHERE node = 'ak."t; drop"' ORDER BY task_id DESC LIMIT 1)
	FROM pg_class WHERE oid = to_regclass('ak."t; drop"')$$;
SELECT etl.define_model('ak."t; drop"', 'SELECT id, g FROM ak.input', 'table', key => '{id}');
CALL etl.run('ak.*');

-- a trigger of a table, which no view can have
CREATE TRIGGER "a""b" AFTER INSERT ON ak."t; drop" FOR EACH STATEMENT EXECUTE FUNCTION ak.note();
SELECT etl.define_model('ak."t; drop"', 'SELECT id, g FROM ak.input', 'view');
\set VERBOSITY default
CALL etl.run('ak.*');
\set VERBOSITY terse
SELECT action, reason FROM etl.plan('ak.*');
SELECT ak.is();
-- nor could another table have it that takes the place of this one
SELECT etl.define_model('ak."t; drop"', 'SELECT id, g FROM ak.input', 'table', key => '{id}', options => '{"partition_by": {"hash": "id"}}');
CALL etl.run('ak.*');
SELECT ak.is(), (SELECT count(*) FROM pg_trigger WHERE tgrelid = 'ak."t; drop"'::regclass);
DROP TRIGGER "a""b" ON ak."t; drop";
-- triggers of etl itself are in nobody's way
SELECT etl.define_model('ak.reader', 'SELECT g, count(*) AS n FROM ak."t; drop" GROUP BY g', 'incremental', key => '{g}');
CALL etl.run('ak.*');
SELECT ak.is(), (SELECT count(*) > 0 FROM pg_trigger WHERE tgrelid = 'ak."t; drop"'::regclass);
SELECT etl.define_model('ak."t; drop"', 'SELECT id, g + 1 AS g FROM ak.input', 'view');
CALL etl.run('ak.*');
SELECT ak.is(), (SELECT string_agg(g || ' ' || n, ', ' ORDER BY g) FROM ak.reader);
SELECT etl.drop_model('ak.reader', drop_relation => true);

-- a trigger of a view; the same when only its columns change
CREATE TRIGGER instead INSTEAD OF INSERT ON ak."t; drop" FOR EACH ROW EXECUTE FUNCTION ak.note();
SELECT etl.define_model('ak."t; drop"', 'SELECT id, g FROM ak.input', 'incremental', key => '{id}');
CALL etl.run('ak.*');
SELECT etl.define_model('ak."t; drop"', 'SELECT g, id FROM ak.input');
CALL etl.run('ak.*');
SELECT ak.is(), (SELECT count(*) FROM pg_trigger WHERE tgrelid = 'ak."t; drop"'::regclass);
-- while they stay it keeps the trigger
SELECT etl.define_model('ak."t; drop"', 'SELECT id, g + 2 AS g FROM ak.input');
CALL etl.run('ak.*');
SELECT ak.is(), (SELECT count(*) FROM pg_trigger WHERE tgrelid = 'ak."t; drop"'::regclass);
DROP TRIGGER instead ON ak."t; drop";
-- a rule
CREATE RULE away AS ON DELETE TO ak."t; drop" DO INSTEAD NOTHING;
SELECT etl.define_model('ak."t; drop"', 'SELECT id, g FROM ak.input', 'incremental', key => '{id}');
CALL etl.run('ak.*');
SELECT ak.is();
DROP RULE away ON ak."t; drop";
CALL etl.run('ak.*');
SELECT ak.is();

-- what else is lost is told
CREATE TABLE ak.parent (g int PRIMARY KEY);
INSERT INTO ak.parent SELECT generate_series(0, 5);
ALTER TABLE ak."t; drop" ADD CONSTRAINT "my ""own" CHECK (id > 0), ADD FOREIGN KEY (g) REFERENCES ak.parent, ADD UNIQUE (id, g);
CREATE STATISTICS ak.together ON id, g FROM ak."t; drop";
CREATE INDEX by_g ON ak."t; drop" (g);
SELECT etl.define_model('ak."t; drop"', 'SELECT id, g FROM ak.input', 'view');
\set VERBOSITY default
CALL etl.run('ak.*');
\set VERBOSITY terse
SELECT ak.is();
SELECT etl.define_model('ak."t; drop"', 'SELECT id, g, id AS h FROM ak.input', 'materialized_view');
CALL etl.run('ak.*');
CREATE INDEX by_g ON ak."t; drop" (g);
CREATE INDEX by_h ON ak."t; drop" (h);
SELECT etl.define_model('ak."t; drop"', 'SELECT id, g FROM ak.input', 'table');
\set VERBOSITY default
CALL etl.run('ak.*');
\set VERBOSITY terse
SELECT ak.is(), (SELECT string_agg(indexrelid::regclass::text, ' ') FROM pg_index WHERE indrelid = 'ak."t; drop"'::regclass);

-- partitioned no more: a plain table again, with the indexes of others
SELECT etl.define_model('ak."t; drop"', 'SELECT id, g FROM ak.input', 'table', key => '{id}', options => '{"partition_by": {"list": "id"}, "with": {"fillfactor": "80"}}', description => 'words');
CALL etl.run('ak.*');
SELECT ak.is(), (SELECT count(*) FROM pg_class WHERE relnamespace = 'ak'::regnamespace AND relname LIKE 'etl_next%'), obj_description('ak."t; drop"'::regclass);
SELECT etl.define_model('ak."t; drop"', 'SELECT id, g FROM ak.input', 'table', key => '{id}', options => '{"constraints": ["CHECK (g >= 0)"], "not_null": ["g"], "grants": {"public": "SELECT"}}');
CALL etl.run('ak.*');
SELECT ak.is(), (SELECT string_agg(regexp_replace(relname, '[0-9a-f]{8}$', '…'), ', ' ORDER BY relname) FROM pg_class WHERE relnamespace = 'ak'::regnamespace AND relkind IN ('r', 'i', 'p', 'I') AND relname !~ '^(input|parent)'),
	(SELECT string_agg(pg_get_constraintdef(oid), ', ') FROM pg_constraint WHERE conrelid = 'ak."t; drop"'::regclass AND contype = 'c'), has_table_privilege('pg_monitor', 'ak."t; drop"', 'SELECT');
CALL etl.run('ak.*', full_refresh => true);
SELECT ak.is();

-- errors name the relation that users know
\set VERBOSITY sqlstate
SET client_min_messages = error;
SELECT etl.define_model('ak."t; drop"', 'SELECT id, g FROM ak.input', 'view');
CALL etl.run('ak.*');
SELECT etl.define_model('ak."t; drop"', 'SELECT g AS id FROM ak.input', 'table', key => '{id}', options => '{"retry": {"attempts": 1}}');
CALL etl.run('ak.*');
SELECT ak.is();
SELECT etl.define_model('ak."t; drop"', 'SELECT NULLIF(id, 2) AS id FROM ak.input', 'table', options => '{"not_null": ["id"], "retry": {"attempts": 1}}');
CALL etl.run('ak.*');
SELECT ak.is();
SELECT etl.define_model('ak."t; drop"', 'SELECT id FROM ak.input', 'table', options => '{"constraints": ["CHECK (id < 5)"], "retry": {"attempts": 1}}');
CALL etl.run('ak.*');
SELECT ak.is();

\set VERBOSITY terse
SET client_min_messages = warning;
-- in the transaction of the caller; an empty one; as an owner who may nothing else
SELECT etl.define_model('ak."t; drop"', 'SELECT id FROM ak.input WHERE false', 'snapshot', key => '{id}');
BEGIN;
CALL etl.run('ak.*');
SELECT relkind, (SELECT count(*) FROM ak."t; drop") FROM pg_class WHERE oid = 'ak."t; drop"'::regclass;
ROLLBACK;
SELECT relkind, (SELECT count(*) FROM ak."t; drop") FROM pg_class WHERE oid = 'ak."t; drop"'::regclass;
CALL etl.run('ak.*');
SELECT ak.is();
SELECT etl.drop_model('ak."t; drop"', drop_relation => true);
CREATE ROLE etl_ak_owner;
GRANT etl_developer, etl_operator TO etl_ak_owner;
GRANT USAGE ON SCHEMA ak TO etl_ak_owner;
GRANT SELECT ON ak.input TO etl_ak_owner;
CREATE SCHEMA etl_ak AUTHORIZATION etl_ak_owner;
SET ROLE etl_ak_owner;
SELECT etl.define_model('etl_ak.t', 'SELECT id FROM ak.input');
CALL etl.run('etl_ak.*');
SELECT etl.define_model('etl_ak.t', 'SELECT id FROM ak.input', 'materialized_view', key => '{id}');
CALL etl.run('etl_ak.*');
SELECT etl.define_model('etl_ak.t', 'SELECT id FROM ak.input', 'incremental', key => '{id}', options => '{"constraints": ["PRIMARY KEY (id)"]}');
CALL etl.run('etl_ak.*');
SELECT relkind, relowner::regrole, (SELECT count(*) FROM etl_ak.t), (SELECT string_agg(contype::text, '') FROM pg_constraint WHERE conrelid = c.oid AND contype IN ('p', 'u')) FROM pg_class c WHERE oid = 'etl_ak.t'::regclass;
RESET ROLE;

SET client_min_messages = error;
DO $$ BEGIN PERFORM etl.drop_model(target, cascade => true, drop_relation => true) FROM etl.models WHERE target ~ '^(ak|etl_ak)\.'; END $$;
DROP SCHEMA ak, etl_ak CASCADE;
DROP OWNED BY etl_ak_owner;
DROP ROLE etl_ak_owner;
