-- A column that gets another type stays where it is: a table holds its query's columns in their order.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS etl;
CREATE SCHEMA rt;
CREATE FUNCTION rt.columns(relid regclass) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum)
	  FROM pg_attribute WHERE attrelid = relid AND attnum > 0 AND NOT attisdropped $$;
CREATE FUNCTION rt.has(relid regclass) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT replace(pg_get_indexdef(indexrelid), ' rt.', ' ') FROM pg_index WHERE indrelid = relid AND indisvalid
	 UNION ALL SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = relid AND contype <> 'u' ORDER BY 1 $$;
SELECT etl.define_source('rt_push', 'push');
SELECT etl.define_stream('rt.s', 'rt_push', format => 'json', columns => 'id bigint');
SELECT etl.ingest('rt.s', '[{"id": 1, "amount": 1, "note": "a"}, {"id": 2, "amount": 2, "note": "b"}]') > 0 AS loaded;

-- what an input's new type asks for, and what a definition does
SELECT etl.define_model('rt.inc', 'SELECT id, amount, note FROM rt.s', 'incremental', '{id}');
SELECT etl.define_model('rt.groups', 'SELECT amount, count(*) AS n, min(note) AS note FROM rt.s GROUP BY amount', 'incremental', '{amount}');
SELECT etl.define_model('rt.t', 'SELECT id, amount, note FROM rt.s', 'table', options => '{"indexes": [["amount"], "(amount + 1)", ["note"]],
	"unique": [["id", "amount"]], "constraints": ["CHECK (amount < 100)", "CHECK (amount + id < 1000)"], "not_null": ["amount"], "keep_versions": 1}');
SELECT etl.define_model('rt.v', 'SELECT * FROM rt.t');
CALL etl.run('rt.*');
-- made by hand: over the column, and beside it
ALTER TABLE rt.t ALTER amount SET DEFAULT 5, ADD CONSTRAINT own CHECK (amount > -5), ADD CONSTRAINT beside CHECK (id > 0);
CREATE STATISTICS rt.st ON amount, note FROM rt.t;
CREATE INDEX own_index ON rt.t (note, id);
COMMENT ON COLUMN rt.t.amount IS 'the amount';
SELECT rt.has('rt.t');

SELECT etl.ingest('rt.s', '[{"id": 3, "amount": 2.5, "note": "c"}]') > 0 AS loaded;
CALL etl.run('rt.*');
SELECT node, action, regexp_replace(reason, '\d+$', 'n') AS reason FROM etl.tasks WHERE run_id = etl.last_run_id() AND kind = 'model' ORDER BY node;
SELECT rt.columns('rt.inc'), rt.columns('rt.groups');
SELECT rt.columns('rt.t'), rt.columns('rt.v'), col_description('rt.t'::regclass, 2);
SELECT rt.has('rt.t');
(TABLE rt.t EXCEPT ALL SELECT id, amount, note FROM rt.s) UNION ALL (SELECT id, amount, note FROM rt.s EXCEPT ALL TABLE rt.t);
TABLE rt.groups ORDER BY amount;
-- they hold: a row that is in the way of one is refused
INSERT INTO rt.t VALUES (4, NULL, 'd');
INSERT INTO rt.t VALUES (4, 100, 'd');

-- several at once, one of them new, one gone; then back to what was kept
SELECT etl.define_model('rt.t', 'SELECT id::text AS id, upper(note) AS big, amount::int AS amount FROM rt.s', 'table', options => '{"indexes": [["amount"]], "keep_versions": 1}');
CALL etl.run('rt.*');
SELECT rt.columns('rt.t'), rt.columns('rt.v');
SELECT rt.has('rt.t');
TABLE rt.v ORDER BY id;
SELECT etl.rollback('rt.t');
TABLE rt.t ORDER BY id;
CALL etl.run('rt.*');
TABLE rt.v ORDER BY id;

-- beside a column that the table computes
CREATE TABLE rt.a (id bigint, amount bigint, twice bigint GENERATED ALWAYS AS (id * 2) STORED);
SELECT etl.define_model('rt.a', 'SELECT id, amount::bigint AS amount FROM rt.s', 'table', options => '{"adopt": true}');
CALL etl.run('rt.a');
SELECT etl.define_model('rt.a', 'SELECT id, amount FROM rt.s', 'table', options => '{"adopt": true}');
CALL etl.run('rt.a');
SELECT rt.columns('rt.a');
TABLE rt.a ORDER BY id;
-- rows that have lost the values by which their readers would be found make these build in full
SELECT etl.define_stream('rt.b', 'rt_push', columns => 'id int, did int, amt int');
SELECT etl.define_stream('rt.e', 'rt_push', key => '{id}', mode => 'merge', columns => 'id int, did int');
SELECT etl.ingest('rt.e', '[{"id": 1, "did": 1}, {"id": 2, "did": 2}]') > 0 AND etl.ingest('rt.b', '[{"id": 1, "did": 1, "amt": 90}]') > 0 AS loaded;
SELECT etl.define_model('rt.tn', 'SELECT id, did, amt FROM rt.b', 'table');
SELECT etl.define_model('rt.n', 'SELECT f.id FROM rt.e f WHERE NOT EXISTS (SELECT FROM rt.tn x WHERE x.did = f.did AND x.amt > 80)', 'incremental', '{id}');
CALL etl.run('rt.tn rt.n');
TABLE rt.n;
ALTER TABLE rt.b ALTER amt TYPE numeric(20,4);
UPDATE rt.b SET did = 2;
SELECT etl.ingest('rt.b', '[{"id": 3, "did": 7, "amt": 1}]') > 0 AS loaded;
CALL etl.run('rt.tn rt.n');
SELECT node, action, reason FROM etl.tasks WHERE run_id = etl.last_run_id() ORDER BY node;
TABLE rt.n;

-- a materialized view above such a table is made again with it, with all that it had; those above it, too
SELECT etl.define_model('rt.mv', 'SELECT did, sum(amt) AS amt, date_trunc(''day'', timestamptz ''2026-01-01 23:00Z'') AS since FROM rt.tn GROUP BY did', 'materialized_view', '{did}',
	options => '{"indexes": ["amt"], "with": {"fillfactor": 70}, "settings": {"timezone": "Asia/Tokyo"}}');
SELECT etl.define_model('rt.above', 'SELECT max(amt) AS amt FROM rt.mv', 'view');
SELECT etl.define_model('rt.above_all', 'SELECT amt FROM rt.above', 'materialized_view');
CALL etl.run('rt.mv rt.above rt.above_all');
CREATE INDEX mv_of_others ON rt.mv (did, amt);
CREATE STATISTICS rt.mv_statistics ON did, amt FROM rt.mv;
COMMENT ON COLUMN rt.mv.amt IS 'all of it';
GRANT SELECT ON rt.mv TO PUBLIC;
SELECT since AT TIME ZONE 'Asia/Tokyo' AS since FROM rt.mv LIMIT 1;
ALTER TABLE rt.b ALTER amt TYPE float8;
CALL etl.run('rt.tn');
SELECT did, amt, pg_typeof(amt), since AT TIME ZONE 'Asia/Tokyo' AS since FROM rt.mv ORDER BY did;
SELECT amt, pg_typeof(amt) FROM rt.above_all;
SELECT regexp_replace(indexdef, '_etl_[a-z0-9]*', '_etl') AS index FROM pg_indexes WHERE tablename = 'mv' AND schemaname = 'rt' ORDER BY 1;
SELECT reloptions, relispopulated, relacl IS NOT NULL AS granted, col_description(oid, 2), (SELECT count(*) FROM pg_statistic_ext WHERE stxrelid = c.oid) AS statistics FROM pg_class c WHERE oid = 'rt.mv'::regclass;
CALL etl.run('rt.*');
SELECT node, status, action FROM etl.tasks WHERE run_id = etl.last_run_id() AND node LIKE '%above%' OR run_id = etl.last_run_id() AND node = 'rt.mv' ORDER BY node;
-- one that somebody emptied is filled
ALTER TABLE rt.b ALTER amt TYPE numeric;
REFRESH MATERIALIZED VIEW rt.mv WITH NO DATA;
CALL etl.run('rt.tn');
SELECT relname, relispopulated FROM pg_class WHERE relnamespace = 'rt'::regnamespace AND relkind = 'm' ORDER BY 1;
CALL etl.run('rt.*');
SELECT did, amt, pg_typeof(amt) FROM rt.mv ORDER BY did;
SELECT node, status FROM etl.tasks WHERE run_id = etl.last_run_id() AND status <> 'succeeded';

SELECT etl.drop_source('rt_push', cascade => true, drop_relation => true) IS NOT NULL AS dropped;
DROP SCHEMA rt CASCADE;
