-- on_schema_change keeps its word; views that do not read a lost column do not hold it; two rows for a key are named.
\set VERBOSITY sqlstate
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
CREATE SCHEMA cm;
CREATE TABLE cm.src (id int, v text);
INSERT INTO cm.src VALUES (1, 'a'), (2, 'b');
CREATE VIEW cm.columns AS
	SELECT c.relname, string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum)
	FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
	WHERE c.relnamespace = 'cm'::regnamespace AND c.relkind = 'r' AND c.relname <> 'src' AND a.attnum > 0 AND NOT a.attisdropped
	GROUP BY c.relname ORDER BY c.relname;

-- a column comes
CREATE FUNCTION cm.define(query text) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT etl.define_model('cm.' || m || '_' || o, query, m, key => '{id}',
		options => jsonb_build_object('on_schema_change', o))
	FROM unnest('{table,incremental}'::text[]) AS m, unnest('{sync,append,ignore,fail}'::text[]) AS o
$$;
SELECT count(*) FROM cm.define('SELECT id, v FROM cm.src');
CALL etl.run('cm.*');
SELECT count(*) FROM cm.define('SELECT id, v, 7 AS w FROM cm.src');
CALL etl.run('cm.*');
SELECT node, status, sqlstate, error, detail FROM etl.tasks WHERE run_id = etl.last_run_id() ORDER BY node;
SELECT * FROM cm.columns;
SELECT * FROM cm.table_ignore ORDER BY id;
SELECT * FROM cm.incremental_append ORDER BY id;

-- a column goes: sync drops it; append and ignore keep it, and what it holds
SELECT count(*) FROM cm.define('SELECT id, 8 AS w FROM cm.src');
CALL etl.run('cm.*', exclude => 'cm.*_fail');
SELECT * FROM cm.columns;
SELECT * FROM cm.table_append ORDER BY id;
SELECT * FROM cm.incremental_ignore ORDER BY id;

-- a column of another type fits nowhere but under sync
SELECT count(*) FROM cm.define('SELECT id::text AS id, 8 AS w FROM cm.src');
CALL etl.run('cm.incremental_*');
SELECT node, status, error FROM etl.tasks WHERE run_id = etl.last_run_id() ORDER BY node;

-- a view of others that reads v is no hindrance to the end of w
SELECT etl.define_model('cm.wide', 'SELECT id, v, 1 AS w FROM cm.src', 'table');
CALL etl.run('cm.wide');
CREATE VIEW cm.of_v AS SELECT v FROM cm.wide;
SELECT etl.define_model('cm.wide', 'SELECT id::bigint AS id, v FROM cm.src', 'table');
CALL etl.run('cm.wide');
SELECT * FROM cm.columns WHERE relname = 'wide';
SELECT * FROM cm.of_v ORDER BY v;
SELECT etl.define_model('cm.wide', 'SELECT id::bigint AS id FROM cm.src', 'table');
\set VERBOSITY terse
CALL etl.run('cm.wide');
\set VERBOSITY sqlstate
DROP VIEW cm.of_v;

-- neither can a column go that a foreign key or a policy of others names: nothing is begun
SELECT etl.define_model('cm.held', 'SELECT id, v, 1 AS w FROM cm.src', 'table', options => '{"unique": [["w", "id"]]}');
CALL etl.run('cm.held');
CREATE POLICY p ON cm.held USING (v <> 'secret');
SELECT etl.define_model('cm.held', 'SELECT id, 1 AS w FROM cm.src', 'table');
SELECT max(run_id) AS runs_before FROM etl.run \gset
\set VERBOSITY default
CALL etl.run('cm.held');
DROP POLICY p ON cm.held;
CREATE TABLE cm.child (w int, id int, FOREIGN KEY (w, id) REFERENCES cm.held (w, id));
SELECT etl.define_model('cm.held', 'SELECT id, v FROM cm.src', 'table');
CALL etl.run('cm.held');
SELECT max(run_id) - :runs_before AS runs_since FROM etl.run;
\set VERBOSITY sqlstate
DROP TABLE cm.child;
CALL etl.run('cm.held');
SELECT * FROM cm.columns WHERE relname = 'held';

-- a column that is not there has no lineage, and that is said
\set VERBOSITY terse
SELECT * FROM etl.lineage('cm.held', 'nope');
\set VERBOSITY sqlstate

-- two rows for a key, two columns of a name
SELECT etl.define_model('cm.twice', 'SELECT id FROM cm.src UNION ALL SELECT 2', 'incremental', key => '{id}');
CALL etl.run('cm.twice');
SELECT sqlstate, error, detail, hint FROM etl.tasks WHERE run_id = etl.last_run_id();
\set VERBOSITY terse
SELECT etl.define_model('cm.two', 'SELECT id, v AS id FROM cm.src');


-- indexes: lists of columns, expressions alone or in a list; storage parameters follow the definition
SELECT etl.define_model('cm.ix', 'SELECT id, v FROM cm.src', 'table',
	options => '{"indexes": [["v", "id"], "lower(v)", "upper(v), id"], "unique": [["id"]], "with": {"fillfactor": 80}}');
CALL etl.run('cm.ix');
SELECT regexp_replace(pg_get_indexdef(indexrelid), 'ix_etl_\w+', 'N') FROM pg_index WHERE indrelid = 'cm.ix'::regclass ORDER BY 1;
SELECT reloptions FROM pg_class WHERE oid = 'cm.ix'::regclass;
SELECT etl.define_model('cm.ix', 'SELECT id, v FROM cm.src', 'table', options => '{"indexes": ["v"], "with": {"fillfactor": 70}}');
CALL etl.run('cm.ix');
SELECT regexp_replace(pg_get_indexdef(indexrelid), 'ix_etl_\w+', 'N') FROM pg_index WHERE indrelid = 'cm.ix'::regclass ORDER BY 1;
SELECT reloptions FROM pg_class WHERE oid = 'cm.ix'::regclass;
SELECT etl.define_model('cm.ix', 'SELECT id, v FROM cm.src', 'table', options => '{"indexes": [["idd"]]}');
SELECT etl.define_model('cm.ix', 'SELECT id, v FROM cm.src', 'table', options => '{"unique": "id"}');
SELECT etl.define_model('cm.ix', 'SELECT id, v FROM cm.src', 'table', options => '{"indexes": [7]}');

-- a hook is part of the transaction of its node
SELECT etl.define_model('cm.hook', 'SELECT id FROM cm.src', 'table', options => '{"post_hook": "COMMIT"}');
SELECT etl.define_model('cm.hook', 'SELECT id FROM cm.src', 'table', options => '{"post_hook": "DO $$BEGIN COMMIT; END$$"}');
\set VERBOSITY sqlstate
CALL etl.run('cm.hook');
SELECT sqlstate, error, hint FROM etl.tasks WHERE run_id = etl.last_run_id();
\set VERBOSITY terse

SELECT count(etl.drop_model(target)) FROM etl.models WHERE target LIKE 'cm.%';
DROP SCHEMA cm CASCADE;
