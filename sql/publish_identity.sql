-- What keeps its OID, case by case: tables always, views while their columns stay or come at the end; and what stands on a relation stays in every case.
\set VERBOSITY terse
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SET client_min_messages = warning;
CREATE SCHEMA pi;
CREATE ROLE etl_pi_reader;
GRANT USAGE ON SCHEMA pi TO etl_pi_reader;
CREATE TABLE pi.input AS SELECT i AS id, i % 3 AS g, 10 * i AS v, timestamptz '2026-01-01 00:00Z' + i * interval '1 day' AS at FROM generate_series(1, 6) AS i;
CREATE TABLE pi.were (name text PRIMARY KEY, oid oid, toast boolean);

-- what a relation is now, beside what it was when it was last looked at
CREATE FUNCTION pi.look(relation text, OUT oid_is text, OUT granted boolean, OUT comment text, OUT policies bigint, OUT above text, OUT columns text, OUT rows bigint) LANGUAGE plpgsql AS $$
BEGIN
	SELECT CASE WHEN w.oid IS NULL THEN 'first' WHEN w.oid = relation::regclass THEN 'kept' ELSE 'NEW' END INTO oid_is FROM (SELECT) AS one LEFT JOIN pi.were w ON w.name = relation;
	granted := has_table_privilege('etl_pi_reader', relation, 'SELECT');
	comment := obj_description(relation::regclass, 'pg_class');
	SELECT count(*) INTO policies FROM pg_policy WHERE polrelid = relation::regclass;
	SELECT string_agg(DISTINCT ev_class::regclass::text, ' ') INTO above FROM pg_depend JOIN pg_rewrite r ON r.oid = objid
		WHERE refobjid = relation::regclass AND classid = 'pg_rewrite'::regclass AND ev_class <> relation::regclass;
	SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum) INTO columns FROM pg_attribute
		WHERE attrelid = relation::regclass AND attnum > 0 AND NOT attisdropped AND attname !~ '^(valid_|is_current)';
	EXECUTE format('SELECT count(*) FROM %s', relation) INTO rows;
	INSERT INTO pi.were VALUES (relation, relation::regclass) ON CONFLICT (name) DO UPDATE SET oid = excluded.oid;
END $$;
CREATE FUNCTION pi.dress(relation text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('GRANT SELECT ON %s TO etl_pi_reader', relation);
	EXECUTE format('COMMENT ON %s %s IS %L', CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'TABLE' END, relation, 'about ' || relation) FROM pg_class WHERE oid = relation::regclass;
	IF (SELECT relkind IN ('r', 'p') FROM pg_class WHERE oid = relation::regclass) THEN
		EXECUTE format('CREATE POLICY mine ON %s USING (true)', relation);
	END IF;
END $$;

-- ---- a table, with a view that etl does not know on it ----
SELECT etl.define_model('pi.t', 'SELECT id, g, v FROM pi.input', 'table', key => '{id}');
CALL etl.run('pi.t');
SELECT pi.dress('pi.t');
CREATE VIEW pi.foreign_view AS SELECT id, v FROM pi.t;
SELECT * FROM pi.look('pi.t');
-- rebuilt
UPDATE pi.input SET v = v + 1;
CALL etl.run('pi.t');
SELECT * FROM pi.look('pi.t');
-- rebuilt by DML, in a transaction
BEGIN;
CALL etl.run('pi.t', full_refresh => true);
COMMIT;
SELECT * FROM pi.look('pi.t');
-- a column more, a column less
SELECT etl.define_model('pi.t', 'SELECT id, v, ''x'' AS more FROM pi.input', 'table', key => '{id}');
CALL etl.run('pi.t');
SELECT * FROM pi.look('pi.t');
-- another type: what the column was granted, and what is said of it, stays
GRANT SELECT (more), UPDATE (more) ON pi.t TO etl_pi_reader;
COMMENT ON COLUMN pi.t.more IS 'more of it';
SELECT etl.define_model('pi.t', 'SELECT id, v, 1.5 AS more FROM pi.input', 'table', key => '{id}');
CALL etl.run('pi.t');
SELECT privilege_type, col_description(attrelid, attnum) FROM pg_attribute, aclexplode(attacl) WHERE attrelid = 'pi.t'::regclass AND attname = 'more' ORDER BY 1;
SELECT * FROM pi.look('pi.t');
-- indexes, constraints, storage, hooks of the definition
SELECT etl.define_model('pi.t', 'SELECT id, v, 1.5 AS more FROM pi.input', 'table', key => '{id}', options => '{"indexes": [["v"]], "constraints": ["CHECK (v > 0)"], "with": {"fillfactor": 70}}');
CALL etl.run('pi.t');
SELECT * FROM pi.look('pi.t');
-- other ways to fill it, and back
SELECT etl.define_model('pi.t', 'SELECT id, v, 1.5 AS more FROM pi.input', 'incremental', key => '{id}', strategy => 'merge');
CALL etl.run('pi.t');
SELECT * FROM pi.look('pi.t');
SELECT etl.define_model('pi.t', 'SELECT id, v, 1.5 AS more FROM pi.input', 'table', key => '{id}', options => '{"keep_versions": 1}');
CALL etl.run('pi.t');
SELECT * FROM pi.look('pi.t');
-- the old rows are kept, and come back
UPDATE pi.input SET v = v + 1;
CALL etl.run('pi.t');
SELECT * FROM pi.look('pi.t');
SELECT etl.rollback('pi.t');
SELECT * FROM pi.look('pi.t');
-- what a foreign view reads cannot go: the run stops before any work
SELECT etl.define_model('pi.t', 'SELECT id FROM pi.input', 'table', key => '{id}');
\set VERBOSITY default
CALL etl.run('pi.t');
\set VERBOSITY terse
SELECT * FROM pi.look('pi.t');
DROP VIEW pi.foreign_view;

-- ---- a partitioned table: its partitions are replaced ----
SELECT etl.define_model('pi.p', 'SELECT id, at, v FROM pi.input', 'table', key => '{id,at}', options => '{"partition_by": {"range": "at", "interval": "1 month"}}');
CALL etl.run('pi.p');
SELECT pi.dress('pi.p');
SELECT * FROM pi.look('pi.p');
INSERT INTO pi.input VALUES (7, 1, 70, '2026-02-03 00:00Z');
CALL etl.run('pi.p', full_refresh => true);
SELECT * FROM pi.look('pi.p');
SELECT etl.define_model('pi.p', 'SELECT id, at, v, g AS more FROM pi.input', 'table', key => '{id,at}', options => '{"partition_by": {"range": "at", "interval": "1 month"}}');
CALL etl.run('pi.p');
SELECT * FROM pi.look('pi.p');

-- ---- a snapshot, a seed ----
SELECT etl.define_model('pi.s', 'SELECT id, v, at FROM pi.input', 'snapshot', key => '{id}', strategy => 'timestamp', event_time => 'at');
CALL etl.run('pi.s');
SELECT pi.dress('pi.s');
SELECT * FROM pi.look('pi.s');
UPDATE pi.input SET v = 0, at = '2026-03-01 00:00Z' WHERE id = 1;
CALL etl.run('pi.s');
SELECT * FROM pi.look('pi.s');
SELECT etl.define_model('pi.s', 'SELECT id, v, at, g FROM pi.input', 'snapshot', key => '{id}', strategy => 'timestamp', event_time => 'at');
CALL etl.run('pi.s', full_refresh => true);
SELECT * FROM pi.look('pi.s');
SELECT etl.define_model('pi.seed', 'VALUES (1, ''a'')', 'seed');
CALL etl.run('pi.seed');
SELECT pi.dress('pi.seed');
SELECT * FROM pi.look('pi.seed');
SELECT etl.define_model('pi.seed', 'VALUES (1, ''a''), (2, ''b'')', 'seed');
CALL etl.run('pi.seed');
SELECT * FROM pi.look('pi.seed');

-- ---- a view: replaced in place while its columns stay ----
SELECT etl.define_model('pi.v', 'SELECT id, v FROM pi.input');
SELECT etl.define_model('pi.above', 'SELECT id FROM pi.v');
CALL etl.run('pi.v+');
SELECT pi.dress('pi.v'), pi.dress('pi.above');
SELECT * FROM pi.look('pi.v'), pi.look('pi.above') AS a(a_oid_is, a_granted, a_comment);
SELECT etl.define_model('pi.v', 'SELECT id, v * 2 AS v FROM pi.input');
CALL etl.run('pi.v+');
SELECT * FROM pi.look('pi.v'), pi.look('pi.above') AS a(a_oid_is, a_granted, a_comment);
SELECT etl.define_model('pi.v', 'SELECT id, v * 2 AS v, g FROM pi.input');
CALL etl.run('pi.v+');
SELECT * FROM pi.look('pi.v'), pi.look('pi.above') AS a(a_oid_is, a_granted, a_comment);
-- otherwise it is made again, and the managed views above it, with what they had
SELECT etl.define_model('pi.v', 'SELECT g, id FROM pi.input');
CALL etl.run('pi.v+');
SELECT * FROM pi.look('pi.v'), pi.look('pi.above') AS a(a_oid_is, a_granted, a_comment);

-- ---- a materialized view: the same, but nothing can be added to it in place ----
SELECT etl.define_model('pi.m', 'SELECT id, v FROM pi.input', 'materialized_view');
CALL etl.run('pi.m');
SELECT pi.dress('pi.m');
SELECT * FROM pi.look('pi.m');
SELECT etl.define_model('pi.m', 'SELECT id, v + 1 AS v FROM pi.input WHERE id > 1', 'materialized_view');
CALL etl.run('pi.m');
SELECT * FROM pi.look('pi.m');
SELECT etl.define_model('pi.m', 'SELECT id, v, g FROM pi.input', 'materialized_view');
CALL etl.run('pi.m');
SELECT * FROM pi.look('pi.m');

-- ---- another kind of relation is another relation ----
SELECT etl.define_model('pi.v', 'SELECT g, id FROM pi.input', 'table');
CALL etl.run('pi.v+');
SELECT * FROM pi.look('pi.v'), pi.look('pi.above') AS a(a_oid_is, a_granted, a_comment);
-- it takes along what it was granted, column by column too, what is said of it, and the indexes of others that can be there
CREATE FUNCTION pi.words(relation text, OUT kind "char", OUT owner text, OUT acl text, OUT columns text, OUT comments text, OUT indexes text) LANGUAGE sql AS $$
	SELECT relkind, CASE WHEN relowner = current_user::regrole THEN 'same' ELSE relowner::regrole::text END, (SELECT string_agg(grantee::regrole || ' ' || privilege_type || ' ' || is_grantable, ', ' ORDER BY 1, privilege_type) FROM aclexplode(relacl) WHERE grantee <> relowner),
		(SELECT string_agg(attname || ' ' || grantee::regrole || ' ' || privilege_type, ', ' ORDER BY attname, privilege_type) FROM pg_attribute, aclexplode(attacl) WHERE attrelid = c.oid),
		(SELECT string_agg(description, ', ' ORDER BY objsubid) FROM pg_description WHERE objoid = c.oid AND classoid = 'pg_class'::regclass),
		(SELECT string_agg(pg_get_indexdef(indexrelid, 1, true), ', ') FROM pg_index WHERE indrelid = c.oid)
	FROM pg_class c WHERE c.oid = relation::regclass $$;
GRANT UPDATE (id), REFERENCES (id) ON pi.v TO etl_pi_reader WITH GRANT OPTION;
GRANT DELETE ON pi.v TO etl_pi_reader WITH GRANT OPTION;
COMMENT ON COLUMN pi.v.id IS 'about "id"';
CREATE INDEX ON pi.v (g);
SELECT * FROM pi.words('pi.v');
SELECT etl.define_model('pi.v', 'SELECT g, id FROM pi.input', 'materialized_view');
CALL etl.run('pi.v');
SELECT * FROM pi.words('pi.v');
SELECT etl.define_model('pi.v', 'SELECT g, id FROM pi.input', 'view');
CALL etl.run('pi.v');
SELECT * FROM pi.words('pi.v');
SELECT etl.define_model('pi.v', 'SELECT g, id FROM pi.input', 'incremental', key => '{id}');
CALL etl.run('pi.v');
SELECT * FROM pi.words('pi.v');
SELECT * FROM pi.look('pi.v'), pi.look('pi.above') AS a(a_oid_is, a_granted, a_comment);
-- what etl does not manage and would be lost stops the run before any work: by name, with its definition
SELECT etl.define_model('pi.v', 'SELECT g, id FROM pi.input', 'view');
\set VERBOSITY default
CREATE FUNCTION pi.of_type() RETURNS SETOF pi.v LANGUAGE sql AS 'SELECT NULL::int, 1';
CALL etl.run('pi.v');
DROP FUNCTION pi.of_type;
CREATE FUNCTION pi.atomic() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(id) FROM pi.v; END;
CALL etl.run('pi.v');
-- a column of it goes: the same
SELECT etl.define_model('pi.v', 'SELECT g FROM pi.input', 'table');
CALL etl.run('pi.v');
DROP FUNCTION pi.atomic;
SELECT etl.define_model('pi.v', 'SELECT g, id FROM pi.input', 'view');
CREATE POLICY only_some ON pi.v USING (g > 0);
CALL etl.run('pi.v');
DROP POLICY only_some ON pi.v;
CREATE MATERIALIZED VIEW pi.foreign_matview AS SELECT id FROM pi.above;
CALL etl.run('pi.v');
SELECT * FROM pi.words('pi.v');
DROP MATERIALIZED VIEW pi.foreign_matview;
\set VERBOSITY terse
CALL etl.run('pi.v');
SELECT * FROM pi.words('pi.v');

-- ---- renamed, and promoted from an environment: the same relation ----
SELECT etl.define_model('pi.r', 'SELECT id, v FROM pi.input', 'table', key => '{id}');
CALL etl.run('pi.r');
SELECT pi.dress('pi.r');
SELECT * FROM pi.look('pi.r');
SELECT etl.rename('pi.r', 'pi.renamed');
UPDATE pi.were SET name = 'pi.renamed' WHERE name = 'pi.r';
SELECT * FROM pi.look('pi.renamed');
SET etl.environment = 'pi_1';
SELECT etl.define_model('pi.renamed', 'SELECT id, v, g FROM pi.input', 'table', key => '{id}');
CALL etl.run();
SELECT count(*) > 0 FROM etl.promote('pi_1');
RESET etl.environment;
CALL etl.run('pi.renamed');
SELECT * FROM pi.look('pi.renamed');
SELECT etl.define_model('pi.renamed', 'SELECT g, v, id FROM pi.input', 'table', key => '{id}');
CALL etl.run('pi.renamed');
SELECT * FROM pi.look('pi.renamed');

SET client_min_messages = error;
DO $$ BEGIN PERFORM etl.drop_model(target, cascade => true, drop_relation => true) FROM etl.models WHERE target LIKE 'pi.%'; END $$;
DROP SCHEMA pi CASCADE;
DROP OWNED BY etl_pi_reader;
DROP ROLE etl_pi_reader;
