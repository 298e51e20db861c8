-- What somebody gave a model's table by hand stays while it can; where its column goes or is made again, the run says what went.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SET client_min_messages = warning;
CREATE SCHEMA be;
CREATE TABLE be.i AS SELECT i AS id, i % 3 AS g, 10 * i AS v FROM generate_series(1, 30) AS i;
-- every way to publish: swapped, computed as a difference, partitioned, kept as history, and by DML because of a trigger
CREATE FUNCTION be.define(query text, kinds text DEFAULT '') RETURNS void LANGUAGE sql AS $$
	SELECT etl.define_model('be.' || name, query, kind, '{id}', strategy, options => options::jsonb) FROM (VALUES
		('swapped', 'table', NULL, '{"not_null": ["g"]}'), ('followed', 'incremental', NULL, '{}'), ('history', 'snapshot', 'check', '{}'), ('dml', 'table', NULL, '{"not_null": ["g"]}'),
		('parts', 'table', NULL, '{"partition_by": {"range": "id", "interval": 20}}')) AS m (name, kind, strategy, options) WHERE kind ~ kinds $$;
CREATE FUNCTION be.dress(rel text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('ALTER TABLE be.%I ADD CONSTRAINT "v; ""big" CHECK (v >= 0), ADD CONSTRAINT both_ CHECK (v + g >= 0) NOT VALID, ALTER g SET STATISTICS 50, ALTER v SET NOT NULL, ALTER v SET DEFAULT 3', rel);
	EXECUTE format('CREATE INDEX %I ON be.%I (v) WHERE g > 0', rel || '_v', rel);
	EXECUTE format('CREATE INDEX %I ON be.%I ((id + 1))', rel || '_id', rel);
	EXECUTE format('CREATE STATISTICS be.%I ON v, g FROM be.%I', rel || '_s', rel);
	EXECUTE format('ALTER STATISTICS be.%I SET STATISTICS 77', rel || '_s');
END $$;
CREATE FUNCTION be.has() RETURNS TABLE (rel name, constraints text, indexes text, statistics text) LANGUAGE sql AS $$
	SELECT relname, (SELECT string_agg(conname, ', ' ORDER BY conname) FROM pg_constraint WHERE conrelid = c.oid AND contype = 'c' AND conname !~ '_etl_'),
		(SELECT string_agg(i::regclass::text, ', ' ORDER BY i::regclass::text) FROM (SELECT indexrelid FROM pg_index WHERE indrelid = c.oid AND indexrelid::regclass::text !~ '_etl_') AS x (i)),
		(SELECT string_agg(stxname || ' ' || coalesce(nullif(stxstattarget, -1)::text, 'default'), ', ') FROM pg_statistic_ext WHERE stxrelid = c.oid)
	FROM pg_class c WHERE relnamespace = 'be'::regnamespace AND relname IN ('swapped', 'followed', 'history', 'dml', 'parts') ORDER BY 1 $$;
SELECT be.define('SELECT id, g, v FROM be.i');
CALL etl.run('be.*');
CREATE FUNCTION be.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER mine AFTER INSERT ON be.dml FOR EACH ROW EXECUTE FUNCTION be.nothing();
SELECT be.dress(m) FROM unnest('{swapped,followed,history,dml,parts}'::text[]) AS m;
CREATE INDEX only_here ON be.parts_p0 (v);
-- other rows, one column more: it stays
UPDATE be.i SET v = v + 1;
CALL etl.run('be.*');
CALL etl.run('be.*', full_refresh => true);
SELECT be.define('SELECT id, g, v, 1 AS w FROM be.i');
CALL etl.run('be.*');
SELECT * FROM be.has();
-- another type: what goes is told, by name and with its definition; what the definition declares is not
SELECT be.define('SELECT id, g::bigint AS g, v, 1 AS w FROM be.i');
CALL etl.run('be.*');
SELECT * FROM be.has();
SELECT attrelid::regclass, attnotnull FROM pg_attribute WHERE attname = 'g' AND attrelid::regclass::text IN ('be.swapped', 'be.dml');
SELECT etl.drop_model('be.history', drop_relation => true);
-- the same, once nothing of others is on the column
SELECT be.define('SELECT id, g::int AS g, v, 1 AS w FROM be.i', 'table|incremental');
CALL etl.run('be.*');
-- a column goes
SELECT be.define('SELECT id, g, 1 AS w FROM be.i', 'table|incremental');
CALL etl.run('be.*');
SELECT * FROM be.has();
-- made again: with what was on its partitions only
CREATE STATISTICS be.of_part ON id, w FROM be.parts_p0;
ALTER TABLE be.parts_p0 ADD CONSTRAINT of_part CHECK (w > 0);
SELECT etl.define_model('be.parts', 'SELECT id, g, 1 AS w FROM be.i', 'table', '{id}', options => '{"partition_by": {"range": "id", "interval": 30}}');
CALL etl.run('be.parts');

SET client_min_messages = error;
DO $$ BEGIN PERFORM etl.drop_model(target, cascade => true, drop_relation => true) FROM etl.models WHERE target LIKE 'be.%'; END $$;
DROP SCHEMA be CASCADE;
