-- With option backfill off a column that is added leaves the rows that are there as they are: new and changed rows carry it, a full refresh all; what does more than add is built in full.
\set VERBOSITY terse
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SET timezone = 'UTC';
SET etl.test_now = '2026-01-04 12:00Z';
CREATE SCHEMA bf;
SELECT etl.define_source('bf_push', 'push');
SELECT etl.define_stream('bf.s', 'bf_push', format => 'json', columns => 'id int, k text, n int, day date', key => '{id}', mode => 'merge');
SELECT etl.ingest('bf.s', '[{"id": 1, "k": "a", "n": 1, "day": "2026-01-01"}, {"id": 2, "k": "a", "n": 2, "day": "2026-01-02"}, {"id": 3, "k": "b", "n": 3, "day": "2026-01-03"}]') > 0 AS landed;
CREATE VIEW bf.last AS SELECT node, action, reason, rows_inserted AS ins, rows_updated AS upd, rows_deleted AS del
	FROM etl.tasks WHERE run_id = etl.last_run_id() AND kind = 'model' ORDER BY node;

-- columns of the input come
SELECT k, etl.define_model('bf.all_' || k, 'SELECT * FROM bf.s', 'incremental', '{id}', options => jsonb_build_object('backfill', k = 'yes')) FROM unnest('{yes,no}'::text[]) k;
SELECT etl.define_model('bf.below', 'SELECT id, n FROM bf.all_no', 'incremental', '{id}');
CALL etl.run('bf.*');
CREATE TABLE bf.before AS SELECT id, xmin::text AS x, ctid::text AS c FROM bf.all_no;
ALTER TABLE bf.s ADD COLUMN "ex""tra; drop" int DEFAULT 7;
SELECT node, action, reason FROM etl.plan('bf.*') WHERE kind = 'model' ORDER BY node;
SELECT etl.compile('bf.all_no') LIKE '-- added without values%' AS told;
CALL etl.run('bf.*');
SELECT * FROM bf.last;
SELECT id, "ex""tra; drop" AS extra, a.xmin::text = x AND a.ctid::text = c AS untouched FROM bf.all_no a JOIN bf.before USING (id) ORDER BY id;
SELECT count("ex""tra; drop") FROM bf.all_yes;
CALL etl.run('bf.*');
SELECT node, action FROM bf.last;
-- together with rows
ALTER TABLE bf.s ADD COLUMN more text DEFAULT 'm';
SELECT etl.ingest('bf.s', '[{"id": 2, "k": "a", "n": 20, "day": "2026-01-02"}, {"id": 4, "k": "c", "n": 4, "day": "2026-01-04"}]') > 0 AS landed;
CALL etl.run('bf.all_no bf.below');
SELECT node, action, ins, upd, del FROM bf.last;
SELECT id, n, "ex""tra; drop" AS extra, more FROM bf.all_no ORDER BY id;

-- columns of the definition come; what does more is built in full
SELECT etl.define_model('bf.sums', 'SELECT k, sum(n) AS n FROM bf.s GROUP BY k', 'incremental', '{k}');
CALL etl.run('bf.sums');
SELECT etl.define_model('bf.sums', 'SELECT k, count(*) AS rows, sum(n) AS n, max(n) AS top FROM bf.s GROUP BY k', 'incremental', '{k}', options => '{"backfill": false}');
SELECT action, reason FROM etl.plan('bf.sums');
SELECT etl.ingest('bf.s', '[{"id": 5, "k": "c", "n": 5, "day": "2026-01-04"}]') > 0 AS landed;
CALL etl.run('bf.sums');
SELECT action, reason, ins, upd, del FROM bf.last;
TABLE bf.sums ORDER BY k;
SELECT etl.define_model('bf.sums', 'SELECT k, count(*) AS rows, sum(n) AS n, max(n) AS top, min(n) AS least FROM bf.s WHERE n > 1 GROUP BY k', 'incremental', '{k}', options => '{"backfill": false}');
SELECT action, reason FROM etl.plan('bf.sums');
CALL etl.run('bf.sums');
SELECT k, n, rows, top, least FROM bf.sums ORDER BY k;
SELECT etl.define_model('bf.sums', 'SELECT k, count(*) AS rows, sum(n)::text AS n, max(n) AS top, min(n) AS least, 1 AS one FROM bf.s WHERE n > 1 GROUP BY k', 'incremental', '{k}', options => '{"backfill": false}');
SELECT action, reason FROM etl.plan('bf.sums');
SELECT etl.define_model('bf.all_no', 'SELECT *, 1 AS one FROM bf.s', 'incremental', '{id}', options => '{"backfill": false}');
CALL etl.run('bf.all_no', full_refresh => true);
SELECT count("ex""tra; drop") AS extra, count(more) AS more, count(one) AS one FROM bf.all_no;
-- one that its old definition cannot be compared with any more
SELECT etl.define_model('bf.gone', 'SELECT id, more FROM bf.s', 'incremental', '{id}');
CALL etl.run('bf.gone');
SELECT etl.define_model('bf.gone', 'SELECT id, ''x''::text AS more, n FROM bf.s', 'incremental', '{id}', options => '{"backfill": false}');
ALTER TABLE bf.s DROP COLUMN more;
CALL etl.run('bf.gone');
SELECT action, reason FROM bf.last;

-- rows that retention took are no hindrance then
SELECT etl.define_stream('bf.log', 'bf_push', format => 'json', columns => 'id int, n int');
SELECT etl.ingest('bf.log', '[{"id": 1, "n": 1}]') AS first \gset
SELECT etl.define_model('bf.history', 'SELECT id, sum(n) AS n FROM bf.log GROUP BY id', 'incremental', '{id}');
CALL etl.run('bf.history');
DELETE FROM bf.log;
SELECT etl.define_model('bf.history', 'SELECT id, sum(n) AS n, max(n) AS top FROM bf.log GROUP BY id', 'incremental', '{id}');
\set VERBOSITY sqlstate
CALL etl.run('bf.history');
\set VERBOSITY terse
SELECT sqlstate FROM etl.tasks WHERE run_id = etl.last_run_id();
SELECT etl.define_model('bf.history', 'SELECT id, sum(n) AS n, max(n) AS top FROM bf.log GROUP BY id', 'incremental', '{id}', options => '{"backfill": false}');
SELECT etl.ingest('bf.log', '[{"id": 2, "n": 2}]') > 0 AS landed;
CALL etl.run('bf.history');
TABLE bf.history ORDER BY id;

-- by intervals, without a key, in partitions, and in a transaction block
SELECT etl.define_model('bf.days', 'SELECT id, day, n FROM bf.s', 'incremental', event_time => 'day', batch_size => '1 day');
SELECT etl.define_model('bf.parts', 'SELECT id, day, n FROM bf.s', 'incremental', '{id,day}', 'partition_replace', options => '{"partition_by": {"range": "day", "interval": "1 day"}}');
CALL etl.run('bf.days bf.parts');
SELECT etl.define_model('bf.days', 'SELECT id, day, n, k FROM bf.s', 'incremental', event_time => 'day', batch_size => '1 day', options => '{"backfill": false}');
SELECT etl.define_model('bf.parts', 'SELECT id, day, n, k FROM bf.s', 'incremental', '{id,day}', 'partition_replace', options => '{"partition_by": {"range": "day", "interval": "1 day"}, "backfill": false}');
CALL etl.run('bf.days bf.parts');
SELECT node, action, reason, ins, upd, del FROM bf.last;
SELECT etl.ingest('bf.s', '[{"id": 3, "k": "b", "n": 30, "day": "2026-01-03"}]') > 0 AS landed;
BEGIN;
CALL etl.run('bf.days bf.parts');
COMMIT;
SELECT 'days' AS model, id, n, k FROM bf.days UNION ALL SELECT 'parts', id, n, k FROM bf.parts ORDER BY 1, 2;

-- what makes no sense is refused
SELECT etl.define_model('bf.x', 'SELECT 1 AS a', 'table', options => '{"backfill": false}');
SELECT etl.define_model('bf.x', 'SELECT id FROM bf.s', 'incremental', '{id}', options => '{"backfill": false, "on_schema_change": "ignore"}');
SELECT etl.define_model('bf.x', 'SELECT id FROM bf.s', 'incremental', '{id}', options => '{"backfill": "perhaps"}');

SELECT count(etl.drop_model(target, true)) FROM etl.models WHERE target LIKE 'bf.%';
SELECT count(etl.drop_stream(target, true)) FROM etl.streams WHERE target LIKE 'bf.%';
SELECT etl.drop_source('bf_push');
DROP SCHEMA bf CASCADE;
