-- Every kind counts what a hand-written query counts; NULL passes all but not_null; one that cannot be evaluated is an error.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS etl;
CREATE SCHEMA qk;
CREATE TABLE qk.users (user_id bigint, country text);
INSERT INTO qk.users SELECT g, CASE g % 2 WHEN 0 THEN 'DE' ELSE 'FR' END FROM generate_series(1, 20) g;
CREATE TABLE qk.orders (id int, gone int, user_id numeric, status varchar(10), amount numeric(10,2), day date,
	at timestamptz, country text);
ALTER TABLE qk.orders DROP COLUMN gone;
INSERT INTO qk.orders
SELECT g, CASE WHEN g % 10 = 0 THEN NULL ELSE g END, CASE g % 3 WHEN 0 THEN 'new' WHEN 1 THEN 'paid' ELSE 'Paid ' END,
	g - 4.5, date '2024-01-01' + g, timestamptz '2024-01-01 00:00+00' + g * interval '1 hour',
	CASE g % 2 WHEN 0 THEN 'DE' ELSE 'FR' END
FROM generate_series(1, 30) g;
INSERT INTO qk.orders VALUES (30, NULL, 'new', 1, '2024-01-01', NULL, 'XX'), (NULL, NULL, NULL, NULL, NULL, NULL, NULL);

CREATE FUNCTION qk.define(kind text, columns text[], options jsonb, name text DEFAULT NULL) RETURNS void
LANGUAGE sql AS $$ SELECT etl.define_check('qk.orders', kind, columns, options, 'warn', name => name) $$;
CREATE FUNCTION qk.results(pattern text DEFAULT '') RETURNS TABLE (check_name text, status text, evaluated bigint, failed bigint, value numeric, detail text)
LANGUAGE sql AS $$ SELECT check_name, status, evaluated, failed, round(value, 4), detail FROM etl.check('qk.orders')
	WHERE check_name ~ pattern ORDER BY check_name COLLATE "C" $$;

-- 20 checks of the 6 row kinds
SELECT qk.define('not_null', '{id}', '{}'), qk.define('not_null', '{user_id}', '{}'), qk.define('not_null', '{id,at}', '{}'),
	qk.define('not_null', '{status}', '{"where": "id > 10"}');
SELECT qk.define('range', '{amount}', '{"min": 0}'), qk.define('range', '{id}', '{"min": 2.5, "max": 25}'),
	qk.define('range', '{day}', '{"min": "2024-01-05", "max": "2024-01-20"}'), qk.define('range', '{at}', '{"max": "2024-01-01 12:00+00"}'),
	qk.define('range', '{country}', '{"min": "E"}');
SELECT qk.define('accepted_values', '{status}', '{"values": ["new", "paid"]}'), qk.define('accepted_values', '{id}', '{"values": [1, 2, 3]}'),
	qk.define('accepted_values', '{amount}', '{"values": [0.50, "1.5", 2.500]}'),
	qk.define('accepted_values', '{country}', '{"values": ["DE", "FR"], "where": "orders.amount > 0"}');
SELECT qk.define('regex', '{status}', '{"pattern": "^[a-z]+$"}'), qk.define('regex', '{amount}', '{"pattern": "5"}');
SELECT qk.define('relationship', '{user_id}', '{"to": "qk.users"}'),
	qk.define('relationship', '{user_id,country}', '{"to": "qk.users"}');
SELECT qk.define('expression', '{amount}', '{"expression": "amount > 0 and qk.orders.id is not null"}', 'wrong qualification'),
	qk.define('expression', '{amount}', '{"expression": "amount > 0 AND orders.id < 20"}'),
	qk.define('expression', '{}', '{"expression": "status = lower(status)"}', 'lower');
SELECT count(*) FROM etl.checks WHERE target = 'qk.orders';
SELECT pg_stat_force_next_flush();
SELECT seq_scan AS before FROM pg_stat_user_tables WHERE relid = 'qk.orders'::regclass \gset
CREATE TEMP TABLE results AS SELECT * FROM qk.results();
SELECT pg_stat_force_next_flush();
SELECT seq_scan - :before AS scans FROM pg_stat_user_tables WHERE relid = 'qk.orders'::regclass;
SELECT * FROM results;
CREATE TEMP TABLE by_hand (check_name text, failed bigint);
INSERT INTO by_hand
SELECT 'not_null_id', count(*) FROM qk.orders WHERE id IS NULL UNION ALL
SELECT 'not_null_user_id', count(*) FROM qk.orders WHERE user_id IS NULL UNION ALL
SELECT 'not_null_id_at', count(*) FROM qk.orders WHERE id IS NULL OR at IS NULL UNION ALL
SELECT 'not_null_status', count(*) FROM qk.orders WHERE id > 10 AND status IS NULL UNION ALL
SELECT 'range_amount', count(*) FROM qk.orders WHERE amount < 0 UNION ALL
SELECT 'range_id', count(*) FROM qk.orders WHERE NOT id BETWEEN 2.5 AND 25 UNION ALL
SELECT 'range_day', count(*) FROM qk.orders WHERE NOT day BETWEEN '2024-01-05' AND '2024-01-20' UNION ALL
SELECT 'range_at', count(*) FROM qk.orders WHERE at > '2024-01-01 12:00+00' UNION ALL
SELECT 'range_country', count(*) FROM qk.orders WHERE country < 'E' UNION ALL
SELECT 'accepted_values_status', count(*) FROM qk.orders WHERE status NOT IN ('new', 'paid') UNION ALL
SELECT 'accepted_values_id', count(*) FROM qk.orders WHERE id NOT IN (1, 2, 3) UNION ALL
SELECT 'accepted_values_amount', count(*) FROM qk.orders WHERE amount NOT IN (0.5, 1.5, 2.5) UNION ALL
SELECT 'accepted_values_country', count(*) FROM qk.orders WHERE amount > 0 AND country NOT IN ('DE', 'FR') UNION ALL
SELECT 'regex_status', count(*) FROM qk.orders WHERE status !~ '^[a-z]+$' UNION ALL
SELECT 'regex_amount', count(*) FROM qk.orders WHERE amount::text !~ '5' UNION ALL
SELECT 'relationship_user_id', count(*) FROM qk.orders o WHERE user_id IS NOT NULL
	AND NOT EXISTS (SELECT FROM qk.users u WHERE u.user_id = o.user_id) UNION ALL
SELECT 'relationship_user_id_country', count(*) FROM qk.orders o WHERE user_id IS NOT NULL AND country IS NOT NULL
	AND NOT EXISTS (SELECT FROM qk.users u WHERE u.user_id = o.user_id AND u.country = o.country) UNION ALL
SELECT 'expression_amount', count(*) FROM qk.orders WHERE NOT (amount > 0 AND id < 20) UNION ALL
SELECT 'lower', count(*) FROM qk.orders WHERE NOT status = lower(status);
SELECT count(*) AS compared, count(*) FILTER (WHERE r.failed <> h.failed) AS different
FROM by_hand h JOIN results r USING (check_name);

-- the parent is probed while it has an index, then hashed; the answer is the same
CREATE INDEX ON qk.users (user_id);
SELECT * FROM qk.results('^relationship');
-- set kinds; one query each
SELECT etl.drop_check('qk.orders', name) FROM etl.checks WHERE target = 'qk.orders' \g /dev/null
SELECT qk.define('unique', '{id}', '{}'), qk.define('unique', '{status,country}', '{}'), qk.define('unique', '{amount}', '{"where": "id > 5"}'),
	qk.define('row_count', '{}', '{"min": 10, "max": 31}'), qk.define('row_count', '{}', '{"max": 31, "where": "id > 1"}', 'fewer'),
	qk.define('freshness', '{at}', '{"max_age": "1 hour"}'), qk.define('freshness', '{day}', '{"max_age": "1000 years"}'),
	qk.define('relationship', '{id}', '{"to": "qk.orders", "columns": ["user_id"]}', 'self');
SELECT check_name, status, evaluated, failed, CASE WHEN check_name LIKE 'fresh%' THEN NULL ELSE round(value, 4) END AS value,
	detail FROM etl.check('qk.orders') ORDER BY check_name COLLATE "C";

-- what cannot be evaluated is an error, and the other checks go on
SELECT etl.drop_check('qk.orders', name) FROM etl.checks WHERE target = 'qk.orders' \g /dev/null
CREATE FUNCTION qk.boom(int) RETURNS boolean LANGUAGE plpgsql AS
$$ BEGIN IF $1 = 7 THEN RAISE EXCEPTION 'boom at %', $1; END IF; RETURN $1 > 2; END $$;
SELECT qk.define('range', '{id}', '{"min": 3}'), qk.define('range', '{idd}', '{"min": 3}'), qk.define('range', '{day}', '{"min": "soon"}'),
	qk.define('expression', '{}', '{"expression": "10 / (id - 3) < 5"}', 'divides'), qk.define('expression', '{}', '{"expression": "qk.boom(id)"}', 'raises'),
	qk.define('expression', '{}', '{"expression": "EXISTS (SELECT 1)"}', 'subquery'), qk.define('expression', '{}', '{"expression": "amount"}', 'number'),
	qk.define('relationship', '{id}', '{"to": "qk.nowhere"}'), qk.define('relationship', '{day}', '{"to": "qk.users", "columns": ["user_id"]}'),
	qk.define('unique', '{idd}', '{}'), qk.define('freshness', '{}', '{"max_age": "1 hour"}'),
	qk.define('expression', '{}', '{"expression": "id > 3"}', 'fine');
SELECT check_name, status, evaluated, failed, detail FROM qk.results();
SELECT check_name, column_name, value, reason FROM etl.validate('qk.orders') ORDER BY check_name COLLATE "C", 3;

-- views, partitions and an empty relation
CREATE VIEW qk.view AS SELECT id, 10 / (id - 40) AS q FROM qk.orders;
CREATE TABLE qk.parts (id int, v int) PARTITION BY LIST (id);
CREATE TABLE qk.part1 PARTITION OF qk.parts FOR VALUES IN (1);
CREATE TABLE qk.part2 (v int, id int);
ALTER TABLE qk.parts ATTACH PARTITION qk.part2 FOR VALUES IN (2);
INSERT INTO qk.parts VALUES (1, 1), (2, 1), (2, 1), (1, NULL);
CREATE TABLE qk.empty (id int, at timestamptz);
SELECT etl.define_check(t, k, c, o, 'warn', name => k) FROM (VALUES
	('qk.view', 'range', '{id}'::text[], '{"min": 5}'::jsonb), ('qk.view', 'row_count', '{}', '{"min": 100}'),
	('qk.parts', 'not_null', '{v}', '{}'), ('qk.parts', 'unique', '{id,v}', '{}'),
	('qk.empty', 'not_null', '{id}', '{}'), ('qk.empty', 'unique', '{id}', '{}'), ('qk.empty', 'row_count', '{}', '{"min": 1}'),
	('qk.empty', 'freshness', '{at}', '{"max_age": "1 day"}'), ('qk.empty', 'relationship', '{id}', '{"to": "qk.users", "columns": ["user_id"]}')
) AS v (t, k, c, o) \g /dev/null
SELECT target, check_name, status, evaluated, failed, detail FROM etl.check('qk.view qk.parts qk.em*') ORDER BY target COLLATE "C", check_name COLLATE "C";
INSERT INTO qk.orders (id) VALUES (40);
SELECT check_name, status, detail FROM etl.check('qk.view') ORDER BY 1;
SELECT * FROM etl.validate('qk.parts');

-- hostile names
CREATE SCHEMA "qk ""x";
CREATE TABLE "qk ""x"."we""ird" ("a ""b" int, "select" text, "we""ird" int, "a.b" int);
INSERT INTO "qk ""x"."we""ird" VALUES (1, 'x', 1, 1), (1, 'y', 2, 1), (NULL, '''; DROP', NULL, NULL);
CREATE TABLE "qk ""x"."pa""rent" ("k ""k" bigint);
INSERT INTO "qk ""x"."pa""rent" VALUES (2);
SELECT etl.define_check('"qk ""x"."we""ird"', k, c, o, 'warn') FROM (VALUES
	('not_null', '{"a \"b"}'::text[], '{}'::jsonb), ('unique', '{"a \"b","a.b"}', '{}'), ('range', '{"we\"ird"}', '{"max": 1}'),
	('accepted_values', '{select}', '{"values": ["x", "''; DROP"]}'), ('relationship', '{"a \"b"}', '{"to": "\"qk \"\"x\".\"pa\"\"rent\"", "columns": ["k \"k"]}'),
	('expression', '{"we\"ird"}', '{"expression": "\"we\"\"ird\".\"we\"\"ird\" = \"a.b\""}'), ('freshness', '{select}', '{"max_age": "1 day"}')
) AS v (k, c, o) \g /dev/null
SELECT check_name, status, evaluated, failed, detail FROM etl.check('"qk ""x"."we""ird"') ORDER BY check_name COLLATE "C";
SELECT check_name, column_name, row_key, value, reason FROM etl.validate('"qk ""x"."we""ird"') ORDER BY check_name COLLATE "C";
SELECT count(*) FROM etl.validate('"qk ""x"."we""ird"', 2);
SELECT * FROM etl.check('qk.nothing_here');
SELECT * FROM etl.validate('qk.nothing_here');

SELECT etl.drop_check(target, name) FROM etl.checks WHERE target LIKE '%qk%' \g /dev/null
DROP SCHEMA qk, "qk ""x" CASCADE;
