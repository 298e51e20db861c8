-- The script that etl.export_definitions() returns makes the same definitions in an empty database, whatever their names, and none twice.
SET client_min_messages = warning;
CREATE ROLE "ex ""owner""; --";
CREATE DATABASE regress_export_a;
CREATE DATABASE regress_export_b;
\c regress_export_a
SET client_min_messages = warning;
CREATE EXTENSION etl;
\c regress_export_b
SET client_min_messages = warning;
CREATE EXTENSION etl;
\c regress_export_a
SET client_min_messages = warning;
GRANT etl_developer, etl_admin TO "ex ""owner""; --";
GRANT CREATE ON DATABASE regress_export_a TO "ex ""owner""; --";
SET ROLE "ex ""owner""; --";
CREATE SCHEMA "we""ird; schema";
SET search_path = "we""ird; schema", public;
SET TimeZone = 'Asia/Kathmandu';
SET DateStyle = 'German, DMY';
SET IntervalStyle = 'sql_standard';
SET extra_float_digits = 0;
SELECT etl.define_secret('k''e"y', env => 'EX_KEY', allowed_hosts => '{a.example}');
SELECT etl.define_source('so"ur''ce $$', 'push', description => E'tab\tand \\ and '' and $etl$ and $q$');
SELECT etl.define_source('api', 'http', '{"url": "https://a.example", "auth": {"type": "bearer", "token": {"secret": "k''e\"y"}}}');
SELECT etl.define_stream('"we""ird; schema"."str""eam; drop table x"', 'so"ur''ce $$', columns => '"i""d" bigint, "Größe; --" numeric(10,2), at timestamptz NOT NULL', key => '{"i\"d"}',
	mode => 'merge', event_time => 'at', schema_policy => 'freeze', contract => '{"privacy_level": "restricted"}', tags => '{"a-b","e\"f",NULL_}');
SELECT etl.define_model('"we""ird; schema"."mo''del"', $m$SELECT "i""d", sum("Größe; --") AS "s""um", $q$it's$q$ AS "lit'eral", $etl$x$etl$ AS y
	FROM "str""eam; drop table x" -- "a comment" with ' and $$
	GROUP BY 1$m$, 'incremental', key => '{"i\"d"}', options => '{"keep_versions": 2, "indexes": ["\"s\"\"um\""], "comments": {"s\"um": "it''s \\ \"so\""}}', tags => '{t}', description => '');
SELECT etl.define_model('"we""ird; schema".ahead', 'SELECT * FROM "not there yet" JOIN "mo''del" USING ("i""d")', 'table');
SELECT etl.define_model('"we""ird; schema".list', $$SELECT * FROM (VALUES ('a', E'it\'s'), (NULL, '\')) AS t (code, "na""me")$$, 'seed');
SELECT etl.define_check('"we""ird; schema"."mo''del"', 'accepted_values', '{"s\"um"}', '{"values": [1, 2.5]}', on_fail => 'warn', name => 'ch"e''ck', description => 'x');
SELECT etl.define_unit_test('"we""ird; schema"."mo''del"', 'u"n''it', '{"\"we\"\"ird; schema\".\"str\"\"eam; drop table x\"": [{"i\"d": 1, "Größe; --": 1.50, "at": "2026-01-01Z"}]}', '[{"i\"d": 1, "s\"um": 1.5}]', '{"now": "2026-01-01"}', 'd');
SELECT etl.define_schedule('sch"ed''ule', '"we""ird; schema"."mo''del"', cron => '0 3 * * *', timezone => 'Asia/Kathmandu', paused => true);
SELECT etl.define_sla('s"l''a', 'tag:t', freshness => '1 day 02:00:00', finish_by => '07:00');
SELECT etl.define_channel('ch"an''nel', 'notify', '{"channel": "x"}');
SELECT etl.define_alert('al"er''t', '{run_failed}', '{"ch\"an''nel"}', options => '{"cooldown": "5 min"}');
SELECT etl.define_pool('po"o''l', 3);
SELECT * FROM etl.test('"we""ird; schema"."mo''del"');
RESET ROLE;
RESET search_path; RESET TimeZone; RESET DateStyle; RESET IntervalStyle; RESET extra_float_digits;
SELECT etl.export_definitions() AS script \gset
-- what an environment holds, and what was dropped, is no part of it
SET etl.environment = 'ex_1';
SELECT etl.define_model('"we""ird; schema"."mo''del"', 'SELECT 1::bigint AS "i""d"', 'table', key => '{"i\"d"}');
RESET etl.environment;
SELECT etl.define_model('public.gone', 'SELECT 1 AS a'), etl.drop_model('public.gone');
SELECT etl.export_definitions() = :'script' AS same;
CREATE TABLE public.defined AS SELECT kind, name, part, owner, definition FROM etl.definition_versions AS v WHERE definition IS NOT NULL AND kind <> 'secret'
	AND version = (SELECT max(version) FROM etl.definition_versions AS w WHERE (w.kind, w.name, w.part) IS NOT DISTINCT FROM (v.kind, v.name, v.part))
	AND name NOT LIKE '%ex\_1\_\_%';
SELECT kind, name, part, owner FROM public.defined ORDER BY kind COLLATE "C", name COLLATE "C";
SELECT jsonb_agg(d ORDER BY kind, name) AS defined FROM public.defined AS d \gset

\c regress_export_b
SET client_min_messages = warning;
GRANT CREATE ON DATABASE regress_export_b TO "ex ""owner""; --";
\o /dev/null
:script
\o
SELECT current_user = session_user AS reset, current_setting('search_path') AS search_path;
SELECT etl.export_definitions() = :'script' AS same;
SELECT d ->> 'kind' AS kind, d ->> 'name' AS name FROM jsonb_array_elements(:'defined') AS d
	EXCEPT SELECT kind, name FROM etl.definition_versions AS v JOIN jsonb_array_elements(:'defined') AS d
		ON (kind, name, part, owner, definition) IS NOT DISTINCT FROM (d ->> 'kind', d ->> 'name', d ->> 'part', d ->> 'owner', d ->> 'definition');
SELECT count(*) FROM etl.definition_versions WHERE kind <> 'secret' AND version > 1;
-- what they say is what it was: the unit test passes here, too
SELECT test_name, status, diff FROM etl.test('"we""ird; schema"."mo''del"');
-- again it changes nothing, and half of it is nothing
\o /dev/null
:script
\o
SELECT count(*) FROM etl.definition_versions WHERE kind <> 'secret' AND version > 1;
BEGIN;
SELECT etl.drop_model(target, cascade => true) FROM etl.models WHERE target LIKE '%ahead' OR target LIKE '%list';
\o /dev/null
:script
SELECT 1/0;
\o
ROLLBACK;
SELECT etl.export_definitions() = :'script' AS same;
\c postgres
DROP DATABASE regress_export_a;
DROP DATABASE regress_export_b;
DROP ROLE "ex ""owner""; --";
