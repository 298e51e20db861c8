-- A snapshot keeps every version of a row: one current version a key, none that overlap, nothing lost and nothing written in vain.
\set VERBOSITY terse
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SET client_min_messages = error;
SET timezone = 'UTC';
CREATE SCHEMA sn;
CREATE FUNCTION sn.task() RETURNS TABLE (action text, ins bigint, upd bigint, del bigint) LANGUAGE sql AS
	$$SELECT t.action, t.rows_inserted, t.rows_updated, t.rows_deleted FROM etl.tasks t WHERE t.run_id = etl.last_run_id()$$;

-- check: the columns tell; NULLs are equal, also in the key; what the clock says is since when
CREATE TABLE sn.city (id int, part int, name text, note json, price numeric);
INSERT INTO sn.city VALUES (1, 1, 'Bonn', '{"a": 1}', 1.0), (1, NULL, 'Köln', NULL, NULL), (2, 1, NULL, NULL, 3);
SELECT etl.define_model('sn.city_history', 'SELECT * FROM sn.city', 'snapshot', '{id,part}', options => '{"hard_deletes": "new_record"}');
SET etl.test_now = '2026-01-01';
CALL etl.run('sn.city_history');
SELECT * FROM sn.task();
SET etl.test_now = '2026-01-02';
CALL etl.run('sn.city_history');
SELECT * FROM sn.task();
UPDATE sn.city SET price = 1.00 WHERE id = 1 AND part = 1;	-- equal
UPDATE sn.city SET price = 0 WHERE part IS NULL;
DELETE FROM sn.city WHERE id = 2;
CALL etl.run('sn.city_history');
SELECT * FROM sn.task();
SELECT id, part, name, price, valid_from::date, valid_to::date, is_current, is_deleted FROM sn.city_history ORDER BY 1, 2, 5;
-- at the same moment by the clock, yet never an empty version
UPDATE sn.city SET price = 5 WHERE part IS NULL;
INSERT INTO sn.city VALUES (2, 1, 'Ulm', '[]', 3);
CALL etl.run('sn.city_history');
SELECT id, part, name, price, valid_from, valid_to, is_current, is_deleted FROM sn.city_history ORDER BY 1, 2, 5;

-- a column that comes is not a change of every row, now or later; nor is one that goes and comes again
ALTER TABLE sn.city ADD COLUMN mayor text DEFAULT 'nobody';
SET etl.test_now = '2026-01-03';
CALL etl.run('sn.city_history');
SELECT * FROM sn.task();
CALL etl.run('sn.city_history');
SELECT * FROM sn.task();
UPDATE sn.city SET mayor = 'Ada' WHERE part IS NULL;
CALL etl.run('sn.city_history');
SELECT * FROM sn.task();
SELECT name, mayor, valid_from::date, is_current FROM sn.city_history WHERE part IS NULL OR is_current ORDER BY name, valid_from;
SELECT etl.define_model('sn.city_history', 'SELECT id, part, name, note, price FROM sn.city', 'snapshot', '{id,part}', options => '{"hard_deletes": "new_record"}');
UPDATE sn.city SET name = 'Neu-Ulm' WHERE id = 2;
SET etl.test_now = '2026-01-04';
CALL etl.run('sn.city_history');
SELECT * FROM sn.task();
SELECT etl.define_model('sn.city_history', 'SELECT * FROM sn.city', 'snapshot', '{id,part}', options => '{"hard_deletes": "new_record"}');
SET etl.test_now = '2026-01-05';
CALL etl.run('sn.city_history');
SELECT * FROM sn.task();
-- full_refresh compares, and rebuilds nothing
SELECT count(*) AS versions FROM sn.city_history \gset before_
CALL etl.run('sn.city_history', full_refresh => true);
SELECT t.action, reason, rows_inserted + rows_updated + rows_deleted AS written FROM etl.tasks t WHERE run_id = etl.last_run_id();
SELECT count(*) = :before_versions AS kept FROM sn.city_history;
-- a wider type widens history; one that history does not fit stops
ALTER TABLE sn.city ALTER COLUMN id TYPE bigint;
CALL etl.run('sn.city_history');
SELECT * FROM sn.task();
SELECT atttypid::regtype FROM pg_attribute WHERE attrelid = 'sn.city_history'::regclass AND attname = 'id';
ALTER TABLE sn.city ALTER COLUMN name TYPE bytea USING name::bytea;
\set VERBOSITY sqlstate
CALL etl.run('sn.city_history');
\set VERBOSITY terse
SELECT count(*) = :before_versions AS kept FROM sn.city_history;
ALTER TABLE sn.city ALTER COLUMN name TYPE text USING convert_from(name, 'UTF8');

-- constraints, not the engine alone, forbid two current versions and versions that overlap
INSERT INTO sn.city_history (id, part, valid_from, valid_to, is_current) VALUES (1, 1, '2030-01-01', NULL, true);
SELECT count(*) FROM pg_constraint WHERE conrelid = 'sn.city_history'::regclass AND contype = 'x';
DO $$
DECLARE
	attempt text;
BEGIN
	FOREACH attempt IN ARRAY ARRAY['1, 1, ''2030-01-01'', ''2031-01-01'', false', '1, NULL, ''2025-01-01'', ''2026-01-01 00:00:00.000001+00'', false',
		'9, 9, ''2026-01-01'', ''2026-01-01'', false', '9, 9, ''2026-01-01'', NULL, false', '9, 9, NULL, NULL, true', '9, 9, ''-infinity'', NULL, true']
	LOOP
		BEGIN
			EXECUTE format('INSERT INTO sn.city_history (id, part, valid_from, valid_to, is_current) VALUES (%s)', attempt);
			RAISE INFO 'taken: %', attempt;
		EXCEPTION WHEN exclusion_violation OR check_violation THEN
			RAISE INFO 'refused: %', sqlstate;
		END;
	END LOOP;
END $$;
-- half-open: one ends where the next begins
BEGIN;
INSERT INTO sn.city_history (id, part, valid_from, valid_to, is_current) VALUES (1, NULL, '2025-01-01', '2026-01-01', false);
ROLLBACK;

-- as_of: the rows of a moment
SELECT id, part, name, price FROM etl.as_of(NULL::sn.city_history, '2026-01-01 12:00') ORDER BY 1, 2;
SELECT id, part, name FROM etl.as_of(NULL::sn.city_history, '2026-01-02') ORDER BY 1, 2;
SELECT count(*) FROM etl.as_of(NULL::sn.city_history, '2025-12-31 23:59:59.999999');
SELECT row ->> 'name' AS name FROM etl.as_of('sn.city_history', '2026-01-05') AS row ORDER BY 1;
SELECT * FROM etl.as_of(NULL::sn.city, '2026-01-01');
SELECT * FROM etl.as_of('sn.nothing');
SELECT * FROM etl.as_of('sn.city_history', NULL);

-- check_columns: others do not make a version
CREATE TABLE sn.part (id int, a int, b int, at timestamp);
INSERT INTO sn.part VALUES (1, 1, 1, '2026-01-01'), (1, 2, 1, '2026-01-02'), (1, 2, 9, '2026-01-03'), (2, 1, 1, '2026-01-01'), (2, 1, 1, '2026-01-01');
SELECT etl.define_model('sn.part_history', 'SELECT * FROM sn.part', 'snapshot', '{id}', 'check', 'at', options => '{"check_columns": ["a"], "hard_deletes": "invalidate"}');
CALL etl.run('sn.part_history');
UPDATE sn.part SET b = 5;
CALL etl.run('sn.part_history');
SELECT * FROM sn.task();
DELETE FROM sn.part WHERE id = 2;
UPDATE sn.part SET a = 7 WHERE at = '2026-01-03';	-- its time did not advance
CALL etl.run('sn.part_history');
SELECT * FROM sn.part_history ORDER BY id, valid_from;

-- timestamp: late rows split, a row with the time of a version corrects it, two of one time are refused
CREATE TABLE sn."Weird ""name" (id text, "a""b; DROP" text, "at%s" timestamptz);
INSERT INTO sn."Weird ""name" VALUES ('k', 'one', '2026-01-01'), ('k', 'four', '2026-01-04'), ('k', 'four', '2026-01-04');
SELECT etl.define_model('sn."Snap ""shot"', 'SELECT * FROM sn."Weird ""name"', 'snapshot', '{id}', event_time => 'at%s');
CALL etl.run('sn."Snap ""shot"');
INSERT INTO sn."Weird ""name" VALUES ('k', 'two', '2026-01-02'), ('k', 'none', '2025-12-31'), ('k', 'six', '2026-01-06');
UPDATE sn."Weird ""name" SET "a""b; DROP" = 'FOUR' WHERE "at%s" = '2026-01-04';
CALL etl.run('sn."Snap ""shot"');
SELECT * FROM sn.task();
TABLE sn."Snap ""shot" ORDER BY valid_from;
INSERT INTO sn."Weird ""name" VALUES ('k', 'Six', '2026-01-06');
\set VERBOSITY sqlstate
CALL etl.run('sn."Snap ""shot"');
\set VERBOSITY terse
SELECT error, detail FROM etl.tasks WHERE run_id = etl.last_run_id();
UPDATE sn."Weird ""name" SET "at%s" = NULL WHERE "a""b; DROP" = 'Six';
\set VERBOSITY sqlstate
CALL etl.run('sn."Snap ""shot"');
\set VERBOSITY terse
SELECT error, detail FROM etl.tasks WHERE run_id = etl.last_run_id();
-- a check that quarantines keeps the row back; its key is not gone
SELECT etl.define_model('sn."Snap ""shot"', 'SELECT * FROM sn."Weird ""name"', 'snapshot', '{id}', event_time => 'at%s', options => '{"hard_deletes": "invalidate"}');
SELECT etl.define_check('sn."Snap ""shot"', 'not_null', '{at%s}', on_fail => 'quarantine');
SELECT etl.define_check('sn."Snap ""shot"', 'unique', '{id}', '{"where": "is_current"}');
SELECT etl.define_check('sn."Snap ""shot"', 'expression', '{}', '{"expression": "id <> ''bad''", "where": "is_current"}', 'quarantine', name => 'not bad');
UPDATE sn."Weird ""name" SET id = 'bad' WHERE "a""b; DROP" <> 'Six';
CALL etl.run('sn."Snap ""shot"');
SELECT * FROM sn.task();
SELECT count(*), count(*) FILTER (WHERE status = 'open') AS open FROM etl.rejects WHERE target = 'sn."Snap ""shot"';
SELECT check_name, status, evaluated, failed FROM etl.check_results WHERE run_id = etl.last_run_id() ORDER BY 1;
SELECT id, is_current FROM sn."Snap ""shot" WHERE is_current;

-- what makes no sense is refused at definition
SELECT etl.define_model('sn.x', 'SELECT * FROM sn.part', 'snapshot');
SELECT etl.define_model('sn.x', 'SELECT * FROM sn.part', 'snapshot', '{id}', 'merge');
SELECT etl.define_model('sn.x', 'SELECT * FROM sn.part', 'snapshot', '{id}', 'timestamp');
SELECT etl.define_model('sn.x', 'SELECT * FROM sn.part', 'snapshot', '{id}', event_time => 'att');
SELECT etl.define_model('sn.x', 'SELECT * FROM sn.part', 'snapshot', '{id}', event_time => 'a');
SELECT etl.define_model('sn.x', 'SELECT * FROM sn.part', 'snapshot', '{id}', options => '{"check_columns": ["c"]}');
SELECT etl.define_model('sn.x', 'SELECT * FROM sn.part', 'snapshot', '{id}', options => '{"hard_deletes": "drop"}');
SELECT etl.define_model('sn.x', 'SELECT * FROM sn.part', 'table', options => '{"hard_deletes": "ignore"}');
SELECT etl.define_model('sn.x', 'SELECT id, now() AS valid_to FROM sn.part', 'snapshot', '{id}');
SELECT etl.define_model('sn.x', 'SELECT point(1, 2) AS id', 'snapshot', '{id}');
SELECT etl.define_model('sn.part_history', 'SELECT * FROM sn.part', 'table');

-- another kind becomes a snapshot: what it held is no history
SELECT etl.define_model('sn.turned', 'SELECT id, max(a) AS a FROM sn.part GROUP BY id', 'table');
CALL etl.run('sn.turned');
SELECT etl.define_model('sn.turned', 'SELECT id, max(a) AS a FROM sn.part GROUP BY id', 'snapshot', '{id}');
CALL etl.run('sn.turned');
TABLE sn.turned;
-- one that etl did not make is adopted when it has the columns
CREATE TABLE sn.legacy (id int, a int, valid_from timestamptz, valid_to timestamptz, is_current boolean);
INSERT INTO sn.legacy VALUES (1, 0, '2020-01-01', '2021-01-01', false), (1, 1, '2021-01-01', NULL, true), (2, 3, '2021-01-01', NULL, true);
SELECT etl.define_model('sn.legacy', 'SELECT id, max(a) AS a FROM sn.part GROUP BY id', 'snapshot', '{id}', options => '{"adopt": true}');
CALL etl.run('sn.legacy');
TABLE sn.legacy ORDER BY id, valid_from;

-- in the caller's transaction, and gone with it
BEGIN;
UPDATE sn.part SET a = 100;
CALL etl.run('sn.turned');
SELECT count(*) FROM sn.turned;
ROLLBACK;
SELECT count(*) FROM sn.turned;

SET client_min_messages = error;
SELECT count(etl.drop_model(target, true)) FROM etl.models WHERE target LIKE 'sn.%';
DROP SCHEMA sn CASCADE;
