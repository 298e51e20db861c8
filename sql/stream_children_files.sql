-- Child tables follow the files that brought them: changed, taken out, loaded again, expired with their partition, renamed.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY terse
SELECT current_setting('data_directory') || '/etl_regress_cf' AS dir \gset
SELECT 'cat > /dev/null; rm -rf ' || :'dir' || '; mkdir ' || :'dir' AS prepare, 'cat > /dev/null; rm -rf ' || :'dir' AS clean,
	:'dir' || '/a.json' AS a, :'dir' || '/b.json' AS b \gset
COPY (SELECT) TO PROGRAM :'prepare';
SELECT set_config('etl.allowed_directories', :'dir', false) <> '' AS allowed;
SELECT etl.define_source('cf_files', 'file', jsonb_build_object('root', :'dir'));
CREATE VIEW public.cf_loads AS SELECT target, regexp_replace(origin, '.*/', '') AS file, status, rows_read AS read, rows_loaded AS loaded, rows_rejected AS rejected
	FROM etl.loads WHERE target LIKE 'cf.%' ORDER BY load_id;

-- the stream of a path is there before any data: models and checks may be defined on it
SELECT etl.define_stream('cf.docs', 'cf_files', '{"path": "*.json", "nested": {"lines": "table", "lines.notes": "jsonb", "*": "flatten"}}');
SELECT etl.define_check('cf.docs__lines', 'not_null', '{n}', on_fail => 'quarantine');
SELECT etl.define_model('cf.total', 'SELECT sum(n) AS n FROM cf.docs__lines', materialized => 'table');
SELECT step, node, action, reason FROM etl.plan('*cf.*');

-- a document as people write it
COPY (VALUES ('[ { "id" : 1,'), ('    "by" : { "name" : "A" },'), ('    "lines" : [ { "n" : 1,'), ('        "notes" : [ "x",'), ('           "y" ] },'), ('      { "n" : null }, {'), ('      }'), ('    , { "n" : 2, "text" : "a, ] } b" } ] },'), ('  { "id" : 2, "lines" : ['), ('  ] } ]')) TO :'a';
COPY (VALUES ('[{"id": 3, "lines": [{"n": 3}, {"n": 30}]}]')) TO :'b';
CALL etl.run('+cf.total');
SELECT id, by__name FROM cf.docs ORDER BY id;
SELECT n, notes, text, _etl_index FROM cf.docs__lines ORDER BY n;
SELECT origin LIKE '%/a.json' AS origin, position, reasons -> 0 ->> 'check' AS check, reasons -> 0 ->> 'column' AS column FROM etl.rejects WHERE target = 'cf.docs__lines' ORDER BY reject_id;
SELECT * FROM public.cf_loads;
SELECT n FROM cf.total;
-- a run says how many items were rejected; the child's own task has nothing to do
SELECT node, reason, rows_inserted, rows_rejected FROM etl.tasks WHERE run_id = etl.last_run_id() ORDER BY task_id;

-- a changed file; a load that is taken out; the same file again
COPY (VALUES ('[{"id": 3, "lines": [{"n": 300}]}, {"id": 4, "lines": []}]')) TO :'b';
CALL etl.run('+cf.total');
SELECT node, action FROM etl.tasks WHERE run_id = etl.last_run_id() ORDER BY task_id;
SELECT l.n, d.id FROM cf.docs__lines AS l RIGHT JOIN cf.docs AS d ON (d._etl_load_id, d._etl_row) = (l._etl_parent_load_id, l._etl_parent_row) ORDER BY 2, 1;
SELECT n FROM cf.total;
SELECT etl.unload(max(load_id)) FROM etl.loads WHERE target = 'cf.docs' AND origin LIKE '%/a.json';
CALL etl.run('+cf.total');
SELECT n, (SELECT count(*) FROM cf.docs) AS docs, (SELECT count(*) FROM cf.docs__lines) AS lines FROM cf.total;
SELECT count(*) AS open FROM etl.rejects WHERE target = 'cf.docs__lines' AND status = 'open';
SELECT etl.reload('cf.docs');
CALL etl.run('+cf.total');
SELECT n, (SELECT count(*) FROM cf.docs) AS docs, (SELECT count(*) FROM cf.docs__lines) AS lines FROM cf.total;
SELECT * FROM public.cf_loads;

-- renamed
SELECT count(*) > 0 AS renamed FROM etl.rename('cf.docs', 'cf.papers');
COPY (VALUES ('[{"id": 3, "lines": [{"n": 301}]}]')) TO :'b';
CALL etl.run('+cf.total');
SELECT n FROM cf.total;
SELECT target, options ->> 'child_of' AS child_of FROM etl.streams WHERE target LIKE 'cf.%' ORDER BY 1;

-- immutable partitions go together, with what a model has not read kept
SELECT etl.define_stream('cf.zone', 'cf_files', '{"path": "*.json", "nested": "table", "partition_by": "day", "immutable": true, "retention": {"max_age": "3 days", "archive": "cf_old"}}');
CALL etl.run('cf.zone');
SELECT relkind, (SELECT count(*) FROM pg_inherits WHERE inhparent = c.oid) AS partitions FROM pg_class AS c WHERE oid IN ('cf.zone'::regclass, 'cf.zone__lines'::regclass, 'cf.zone__lines__notes'::regclass);
DELETE FROM cf.zone__lines;
TRUNCATE cf.zone__lines__notes;
SELECT z._etl_loaded_at = l._etl_loaded_at AS same FROM cf.zone AS z JOIN cf.zone__lines AS l ON (z._etl_load_id, z._etl_row) = (l._etl_parent_load_id, l._etl_parent_row) GROUP BY 1;
SELECT etl.define_model('cf.adds', 'SELECT n FROM cf.zone__lines', 'incremental', strategy => 'append');
SET etl.test_now = '2100-01-01 00:00+00';
SELECT target, rows, action, reason FROM etl.expire('cf.*');
CALL etl.run('cf.adds');
SELECT target, rows, action, reason FROM etl.expire('cf.*');
RESET etl.test_now;
SELECT (SELECT count(*) FROM cf.zone) AS zone, (SELECT count(*) FROM cf.zone__lines) AS lines, (SELECT count(*) FROM cf.zone__lines__notes) AS notes, (SELECT count(*) FROM cf.adds) AS added;
SELECT count(*) AS archived FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = 'cf_old' AND relkind = 'r';
SELECT target, status FROM etl.loads WHERE target LIKE 'cf.zone%' ORDER BY 1, load_id;
CALL etl.run('cf.adds');
SELECT count(*) FROM cf.adds;
-- by count, without partitions
SELECT etl.define_stream('cf.last', 'cf_files', '{"path": "*.json", "nested": "table", "retention": {"max_loads": 1}}');
CALL etl.run('cf.last');
SELECT rows, action FROM etl.expire('cf.last');
SELECT (SELECT string_agg(id::text, ',') FROM cf.last) AS last, (SELECT string_agg(n::text, ',') FROM cf.last__lines) AS lines;

SELECT etl.drop_model(m, drop_relation => true) FROM unnest('{cf.adds,cf.total}'::text[]) AS m;
SELECT etl.drop_source('cf_files', cascade => true, drop_relation => true);
DROP VIEW public.cf_loads;
DROP SCHEMA cf, cf_old CASCADE;
COPY (SELECT) TO PROGRAM :'clean';
