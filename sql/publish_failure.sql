-- A definition whose first build fails leaves the old pair, definition and data, served; a rollback is there for every kind, or says why not.
\set VERBOSITY terse
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SET timezone = 'UTC';
CREATE SCHEMA "pf ""x";
SET search_path = "pf ""x", public;
CREATE TABLE input AS SELECT i AS id, i * 10 AS v, timestamptz '2026-01-01 00:00Z' + i * interval '1 day' AS at FROM generate_series(1, 3) AS i;
CREATE FUNCTION target(name text) RETURNS text LANGUAGE sql AS $$SELECT format('%I.%I', 'pf "x', name)$$;
-- whether the pair is what it was, and what became of the build
CREATE FUNCTION attempt(name text, kind text, query text, key text[] DEFAULT NULL, strategy text DEFAULT NULL, event_time text DEFAULT NULL, options jsonb DEFAULT '{}')
	RETURNS TABLE (said text, served_is_newest boolean, error text, rows text) LANGUAGE plpgsql AS $$
BEGIN
	said := etl.define_model(target(name), query, kind, key, strategy, event_time, options => options || '{"retry": {"attempts": 1}}');
	BEGIN
		CALL etl.run(target(name));
	EXCEPTION WHEN SQLSTATE 'ET012' THEN
		GET STACKED DIAGNOSTICS error = PG_EXCEPTION_DETAIL;
	END;
	SELECT m.version = m.served_version INTO served_is_newest FROM etl.models m WHERE m.target = target(name);
	IF to_regclass(target(name)) IS NULL THEN
		rows := 'no relation';
	ELSE
		EXECUTE format('SELECT string_agg(t::text, '' '' ORDER BY t::text) FROM (SELECT id, v FROM %s) AS t', target(name)) INTO rows;
	END IF;
	RETURN NEXT;
END $$;

-- ---- the very first build of a name fails: there is nothing, and nothing in the way of the next ----
SELECT * FROM attempt('new', 'table', 'SELECT id, 1 / (id - 1) AS v FROM input');
SELECT * FROM attempt('new', 'table', 'SELECT id, v FROM input');

-- ---- a later one, of each kind ----
SELECT * FROM attempt('t', 'table', 'SELECT id, v FROM input', '{id}', options => '{"keep_versions": 2}');
SELECT * FROM attempt('t', 'table', 'SELECT id, 1 / (id - 1) AS v FROM input', '{id}', options => '{"keep_versions": 2}');
-- with other columns
SELECT * FROM attempt('t', 'table', 'SELECT id, ''x''::text AS v, 1 / (id - 1) AS w FROM input', '{id}', options => '{"keep_versions": 2}');
-- by its key, by an index, by a constraint, by a hook, by a grant that cannot be: the role is gone by then
CREATE ROLE "nobody ""at; all";
SELECT * FROM attempt('t', 'table', 'SELECT 1 AS id, v FROM input', '{id}', options => '{"keep_versions": 2}');
SELECT * FROM attempt('t', 'table', 'SELECT id, 7 AS v FROM input', '{id}', options => '{"keep_versions": 2, "unique": [["v"]]}');
SELECT * FROM attempt('t', 'table', 'SELECT id, -v AS v FROM input', '{id}', options => '{"keep_versions": 2, "constraints": ["CHECK (v > 0)"]}');
SELECT * FROM attempt('t', 'table', 'SELECT id, -v AS v FROM input', '{id}', options => '{"keep_versions": 2, "post_hook": "SELECT 1 / 0"}');
SELECT * FROM attempt('t', 'table', 'SELECT id, -v AS v FROM input', '{id}', options => '{"keep_versions": 2, "pre_hook": ["DROP ROLE \"nobody \"\"at; all\""], "grants": {"nobody \"at; all": "select"}}');
DROP ROLE "nobody ""at; all";
-- by a check
SELECT etl.define_check(target('t'), 'range', '{v}', '{"min": 0}');
SELECT * FROM attempt('t', 'table', 'SELECT id, -v AS v FROM input', '{id}', options => '{"keep_versions": 2}');
-- as another kind
SELECT * FROM attempt('t', 'view', 'SELECT id, -v AS v FROM input');
SELECT * FROM attempt('t', 'materialized_view', 'SELECT id, -v AS v FROM input');
SELECT count(*) AS versions, count(*) FILTER (WHERE served) AS served, count(kept) AS kept FROM etl.definition_versions WHERE name = target('t') AND kind = 'model';

SELECT * FROM attempt('i', 'incremental', 'SELECT id, v FROM input', '{id}', 'merge');
SELECT * FROM attempt('i', 'incremental', 'SELECT id, v / (id - 1) AS v FROM input', '{id}', 'merge');
SELECT * FROM attempt('m', 'materialized_view', 'SELECT id, v FROM input');
SELECT * FROM attempt('m', 'materialized_view', 'SELECT id, 1 / (id - 1) AS v FROM input');
SELECT * FROM attempt('m', 'materialized_view', 'SELECT id, 1 / (id - 1) AS v, 1 AS more FROM input');
SELECT * FROM attempt('s', 'snapshot', 'SELECT id, v, at FROM input', '{id}', 'timestamp', 'at');
SELECT * FROM attempt('s', 'snapshot', 'SELECT id, 1 / (id - 1) AS v, at + interval ''1 day'' AS at FROM input', '{id}', 'timestamp', 'at');
SELECT * FROM attempt('p', 'table', 'SELECT id, v, at FROM input', '{id,at}', options => '{"partition_by": {"range": "at", "interval": "1 month"}, "keep_versions": 1}');
SELECT * FROM attempt('p', 'table', 'SELECT id, 1 / (id - 1) AS v, at FROM input', '{id,at}', options => '{"partition_by": {"range": "at", "interval": "1 month"}, "keep_versions": 1}');
SELECT * FROM attempt('v', 'view', 'SELECT id, v FROM input');
SELECT etl.define_check(target('v'), 'range', '{v}', '{"min": 0}');
SELECT * FROM attempt('v', 'view', 'SELECT id, -v AS v FROM input');
SELECT * FROM attempt('seed', 'seed', 'SELECT * FROM (VALUES (1, 1)) AS t (id, v)', '{id}');
SELECT * FROM attempt('seed', 'seed', 'SELECT * FROM (VALUES (1, 1), (1, 2)) AS t (id, v)', '{id}');

-- ---- back to the pair that is served: nothing is built ----
SELECT name, etl.rollback(target(name)) FROM unnest('{t,i,m,s,p,v,seed}'::text[]) AS name;
SELECT target, version = served_version AS served_is_newest FROM etl.models WHERE target LIKE '"pf ""x".%' ORDER BY 1;

-- ---- a second version that is built, and back to the first ----
SELECT etl.drop_check(target('t'), 'range_v'), etl.drop_check(target('v'), 'range_v');
SELECT * FROM attempt('t', 'table', 'SELECT id, v + 1 AS v FROM input', '{id}', options => '{"keep_versions": 2}');
SELECT * FROM attempt('i', 'incremental', 'SELECT id, v + 1 AS v FROM input', '{id}', 'merge', options => '{"keep_versions": 1}');
SELECT * FROM attempt('m', 'materialized_view', 'SELECT id, v + 1 AS v FROM input');
SELECT * FROM attempt('s', 'snapshot', 'SELECT id, v + 1 AS v, at + interval ''1 day'' AS at FROM input', '{id}', 'timestamp', 'at');
SELECT * FROM attempt('p', 'table', 'SELECT id, v + 1 AS v, at FROM input', '{id,at}', options => '{"partition_by": {"range": "at", "interval": "1 month"}, "keep_versions": 1}');
SELECT * FROM attempt('v', 'view', 'SELECT id, v + 1 AS v FROM input');
SELECT * FROM attempt('seed', 'seed', 'SELECT * FROM (VALUES (1, 2)) AS t (id, v)', '{id}');
CREATE FUNCTION back(name text) RETURNS TABLE (said text, rows text) LANGUAGE plpgsql AS $$
BEGIN
	said := etl.rollback(target(name));
	EXECUTE format('SELECT string_agg(t::text, '' '' ORDER BY t::text) FROM (SELECT id, v FROM %s) AS t', target(name)) INTO rows;
	RETURN NEXT;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS said = MESSAGE_TEXT, rows = PG_EXCEPTION_HINT;
	RETURN NEXT;
END $$;
SELECT name, regexp_replace(said, 'version \d+|publication \d+', '…', 'g') AS said, rows FROM unnest('{t,i,m,s,p,v,seed}'::text[]) AS name, back(name);
-- rows that were kept of a table that others have since linked or published are put back by DML
SELECT * FROM attempt('t', 'table', 'SELECT id, v + 2 AS v FROM input', '{id}', options => '{"keep_versions": 2}');
ALTER TABLE t ADD PRIMARY KEY (id);
CREATE TABLE child AS SELECT 1 AS id;
ALTER TABLE child ADD FOREIGN KEY (id) REFERENCES t;
SELECT etl.rollback(target('t')) LIKE 'version %, with its rows%' AS back;
SELECT * FROM t ORDER BY id;
DROP TABLE child;
-- what was kept and that somebody dropped is not there to go back to, and nothing else breaks
SELECT format('DROP TABLE %s', oid::regclass) FROM pg_class WHERE relnamespace = '"pf ""x"'::regnamespace AND relname LIKE 't\_etl\_v%' ORDER BY 1 \gexec
SELECT name, said FROM back('t'), unnest('{t}'::text[]) AS name;
SELECT * FROM attempt('t', 'table', 'SELECT id, v + 3 AS v FROM input', '{id}', options => '{"keep_versions": 2}');

DO $$ BEGIN PERFORM etl.drop_model(target, cascade => true, drop_relation => true) FROM etl.models WHERE target LIKE '"pf %'; END $$;
SELECT relname FROM pg_class WHERE relnamespace = '"pf ""x"'::regnamespace ORDER BY 1;
DROP SCHEMA "pf ""x" CASCADE;
