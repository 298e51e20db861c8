-- The row checks of a large table are judged by several processes with the counts that one would find; what workers must not see or do, one process does.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY terse
CREATE ROLE cp_owner NOLOGIN;
GRANT etl_developer TO cp_owner;
CREATE SCHEMA cp AUTHORIZATION cp_owner;
SET ROLE cp_owner;
CREATE TABLE cp.parent (code text PRIMARY KEY);
INSERT INTO cp.parent VALUES ('a'), ('b'), ('c');
CREATE TABLE cp."we""ird; drop" (gone int, id int, "a""b" text, gone2 text, amount numeric(10,2), at timestamptz, code text);
INSERT INTO cp."we""ird; drop"
SELECT i, CASE WHEN i % 100 <> 0 THEN i END, 'note ' || i % 7, NULL, i % 50 - 1, '2026-01-01Z'::timestamptz + i * interval '1 minute',
	chr(97 + i % 5) FROM generate_series(1, 20000) AS i;
ALTER TABLE cp."we""ird; drop" DROP COLUMN gone, DROP COLUMN gone2;
ALTER TABLE cp."we""ird; drop" ADD COLUMN late int DEFAULT 7;
SELECT count(etl.define_check('cp."we""ird; drop"', kind, columns::text[], options::jsonb, on_fail)) FROM (VALUES
	('not_null', '{id}', '{}', 'warn'),
	('not_null', '{late}', '{}', 'warn'),
	('range', '{amount}', '{"min": 0, "max": 40}', 'quarantine'),
	('range', '{at}', '{"max": "2026-01-05Z", "where": "late = 7 AND code <> ''e''"}', 'warn'),
	('accepted_values', '{code}', '{"values": ["a", "b", "it''s"]}', 'warn'),
	('regex', '{"a\"b"}', '{"pattern": "^note [1-6]$"}', 'warn'),
	('relationship', '{code}', '{"to": "cp.parent", "columns": ["code"]}', 'warn'),
	('expression', '{amount}', '{"expression": "amount * late < 280 OR \"a\"\"b\" IS NULL"}', 'warn')) AS c (kind, columns, options, on_fail);

CREATE FUNCTION cp.results() RETURNS TABLE (check_name text, status text, evaluated bigint, failed bigint, detail text) LANGUAGE sql VOLATILE AS
$$SELECT check_name, status, evaluated, failed, detail FROM etl.check('cp.*')$$;
SET max_parallel_workers_per_gather = 0;
CREATE TABLE cp.alone AS SELECT * FROM cp.results();
SELECT check_name, status, evaluated, failed FROM cp.alone ORDER BY check_name COLLATE "C";

-- several processes: the same, and they were several
RESET ROLE;
SELECT pg_stat_force_next_flush();
SELECT seq_scan AS scans FROM pg_stat_all_tables WHERE relname = 'we"ird; drop' \gset
SET ROLE cp_owner;
SET max_parallel_workers_per_gather = 2;
SET min_parallel_table_scan_size = 0;
SELECT * FROM cp.results() EXCEPT SELECT * FROM cp.alone;
RESET ROLE;
SELECT pg_stat_force_next_flush();
SELECT set_config('cp.scans', :'scans', false) = :'scans' AS noted;
DO $$
BEGIN
	FOR i IN 1 .. 1000 LOOP
		PERFORM pg_stat_clear_snapshot();
		IF (SELECT seq_scan FROM pg_stat_all_tables WHERE relname = 'we"ird; drop') > current_setting('cp.scans')::bigint + 1 THEN
			RAISE WARNING 'several processes have read it';
			RETURN;
		END IF;
		PERFORM pg_sleep(0.01);
	END LOOP;
	RAISE WARNING 'one process has read it';
END$$;

-- rows of the own transaction count
SET ROLE cp_owner;
BEGIN;
INSERT INTO cp."we""ird; drop" (id) VALUES (NULL), (NULL), (NULL);
SELECT c.evaluated - a.evaluated AS more, c.failed - a.failed AS failed FROM cp.results() AS c JOIN cp.alone AS a USING (check_name)
WHERE check_name = 'not_null_id';
ROLLBACK;

-- a check that breaks, one that no worker may evaluate, one that its owner may not
SELECT etl.define_check('cp."we""ird; drop"', 'expression', options => '{"expression": "100 / (id - 501) < 1000"}', name => 'breaks');
SELECT * FROM cp.results() EXCEPT SELECT * FROM cp.alone;
SELECT etl.drop_check('cp."we""ird; drop"', 'breaks');
SELECT etl.define_check('cp."we""ird; drop"', 'expression', options => '{"expression": "pg_backend_pid() > 0"}', name => 'restricted');
SELECT check_name, status, evaluated, failed FROM cp.results() EXCEPT SELECT check_name, status, evaluated, failed FROM cp.alone;
SELECT etl.drop_check('cp."we""ird; drop"', 'restricted');
CREATE FUNCTION cp.calls(int) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RETURN $1 < 100; END$$;
SELECT etl.define_check('cp."we""ird; drop"', 'expression', options => '{"expression": "cp.calls(id)"}', name => 'unsafe');
SELECT check_name, status, evaluated, failed FROM cp.results() EXCEPT SELECT check_name, status, evaluated, failed FROM cp.alone;
SELECT etl.drop_check('cp."we""ird; drop"', 'unsafe');

-- policies, children and empty tables mean what they always do
ALTER TABLE cp."we""ird; drop" ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY few ON cp."we""ird; drop" USING (code = 'a');
SELECT check_name, status, evaluated, failed FROM cp.results() WHERE check_name IN ('not_null_id', 'accepted_values_code') ORDER BY 1;
ALTER TABLE cp."we""ird; drop" NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY;
CREATE TABLE cp.child () INHERITS (cp."we""ird; drop");
INSERT INTO cp.child (id) VALUES (1);
SELECT evaluated FROM cp.results() WHERE check_name = 'not_null_id';
DROP TABLE cp.child;
TRUNCATE cp."we""ird; drop";
SELECT check_name, status, evaluated, failed FROM cp.results() WHERE check_name IN ('not_null_id', 'accepted_values_code') ORDER BY 1;

RESET ROLE;
SET client_min_messages = error;
SELECT count(etl.drop_check(target, name)) FROM etl.checks WHERE target LIKE 'cp.%';
DROP SCHEMA cp CASCADE;
REVOKE etl_developer FROM cp_owner;
DROP ROLE cp_owner;
