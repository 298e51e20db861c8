-- What an option gives a relation is there on every kind that takes it, and still there after further runs, whichever way they publish.
\set VERBOSITY terse
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SET timezone = 'UTC';
CREATE SCHEMA mo;
CREATE ROLE etl_mo_reader;
CREATE TABLE mo.src (id int, n int, note text);
INSERT INTO mo.src VALUES (1, 10, 'x'), (2, 20, 'y');
CREATE TABLE mo.parent (id int PRIMARY KEY);
INSERT INTO mo.parent SELECT generate_series(1, 9);
CREATE TABLE mo.log (target text, what text, rows bigint);
SELECT etl.define_source('mo_push', 'push');
SELECT etl.define_stream('mo.s', 'mo_push', format => 'json', columns => 'id int, n int, note text', key => '{id}', mode => 'merge');
SELECT etl.ingest('mo.s', '[{"id": 1, "n": 10, "note": "x"}, {"id": 2, "n": 20, "note": "y"}]') > 0 AS landed;

-- the same options for every kind that has a table
SELECT k, etl.define_model('mo.' || k, 'SELECT id, n, note FROM mo.s', k, '{id}', options => jsonb_build_object(
	'indexes', '[["n"], "lower(note)"]'::jsonb, 'unique', CASE WHEN k = 'snapshot' THEN '[["id", "valid_from", "valid_to"]]' ELSE '[["id", "n"]]' END::jsonb,
	'with', '{"fillfactor": "70", "autovacuum_enabled": "false"}'::jsonb, 'comments', '{"n": "how many"}'::jsonb, 'grants', '{"etl_mo_reader": "SELECT"}'::jsonb,
	'constraints', CASE WHEN k = 'snapshot' THEN '["CHECK (n < 1000)"]' ELSE '["CHECK (n < 1000)", "PRIMARY KEY (id)", "FOREIGN KEY (id) REFERENCES mo.parent"]' END::jsonb, 'not_null', '["note"]'::jsonb,
	'settings', '{"work_mem": "7MB"}'::jsonb, 'statement_timeout', '1 min', 'timeout', '2 min',
	'pre_hook', jsonb_build_array(format('INSERT INTO mo.log SELECT %L, ''pre '' || current_setting(''work_mem''), count(*) FROM mo.src', k)),
	'post_hook', jsonb_build_array(format('INSERT INTO mo.log SELECT %L, ''post '' || current_setting(''work_mem''), count(*) FROM mo.%I', k, k))),
	description => 'of kind ' || k) FROM unnest('{table,incremental,snapshot}'::text[]) k;
SELECT etl.define_model('mo.partitioned', 'SELECT id, n, note FROM mo.s', 'incremental', '{id}', 'partition_replace', options => '{"partition_by": {"range": "id", "interval": "10"},
	"indexes": [["n"]], "with": {"fillfactor": "70"}, "comments": {"n": "how many"}, "grants": {"etl_mo_reader": "SELECT"}, "constraints": ["CHECK (n < 1000)", "PRIMARY KEY (id)"], "not_null": ["note"], "settings": {"work_mem": "7MB"},
	"pre_hook": ["INSERT INTO mo.log SELECT ''partitioned'', ''pre '' || current_setting(''work_mem''), 0"], "post_hook": ["INSERT INTO mo.log SELECT ''partitioned'', ''post '' || current_setting(''work_mem''), count(*) FROM mo.partitioned"]}', description => 'of kind partitioned');
SELECT etl.define_model('mo.materialized_view', 'SELECT id, n, note FROM mo.s', 'materialized_view', '{id}', options => '{"indexes": [["n"], "lower(note)"], "unique": [["id", "n"]], "with": {"fillfactor": "70"},
	"comments": {"n": "how many"}, "grants": {"etl_mo_reader": "SELECT"}, "settings": {"work_mem": "7MB"}}', description => 'of kind materialized_view');
SELECT etl.define_model('mo.view', 'SELECT id, n, note FROM mo.s', options => '{"comments": {"n": "how many"}, "grants": {"etl_mo_reader": "SELECT"}}', description => 'of kind view');
CALL etl.run('mo.*');
CREATE VIEW mo.given AS SELECT c.relname, c.relkind AS k, (SELECT string_agg(CASE WHEN indisprimary THEN 'p' WHEN indisunique THEN 'u' ELSE 'i' END, '' ORDER BY indisprimary, indisunique) FROM pg_index WHERE indrelid = c.oid AND indisvalid) AS idx,
	(SELECT string_agg(contype::text, '' ORDER BY contype) FROM pg_constraint WHERE conrelid = c.oid AND contype <> 'n') AS con, (SELECT string_agg(attname, ',' ORDER BY attname) FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND attnotnull) AS notnull,
	c.reloptions AS storage, col_description(c.oid, 2) AS comment, obj_description(c.oid) AS about, has_table_privilege('etl_mo_reader', c.oid, 'SELECT') AS granted
	FROM pg_class c WHERE c.relnamespace = 'mo'::regnamespace AND relname IN ('table', 'incremental', 'snapshot', 'partitioned', 'materialized_view', 'view');
SELECT * FROM mo.given ORDER BY 1;
CREATE TABLE mo.first AS TABLE mo.given;
SELECT reloptions FROM pg_class WHERE oid = 'mo.partitioned_p0'::regclass;
SELECT * FROM mo.log ORDER BY 1, 2 DESC;

-- what others give in between stays; further runs publish by swap, by DML, by partitions, and in full
CREATE INDEX of_others ON mo."table" (note, n);
COMMENT ON COLUMN mo."table".note IS 'of others';
SELECT etl.ingest('mo.s', '[{"id": 1, "n": 11, "note": "x"}, {"id": 3, "n": 30, "note": "z"}]') > 0 AS landed;
TRUNCATE mo.log;
CALL etl.run('mo.*');
SELECT node, action, rows_inserted, rows_updated FROM etl.tasks WHERE run_id = etl.last_run_id() AND kind = 'model' ORDER BY 1;
SELECT relname, idx FROM (TABLE mo.given EXCEPT TABLE mo.first) x;
SELECT target, what, rows FROM mo.log ORDER BY 1, 2 DESC;
CALL etl.run('mo.*', full_refresh => true);
SELECT relname, idx FROM (TABLE mo.given EXCEPT TABLE mo.first) x;
SELECT col_description('mo."table"'::regclass, 3);
-- and hold: rows that break one leave all as it was
SELECT etl.ingest('mo.s', '[{"id": 4, "n": 2000, "note": "z"}]') > 0 AS landed;
\set VERBOSITY sqlstate
CALL etl.run('mo.*');
\set VERBOSITY terse
SELECT node, status, sqlstate FROM etl.tasks WHERE run_id = etl.last_run_id() AND kind = 'model' ORDER BY 1;
SELECT etl.ingest('mo.s', '[{"id": 4, "n": 40, "note": null}]') > 0 AS landed;
\set VERBOSITY sqlstate
CALL etl.run('mo.*');
\set VERBOSITY terse
SELECT node, status, sqlstate FROM etl.tasks WHERE run_id = etl.last_run_id() AND kind = 'model' ORDER BY 1;
SELECT etl.ingest('mo.s', '[{"id": 4, "n": 40, "note": "w"}]') > 0 AS landed;
CALL etl.run('mo.*');
SELECT count(*) FROM etl.tasks WHERE run_id = etl.last_run_id() AND status = 'succeeded' AND kind = 'model';
-- taken from the definition they go; what others made stays
SELECT etl.define_model('mo.' || k, 'SELECT id, n, note FROM mo.s', k, '{id}', options => '{"grants": {}}') FROM unnest('{table,incremental,snapshot,materialized_view}'::text[]) k;
CALL etl.run('mo.*');
SELECT relname, idx, con, "notnull", granted FROM mo.given ORDER BY 1;

-- on_schema_change, kind by kind: a column comes and a column goes
SELECT k || '_' || p AS model, etl.define_model('mo.' || k || '_' || p, 'SELECT * FROM mo.src', k, '{id}', options => jsonb_build_object('on_schema_change', p))
	FROM unnest('{table,incremental,snapshot}'::text[]) k, unnest('{sync,append,ignore,fail}'::text[]) p;
CALL etl.run('mo.*_sync mo.*_append mo.*_ignore mo.*_fail');
ALTER TABLE mo.src ADD COLUMN extra int DEFAULT 7;
\set VERBOSITY sqlstate
CALL etl.run('mo.*_sync mo.*_append mo.*_ignore mo.*_fail');
\set VERBOSITY terse
SELECT node, status, sqlstate, (SELECT string_agg(attname, ',' ORDER BY attnum) FROM pg_attribute WHERE attrelid = node::regclass AND attnum > 0 AND NOT attisdropped) AS columns FROM etl.tasks WHERE run_id = etl.last_run_id() ORDER BY 1;
SELECT (SELECT sum(extra) FROM mo.table_sync) AS sync, (SELECT sum(extra) FROM mo.table_append) AS append, (SELECT sum(extra) FROM mo.incremental_sync) AS incremental, (SELECT count(extra) FROM mo.snapshot_sync) AS snapshot;
ALTER TABLE mo.src DROP COLUMN note;
\set VERBOSITY sqlstate
CALL etl.run('mo.*_sync mo.*_append mo.*_ignore mo.*_fail');
\set VERBOSITY terse
SELECT node, status, sqlstate, (SELECT string_agg(attname, ',' ORDER BY attnum) FROM pg_attribute WHERE attrelid = node::regclass AND attnum > 0 AND NOT attisdropped) AS columns FROM etl.tasks WHERE run_id = etl.last_run_id() ORDER BY 1;

-- limits of time
SELECT etl.define_model('mo.slow', 'SELECT pg_sleep(60)::text AS s', 'table', options => '{"statement_timeout": "100 ms", "retry": {"attempts": 1}}');
\set VERBOSITY sqlstate
CALL etl.run('mo.slow');
\set VERBOSITY terse
SELECT sqlstate FROM etl.tasks WHERE run_id = etl.last_run_id();

SELECT count(etl.drop_model(target, true)) FROM etl.models WHERE target LIKE 'mo.%';
SELECT etl.drop_stream('mo.s'), etl.drop_source('mo_push');
DROP SCHEMA mo CASCADE;
DROP ROLE etl_mo_reader;

-- constraints and indexes that the rows of the query cannot have are told at definition; what other tables have is not looked at
\set VERBOSITY default
CREATE SCHEMA mo_terms;
CREATE TABLE mo_terms.source (a int, b text);
SELECT etl.define_model('mo_terms.m', 'SELECT a, b FROM mo_terms.source', 'table', '{a}', options => '{"constraints": ["CHECK (nope > 0)"]}');
SELECT etl.define_model('mo_terms.m', 'SELECT a, b FROM mo_terms.source', 'table', '{a}', options => '{"constraints": ["CHECK (a)"]}');
SELECT etl.define_model('mo_terms.m', 'SELECT a, b FROM mo_terms.source', 'table', '{a}', options => '{"constraints": ["CHECK (EXISTS (SELECT 1))"]}');
SELECT etl.define_model('mo_terms.m', 'SELECT a, b FROM mo_terms.source', 'table', '{a}', options => '{"constraints": ["UNIQUE (bb)"]}');
SELECT etl.define_model('mo_terms.m', 'SELECT a, b FROM mo_terms.source', 'table', '{a}', options => '{"constraints": ["FOREIGN KEY (aa) REFERENCES mo_terms.later (a)"]}');
SELECT etl.define_model('mo_terms.m', 'SELECT a, b FROM mo_terms.source', 'table', '{a}', options => '{"indexes": ["lower(a)"]}');
SELECT etl.define_model('mo_terms.m', 'SELECT a, b FROM mo_terms.source', 'table', '{a}', options => '{"unique": ["lower(c)"]}');
SELECT etl.define_model('mo_terms.m', 'SELECT a, b FROM mo_terms.source', 'table', '{a}', options => '{"constraints": ["CHECK (m.a > 0 AND b <> '''')", "UNIQUE (b, a)", "FOREIGN KEY (a) REFERENCES mo_terms.later (a)"], "indexes": ["lower(b), a DESC"]}');
SELECT etl.drop_model('mo_terms.m');
SELECT etl.define_model('mo_terms.n', 'SELECT a, b FROM mo_terms.source', 'table', '{a}', options => '{"constraints": ["EXCLUDE USING btree (lower(bb) WITH =)"]}');
