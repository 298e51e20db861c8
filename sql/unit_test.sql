-- A unit test runs a model over given rows only, reads nothing real, leaves nothing behind, and tells exactly what differs.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS etl;
SET client_min_messages = notice;
SET timezone = 'UTC';
CREATE SCHEMA ut;
CREATE ROLE ut_owner;
GRANT etl_developer TO ut_owner;
GRANT CREATE, USAGE ON SCHEMA ut TO ut_owner;
CREATE TABLE ut.orders (id int PRIMARY KEY, gone text, shop int, day date NOT NULL, "amount ""net""" numeric(10,2));
ALTER TABLE ut.orders DROP COLUMN gone;
CREATE TABLE ut.shops (id int PRIMARY KEY, name text);
INSERT INTO ut.orders SELECT n, 1, '2020-01-01', 1000 FROM generate_series(1, 5) AS n;
CREATE VIEW ut.recent AS SELECT * FROM ut.orders WHERE day <= current_date;
-- the owner of the models may not read what they read: so it is not read
REVOKE ALL ON ut.orders, ut.shops FROM PUBLIC;
SET ROLE ut_owner;

SELECT etl.define_model('ut.daily', $$
	WITH named AS (SELECT o.day, o."amount ""net""" AS amount, coalesce(s.name, '?') AS shop
		FROM ut.recent AS o LEFT JOIN ut.shops AS s ON s.id = o.shop)
	SELECT day, shop, sum(amount) AS total, count(*) AS n, max((SELECT count(*) FROM ut.shops)) AS shops
	FROM named GROUP BY day, shop $$, 'incremental', key => '{day,shop}');

-- a query: rows in any order, columns that are not named are not compared, relations that are not named are empty
SELECT etl.define_unit_test('ut.daily', 'refunds', '{"ut.orders": [
	{"id": 1, "shop": 1, "day": "2026-01-01", "amount \"net\"": 5}, {"id": 2, "shop": 1, "day": "2026-01-01", "amount \"net\"": -2},
	{"id": 3, "shop": 9, "day": "2026-01-02"}, {"day": "2026-02-01"}], "ut.shops": [{"id": 1, "name": "a\"b''; DROP"}]}',
	'[{"day": "2026-01-02", "shop": "?", "shops": 1}, {"day": "2026-01-01", "shop": "a\"b''; DROP", "total": 3.00, "shops": 1}]',
	'{"now": "2026-01-31"}');
SELECT etl.define_unit_test('ut.daily', 'nothing', '{}', '[]');
-- a view can be given itself, and lists of {"input", "rows"} are understood
SELECT etl.define_unit_test('ut.daily', 'of the view', '[{"input": "ut.recent", "rows": [{"day": "2099-01-01"}]}]', '{"rows": [{"n": 1}]}');
SELECT * FROM etl.test('ut.daily');

-- what differs: only these columns, by key
SELECT etl.define_unit_test('ut.daily', 'wrong', '{"ut.orders": [{"day": "2026-01-01", "shop": 1}, {"day": "2026-01-02"}, {"day": "2026-01-03"}]}',
	'[{"day": "2026-01-04", "shop": "?", "n": 1}, {"day": "2026-01-02", "shop": "?", "n": 1}, {"day": "2026-01-01", "shop": "?", "n": 2}]');
SELECT status, d ->> 'in' AS "in", d ->> 'row' AS row, d -> 'key' AS key, d -> 'columns' AS columns
FROM etl.test('ut.daily'), jsonb_array_elements(diff) AS d;
-- without the key the first columns that tell rows apart stand for it; rows that are there twice count twice
SELECT etl.define_unit_test('ut.daily', 'wrong', '{"ut.orders": [{"day": "2026-01-01", "shop": 1}, {"day": "2026-01-02"}]}',
	'[{"total": 1, "n": 1}, {"total": null, "n": 1}]');
SELECT d ->> 'row' AS row, d -> 'key' AS key, d -> 'columns' AS columns FROM etl.test('ut.daily'), jsonb_array_elements(diff) AS d;
SELECT etl.define_unit_test('ut.daily', 'wrong', '{"ut.orders": [{"day": "2026-01-01"}]}', '[{"n": 1}, {"n": 1}]');
SELECT d ->> 'row' AS row, d -> 'key' AS key, d -> 'columns' AS columns FROM etl.test('ut.daily'), jsonb_array_elements(diff) AS d;
SELECT etl.drop_unit_test('ut.daily', 'wrong'), etl.drop_unit_test('ut.daily', 'wrong');

-- the table after several runs, each over the rows of that moment: late rows, corrections, deletes, a dimension that changes
SELECT etl.define_unit_test('ut.daily', 'table', '[
	{"ut.orders": [{"id": 1, "shop": 1, "day": "2026-01-01", "amount \"net\"": 5}, {"id": 2, "shop": 1, "day": "2026-01-02", "amount \"net\"": 7}], "ut.shops": [{"id": 1, "name": "a"}]},
	{"ut.orders": [{"id": 1, "shop": 1, "day": "2026-01-01", "amount \"net\"": 6}, {"id": 3, "shop": 1, "day": "2026-01-01", "amount \"net\"": 1}]},
	{"ut.shops": [{"id": 1, "name": "b"}, {"id": 2, "name": "c"}]}]',
	'{"table": [{"day": "2026-01-01", "shop": "b", "total": 7, "n": 2, "shops": 2}], "query": [{"total": 7}]}');
SELECT * FROM etl.test('ut.daily') WHERE test_name = 'table';
-- and of kinds that are built in full: each run from the rows that are given then
SELECT etl.define_model('ut.kept', 'SELECT id FROM ut.orders', 'table');
SELECT etl.define_model('ut.shown', 'SELECT id FROM ut.orders', 'materialized_view');
SELECT etl.define_unit_test('ut.kept', 'runs', '[{"ut.orders": [{"id": 1}]}, {"ut.orders": [{"id": 2}, {"id": 3}]}, {}]', '{"table": [{"id": 2}, {"id": 3}]}');
SELECT etl.define_unit_test('ut.shown', 'runs', '[{"ut.orders": [{"id": 1}]}, {"ut.orders": [{"id": 2}]}]', '{"table": [{"id": 2}]}');
SELECT * FROM etl.test('ut.kept ut.shown');
SELECT etl.drop_model('ut.kept'), etl.drop_model('ut.shown');

-- a snapshot: its history by the clock of the test, on what it held before
SELECT etl.define_model('ut.history', 'SELECT id, name FROM ut.shops', 'snapshot', key => '{id}', options => '{"hard_deletes": "invalidate"}');
SELECT etl.define_unit_test('ut.history', 'versions', '[
	{"ut.history": [{"id": 1, "name": "old", "valid_from": "2025-01-01", "is_current": true}], "ut.shops": [{"id": 1, "name": "new"}, {"id": 2, "name": "x"}]},
	{"ut.shops": [{"id": 1, "name": "new"}]}]',
	'{"table": [{"id": 1, "name": "old", "valid_from": "2025-01-01", "valid_to": "2026-01-01", "is_current": false},
		{"id": 1, "name": "new", "valid_from": "2026-01-01", "valid_to": null, "is_current": true},
		{"id": 2, "name": "x", "valid_from": "2026-01-01", "valid_to": "2026-01-02", "is_current": false}]}',
	'{"now": ["2026-01-01", "2026-01-02"]}');
SELECT * FROM etl.test('ut.history');

-- slices
SELECT etl.define_model('ut.sliced', 'SELECT day, count(*) AS n FROM ut.orders GROUP BY day', 'incremental', event_time => 'day', batch_size => '1 day');
SELECT etl.define_unit_test('ut.sliced', 'late', '[{"ut.orders": [{"id": 1, "day": "2026-01-01"}, {"id": 2, "day": "2026-01-03"}]},
	{"ut.orders": [{"id": 1, "day": "2026-01-01"}, {"id": 2, "day": "2026-01-03"}, {"id": 3, "day": "2026-01-01"}]}]',
	'{"table": [{"day": "2026-01-01", "n": 2}, {"day": "2026-01-03", "n": 1}]}', '{"now": "2026-01-04"}');
SELECT * FROM etl.test('ut.sliced');

-- errors that must come, come otherwise, and do not come
SELECT etl.define_model('ut.divided', 'SELECT id, 100 / shop AS share FROM ut.orders', 'table', key => '{id}');
SELECT etl.define_unit_test('ut.divided', '1 by code', '{"ut.orders": [{"shop": 0}]}', '{"error": "22012"}');
SELECT etl.define_unit_test('ut.divided', '2 by message', '{"ut.orders": [{"shop": 0}]}', '{"error": "by zero"}');
SELECT etl.define_unit_test('ut.divided', '3 of the table', '{"ut.orders": [{"id": 1, "shop": 1}, {"id": 1, "shop": 2}]}', '{"error": "more than one row for a key"}');
SELECT etl.define_unit_test('ut.divided', '4 another', '{"ut.orders": [{"shop": 0}]}', '{"error": "22003"}');
SELECT etl.define_unit_test('ut.divided', '5 none', '{"ut.orders": [{"shop": 1}]}', '{"error": "22012"}');
SELECT etl.define_unit_test('ut.divided', '6 unasked', '{"ut.orders": [{"shop": 0}]}', '[]');
SELECT etl.define_unit_test('ut.divided', '7 column', '{"ut.orders": [{"shup": 0}]}', '[]');
SELECT etl.define_unit_test('ut.divided', '8 expected column', '{}', '[{"Share": 1}]');
SELECT test_name, status, diff FROM etl.test('ut.divided');

-- the clock stands still for everything that asks it, functions too; parameters; a function cannot read behind the test's back
CREATE FUNCTION ut.today() RETURNS text LANGUAGE plpgsql STABLE AS $$BEGIN RETURN to_char(now(), 'YYYY HH24'); END$$;
CREATE FUNCTION ut.behind() RETURNS bigint LANGUAGE plpgsql STABLE AS $$BEGIN RETURN (SELECT count(*) FROM ut.orders); END$$;
SELECT etl.define_model('ut.clock', $$SELECT now() AS a, current_date AS b, clock_timestamp() AS c, ut.today() AS d, etl.param('p', 'none') AS e, localtimestamp AS f$$);
SELECT etl.define_unit_test('ut.clock', 'noon', '{}', '[{"a": "2026-02-28 12:00+00", "b": "2026-02-28", "c": "2026-02-28 12:00+00", "d": "2026 12", "e": "given", "f": "2026-02-28 12:00"}]',
	'{"now": "2026-02-28 13:00+01", "params": {"p": "given"}}');
SELECT etl.define_model('ut.blind', 'SELECT ut.behind() AS n');
SELECT etl.define_unit_test('ut.blind', 'behind', '{}', '[]');
RESET ROLE;
GRANT SELECT ON ut.orders TO ut_owner;
SET ROLE ut_owner;
SELECT test_name, status, diff FROM etl.test('ut.clock ut.blind');
SELECT now() > '2026-03-01', current_setting('etl.test_now') = '', etl.param('p', 'none');

-- an SQL function of one SELECT is looked through, in expressions and in FROM, as it is in a table's runs
CREATE FUNCTION ut.best(of_shop int) RETURNS numeric LANGUAGE sql STABLE STRICT AS 'SELECT max("amount ""net""") FROM ut.orders WHERE shop = of_shop';
CREATE FUNCTION ut.of_shop(of_shop int) RETURNS TABLE (day date, n bigint) LANGUAGE sql STABLE
	BEGIN ATOMIC SELECT o.day, count(*) FROM ut.orders AS o WHERE o.shop = of_shop GROUP BY o.day; END;
SELECT etl.define_model('ut.called', 'SELECT s.id, ut.best(s.id) AS best, ut.best(NULL) AS none, o.day, o.n FROM ut.shops AS s, ut.of_shop(s.id) AS o', 'table', key => '{id,day}');
SELECT etl.define_unit_test('ut.called', 'called', '{"ut.shops": [{"id": 1}, {"id": 2}], "ut.orders": [{"id": 1, "shop": 1, "day": "2026-01-01", "amount \"net\"": 5},
	{"id": 2, "shop": 1, "day": "2026-01-01", "amount \"net\"": 7}, {"id": 3, "shop": 2, "day": "2026-01-02"}]}',
	'{"query": [{"id": 1, "best": 7, "none": null, "day": "2026-01-01", "n": 2}, {"id": 2, "best": null, "none": null, "day": "2026-01-02", "n": 1}], "table": [{"id": 1, "best": 7}, {"id": 2}]}');
SELECT * FROM etl.test('ut.called');

-- before anything exists: streams by their columns, models by their queries, the rest by what is given
SELECT etl.define_source('ut_push', 'push');
SELECT etl.define_stream('ut_new.raw', 'ut_push', columns => 'id int NOT NULL, at timestamptz', format => 'json');
SELECT etl.define_model('ut_new.clean', 'SELECT id, at::date AS day, extra FROM ut_new.raw', 'table');
SELECT etl.define_model('ut_new.seen', 'SELECT c.day, c.extra FROM ut_new.clean AS c');
SELECT etl.define_model('ut_new.mart', 'SELECT s.day, s.extra, r.factor * 2 AS twice FROM ut_new.seen AS s, ut_new.rates AS r', 'table');
SELECT etl.define_unit_test('ut_new.mart', 'early', '{"ut_new.clean": [{"day": "2026-01-01", "extra": true}], "ut_new.rates": [{"factor": 1.5}]}', '[{"day": "2026-01-01", "extra": true, "twice": 3.0}]');
SELECT * FROM etl.test('ut_new.mart');
SELECT to_regnamespace('ut_new'), to_regclass('ut.daily'), (SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'etl_unit%') AS left_over;
SELECT count(*) FROM etl.models WHERE target LIKE 'etl_unit%';

-- refused at once
SELECT etl.define_unit_test('ut.daily', 'x', '{"ut.order": []}', '[]');
SELECT etl.define_unit_test('ut.daily', 'x', '{"ut.orders": {}}', '[]');
SELECT etl.define_unit_test('ut.daily', 'x', '{"ut.orders": [1]}', '[]');
SELECT etl.define_unit_test('ut.daily', 'x', '[{"rows": []}]', '[]');
SELECT etl.define_unit_test('ut.daily', 'x', '{"ut.orders": [], "\"ut\".orders": []}', '[]');
SELECT etl.define_unit_test('ut.daily', 'x', '{}', '{}');
SELECT etl.define_unit_test('ut.daily', 'x', '{}', '{"tabel": []}');
SELECT etl.define_unit_test('ut.daily', 'x', '{}', '{"query": [], "error": "x"}');
SELECT etl.define_unit_test('ut.daily', 'x', '{}', '[]', '{"now": ["2026-01-01", "2026-01-02"]}');
SELECT etl.define_unit_test('ut.daily', 'x', '{}', '[]', '{"now": "yesteryear"}');
SELECT etl.define_unit_test('ut.daily', '', '{}', '[]');
SELECT etl.define_unit_test('ut.daily', 'x', NULL, '[]');
SELECT etl.define_unit_test('ut.clock', 'x', '{}', '{"table": []}');
SELECT etl.define_unit_test('ut_new.raw', 'x', '{}', '[]');

-- others may not
RESET ROLE;
CREATE ROLE ut_other;
GRANT etl_developer TO ut_other;
SET ROLE ut_other;
SELECT etl.define_unit_test('ut.daily', 'x', '{}', '[]');
SELECT etl.drop_unit_test('ut.daily', 'refunds');
SELECT count(*) FROM etl.test('ut.daily');
SELECT count(*) FROM etl.unit_tests;
RESET ROLE;

-- versions, scripts, names, projects
SET ROLE ut_owner;
SELECT etl.define_unit_test('ut.daily', 'nothing', '{}', '[]'), etl.define_unit_test('ut.daily', 'nothing', '{}', '[]', description => 'none from none');
SELECT name, version, description FROM etl.unit_tests WHERE target = 'ut.daily' ORDER BY name;
SELECT line FROM regexp_split_to_table(etl.export_definitions(), E'\n\n') AS line WHERE line LIKE '%none from none%';
SELECT etl.rename('ut.history', 'ut.versions');
SELECT jsonb_path_query_array(given, '$[*].keyvalue().key') FROM etl.unit_tests WHERE target = 'ut.versions';
SELECT test_name, status FROM etl.test('ut.versions');
SELECT etl.begin_project('ut') > 0;
SELECT etl.define_unit_test('ut.divided', '1 by code', '{"ut.orders": [{"shop": 0}]}', '{"error": "22012"}');
SELECT etl.define_unit_test('ut.divided', '2 by message', '{"ut.orders": [{"shop": 0}]}', '{"error": "by zero"}');
SELECT count(*) FROM etl.end_project();
SELECT etl.begin_project('ut') > 0;
SELECT etl.define_unit_test('ut.divided', '1 by code', '{"ut.orders": [{"shop": 0}]}', '{"error": "22012"}');
SELECT kind, name, part, action FROM etl.end_project();

-- the argument of a function that reads may be a subquery, which reads given rows, too
CREATE TABLE ut.prices (id int, price int);
CREATE FUNCTION ut.dearer(than numeric) RETURNS bigint STABLE LANGUAGE sql AS $$ SELECT count(*) FROM ut.prices WHERE price > than $$;
SELECT etl.define_model('ut.compared', 'SELECT ut.dearer((SELECT avg(price) FROM ut.prices)) AS n', 'table');
SELECT etl.define_unit_test('ut.compared', 'above_average', '{"ut.prices": [{"price": 1}, {"price": 2}, {"price": 9}]}', '{"query": [{"n": 1}], "table": [{"n": 1}]}');
SELECT test_name, status, diff FROM etl.test('ut.compared');
SELECT etl.drop_model('ut.compared', true);

-- a test goes with its model
SELECT etl.drop_model('ut.divided');
SELECT count(*) FROM etl.unit_tests WHERE target = 'ut.divided';
SELECT etl.drop_model(target, true) FROM unnest(ARRAY['ut.daily', 'ut.versions', 'ut.sliced', 'ut.clock', 'ut.blind', 'ut.called', 'ut_new.clean']) AS target;
SELECT count(*) FROM etl.unit_tests;
SELECT etl.drop_stream('ut_new.raw'), etl.drop_source('ut_push');
RESET ROLE;
SET client_min_messages = warning;
DROP SCHEMA ut CASCADE;
DROP OWNED BY ut_owner, ut_other;
DROP ROLE ut_owner, ut_other;
