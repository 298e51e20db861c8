-- Lists inside JSON records become rows of child tables, which live and die with the rows that they belong to.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY terse
SELECT etl.define_source('ch_push', 'push');

-- what the option says
SELECT etl.define_stream('ch.x', 'ch_push', '{"nested": {"items": "tables"}}');

-- lists of objects, of scalars, empty and null ones, lists in lists; objects are flattened on the way
SELECT etl.define_stream('ch.orders', 'ch_push', '{"nested": "table"}', columns => 'id text', key => '{id}');
SELECT etl.ingest('ch.orders', '[
	{"id": "00a", "buyer": {"name": "Ann", "phones": ["1", "2"]}, "items": [{"sku": "x", "price": 12345678901234567890.10, "taxes": [{"rate": 0.1}, {"rate": 0.2}]},
		{"sku": "y", "dim": {"w": 1}}], "grid": [[1, 2], [3]]},
	{"id": "b", "items": [], "buyer": null, "grid": null},
	{"id": "c", "items": [{}, null, "loose", [1], true], "buyer": {"phones": [null]}},
	{"id": "d", "items": "none"}, {"id": "e"}]') > 0 AS loaded;
SELECT target, mode, options - 'nested' AS options, columns FROM etl.streams WHERE target ~ '^ch\.' ORDER BY 1;
SELECT to_jsonb(r) - '_etl_load_id' AS r FROM ch.orders AS r ORDER BY _etl_row;
SELECT to_jsonb(r) - '_etl_load_id' - '_etl_parent_load_id' AS r FROM ch.orders__items AS r ORDER BY _etl_row;
SELECT _parent_id, i.sku, t.rate, t._etl_index FROM ch.orders__items__taxes AS t JOIN ch.orders__items AS i USING (_parent_id)
WHERE (i._etl_load_id, i._etl_row) = (t._etl_parent_load_id, t._etl_parent_row) ORDER BY t._etl_row;
SELECT o.id, p._etl_index, p.value FROM ch.orders__buyer__phones AS p JOIN ch.orders AS o ON (o._etl_load_id, o._etl_row) = (p._etl_parent_load_id, p._etl_parent_row) ORDER BY p._etl_row;
SELECT value FROM ch.orders__grid__value ORDER BY _etl_row;
SELECT target, rows_read, rows_loaded, rows_rejected FROM etl.loads WHERE target ~ '^ch\.' ORDER BY load_id;
SELECT step, node, reason, depends_on FROM etl.plan('ch.orders+');

-- hostile: names, fields that look like etl's own, lists that are long
SELECT etl.define_stream('ch."od""d; x"', 'ch_push', '{"nested": "table"}', key => '{a;b}', columns => '"a;b" int');
SELECT etl.ingest('ch."od""d; x"', '[{"a;b": 1, "The \"List\"; DROP": [{"_etl_parent_row": 77, "_parent_a;b": 9, "_etl_load_id": 5, "v": "''\"\\"}],
	"the_list_drop": [1], "_etl_row": [1], "a.b": [2], "a": {"b": [3]},
	"a_name_that_is_so_long_that_postgresql_cannot_have_it_as_the_name_of_a_table": [1]}]') > 0 AS loaded;
SELECT target, options ->> 'child_path' AS path FROM etl.streams WHERE target ~ '^ch\."od' ORDER BY 1;
SELECT to_jsonb(r) - '{_etl_load_id,_etl_parent_load_id}'::text[] AS r FROM ch."od""d; x__the_list_drop" AS r;
SELECT etl.define_stream('ch.long', 'ch_push', '{"nested": "table"}');
SELECT etl.ingest('ch.long', jsonb_build_object('n', 1, 'v', (SELECT jsonb_agg(i ORDER BY i) FROM generate_series(1, 100000) AS i))) > 0 AS loaded;
SELECT count(*), count(DISTINCT value), bool_and(value = _etl_index) FROM ch.long__v;

-- rejects: of a record with its lists, which come when it is replayed; of an item, which names its record
SELECT etl.define_stream('ch.r', 'ch_push', '{"nested": {"items": "table"}}', columns => 'id int, n int NOT NULL', key => '{id}');
SELECT etl.define_check('ch.r__items', 'range', '{qty}', '{"max": 10}', 'quarantine');
SELECT etl.ingest('ch.r', '[{"id": 1, "n": 1, "items": [{"qty": 1}, {"qty": 11}]}, {"id": 2, "items": [{"qty": 2}, {"qty": 12}]}, {"id": 3, "n": 3, "items": [{"qty": 3}]}]') > 0 AS loaded;
SELECT r.id, i.qty FROM ch.r__items AS i JOIN ch.r AS r ON r.id = i._parent_id ORDER BY 1, 2;
SELECT target, position, status, regexp_replace(record, '("_etl_parent_load_id":)\d+', '\1#') AS record, reasons -> 0 ->> 'message' AS message FROM etl.rejects WHERE target ~ '^ch\.' ORDER BY reject_id;
SET client_min_messages = notice;
SELECT * FROM etl.replay('ch.r', patch => '{"n": 2}');
SET client_min_messages = warning;
SELECT * FROM etl.replay('ch.r__items', filter => $$record ~ '"qty":11,|"qty": 11,'$$, patch => '{"qty": 10}');
SELECT r.id, i.qty FROM ch.r__items AS i JOIN ch.r AS r ON (r._etl_load_id, r._etl_row) = (i._etl_parent_load_id, i._etl_parent_row) ORDER BY 1, 2;
-- what takes the record away takes its items, and those that are rejected still
SELECT etl.unload(min(_etl_load_id)) FROM ch.r;
SELECT count(*) FROM ch.r__items;
SELECT target, rows_read, rows_loaded, rows_rejected, status FROM etl.loads WHERE target ~ '^ch\.r' ORDER BY load_id;
SELECT * FROM etl.replay('ch.r__items', patch => '{"qty": 1}');
SELECT count(*) AS items, (SELECT count(*) FROM etl.rejects WHERE target = 'ch.r__items' AND status = 'open') AS open FROM ch.r__items;

-- too many rejects of items, or a check of theirs that fails: nothing of the load stays
SELECT etl.define_stream('ch.strict', 'ch_push', '{"nested": {"items": "table"}, "max_rejects": 0}');
SELECT etl.define_check('ch.strict__items', 'range', '{qty}', '{"max": 10}', 'quarantine'), etl.define_check('ch.strict__items', 'row_count', options => '{"max": 2}');
SELECT etl.ingest('ch.strict', '{"id": 1, "items": [{"qty": 11}]}');
SELECT etl.ingest('ch.strict', '{"id": 1, "items": [{"qty": 1}, {"qty": 2}, {"qty": 3}]}');
SELECT to_regclass('ch.strict') AS strict, to_regclass('ch.strict__items') AS items, count(*) FROM etl.loads WHERE target ~ '^ch\.strict';
SELECT etl.define_stream('ch.frozen', 'ch_push', '{"nested": {"items": "table"}}', schema_policy => '{"tables": "freeze"}');
CREATE TABLE ch.frozen (id int);
SELECT etl.define_stream('ch.frozen', 'ch_push', '{"nested": {"items": "table"}, "adopt": true}', schema_policy => '{"tables": "freeze"}');
SELECT etl.ingest('ch.frozen', '{"id": 1, "items": []}') > 0 AS loaded;
SELECT etl.ingest('ch.frozen', '{"id": 1, "items": [1]}') > 0 AS loaded;

-- columns of items evolve like those of records; a type widens
SELECT etl.define_stream('ch.grows', 'ch_push', '{"nested": {"items": "table"}}');
SELECT etl.ingest('ch.grows', '{"id": 1, "items": [{"v": 1}]}') > 0, etl.ingest('ch.grows', '{"id": 2, "items": [{"v": 1.5, "w": "2026-01-02"}]}') > 0 AS loaded;
SELECT v, to_char(w, 'YYYY-MM-DD') AS w FROM ch.grows__items ORDER BY v;
SELECT target, change, column_name, new_type FROM etl.schema_changes WHERE target = 'ch.grows__items' ORDER BY column_name, change;

-- merge: a record that changes, or only its lists, gets new items; others keep theirs. Models follow by what changed.
SELECT etl.define_stream('ch.state', 'ch_push', '{"nested": "table"}', columns => 'id int, at timestamptz', key => '{id}', mode => 'merge', event_time => 'at');
SELECT etl.define_model('ch.by_sku', 'SELECT sku, sum(qty) AS qty, count(*) AS n FROM ch.state__items GROUP BY sku', 'incremental', '{sku}');
SELECT etl.ingest('ch.state', '[{"id": 1, "at": "2026-01-01", "items": [{"sku": "x", "qty": 1, "tags": ["p", "q"]}, {"sku": "y", "qty": 1}]}, {"id": 2, "at": "2026-01-01", "items": [{"sku": "x", "qty": 5}]}]') > 0 AS loaded;
CALL etl.run('ch.by_sku');
CREATE VIEW ch.wrong AS SELECT 'model' AS what, * FROM ch.by_sku EXCEPT SELECT 'model', sku, sum(qty), count(*) FROM ch.state__items GROUP BY sku
	UNION ALL (SELECT 'query', sku, sum(qty), count(*) FROM ch.state__items GROUP BY sku EXCEPT SELECT 'query', * FROM ch.by_sku);
SELECT etl.ingest('ch.state', '[{"id": 1, "at": "2026-01-01", "items": [{"sku": "x", "qty": 2, "tags": ["r"]}]}, {"id": 2, "at": "2026-01-01", "items": [{"sku": "x", "qty": 5}]},
	{"id": 3, "at": "2026-01-01", "items": [{"sku": "z", "qty": 1}]}, {"id": 3, "at": "2026-01-02", "items": [{"sku": "z", "qty": 7}]}]') > 0 AS loaded;
SELECT rows_read, rows_loaded, rows_updated, rows_unchanged, rows_deduplicated FROM etl.loads WHERE target = 'ch.state' ORDER BY load_id;
CALL etl.run('ch.by_sku');
SELECT s.id, i.sku, i.qty, t.value FROM ch.state AS s LEFT JOIN ch.state__items AS i ON (s._etl_load_id, s._etl_row) = (i._etl_parent_load_id, i._etl_parent_row)
	LEFT JOIN ch.state__items__tags AS t ON (i._etl_load_id, i._etl_row) = (t._etl_parent_load_id, t._etl_parent_row) ORDER BY 1, 2, 4;
SELECT count(*) AS tags FROM ch.state__items__tags;
SELECT etl.ingest('ch.state', '[{"id": 3, "at": "2025-12-31", "items": [{"sku": "late", "qty": 1}]}, {"id": 2, "at": "2026-01-03"}, {"id": 1, "at": "2026-01-03", "items": []}]') > 0 AS loaded;
CALL etl.run('ch.by_sku');
SELECT * FROM ch.by_sku ORDER BY 1;
SELECT * FROM ch.wrong;
SELECT node, action, status FROM etl.tasks WHERE node = 'ch.by_sku' ORDER BY task_id;

-- an append stream's items, read load by load
SELECT etl.define_model('ch.sold', 'SELECT sku, price FROM ch.orders__items WHERE sku IS NOT NULL', 'incremental');
CALL etl.run('ch.sold');
SELECT etl.ingest('ch.orders', '{"id": "f", "items": [{"sku": "new", "price": 1}]}') > 0 AS loaded;
CALL etl.run('ch.sold');
SELECT sku, price FROM ch.sold ORDER BY 1;
SELECT action, rows_inserted FROM etl.tasks WHERE node = 'ch.sold' ORDER BY task_id;

-- replace: all of them
SELECT etl.define_stream('ch.all', 'ch_push', '{"nested": "table"}', mode => 'replace');
SELECT etl.ingest('ch.all', '[{"id": 1, "a": [1, 2], "b": [1]}, {"id": 2, "a": [3]}]') > 0, etl.ingest('ch.all', '[{"id": 4, "a": [4]}]') > 0;
SELECT (SELECT string_agg(value::text, ',') FROM ch.all__a) AS a, (SELECT count(*) FROM ch.all__b) AS b;

-- what is done with the parent is not done with the child
SELECT etl.ingest('ch.all__a', '{"value": 1}');
SELECT etl.reload('ch.all__a');
SELECT etl.reset('ch.all__a');
SELECT etl.unload(max(_etl_load_id)) FROM ch.orders__items;
SELECT etl.define_stream('ch.all__a', 'ch_push');
SELECT etl.define_source('ch_push', 'push');

-- dropped with it
DROP VIEW ch.wrong;
SELECT etl.drop_stream('ch.state', drop_relation => true);
SELECT etl.drop_stream('ch.state', cascade => true, drop_relation => true);
SELECT count(*) FROM etl.streams WHERE target ~ '^ch\.state';
SELECT to_regclass('ch.state__items') AS items, to_regclass('ch.state__items__tags') AS tags;
SELECT etl.drop_source('ch_push', cascade => true, drop_relation => true);
SELECT count(*) FROM etl.streams WHERE target ~ '^ch\.';
DROP SCHEMA ch CASCADE;
