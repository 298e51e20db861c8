-- The raw zone on request: rows that nobody changes, partitions by load time, retention that never makes a model wrong.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY terse
SELECT etl.define_source('zo_push', 'push');
SELECT etl.define_stream('zo.x', 'zo_push', '{"immutable": true}', key => '{id}', mode => 'merge');
SELECT etl.define_stream('zo.x', 'zo_push', '{"partition_by": "year"}');
SELECT etl.define_stream('zo.x', 'zo_push', '{"retention": {"max_age": "never"}}');
SELECT etl.define_stream('zo.x', 'zo_push', '{"retention": {"archive": "old"}}');
SELECT etl.define_stream('zo.x', 'zo_push', '{"retention": {"max_loads": 3, "archive": "old"}}');
SELECT etl.define_stream('zo.x', 'zo_push', '{"retention": {"max_lods": 3}}');

-- immutable: refused to everybody, also to the superuser, but not to etl
SELECT etl.define_stream('zo.fixed', 'zo_push', '{"immutable": true}', columns => 'id int');
SELECT etl.ingest('zo.fixed', '[{"id": 1}, {"id": 2}]') AS load_id \gset
\set VERBOSITY default
UPDATE zo.fixed SET id = 3;
\set VERBOSITY terse
DELETE FROM zo.fixed;
TRUNCATE zo.fixed;
MERGE INTO zo.fixed AS f USING (VALUES (1)) AS v(i) ON f.id = v.i WHEN MATCHED THEN DELETE;
INSERT INTO zo.fixed VALUES (0, 1, 3);
SELECT etl.ingest('zo.fixed', '{"id": 4, "more": "x"}') > 0 AS loaded;
SELECT etl.unload(:load_id);
SELECT id, more FROM zo.fixed ORDER BY id;
SELECT etl.define_stream('zo.fixed', 'zo_push', columns => 'id int');
SELECT etl.ingest('zo.fixed', '{"id": 5}') > 0 AS loaded;
DELETE FROM zo.fixed WHERE id = 5;

-- partitions by load time
SELECT etl.define_stream('zo.days', 'zo_push', '{"partition_by": "day", "immutable": true, "retention": {"max_age": "3 days", "archive": "zo_old"}}', columns => 'id int');
SELECT etl.ingest('zo.days', '[{"id": 1}, {"id": 2}]') > 0 AS loaded;
SELECT etl.ingest('zo.days', '[{"id": 3}, {"id": "x"}]') > 0 AS loaded;
SELECT attname, format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = 'zo.days'::regclass AND attnum > 0 ORDER BY attnum;
SELECT relid::text = 'zo.days_p' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD') AS named FROM pg_partition_tree('zo.days') WHERE isleaf;
SELECT 'zo.days_p' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD') AS part \gset
SELECT id, _etl_loaded_at = (SELECT started_at FROM etl.loads AS l WHERE l.load_id = d._etl_load_id) AS at FROM zo.days AS d ORDER BY id;
DELETE FROM zo.days;
-- (whose name has the day in it)
\set VERBOSITY sqlstate
DELETE FROM :part;
\set VERBOSITY terse
SELECT * FROM etl.replay('zo.days', NULL, '{"id": 4}');

-- models: one that adds, one that computes from all rows
SELECT etl.define_model('zo.adds', 'SELECT id, 2 * id AS twice FROM zo.days', materialized => 'incremental', strategy => 'append'),
	etl.define_model('zo.seen', 'SELECT id FROM zo.days');
-- what no model has consumed yet stays; a dry run changes nothing
SET etl.test_now = '2100-01-01 00:00+00';
SELECT target, origin, rows, action, reason FROM etl.expire('zo.*', dry_run => true);
RESET etl.test_now;
CALL etl.run('zo.adds zo.seen');
SELECT etl.define_model('zo.sums', 'SELECT sum(id) AS s FROM zo.days', materialized => 'table');
CALL etl.run('zo.sums');
SET etl.test_now = '2100-01-01 00:00+00';
SELECT action, reason FROM etl.expire('zo.days');
SELECT etl.define_model('zo.sums', 'SELECT sum(id) AS s FROM zo.days', materialized => 'table', options => '{"force_full": true}');
SELECT rows, action, reason FROM etl.expire('zo.days', dry_run => true);
SELECT count(*) FROM zo.days;
SELECT rows, action FROM etl.expire('zo.days');
SELECT * FROM etl.expire('zo.days');
SELECT count(*) FROM zo.days;
SELECT count(*) AS archived FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = 'zo_old';
SELECT status, rows_loaded FROM etl.loads WHERE target = 'zo.days' ORDER BY load_id;
RESET etl.test_now;

-- the models know: what was added stays, new rows come, nothing is computed from the remainder
SELECT node, action FROM etl.plan('zo.adds');
SELECT etl.ingest('zo.days', '{"id": 10}') > 0 AS loaded;
CALL etl.run('zo.adds zo.seen zo.sums');
SELECT * FROM zo.adds ORDER BY id;
SELECT * FROM zo.seen ORDER BY id;
SELECT * FROM zo.sums;
SET client_min_messages = error;
\set VERBOSITY sqlstate
CALL etl.run('zo.adds', full_refresh => true);
\set VERBOSITY terse
SET client_min_messages = warning;
SELECT sqlstate, regexp_replace(error, 'since .*', 'since …') AS error, hint FROM etl.tasks WHERE node = 'zo.adds' ORDER BY task_id DESC LIMIT 1;
SELECT count(*) FROM zo.adds;

-- by count, without partitions
SELECT etl.define_stream('zo.last', 'zo_push', '{"retention": {"max_loads": 2}}', columns => 'id int');
SELECT count(etl.ingest('zo.last', jsonb_build_object('id', i))) FROM generate_series(1, 5) AS i;
SELECT rows, action FROM etl.expire('zo.last', dry_run => true);
-- once an hour, by itself
DELETE FROM etl.housekeeping;
CALL etl.tick();
SELECT count(*) FROM etl.expire('zo.last');
-- what is beyond the retention and shares its partition with what is not stays, and says why; an adopted table stays as it is
SELECT etl.define_stream('zo.shared', 'zo_push', '{"partition_by": "month", "retention": {"max_loads": 1}}', columns => 'id int');
SELECT count(etl.ingest('zo.shared', jsonb_build_object('id', i))) FROM generate_series(1, 3) AS i;
SELECT rows, action, reason FROM etl.expire('zo.shared');
SELECT count(*) FROM zo.shared;
CREATE TABLE zo.theirs (id int);
SELECT etl.define_stream('zo.theirs', 'zo_push', '{"partition_by": "day", "adopt": true}');
\set VERBOSITY default
SELECT etl.ingest('zo.theirs', '{"id": 1}');
\set VERBOSITY terse
SELECT id FROM zo.last ORDER BY id;

SELECT etl.drop_model(m, drop_relation => true) FROM unnest('{zo.adds,zo.seen,zo.sums}'::text[]) AS m;
SELECT etl.drop_source('zo_push', cascade => true, drop_relation => true);
SET client_min_messages = error;
DROP SCHEMA zo, zo_old CASCADE;
