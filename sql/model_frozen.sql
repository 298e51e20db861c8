-- Retention takes rows from models that recompute by keys without making one wrong: what they hold of those keys stays, and what comes too late for them is told.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY terse
SELECT etl.define_source('fz_push', 'push');
SELECT etl.define_stream('fz.sales', 'fz_push', '{"retention": {"max_loads": 2}}', columns => 'id int, day date, shop text, amount numeric');
SELECT etl.define_stream('fz.shops', 'fz_push', columns => 'shop text, city text', mode => 'merge', key => '{shop}');
SELECT etl.define_model('fz.by_day', 'SELECT day, count(*) AS n, sum(amount) AS s FROM fz.sales GROUP BY day', 'incremental', '{day}');
SELECT etl.define_model('fz.busy', 'SELECT shop, count(*) AS n FROM fz.seen GROUP BY shop HAVING count(*) > 1', 'incremental', '{shop}');
SELECT etl.define_model('fz.seen', 'SELECT * FROM fz.sales WHERE amount > 0');
SELECT etl.define_model('fz.newest', 'SELECT DISTINCT ON (s.id) s.id, s.amount, c.city FROM fz.sales s LEFT JOIN fz.shops c USING (shop) ORDER BY s.id, s.day DESC',
	'incremental', '{id}');
SELECT etl.define_model('fz.sides', 'SELECT ''all'' AS what, shop, count(*) AS n FROM fz.sales GROUP BY shop
	UNION ALL SELECT ''dear'', shop, count(*) FROM fz.sales WHERE amount > 15 GROUP BY shop', 'incremental', '{what,shop}');
SELECT etl.ingest('fz.shops', '[{"shop": "a", "city": "Rome"}, {"shop": "b", "city": "Oslo"}]') > 0 AS loaded;
SELECT etl.ingest('fz.sales', '[{"id": 1, "day": "2026-01-01", "shop": "a", "amount": 10}, {"id": 2, "day": "2026-01-01", "shop": "b", "amount": 20},
	{"id": 3, "day": null, "shop": null, "amount": 5}, {"id": 9, "day": "2026-01-01", "shop": "c", "amount": 1}]') > 0 AS loaded;
SELECT etl.ingest('fz.sales', '[{"id": 1, "day": "2026-01-02", "shop": "a", "amount": 11}]') > 0 AS loaded;
CALL etl.run('fz.*');
SELECT etl.ingest('fz.sales', '[{"id": 4, "day": "2026-01-03", "shop": "b", "amount": 40}]') > 0 AS loaded;

-- a load goes when all have consumed it, and those that would have to be computed from the rest keep it
SELECT etl.define_model('fz.total', 'SELECT sum(amount) AS s FROM fz.sales', 'table'), etl.define_model('fz.cities', 'SELECT c.city, sum(s.amount) AS s
	FROM fz.sales s JOIN fz.shops c USING (shop) GROUP BY c.city', 'incremental', '{city}'), etl.define_model('fz.cheaper', 'SELECT s.id FROM fz.shops c
	JOIN fz.sales s USING (shop) WHERE EXISTS (SELECT FROM fz.sales x WHERE x.shop = s.shop AND x.amount < s.amount) GROUP BY s.id', 'incremental', '{id}');
CALL etl.run('fz.total fz.cities fz.cheaper');
SELECT rows, action, reason FROM etl.expire('fz.sales', dry_run => true);
SELECT etl.drop_model('fz.cheaper', drop_relation => true);
SELECT rows, action, reason FROM etl.expire('fz.sales');
SELECT etl.drop_model('fz.cities', drop_relation => true);
SELECT rows, action, reason FROM etl.expire('fz.sales');
SELECT etl.drop_model('fz.total', drop_relation => true);
-- a change of another input that was not followed yet would be lost
SELECT etl.ingest('fz.shops', '[{"shop": "a", "city": "Bari"}]') > 0 AS loaded;
SELECT rows, action, reason FROM etl.expire('fz.sales');
CALL etl.run('fz.*');
SELECT rows, action, reason FROM etl.expire('fz.sales', dry_run => true);
SELECT count(*) FROM etl.frozen_key;
SELECT rows, action, reason FROM etl.expire('fz.sales');
SELECT id FROM fz.sales ORDER BY id;
SELECT model, columns, key FROM etl.frozen_key ORDER BY model, columns, key;
SELECT node, action FROM etl.plan('fz.by_day fz.busy fz.newest fz.sides');

-- nothing changed for the models: what went is no deletion
CREATE VIEW public.fz_state AS SELECT 'by_day' AS model, day::text AS key, n::text || ' ' || s AS holds FROM fz.by_day UNION ALL SELECT 'busy', shop, n::text FROM fz.busy
	UNION ALL SELECT 'newest', id::text, concat_ws(' ', amount, city) FROM fz.newest UNION ALL SELECT 'sides', what || ' ' || shop, n::text FROM fz.sides;
CREATE VIEW public.fz_late AS SELECT target, load_id, regexp_replace(record, '"_etl_load_id":\d+,"_etl_row":\d+,', '') AS record, reasons -> 0 ->> 'check' AS "check",
	reasons -> 0 ->> 'column' AS "column", reasons -> 0 ->> 'message' AS message, status FROM etl.rejects WHERE target LIKE 'fz.%';
SELECT * FROM public.fz_state ORDER BY 1, 2;

-- late rows for frozen keys are rejects; all others are followed, and the rest of the same load is
SELECT etl.ingest('fz.sales', '[{"id": 1, "day": "2026-01-01", "shop": "c", "amount": 100}, {"id": 5, "day": "2026-01-03", "shop": "d", "amount": 50},
	{"id": 3, "day": null, "shop": null, "amount": 6}]') > 0 AS loaded;
CALL etl.run('fz.*');
SELECT node, action, rows_rejected FROM etl.tasks WHERE run_id = etl.last_run_id() AND kind = 'model' ORDER BY node;
SELECT * FROM public.fz_state ORDER BY 1, 2;
SELECT * FROM public.fz_late ORDER BY target, record;

-- another late row leaves the first reject open; a dimension's change, too, cannot reach what is frozen
SELECT etl.ingest('fz.sales', '[{"id": 7, "day": "2026-01-01", "shop": "d", "amount": 7}]') > 0 AS loaded;
SELECT etl.ingest('fz.shops', '[{"shop": "a", "city": "Pisa"}, {"shop": "b", "city": "Lund"}]') > 0 AS loaded;
CALL etl.run('fz.*');
SELECT * FROM public.fz_state WHERE model IN ('by_day', 'newest') ORDER BY 1, 2;
SELECT target, record, status FROM public.fz_late ORDER BY target, record;

-- a full build, asked for or not, is refused and names the horizon
SET client_min_messages = error;
\set VERBOSITY sqlstate
CALL etl.run('fz.by_day', full_refresh => true);
SELECT sqlstate, regexp_replace(error, 'since .*', 'since …') AS error, hint FROM etl.tasks WHERE run_id = etl.last_run_id();
SELECT etl.define_model('fz.by_day', 'SELECT day, count(*) AS n, sum(amount) AS s, min(shop) AS first FROM fz.sales GROUP BY day', 'incremental', '{day}');
CALL etl.run('fz.by_day');
SELECT rows, action, reason FROM etl.expire('fz.sales') LIMIT 1;
-- forced, it is built of what is left, and nothing is frozen any more
SELECT etl.define_model('fz.by_day', 'SELECT day, count(*) AS n, sum(amount) AS s, min(shop) AS first FROM fz.sales GROUP BY day', 'incremental', '{day}', options => '{"force_full": true}');
CALL etl.run('fz.by_day');
SELECT count(*) FROM etl.frozen_key WHERE model = 'fz.by_day';
SELECT * FROM fz.by_day ORDER BY day;
SELECT target, status, count(*) FROM public.fz_late GROUP BY 1, 2 ORDER BY 1, 2;
\set VERBOSITY terse

-- hostile names and values
SET client_min_messages = warning;
SELECT etl.define_stream('fz."we""ird"', 'fz_push', '{"retention": {"max_loads": 1}}', columns => '"a""b; drop" text, v numeric');
SELECT etl.define_model('fz."we""irder"', 'SELECT "a""b; drop", v, count(*) AS n FROM fz."we""ird" GROUP BY 1, 2', 'incremental', '{"a\"b; drop",v}');
SELECT etl.ingest('fz."we""ird"', jsonb_build_array(jsonb_build_object('a"b; drop', e'x'';\\ "\n', 'v', 1.0), jsonb_build_object('a"b; drop', repeat('long', 5000), 'v', 1))) > 0 AS loaded;
CALL etl.run('fz."we""ird" fz."we""irder"');
SELECT etl.ingest('fz."we""ird"', jsonb_build_array(jsonb_build_object('a"b; drop', 'y', 'v', 1))) > 0 AS loaded;
CALL etl.run('fz."we""ird" fz."we""irder"');
SELECT rows, action FROM etl.expire('fz."we""ird" fz."we""irder"');
-- 1.00 is the frozen 1.0
SELECT etl.ingest('fz."we""ird"', jsonb_build_array(jsonb_build_object('a"b; drop', e'x'';\\ "\n', 'v', 1.00), jsonb_build_object('a"b; drop', repeat('long', 5000), 'v', 2.50))) > 0 AS loaded;
CALL etl.run('fz."we""ird" fz."we""irder"');
SELECT left("a""b; drop", 8) AS a, v, n FROM fz."we""irder" ORDER BY 1, 2;
SELECT count(*), min(reasons -> 0 ->> 'value') FROM etl.rejects WHERE target LIKE 'fz.%ird%';

-- the name of a node changes with what is frozen of it, and goes with it
SELECT etl.rename('fz.sides', 'fz.parts');
SELECT DISTINCT model FROM etl.frozen_key ORDER BY model;
DROP VIEW public.fz_state, public.fz_late;
SET client_min_messages = error;
SELECT etl.drop_source('fz_push', cascade => true, drop_relation => true) IS NOT NULL AS dropped;
SELECT count(*) FROM etl.frozen_key;
DROP SCHEMA fz CASCADE;
