-- Checks run with the rights of the node's owner and never more; records are for the owner and stewards.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
CREATE ROLE qr_owner;
CREATE ROLE qr_other;
CREATE ROLE qr_reader;
CREATE ROLE qr_steward;
GRANT etl_developer TO qr_owner, qr_other;
GRANT etl_viewer TO qr_reader;
GRANT etl_steward TO qr_steward;
CREATE SCHEMA qr AUTHORIZATION qr_owner;
GRANT USAGE ON SCHEMA qr TO PUBLIC;
CREATE TABLE public.qr_secret (k int);
INSERT INTO public.qr_secret VALUES (1);

SET ROLE qr_owner;
CREATE TABLE qr.input (id int, v int);
INSERT INTO qr.input VALUES (1, 1), (1, 2), (3, NULL);
SELECT etl.define_model('qr.t', 'SELECT id, v FROM qr.input', 'table');
SELECT etl.define_check('qr.t', 'not_null', '{v}', on_fail => 'warn');
CALL etl.run('qr.t');
GRANT SELECT ON qr.t TO qr_reader;

-- another developer: may not put a check on the node, drop one, or see what is found
SET ROLE qr_other;
SELECT etl.define_check('qr.t', 'expression', '{}', '{"expression": "pg_read_file(''/etc/passwd'') IS NULL"}', name => 'spy');
SELECT etl.drop_check('qr.t', 'not_null_v');
SELECT count(*) FROM etl.checks WHERE target = 'qr.t';
SELECT count(*) FROM etl.check_results WHERE target = 'qr.t';
SELECT count(*) FROM etl.quality_scores WHERE target = 'qr.t';
SELECT * FROM etl.check('qr.t');
SELECT * FROM etl.quality_score('qr.t');
SELECT * FROM etl.validate('qr.t');
SELECT * FROM etl.duplicates('qr.input', '{id}');
SELECT * FROM etl.dedupe(NULL::qr.input, '{id}');
-- nor be there first: a check of his on a node that comes later is an error, which the node's owner drops
SELECT etl.define_check('qr.later', 'expression', '{}', '{"expression": "current_user = ''qr_other''"}', name => 'early');
SET ROLE qr_owner;
SELECT etl.define_model('qr.later', 'SELECT 1 AS a', 'table');
\set VERBOSITY sqlstate
CALL etl.run('qr.later');
\set VERBOSITY default
SELECT etl.drop_check('qr.later', 'early');
CALL etl.run('qr.later');

-- the owner's rights, no more: a parent he may not read is an error
SELECT etl.define_check('qr.t', 'relationship', '{id}', '{"to": "public.qr_secret", "columns": ["k"]}', 'warn');
SELECT etl.define_check('qr.t', 'expression', '{id}', '{"expression": "current_user = ''qr_owner''"}', 'warn');
RESET ROLE;
SELECT check_name, status, detail FROM etl.check('qr.t') ORDER BY check_name COLLATE "C";
-- without a node: the rights of the check's owner
CREATE TABLE qr.plain (id int);
INSERT INTO qr.plain VALUES (1);
GRANT SELECT ON qr.plain TO qr_other;
SET ROLE qr_other;
SELECT etl.define_check('qr.plain', 'expression', '{id}', '{"expression": "current_user = ''qr_other''"}');
-- which must be able to read it
SELECT etl.define_check('qr.input', 'not_null', '{v}');
RESET ROLE;
SELECT etl.define_check('qr.plain', 'expression', '{}', '{"expression": "current_user = session_user"}', name => 'mine');
SELECT check_name, status, detail FROM etl.check('qr.plain') ORDER BY check_name COLLATE "C";

-- a reader sees the score, a steward the rows
SET ROLE qr_reader;
SELECT score FROM etl.quality_score('qr.t') WHERE dimension = 'completeness';
SELECT DISTINCT target FROM etl.quality_scores WHERE target LIKE 'qr.%';
SELECT count(*) > 0 AS sees FROM etl.check_results WHERE target = 'qr.t';
SELECT * FROM etl.validate('qr.t');
SELECT etl.define_check('qr.t', 'not_null', '{id}');
SELECT id FROM etl.dedupe(NULL::qr.t, '{id}', 'v');
SET ROLE qr_steward;
SELECT check_name, row_key, reason FROM etl.validate('qr.t') WHERE check_name = 'not_null_v';
RESET ROLE;
-- operators that somebody puts before pg_catalog reach what a check's owner wrote, never what etl adds to it
CREATE SCHEMA evil;
CREATE FUNCTION evil.yes(int, int) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RAISE NOTICE ''evil''; RETURN true; END';
CREATE FUNCTION evil.yes(text, text) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RAISE NOTICE ''evil''; RETURN true; END';
CREATE FUNCTION evil.yes(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RAISE NOTICE ''evil''; RETURN true; END';
DO $$
DECLARE
	name text;
	type text;
BEGIN
	FOREACH name IN ARRAY ARRAY['=', '<>', '<', '<=', '>', '>=', '~']
	LOOP
		FOREACH type IN ARRAY ARRAY['int', 'text', 'bigint']
		LOOP
			EXECUTE format('CREATE OPERATOR evil.%s (FUNCTION = evil.yes, LEFTARG = %s, RIGHTARG = %2$s)', name, type);
		END LOOP;
	END LOOP;
END $$;
CREATE FUNCTION evil.count(anyelement) RETURNS bigint LANGUAGE sql AS 'SELECT 0::bigint';
CREATE TABLE qr.odd (id int, parent int, word text, big bigint);
INSERT INTO qr.odd VALUES (1, 9, 'x', 7), (1, 1, 'y', 1);
SET search_path = evil, pg_catalog, public;
SELECT etl.define_check('qr.odd', 'unique', '{id}', on_fail => 'warn');
SELECT etl.define_check('qr.odd', 'range', '{id}', '{"min": 2}', on_fail => 'warn');
SELECT etl.define_check('qr.odd', 'accepted_values', '{word}', '{"values": ["z"]}', on_fail => 'warn');
SELECT etl.define_check('qr.odd', 'regex', '{word}', '{"pattern": "^z$"}', on_fail => 'warn');
SELECT etl.define_check('qr.odd', 'relationship', '{parent}', '{"to": "qr.odd", "columns": ["id"]}', on_fail => 'warn', name => 'itself');
SELECT etl.define_check('qr.odd', 'relationship', '{big}', '{"to": "qr.odd", "columns": ["id"]}', on_fail => 'warn', name => 'itself_wide');
SELECT etl.define_check('qr.odd', 'relationship', '{big}', '{"to": "qr.plain", "columns": ["id"]}', on_fail => 'warn', name => 'other');
SELECT etl.define_check('qr.odd', 'row_count', '{}', '{"min": 3}', on_fail => 'warn');
RESET search_path;
SELECT check_name, status, evaluated, failed, detail FROM etl.check('qr.odd') ORDER BY check_name COLLATE "C";
SELECT etl.define_check('qr.odd', 'expression', '{}', '{"expression": "id OPERATOR(evil.>) 5"}', on_fail => 'warn', name => 'written');
SELECT check_name, status FROM etl.check('qr.odd') WHERE check_name = 'written';
SELECT count(*) > 0 AS found FROM etl.validate('qr.odd');
SELECT count(*) FROM etl.duplicates('qr.odd', '{id}');
DROP SCHEMA evil CASCADE;

-- PUBLIC gets nothing
SELECT p.proname FROM pg_proc p, aclexplode(p.proacl) a WHERE p.pronamespace = 'etl'::regnamespace AND a.grantee = 0;

SELECT etl.drop_check(target, name) FROM etl.checks WHERE target LIKE 'qr.%' \g /dev/null
SELECT etl.drop_model('qr.t', drop_relation => true), etl.drop_model('qr.later', drop_relation => true);
DROP SCHEMA qr CASCADE;
DROP TABLE public.qr_secret;
DROP OWNED BY qr_owner, qr_other, qr_reader, qr_steward;
DROP ROLE qr_owner, qr_other, qr_reader, qr_steward;
