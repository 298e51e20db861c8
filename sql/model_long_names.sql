-- What a model's relation is given (indexes, constraints, partitions) has a name of its own, however alike the names of relations begin.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS etl;
CREATE SCHEMA ln;
CREATE SCHEMA ln_other;
CREATE TABLE ln.orders (id int PRIMARY KEY, amount int, day date);
INSERT INTO ln.orders SELECT i, i, date '2026-01-01' + i FROM generate_series(1, 40) AS i;

-- 60 letters, of which the last tells them apart; and names of two bytes a letter
CREATE FUNCTION ln.define(last text) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT etl.define_model('ln.' || rpad('keyed_and_with_a_constraint_', 59, 'x') || last, 'SELECT id, amount FROM ln.orders', 'incremental', '{id}',
		options => '{"constraints": ["UNIQUE (amount)"], "indexes": [["amount", "id"]]}');
	SELECT etl.define_model('ln.' || rpad('versions_', 59, 'x') || last, 'SELECT id, amount FROM ln.orders', 'snapshot', '{id}', strategy => 'check');
	SELECT etl.define_model('ln.' || rpad('by_month_', 59, 'x') || last, 'SELECT id, day FROM ln.orders', 'incremental', '{id,day}',
		options => '{"partition_by": {"range": "day", "interval": "1 month"}}');
	SELECT etl.define_model('ln."' || rpad('', 30, 'é') || last || '"', 'SELECT id, amount FROM ln.orders', 'table', '{id}');
$$;
SELECT ln.define('a'), ln.define('b');
CALL etl.run('ln.*');
CREATE VIEW ln.made AS
	SELECT count(*) AS relations, count(DISTINCT relname) AS names FROM pg_class
	WHERE relnamespace IN ('ln'::regnamespace, 'ln_other'::regnamespace) AND relname LIKE '%\_etl\_%' AND relname !~ '_ccnew|^orders';
TABLE ln.made;
SELECT count(*), count(DISTINCT inhrelid) FROM pg_inherits i JOIN pg_class c ON c.oid = inhparent WHERE c.relnamespace = 'ln'::regnamespace AND c.relkind = 'p';
SELECT status, count(*) FROM etl.tasks WHERE run_id = etl.last_run_id() GROUP BY 1;

-- they are found again: nothing is made twice, and a new definition drops what it does not want
UPDATE ln.orders SET amount = -amount WHERE id = 7;
CALL etl.run('ln.*');
TABLE ln.made;
SELECT etl.define_model('ln.' || rpad('keyed_and_with_a_constraint_', 59, 'x') || last, 'SELECT id, amount FROM ln.orders', 'incremental', '{id}')
FROM (VALUES ('a'), ('b')) AS l(last);
CALL etl.run('ln.*');
TABLE ln.made;

-- and they follow a relation that gets another name, or another schema
SELECT etl.rename('ln.' || rpad('keyed_and_with_a_constraint_', 59, 'x') || 'a', 'ln.short');
SELECT etl.rename('ln.' || rpad('by_month_', 59, 'x') || 'a', 'ln_other.' || rpad('by_month_', 59, 'x') || 'c');
CALL etl.run('ln.*', full_refresh => true);
CALL etl.run('ln_other.*', full_refresh => true);
SELECT regexp_replace(indexname, '[0-9a-f]{8}$', '') FROM pg_indexes WHERE schemaname = 'ln' AND tablename = 'short';
SELECT status, count(*) FROM etl.tasks WHERE run_id = etl.last_run_id() GROUP BY 1;
TABLE ln.made;

SELECT count(*) FROM etl.models WHERE target LIKE 'ln%' AND etl.drop_model(target);
DROP SCHEMA ln, ln_other CASCADE;
