-- What is unlike the usual course of things makes no incremental model differ from its query, and stops none.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY terse
SELECT etl.define_source('il_push', 'push');

-- rows that an UPDATE moves before the load that brought them is consumed are not missed
SELECT etl.define_stream('il.e', 'il_push', columns => 'id int, note text');
SELECT etl.define_model('il.notes', 'SELECT id, note FROM il.e', 'incremental', '{id}');
SELECT etl.define_model('il.rows', 'SELECT id, note FROM il.e', 'incremental');
SELECT etl.ingest('il.e', '[{"id": 0, "note": "first"}]') > 0 AS loaded;
CALL etl.run('il.notes il.rows');
SELECT etl.ingest('il.e', (SELECT jsonb_agg(jsonb_build_object('id', i, 'note', repeat('x', 500))) FROM generate_series(1, 200) AS i)) > 0 AS loaded;
UPDATE il.e SET note = upper(note) WHERE id % 2 = 0 AND id > 0;
SELECT node, action FROM etl.plan('il.notes il.rows') ORDER BY node;
CALL etl.run('il.notes il.rows');
SELECT (SELECT count(*) FROM il.e) AS rows, (SELECT count(*) FROM il.notes) AS by_key, (SELECT count(*) FROM il.rows) AS by_row;
SELECT count(*) AS differing FROM (TABLE il.notes EXCEPT SELECT id, note FROM il.e) AS d;

-- retention takes the keys of rows that a model reads, not of those that its conditions leave out
SELECT etl.define_stream('il.codes', 'il_push', '{"retention": {"max_loads": 1}}', columns => 'code text, day date');
SELECT etl.define_model('il.numbers', $$SELECT code::int AS n, count(*) AS c FROM il.codes WHERE code ~ '^\d+$' GROUP BY 1$$, 'incremental', '{n}');
SELECT etl.define_model('il.through', $$SELECT x.code::int AS n, max(x.day) AS last FROM (SELECT code, day FROM il.codes) x
	JOIN (VALUES (7), (8)) v(n) ON v.n > 0 AND x.code ~ '^\d+$' GROUP BY 1$$, 'incremental', '{n}');
SELECT etl.ingest('il.codes', '[{"code": "7", "day": "2026-01-01"}, {"code": "x", "day": "2026-01-01"}]') > 0 AS loaded;
CALL etl.run('il.numbers il.through');
SELECT etl.ingest('il.codes', '[{"code": "8", "day": "2026-01-02"}, {"code": "y", "day": "2026-01-02"}]') > 0 AS loaded;
CALL etl.run('il.numbers il.through');
SELECT rows, action, reason FROM etl.expire('il.codes');
SELECT model, columns, key FROM etl.frozen_key WHERE model LIKE 'il.%' ORDER BY model, key;
SELECT etl.ingest('il.codes', '[{"code": "8", "day": "2026-01-03"}, {"code": "z", "day": "2026-01-03"}, {"code": "7", "day": "2026-01-03"}]') > 0 AS loaded;
CALL etl.run('il.numbers il.through');
SELECT n, c, last FROM il.numbers JOIN il.through USING (n) ORDER BY n;
SELECT target, count(*) FROM etl.rejects WHERE target IN ('il.numbers', 'il.through') GROUP BY target ORDER BY target;

-- unique values that rows take from one another, beside the key, are no duplicates; what is one still is
SELECT etl.define_stream('il.ranks', 'il_push', columns => 'id int, rank int, "na""me" text', mode => 'merge', key => '{id}');
SELECT etl.define_model('il.ranked', 'SELECT id, rank, "na""me" FROM il.ranks', 'incremental', '{id}', options => '{"unique": [["rank"], "lower(\"na\"\"me\")"]}');
SELECT etl.ingest('il.ranks', '[{"id": 1, "rank": 1, "na\"me": "a"}, {"id": 2, "rank": 2, "na\"me": "b"}, {"id": 3, "rank": 3, "na\"me": "c"}, {"id": 4, "rank": 4, "na\"me": null}]') > 0 AS loaded;
CALL etl.run('il.ranked');
SELECT etl.ingest('il.ranks', '[{"id": 1, "rank": 2, "na\"me": "a"}, {"id": 2, "rank": 3, "na\"me": "b"}, {"id": 3, "rank": 1, "na\"me": "c"}, {"id": 4, "rank": 4, "na\"me": "d"}]') > 0 AS loaded;
CALL etl.run('il.ranked');
SELECT etl.ingest('il.ranks', '[{"id": 1, "rank": 2, "na\"me": "B"}, {"id": 2, "rank": 3, "na\"me": "A"}]') > 0 AS loaded;
CALL etl.run('il.ranked');
SELECT * FROM il.ranked ORDER BY id;
SELECT action, rows_inserted, rows_updated, rows_deleted FROM etl.tasks WHERE run_id = etl.last_run_id() AND node = 'il.ranked';
SELECT etl.ingest('il.ranks', '[{"id": 1, "rank": 3, "na\"me": "B"}]') > 0 AS loaded;
SET client_min_messages = error;
\set VERBOSITY sqlstate
CALL etl.run('il.ranked');
SELECT node, sqlstate FROM etl.tasks WHERE run_id = etl.last_run_id() AND node = 'il.ranked';

-- a unique index with a condition: only a row that gets into it can take a value, all others are updated where they are
\set VERBOSITY terse
SET client_min_messages = warning;
SELECT etl.define_stream('il.posts', 'il_push', columns => 'id int, desk int, open boolean', mode => 'merge', key => '{id}');
SELECT etl.define_model('il.desks', 'SELECT id, desk, open FROM il.posts', 'incremental', '{id}');
SELECT etl.ingest('il.posts', '[{"id": 1, "desk": 7, "open": true}, {"id": 2, "desk": 7, "open": false}, {"id": 3, "desk": 7, "open": false}]') > 0 AS loaded;
CALL etl.run('il.desks');
CREATE UNIQUE INDEX ON il.desks (desk) WHERE open;
CREATE FUNCTION il.tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING '% % -> %', TG_OP, OLD, NEW; RETURN NULL; END $$;
CREATE TRIGGER tell AFTER UPDATE OR DELETE ON il.desks FOR EACH ROW EXECUTE FUNCTION il.tell();
SELECT etl.ingest('il.posts', '[{"id": 1, "desk": 7, "open": false}, {"id": 2, "desk": 8, "open": false}]') > 0 AS loaded;
CALL etl.run('il.desks');
SELECT etl.ingest('il.posts', '[{"id": 1, "desk": 7, "open": true}]') > 0 AS loaded;
CALL etl.run('il.desks');
SELECT etl.ingest('il.posts', '[{"id": 1, "desk": 7, "open": false}, {"id": 3, "desk": 7, "open": true}]') > 0 AS loaded;
CALL etl.run('il.desks');
SELECT * FROM il.desks ORDER BY id;

-- a chain of CTEs that each read the one before twice is not written out when that would keep the planner for minutes
SET client_min_messages = warning;
\set VERBOSITY terse
SELECT etl.define_stream('il.at', 'il_push', columns => 'id int, at timestamptz');
SELECT format('WITH c0 AS (SELECT id, at FROM il.at)%s SELECT id, at FROM c12',
	string_agg(format(', c%s AS (SELECT a.id, a.at FROM c%s a JOIN c%s b USING (id, at))', i, i - 1, i - 1), '' ORDER BY i)) AS chain FROM generate_series(1, 12) AS i \gset
SELECT etl.define_model('il.chain', :'chain', 'incremental', '{id}', event_time => 'at', batch_size => '1 day', options => '{"begin": "2026-01-01"}');
SELECT etl.define_model('il.short_chain', replace(:'chain', 'FROM c12', 'FROM c3'), 'incremental', '{id}');
SELECT etl.ingest('il.at', '[{"id": 1, "at": "2026-01-01T10:00:00Z"}]') > 0 AS loaded;
SET statement_timeout = '60s';
CALL etl.run('il.chain il.short_chain');
SELECT etl.ingest('il.at', '[{"id": 2, "at": "2026-01-02T10:00:00Z"}]') > 0 AS loaded;
SELECT node, action, reason FROM etl.plan('il.chain il.short_chain') ORDER BY node;
CALL etl.run('il.chain il.short_chain');
RESET statement_timeout;
SELECT (SELECT count(*) FROM il.chain) AS chain, (SELECT count(*) FROM il.short_chain) AS short_chain;

SELECT etl.drop_source('il_push', cascade => true, drop_relation => true) IS NOT NULL AS dropped;
DROP SCHEMA il CASCADE;
