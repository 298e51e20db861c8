-- What a stream holds of somebody is erased for good: rows, what landed with them, rejects and recorded changes; also where rows are immutable, and nothing of others.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY terse
SELECT current_setting('data_directory') || '/etl_regress_er' AS dir \gset
SELECT 'cat > /dev/null; rm -rf ' || :'dir' || '; mkdir -p ' || :'dir' AS prepare, 'cat > /dev/null; rm -rf ' || :'dir' AS clean, :'dir' || '/a.csv' AS a \gset
COPY (SELECT) TO PROGRAM :'prepare';
SELECT set_config('etl.allowed_directories', :'dir', false) <> '' AS allowed;
SELECT etl.define_source('er_push', 'push'), etl.define_source('er_files', 'file', jsonb_build_object('root', :'dir'));

-- an immutable stream in partitions with child tables, rejects of all kinds and states, models below
SELECT etl.define_stream('er.orders', 'er_push', '{"nested": "table", "immutable": true, "partition_by": "day"}', columns => 'id int, customer bigint, mail text, at timestamptz');
SELECT etl.define_check('er.orders__items', 'range', '{qty}', '{"max": 10}', 'quarantine');
SELECT etl.define_model('er.sums', 'SELECT customer, count(*) AS n, sum(i.qty) AS qty FROM er.orders AS o JOIN er.orders__items AS i ON (o._etl_load_id, o._etl_row) = (i._etl_parent_load_id, i._etl_parent_row) GROUP BY customer', 'incremental', '{customer}');
SELECT etl.define_model('er.checked', 'SELECT customer, mail FROM er.orders', materialized => 'table');
SELECT etl.define_check('er.checked', 'regex', '{mail}', '{"pattern": "@"}', 'quarantine');
SELECT etl.ingest('er.orders', '[
	{"id": 1, "customer": 42, "mail": "a@42", "items": [{"sku": "x", "qty": 1, "tags": ["t"]}, {"sku": "y", "qty": 11}]},
	{"id": 2, "customer": 7, "mail": "a@7", "items": [{"sku": "x", "qty": 2}, {"sku": "z", "qty": 12}]},
	{"id": "x", "customer": 42, "mail": "rejected"}, {"id": "y", "customer": 420, "mail": "other 42"}, {"id": 5, "customer": 42.0, "mail": "none", "items": []}]') > 0 AS loaded;
SELECT etl.discard('er.orders', $$record ~ '"x"'$$);
CALL etl.run('er.*');
SELECT * FROM er.sums ORDER BY customer;
SELECT etl.erase('er.orders', '{"custmer": 42}', 'r');
SELECT etl.erase('er.orders', '{"customer": null}', 'r');
SELECT etl.erase('er.orders', '[]', 'r');
SELECT etl.erase('er.orders', '[{"id": 1}, {}]', 'r');
SELECT etl.erase('er.orders', '7', 'r');
SELECT etl.erase('er.orders', '{"customer": 42}', NULL);
SELECT etl.erase('er.orders', '{"customer": "many"}', 'r');
SELECT etl.erase('er.orders__items', '{"sku": "x"}', 'r');
SELECT etl.erase('er.none', '{"a": 1}', 'r');
SELECT * FROM etl.erase('er.orders', '{"customer": 42}', 'request 1', dry_run => true);
SELECT count(*), (SELECT count(*) FROM etl.logs WHERE node = 'er.orders' AND message ~ 'erased') AS told FROM er.orders;
SELECT * FROM etl.erase('er.orders', '{"customer": 42}', 'request 1');
SELECT id, customer FROM er.orders;
SELECT qty FROM er.orders__items;
SELECT count(*) FROM er.orders__items__tags;
SELECT target, status, record ~ '42' AS has_42, reasons -> 0 ->> 'check' AS check FROM etl.rejects WHERE target ~ '^er\.' ORDER BY reject_id;
SELECT replace(message, current_user, 'somebody') AS message, detail FROM etl.logs WHERE node = 'er.orders' AND message ~ 'erased';
DELETE FROM er.orders;
-- models follow with the next run; what was erased stays erased
CALL etl.run('er.*');
SELECT * FROM er.sums ORDER BY customer;
SELECT * FROM er.checked ORDER BY customer;
SELECT * FROM etl.erase('er.orders', '{"customer": 42}', 'request 1');
SELECT * FROM etl.replay('er.orders', filter => $$record = ''$$);

-- by several keys of several columns, with quotes and zones in them
SELECT etl.ingest('er.orders', '[{"id": 8, "customer": 8, "mail": "o''\"x", "at": "2026-01-01T12:00:00Z"}, {"id": 9, "customer": 8, "mail": "other", "at": "2026-01-01T12:00:00Z"}, {"id": 10, "customer": 9, "mail": "m"}]') > 0 AS loaded;
SELECT * FROM etl.erase('er.orders', '[{"customer": 8, "mail": "o''\"x", "at": "2026-01-01T14:00:00+02"}, {"id": "10"}]', 'request 2');
SELECT id FROM er.orders ORDER BY id;

-- recorded changes of a merge stream; a model that has not consumed them builds in full
SELECT etl.define_stream('er.state', 'er_push', columns => 'id int, who text, v int', key => '{id}', mode => 'merge');
SELECT etl.define_model('er.by_who', 'SELECT who, sum(v) AS v FROM er.state GROUP BY who', 'incremental', '{who}');
SELECT etl.ingest('er.state', '[{"id": 1, "who": "ann", "v": 1}, {"id": 2, "who": "bob", "v": 2}, {"id": 3, "who": "bob", "v": 3}]') > 0 AS loaded;
CALL etl.run('er.by_who');
SELECT etl.ingest('er.state', '[{"id": 1, "who": "ann", "v": 10}, {"id": 2, "who": "bob", "v": 20}]') > 0 AS loaded;
SELECT * FROM etl.erase('er.state', '{"who": "ann"}', 'request 3', dry_run => true);
SELECT * FROM etl.erase('er.state', '{"who": "ann"}', 'request 3');
SELECT count(*) FROM etl.change AS c JOIN etl.change_set AS s USING (set_id) WHERE s.target = 'er.state';
CALL etl.run('er.by_who');
SELECT * FROM er.by_who;
SELECT etl.ingest('er.state', '{"id": 3, "who": "bob", "v": 30}') > 0 AS loaded;
CALL etl.run('er.by_who');
SELECT * FROM er.by_who;
SELECT action FROM etl.tasks WHERE node = 'er.by_who' ORDER BY task_id;

-- keys that retention left behind, by whatever view they came, and those of nobody else; their model is built in full
SELECT etl.define_stream('er.sales', 'er_push', '{"retention": {"max_loads": 1}}', columns => 'id int, who text, amount numeric, day date');
SELECT etl.define_model('er.seen', 'SELECT who AS person, amount, day FROM er.sales'),
	etl.define_model('er.by_person', 'SELECT person, sum(amount) AS s FROM er.seen GROUP BY person', 'incremental', '{person}'),
	etl.define_model('er.by_amount', 'SELECT amount, day, count(*) AS n FROM er.sales GROUP BY amount, day', 'incremental', '{amount,day}');
SELECT etl.ingest('er.sales', '[{"id": 1, "who": "ann \"x\"", "amount": 5.0, "day": "2026-01-01"}, {"id": 2, "who": "bob", "amount": 5, "day": "2026-01-02"}, {"id": 3, "who": null, "amount": 6, "day": "2026-01-01"}]') > 0 AS loaded;
CALL etl.run('er.seen er.by_person er.by_amount');
SELECT etl.ingest('er.sales', '[{"id": 4, "who": "cid", "amount": 7, "day": "2026-01-03"}]') > 0 AS loaded;
CALL etl.run('er.seen er.by_person er.by_amount');
SELECT rows, action FROM etl.expire('er.sales');
SELECT model, columns, key FROM etl.frozen_key WHERE model LIKE 'er.%' ORDER BY model, key;
SELECT * FROM etl.erase('er.sales', '{"who": "ann \"x\""}', 'request 5', dry_run => true);
SELECT * FROM etl.erase('er.sales', '{"who": "ann \"x\""}', 'request 5');
SELECT * FROM etl.erase('er.sales', '[{"amount": "5.00", "day": "2026-01-02"}, {"amount": 6, "day": "2026-01-02"}, {"amount": "NaN"}]', 'request 6');
SELECT model, columns, key FROM etl.frozen_key WHERE model LIKE 'er.%' ORDER BY model, key;
SELECT node, action, reason FROM etl.plan('er.by_person er.by_amount');

-- rejects of a file: by header, by place, and what nobody can decode
COPY (VALUES ('Customer No,Name'), ('42,one'), ('x42,two'), ('42,three,four'), ('421,five,six'), ('7,seven,42')) TO :'a' (DELIMITER '|');
SELECT etl.define_stream('er.file', 'er_files', '{"path": "a.csv"}', columns => 'customer_no int, name text CHECK (name <> ''one'')'),
	etl.define_stream('er.placed', 'er_files', '{"path": "a.csv", "header": false, "skip_lines": 1}', columns => 'customer_no int, name text CHECK (name <> ''one'')');
CALL etl.run('er.file er.placed');
SELECT target, place, rows FROM etl.erase('er.file', '{"customer_no": 42}', 'request 4') UNION ALL SELECT target, place, rows FROM etl.erase('er.placed', '{"customer_no": 42}', 'request 4');
SELECT target, position, record FROM etl.rejects WHERE target IN ('er.file', 'er.placed') ORDER BY target, position;

-- who may
CREATE ROLE etlt_steward; CREATE ROLE etlt_operator; CREATE ROLE etlt_nobody;
GRANT etl_steward TO etlt_steward; GRANT etl_operator TO etlt_operator;
SET ROLE etlt_operator;
SELECT * FROM etl.erase('er.orders', '{"customer": 7}', 'request 5');
SET ROLE etlt_nobody;
SELECT * FROM etl.erase('er.orders', '{"customer": 7}', 'request 5');
SET ROLE etlt_steward;
SELECT * FROM etl.erase('er.orders', '{"customer": 7}', 'request 5');
RESET ROLE;
DROP ROLE etlt_steward; DROP ROLE etlt_operator; DROP ROLE etlt_nobody;

SELECT etl.drop_model(m, drop_relation => true) FROM unnest('{er.sums,er.checked,er.by_who}'::text[]) AS m;
SELECT etl.drop_source('er_push', cascade => true, drop_relation => true), etl.drop_source('er_files', cascade => true, drop_relation => true);
COPY (SELECT) TO PROGRAM :'clean';
DROP SCHEMA er CASCADE;
