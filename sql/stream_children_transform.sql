-- What is dropped or hashed inside lists is stored nowhere, neither in child tables nor in rejects; casts and derived fields of items are there before anything lands.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY terse
SELECT etl.define_source('ct_push', 'push'), etl.define_secret('ct_pepper', env => 'PATH');

-- by path or by field name; derived fields of items by path; a value that a rule names stays whole
SELECT etl.define_stream('ct.orders', 'ct_push', $${"nested": "table", "transform": {
	"buyer.mail": {"hash": {"secret": "ct_pepper"}}, "buyer__born": "drop", "secretList": "drop", "meta": {"cast": "text"},
	"lines": {"derive": "jsonb_array_length(items::jsonb)"},
	"items.owner": {"hash": {"secret": "ct_pepper"}}, "items__note": "drop", "items.price": {"cast": "numeric(12,2)"},
	"items.total": {"derive": "price::numeric * qty::int"}, "items.dim.w": {"cast": "text"},
	"items.taxes.payer": "drop", "items.taxes.share": {"derive": "rate::numeric / 100"}, "tags.value": {"hash": {"secret": "ct_pepper"}}}}$$,
	columns => 'id int NOT NULL', key => '{id}');
SELECT etl.define_check('ct.orders__items', 'range', '{qty}', '{"max": 10}', 'quarantine');
SELECT $$[{"id": 1, "buyer": {"mail": "LEAK1", "born": "LEAK2", "name": "Ann"}, "secretList": [{"x": "LEAK3"}], "meta": {"a": [1]},
	"items": [{"sku": "a", "qty": 2, "price": 1.5, "owner": "LEAK4", "note": "LEAK5", "dim": {"w": 1, "h": 2}, "taxes": [{"rate": 10, "payer": "LEAK6"}]},
		{"sku": "b", "qty": 11, "price": 2, "owner": "LEAK7", "taxes": [{"rate": 20, "payer": "LEAK8"}]}], "tags": ["LEAK9", null]},
	{"id": null, "items": [{"sku": "c", "qty": 3, "price": 3, "owner": "LEAK7", "taxes": [{"rate": 30, "payer": "LEAKa"}]}], "tags": ["LEAK9"]},
	{"id": 3, "items": [], "tags": []},
	{"id": 4, "items": [{"sku": "d", "qty": 1, "price": "LEAKc"}]},
	{"id": 5, "_etl_lists": "x", "items": [{"sku": "e", "qty": 1, "price": 1}]}]$$ AS records \gset
SELECT etl.ingest('ct.orders', :'records') > 0 AS loaded;
SELECT to_jsonb(o) - '{_etl_load_id,buyer__mail}'::text[] AS o, length(buyer__mail) AS hashed FROM ct.orders AS o ORDER BY id;
SELECT to_jsonb(i) - '{_etl_load_id,_etl_parent_load_id,owner}'::text[] AS i, length(owner) AS hashed FROM ct.orders__items AS i ORDER BY _etl_row;
SELECT to_jsonb(t) - '{_etl_load_id,_etl_parent_load_id}'::text[] AS t FROM ct.orders__items__taxes AS t ORDER BY _etl_row;
SELECT _parent_id, length(value) AS hashed FROM ct.orders__tags ORDER BY _etl_row;
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'ct.orders__items'::regclass AND attname IN ('price', 'total', 'dim__w') ORDER BY attname;
SELECT target, position, reasons -> 0 ->> 'check' AS check, reasons -> 0 ->> 'column' AS column, record <> '' AS kept FROM etl.rejects WHERE target ~ '^ct\.' ORDER BY reject_id;
SELECT to_regclass('ct.orders__secret_list') AS list, (SELECT count(*) FROM etl.reject WHERE target ~ '^ct\.' AND encode(raw, 'escape') || reasons::text ~ 'LEAK') AS leaks,
	(SELECT count(*) FROM ct.orders AS o JOIN ct.orders__items AS i ON i._parent_id = o.id WHERE to_jsonb(o)::text || to_jsonb(i)::text ~ 'LEAK') AS leaks;

-- a replay transforms nothing twice: of a record with its lists, of an item with its own
SELECT * FROM etl.replay('ct.orders', filter => 'position = 2', patch => '{"id": 2}');
SELECT * FROM etl.replay('ct.orders__items', patch => '{"qty": 10}');
SELECT i._parent_id, i.sku, i.qty, i.total, t.rate, t.share, i.owner = (SELECT owner FROM ct.orders__items WHERE sku = 'b') AS same FROM ct.orders__items AS i
	LEFT JOIN ct.orders__items__taxes AS t ON (t._etl_parent_load_id, t._etl_parent_row) = (i._etl_load_id, i._etl_row) ORDER BY i.sku;
SELECT value = (SELECT value FROM ct.orders__tags WHERE _parent_id = 1 AND value IS NOT NULL) AS same, length(value) FROM ct.orders__tags WHERE _parent_id = 2;

-- merge: the digest of items says nothing of what was dropped; what is hashed does change it
SELECT etl.define_stream('ct.state', 'ct_push', $${"nested": "table", "transform": {"items.note": "drop", "items.who": {"hash": {"secret": "ct_pepper"}}}}$$, columns => 'id int', key => '{id}', mode => 'merge');
SELECT etl.define_model('ct.whos', 'SELECT who, count(*) AS n FROM ct.state__items GROUP BY who', 'incremental', '{who}');
SELECT etl.ingest('ct.state', '[{"id": 1, "items": [{"note": "a", "who": "x"}]}, {"id": 2, "items": [{"note": "a", "who": "x"}]}]') > 0 AS loaded;
CALL etl.run('ct.whos');
SELECT etl.ingest('ct.state', '[{"id": 1, "items": [{"note": "b", "who": "x"}]}, {"id": 2, "items": [{"note": "a", "who": "y"}]}]') > 0 AS loaded;
CALL etl.run('ct.whos');
SELECT rows_loaded, rows_updated, rows_unchanged FROM etl.loads WHERE target = 'ct.state' ORDER BY load_id;
SELECT count(*), count(DISTINCT who), (SELECT sum(n) FROM ct.whos) AS modelled FROM ct.state__items;

-- replace, with derived fields only: the bytes of a reject are the record's
SELECT etl.define_stream('ct.all', 'ct_push', $${"nested": {"items": "table"}, "transform": {"items.twice": {"derive": "2 * n::int"}}}$$, columns => 'id int NOT NULL', mode => 'replace');
SELECT etl.ingest('ct.all', '[{"id": 1, "items": [{"n": 1}, {"n": 2}]}]') > 0, etl.ingest('ct.all', '[{"id": 2, "items": [{"n": 3}]}, {"items": [{"n": 4}]}, {"id": 5, "items": [{"n": "five"}]}]') > 0;
SELECT n, twice, pg_typeof(twice) FROM ct.all__items ORDER BY n;
SELECT position, reasons -> 0 ->> 'column' AS column, reasons -> 0 ->> 'message' AS message FROM etl.rejects WHERE target ~ '^ct\."all' AND status = 'open' ORDER BY position;
SELECT * FROM etl.replay('ct.all', filter => 'position = 2', patch => '{"id": 3}');
SELECT n, twice FROM ct.all__items ORDER BY n;
SELECT etl.define_stream('ct.x', 'ct_push', '{"nested": "table", "transform": {"items.a": {"derive": "b +"}}}');

-- retention: models that read items keep the keys whose history went
SELECT etl.define_stream('ct.facts', 'ct_push', '{"nested": {"items": "table"}, "retention": {"max_loads": 1}}', columns => 'id int');
SELECT etl.define_model('ct.by_sku', 'SELECT sku, sum(qty) AS qty FROM ct.facts__items GROUP BY sku', 'incremental', '{sku}');
SELECT etl.ingest('ct.facts', '{"id": 1, "items": [{"sku": "a", "qty": 1}, {"sku": "b", "qty": 1}]}') > 0, etl.ingest('ct.facts', '{"id": 2, "items": [{"sku": "b", "qty": 2}, {"sku": "c", "qty": 2}]}') > 0;
SELECT action, reason FROM etl.expire('ct.facts', dry_run => true);
CALL etl.run('ct.by_sku');
SELECT action, reason FROM etl.expire('ct.facts', dry_run => true);
SELECT action FROM etl.expire('ct.facts');
SELECT sku FROM ct.facts__items ORDER BY sku;
SELECT etl.ingest('ct.facts', '{"id": 3, "items": [{"sku": "a", "qty": 5}, {"sku": "c", "qty": 5}]}') > 0 AS loaded;
CALL etl.run('ct.by_sku');
SELECT * FROM ct.by_sku ORDER BY sku;
SELECT target, regexp_replace(record, '^.*"_etl_index"', '…"_etl_index"') AS record, reasons -> 0 ->> 'check' AS check FROM etl.rejects WHERE target = 'ct.by_sku';
SET client_min_messages = error;
\set VERBOSITY sqlstate
CALL etl.run('ct.by_sku', full_refresh => true);
SELECT regexp_replace(error, 'since .*', 'since …') AS error FROM etl.tasks WHERE node = 'ct.by_sku' ORDER BY task_id DESC LIMIT 1;
SELECT * FROM ct.by_sku ORDER BY sku;

SELECT etl.drop_model(m, drop_relation => true) FROM unnest('{ct.by_sku,ct.whos}'::text[]) AS m;
SELECT etl.drop_source('ct_push', cascade => true, drop_relation => true), etl.drop_secret('ct_pepper');
DROP SCHEMA ct CASCADE;
