-- Whatever its query looks like, an incremental model holds what the query yields; what is built in full says why, in the plan and after the run alike.
\set VERBOSITY terse
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE SCHEMA ir;
SELECT etl.define_source('ir_push', 'push');
SELECT etl.define_stream('ir.f', 'ir_push', format => 'json', columns => 'id int, k text, cat int, did int, amt numeric, js jsonb');
SELECT etl.define_stream('ir.e', 'ir_push', format => 'json', columns => 'id int, k text, cat int, did int, amt numeric, js jsonb', key => '{id}', mode => 'merge');
SELECT etl.define_stream('ir.d', 'ir_push', format => 'json', columns => 'id int, name text, grp int', key => '{id}', mode => 'merge');
CREATE TABLE ir.q (name text PRIMARY KEY, key text, query text);
INSERT INTO ir.q VALUES
	('aggregate_all', NULL, 'SELECT count(*) AS n, sum(amt) AS s FROM ir.f'),
	('aggregate_all_keyed', '{one}', 'SELECT 1 AS one, count(*) AS n, sum(amt) AS s FROM ir.f'),
	('array_agg', '{k}', 'SELECT k, array_agg(amt ORDER BY amt, id) AS a, string_agg(cat::text, '','' ORDER BY cat DESC NULLS LAST) AS s FROM ir.f GROUP BY k'),
	('cross_join', '{id,d}', 'SELECT e.id, d.id AS d, e.amt, d.name FROM ir.e CROSS JOIN ir.d'),
	('cross_join_one_key', '{id}', 'SELECT e.id, count(*) AS n, max(d.name) AS name FROM ir.e CROSS JOIN ir.d GROUP BY e.id'),
	('cte_twice', '{k}', 'WITH s AS (SELECT k, sum(amt) AS s FROM ir.f GROUP BY k) SELECT a.k, a.s, b.s AS s2 FROM s a JOIN s b ON b.k = a.k'),
	('distinct_all', NULL, 'SELECT DISTINCT cat, k FROM ir.f'),
	('distinct_keyed', '{cat,k}', 'SELECT DISTINCT cat, k FROM ir.f'),
	('distinct_window', '{k}', 'SELECT DISTINCT k, sum(amt) OVER (PARTITION BY k) AS s FROM ir.f'),
	('each_of_array', '{id,n}', 'SELECT e.id, a.n, a.v FROM ir.e, jsonb_array_elements_text(e.js -> ''a'') WITH ORDINALITY a(v, n)'),
	('except_', '{k}', 'SELECT k FROM ir.f EXCEPT SELECT k FROM ir.e WHERE amt > 50'),
	('except_all', NULL, 'SELECT k FROM ir.f EXCEPT ALL SELECT k FROM ir.e'),
	('exists_in_target', '{id}', 'SELECT e.id, EXISTS (SELECT FROM ir.f WHERE f.k = e.k AND f.amt > 50) AS big FROM ir.e'),
	('fetch_ties', '{id}', 'SELECT id, amt FROM ir.e ORDER BY amt FETCH FIRST 5 ROWS WITH TIES'),
	('full_join', '{id}', 'SELECT coalesce(e.id, d.id) AS id, e.amt, d.name FROM ir.e FULL JOIN ir.d ON d.id = e.id'),
	('generate_series', '{g}', 'SELECT g, count(e.id) AS n FROM generate_series(0, 6) g LEFT JOIN ir.e ON e.cat = g GROUP BY g'),
	('grouping_sets', '{cat,k}', 'SELECT cat, k, grouping(cat, k) AS g, count(*) AS n FROM ir.f WHERE cat IS NOT NULL AND k IS NOT NULL GROUP BY GROUPING SETS ((cat), (k), ())'),
	('cube_', '{cat,k}', 'SELECT cat, k, count(*) AS n FROM ir.f WHERE cat IS NOT NULL AND k IS NOT NULL GROUP BY CUBE (cat, k)'),
	('having_of_all', '{k}', 'SELECT k, sum(amt) AS s FROM ir.f GROUP BY k HAVING sum(amt) > (SELECT avg(amt) FROM ir.f)'),
	('intersect_', '{k}', 'SELECT k FROM ir.f INTERSECT SELECT k FROM ir.e'),
	('join_of_computed', '{k}', 'SELECT coalesce(f.k, d.name) AS k, count(*) AS n FROM ir.f LEFT JOIN ir.d ON d.id = f.did GROUP BY 1'),
	('json_agg', '{k}', 'SELECT k, jsonb_agg(jsonb_build_object(''id'', id, ''a'', js ->> ''b'') ORDER BY id, amt, cat, did, js) AS j FROM ir.f GROUP BY k'),
	('json_object_agg', '{cat}', 'SELECT cat, jsonb_object_agg(id, amt) AS j FROM ir.e GROUP BY cat'),
	('lateral_top', '{id}', 'SELECT d.id, l.amt FROM ir.d LEFT JOIN LATERAL (SELECT amt FROM ir.f WHERE f.did = d.id ORDER BY amt DESC NULLS LAST LIMIT 1) l ON true'),
	('lateral_all', '{id}', 'SELECT d.id, l.n FROM ir.d, LATERAL (SELECT count(*) AS n FROM ir.e WHERE e.amt > d.grp * 20) l'),
	('limit_', '{id}', 'SELECT id, amt FROM ir.e ORDER BY amt NULLS LAST, id LIMIT 7'),
	('not_exists', '{id}', 'SELECT e.id FROM ir.e WHERE NOT EXISTS (SELECT FROM ir.f WHERE f.k = e.k AND f.amt > 90)'),
	('not_exists_of_all', '{id}', 'SELECT e.id FROM ir.e WHERE NOT EXISTS (SELECT FROM ir.f WHERE f.amt > e.amt + 30)'),
	('not_in', '{id}', 'SELECT e.id FROM ir.e WHERE e.cat NOT IN (SELECT grp FROM ir.d WHERE grp IS NOT NULL)'),
	('all_', '{id}', 'SELECT e.id FROM ir.e WHERE e.amt >= ALL (SELECT f.amt FROM ir.f WHERE f.cat = e.cat AND f.amt IS NOT NULL)'),
	('offset_', '{id}', 'SELECT id FROM ir.e ORDER BY id OFFSET 3'),
	('ordered_set', '{k}', 'SELECT k, percentile_cont(0.5) WITHIN GROUP (ORDER BY amt) AS median, mode() WITHIN GROUP (ORDER BY cat) AS often FROM ir.f GROUP BY k'),
	('recursive', '{id}', 'WITH RECURSIVE t AS (SELECT id, 0 AS depth FROM ir.e WHERE did IS NULL OR did = id UNION SELECT e.id, t.depth + 1 FROM ir.e JOIN t ON e.did = t.id WHERE t.depth < 9)
		SELECT id, min(depth) AS depth FROM t GROUP BY id'),
	('right_join', '{id}', 'SELECT d.id, count(e.id) AS n FROM ir.e RIGHT JOIN ir.d ON d.id = e.did GROUP BY d.id'),
	('rows_from', '{id,x}', 'SELECT e.id, r.x, r.y FROM ir.e, ROWS FROM (generate_series(1, e.cat), unnest(ARRAY[e.amt, e.did])) r(x, y) WHERE r.x IS NOT NULL'),
	('sample', '{id}', 'SELECT id, amt FROM ir.e TABLESAMPLE BERNOULLI (100)'),
	('scalar_all', '{id}', 'SELECT id, amt - (SELECT avg(amt) FROM ir.e) AS off FROM ir.e'),
	('scalar_sublink', '{id}', 'SELECT e.id, (SELECT d.name FROM ir.d WHERE d.id = e.did) AS name, ARRAY(SELECT f.amt FROM ir.f WHERE f.k = e.k ORDER BY f.amt) AS amounts FROM ir.e'),
	('self_join', '{id,of}', 'SELECT a.id, b.id AS of, a.amt - b.amt AS off FROM ir.e a JOIN ir.e b ON b.id = a.did'),
	('self_join_one_key', '{id}', 'SELECT a.id, count(b.id) AS n, max(b.amt) AS m FROM ir.e a LEFT JOIN ir.e b ON b.k = a.k AND b.id <> a.id GROUP BY a.id'),
	('series_in_target', '{id,n}', 'SELECT id, generate_series(1, cat) AS n FROM ir.e'),
	('unnest_in_target', NULL, 'SELECT id, unnest(ARRAY[amt, -amt]) AS v FROM ir.f'),
	('union_', '{k}', 'SELECT k FROM ir.f UNION SELECT k FROM ir.e'),
	('union_all_no_key', NULL, 'SELECT k, amt FROM ir.f UNION ALL SELECT k, amt FROM ir.e'),
	('values_', '{id}', 'SELECT e.id, v.label FROM ir.e JOIN (VALUES (1, ''one''), (2, ''two''), (NULL, ''none'')) v(cat, label) ON v.cat IS NOT DISTINCT FROM e.cat'),
	('volatile', '{id}', 'SELECT id, amt FROM ir.e WHERE random() >= 0'),
	('volatile_value', '{k}', 'SELECT k, count(*) AS n, max(random()) >= 0 AS r FROM ir.f GROUP BY k'),
	('window_all', '{id}', 'SELECT id, rank() OVER (ORDER BY amt) AS place FROM ir.e'),
	('window_frame', '{k,id}', 'SELECT k, id, lag(amt) OVER w AS before, sum(amt) OVER (w ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING) AS s FROM ir.e WINDOW w AS (PARTITION BY k ORDER BY id)'),
	('window_other', '{id}', 'SELECT id, row_number() OVER (PARTITION BY cat ORDER BY amt, id) AS place FROM ir.e'),
	('window_two', '{id}', 'SELECT id, count(*) OVER (PARTITION BY cat) AS c, count(*) OVER (PARTITION BY k) AS n FROM ir.e');
SELECT count(*) FROM ir.q, etl.define_model('ir.' || name, query, 'incremental', key::text[]);

-- facts and dimension rows of random columns, now and then without a value
CREATE FUNCTION ir.facts(n int) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object('id', 1 + floor(random() * 20)::int, 'k', CASE WHEN random() < 0.9 THEN 'k' || floor(random() * 6) END,
		'cat', CASE WHEN random() < 0.9 THEN floor(random() * 5)::int END, 'did', CASE WHEN random() < 0.8 THEN 1 + floor(random() * 12)::int END,
		'amt', CASE WHEN random() < 0.9 THEN floor(random() * 100) END, 'js', jsonb_build_object('a', jsonb_build_array(i, i % 3), 'b', i))))
	FROM generate_series(1, n) i $$;
CREATE FUNCTION ir.dimension(n int) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_agg(jsonb_build_object('id', 1 + floor(random() * 12)::int, 'name', 'n' || floor(random() * 5), 'grp', floor(random() * 4)::int)) FROM generate_series(1, n) $$;
CREATE TABLE ir.seen (round int, name text, planned text, planned_why text, did text, why text, differing bigint);
CREATE FUNCTION ir.differing(model text, query text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	n bigint;
BEGIN
	EXECUTE format('WITH t AS (SELECT t::text AS r FROM ir.%1$I t), q AS (SELECT q::text AS r FROM (%2$s) q)
		SELECT count(*) FROM ((TABLE t EXCEPT ALL TABLE q) UNION ALL (TABLE q EXCEPT ALL TABLE t)) d', model, query) INTO n;
	RETURN n;
END $$;
CREATE PROCEDURE ir.judge(this int) LANGUAGE sql AS $$
	UPDATE ir.seen s SET did = t.action, why = t.reason, differing = ir.differing(q.name, q.query)
	FROM ir.q JOIN etl.tasks t ON t.run_id = etl.last_run_id() AND t.node = 'ir.' || q.name WHERE s.round = this AND s.name = q.name $$;
CREATE VIEW ir.planned AS SELECT q.name, p.action, p.reason FROM etl.plan('ir.*') p JOIN ir.q ON 'ir.' || q.name = p.node;

SELECT setseed(0.42);
SELECT etl.ingest('ir.f', ir.facts(40)) > 0, etl.ingest('ir.e', ir.facts(25)) > 0, etl.ingest('ir.d', ir.dimension(12)) > 0;
CALL etl.run('ir.*');
-- new facts, also late ones
SELECT etl.ingest('ir.f', ir.facts(4)) > 0 AS landed;
INSERT INTO ir.seen SELECT 1, * FROM ir.planned;
CALL etl.run('ir.*');
CALL ir.judge(1);
-- corrections of merged ones
SELECT etl.ingest('ir.e', ir.facts(4)) > 0 AS landed;
INSERT INTO ir.seen SELECT 2, * FROM ir.planned;
CALL etl.run('ir.*');
CALL ir.judge(2);
-- dimension rows that change and go
SELECT etl.ingest('ir.d', ir.dimension(3)) > 0 AS landed;
DELETE FROM ir.d WHERE id % 5 = 2;
INSERT INTO ir.seen SELECT 3, * FROM ir.planned;
CALL etl.run('ir.*');
CALL ir.judge(3);
-- deletes, and updates of what others wrote
DELETE FROM ir.e WHERE id % 6 = 3;
UPDATE ir.e SET k = NULL, cat = 1, amt = amt + 1 WHERE id % 7 = 1;
INSERT INTO ir.seen SELECT 4, * FROM ir.planned;
CALL etl.run('ir.*');
CALL ir.judge(4);
-- everything at once
SELECT etl.ingest('ir.f', ir.facts(3)) > 0, etl.ingest('ir.e', ir.facts(3)) > 0, etl.ingest('ir.d', ir.dimension(2)) > 0;
DELETE FROM ir.d WHERE id = 1;
INSERT INTO ir.seen SELECT 5, * FROM ir.planned;
CALL etl.run('ir.*');
CALL ir.judge(5);

-- never wrong, and never another than planned
SELECT * FROM ir.seen WHERE differing > 0 OR did IS DISTINCT FROM planned OR why IS DISTINCT FROM planned_why;
-- what became of each shape; u: nothing that it reads changed, i: incremental, f: in full
SELECT name, string_agg(left(did, 1), '' ORDER BY round) AS did, string_agg(DISTINCT substring(why FROM '(?:rebuilt, since|its query) .*'), '; ') FILTER (WHERE did = 'full') AS why
	FROM ir.seen GROUP BY name ORDER BY name;
-- what is built in full says why
SELECT name, round, why FROM ir.seen WHERE did = 'full' AND why !~ 'since|clock';

SELECT count(etl.drop_model(target, true)) FROM etl.models WHERE target LIKE 'ir.%';
SELECT count(etl.drop_stream(target, true)) FROM etl.streams WHERE target LIKE 'ir.%';
SELECT etl.drop_source('ir_push');
DROP SCHEMA ir CASCADE;
