-- A strategy only says how rows get into place: in partitions of every kind the model holds what its query yields, and what cannot be is refused at definition.
\set VERBOSITY terse
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SET client_min_messages = warning;
CREATE SCHEMA ps;
SELECT etl.define_source('ps_push', 'push');
SELECT etl.define_stream('ps.a', 'ps_push', format => 'json', columns => 'id int, day date, k text, n int');
SELECT etl.define_stream('ps.m', 'ps_push', format => 'json', columns => 'id int, day date, k text, n int', key => '{id}', mode => 'merge');
CREATE TABLE ps.q (name text PRIMARY KEY, key text, strategy text, partition_by text, query text);
INSERT INTO ps.q SELECT 'sums_' || method || coalesce('_' || strategy, ''), '{day,k}', strategy, partition_by, 'SELECT day, k, sum(n) AS n, count(*) AS rows FROM ps.m GROUP BY day, k'
	FROM (VALUES ('range', '{"range": "day", "interval": "1 month"}'), ('list', '{"list": "k"}'), ('hash', '{"hash": "k", "partitions": 2}')) p(method, partition_by),
		(VALUES (NULL), ('append'), ('merge'), ('delete_insert'), ('partition_replace')) s(strategy);
INSERT INTO ps.q SELECT 'rows_' || method || coalesce('_' || strategy, ''), NULL, strategy, partition_by, 'SELECT id, day, k, n FROM ps.a WHERE n > 0'
	FROM (VALUES ('range', '{"range": "day", "interval": "1 month"}'), ('list', '{"list": "k"}'), ('expression', '{"list": "lower(k)"}')) p(method, partition_by),
		(VALUES (NULL), ('append'), ('partition_replace')) s(strategy)
	WHERE NOT (method = 'expression' AND strategy IS NOT DISTINCT FROM 'partition_replace');
INSERT INTO ps.q SELECT 'of_' || name, '{k}', NULL, '{"list": "k"}', format('SELECT k, sum(n) AS n FROM ps.%I GROUP BY k', name) FROM ps.q;
SELECT count(*) FROM ps.q, etl.define_model('ps.' || name, query, 'incremental', key::text[], strategy, options => jsonb_build_object('partition_by', partition_by::jsonb));
CREATE FUNCTION ps.judge() RETURNS TABLE (model text, did text, why text, differing bigint) LANGUAGE plpgsql AS $$
DECLARE
	q ps.q;
BEGIN
	FOR q IN SELECT * FROM ps.q ORDER BY name LOOP
		EXECUTE format('SELECT count(*) FROM ((TABLE ps.%1$I EXCEPT ALL (%2$s)) UNION ALL ((%2$s) EXCEPT ALL TABLE ps.%1$I)) d', q.name, q.query) INTO differing;
		SELECT action, substring(reason FROM 'since (.*)') INTO did, why FROM etl.tasks WHERE run_id = etl.last_run_id() AND node = 'ps.' || q.name;
		model := q.name;
		IF differing > 0 OR did = 'full' THEN
			RETURN NEXT;
		END IF;
	END LOOP;
END $$;
CREATE FUNCTION ps.facts(f int, t int) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_agg(jsonb_build_object('id', i, 'day', CASE WHEN i % 11 > 0 THEN '2026-01-01'::date + i * 3 END, 'k', CASE WHEN i % 7 > 0 THEN 'K' || i % 4 END, 'n', i)) FROM generate_series(f, t) i $$;
SELECT etl.ingest('ps.a', ps.facts(1, 40)) > 0, etl.ingest('ps.m', ps.facts(1, 40)) > 0;
CALL etl.run('ps.*');
SELECT * FROM ps.judge();

-- rows come, in new partitions too: all follow, but for the strategy append that groups cannot do with
SELECT etl.ingest('ps.a', ps.facts(35, 50)) > 0, etl.ingest('ps.m', ps.facts(41, 50)) > 0;
CALL etl.run('ps.*');
SELECT * FROM ps.judge();
-- they change their partition, change and go
SELECT etl.ingest('ps.m', '[{"id": 3, "day": "2026-12-24", "k": "new", "n": -3}, {"id": 4, "n": 4}, {"id": 5, "day": "2026-01-16", "k": "K1", "n": 500}]') > 0 AS landed;
DELETE FROM ps.m WHERE id % 9 = 0;
CALL etl.run('ps.*');
SELECT * FROM ps.judge();
-- none is left
DELETE FROM ps.m;
CALL etl.run('ps.*');
SELECT * FROM ps.judge();
SELECT etl.ingest('ps.m', ps.facts(1, 10)) > 0 AS landed;
CALL etl.run('ps.*');
SELECT * FROM ps.judge();

-- what does not go together is refused at definition
SELECT etl.define_model('ps.x', 'SELECT id, day FROM ps.a', 'incremental', strategy => 'merge', options => '{"partition_by": {"list": "day"}}');
SELECT etl.define_model('ps.x', 'SELECT id, day FROM ps.a', 'incremental', strategy => 'delete_insert', options => '{"partition_by": {"list": "day"}}');
SELECT etl.define_model('ps.x', 'SELECT id, day FROM ps.a', 'incremental', '{id}', 'merge', options => '{"partition_by": {"list": "day"}}');
SELECT etl.define_model('ps.x', 'SELECT id, day FROM ps.a', 'incremental', '{id,day}', 'partition_replace');
SELECT etl.define_model('ps.x', 'SELECT id, day FROM ps.a', 'incremental', strategy => 'partition_replace', options => '{"partition_by": {"list": "lower(k)"}}');

SELECT count(etl.drop_model(target, true)) FROM etl.models WHERE target LIKE 'ps.of%';
SELECT count(etl.drop_model(target, true)) FROM etl.models WHERE target LIKE 'ps.%';
SELECT etl.drop_stream('ps.a', true), etl.drop_stream('ps.m', true), etl.drop_source('ps_push');
DROP SCHEMA ps CASCADE;
