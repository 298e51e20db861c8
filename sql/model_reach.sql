-- What the affected keys are joined or gathered with is read for them alone, and the result is that of the query: with rows without a value, through views of
-- other roles, over several levels, for intervals, and where it must not be done.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SET timezone = 'UTC';
CREATE SCHEMA rr;
CREATE ROLE rr_other;
GRANT USAGE ON SCHEMA rr TO rr_other;
SELECT etl.define_source('rr', 'push');
SELECT etl.define_stream('rr.f', 'rr', columns => 'id int, k text, cat int, did int, ts timestamp, amt numeric');
SELECT etl.define_stream('rr.e', 'rr', columns => 'id int, k text, cat int, did int, ts timestamp, amt numeric', key => '{id}', mode => 'merge');
SELECT etl.define_stream('rr.d', 'rr', columns => 'id int, country text', key => '{id}', mode => 'merge');
CREATE FUNCTION rr.facts(first int, last int) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_agg(jsonb_build_object('id', i, 'k', CASE WHEN i % 5 > 0 THEN 'k' || i % 7 END, 'cat', nullif(i % 4, 0), 'did', nullif(i % 6, 0),
		'ts', timestamp '2026-01-01' + i * interval '5 hours', 'amt', i % 17)) FROM generate_series(first, last) AS i $$;
SELECT etl.ingest(s, rr.facts(1, 60)) FROM unnest('{rr.f,rr.e}'::text[]) AS s \g /dev/null
SELECT etl.ingest('rr.d', (SELECT jsonb_agg(jsonb_build_object('id', i, 'country', nullif('c' || i % 3, 'c2'))) FROM generate_series(1, 5) AS i)) \g /dev/null
CREATE VIEW rr.v AS SELECT * FROM rr.e WHERE amt IS DISTINCT FROM 16;
CREATE VIEW rr.others AS SELECT * FROM rr.e;
GRANT SELECT ON rr.e TO rr_other;
ALTER VIEW rr.others OWNER TO rr_other;

CREATE TABLE rr.wanted (name text, key text, query text);
INSERT INTO rr.wanted VALUES
	('joined', 'id', 'SELECT e.id, e.did, g.n FROM rr.e JOIN (SELECT did, count(*) AS n FROM rr.f GROUP BY did) g ON g.did = e.did'),
	('optional', 'id', 'SELECT e.id, e.did, coalesce(g.n, 0) AS n FROM rr.e LEFT JOIN (SELECT did, count(*) AS n FROM rr.e GROUP BY did) g ON g.did = e.did'),
	('two_columns', 'id', 'SELECT e.id, g.n, h.m FROM rr.v e LEFT JOIN (SELECT k, cat, count(*) AS n FROM rr.f GROUP BY k, cat) g ON g.cat = e.cat AND e.k = g.k
		LEFT JOIN (SELECT DISTINCT ON (did) did, amt AS m FROM rr.v ORDER BY did, ts DESC) h ON h.did = e.did'),
	('union_below', 'id', 'SELECT e.id, g.n FROM (SELECT id, did FROM rr.e WHERE cat = 1 UNION ALL SELECT id, did FROM rr.e WHERE cat <> 1) e
		JOIN (SELECT did, count(*) AS n FROM rr.f GROUP BY did) g ON g.did = e.did'),
	('newest', 'k', 'SELECT k, count(*) AS n, sum(amt) AS s FROM (SELECT DISTINCT ON (cat) * FROM rr.e ORDER BY cat, ts DESC) n GROUP BY k'),
	('newest_of_two', 'k', 'SELECT k, count(*) AS n FROM (SELECT DISTINCT ON (cat, did) * FROM rr.f ORDER BY cat, did, ts DESC, id) n GROUP BY k'),
	('numbered', 'k', 'SELECT k, count(*) AS n FROM (SELECT e.*, row_number() OVER (PARTITION BY did ORDER BY ts DESC) AS rn FROM rr.v e) n WHERE rn = 1 GROUP BY k'),
	('neighbour', 'id', 'SELECT id, k, lag(amt) OVER (PARTITION BY k ORDER BY ts) AS before, sum(amt) OVER (PARTITION BY k, cat) AS s FROM rr.e'),
	-- the changed rows are looked for on several levels, and joins are left out in which others are
	('newest_of_newest', 'k', 'SELECT DISTINCT ON (a.k) a.k, a.id, a.amt FROM (SELECT DISTINCT ON (cat) * FROM rr.e ORDER BY cat, ts DESC, id) a JOIN rr.d ON d.id = a.did
		ORDER BY a.k, a.ts DESC, a.id'),
	('newest_of_numbered', 'k', 'SELECT DISTINCT ON (a.k) a.k, a.id, a.amt FROM (SELECT n.*, row_number() OVER (PARTITION BY did ORDER BY ts DESC, id) AS rn
		FROM (SELECT DISTINCT ON (cat) * FROM rr.e ORDER BY cat, ts DESC, id) n) a RIGHT JOIN rr.d ON d.id = a.did WHERE a.rn <= 2 ORDER BY a.k, a.ts DESC, a.id'),
	('left_out', 'did', 'SELECT c.did, count(*) AS n, sum(b.amt) AS s FROM rr.e a RIGHT JOIN (SELECT DISTINCT ON (cat) cat, amt FROM rr.e ORDER BY cat, ts DESC, id) b ON b.cat = a.cat
		RIGHT JOIN (SELECT DISTINCT ON (did) did, amt FROM rr.e ORDER BY did, ts DESC, id) c ON c.did = a.id GROUP BY 1'),
	-- what is joined or gathered can only be computed of the rows that the query reads
	('computed', 'id', 'SELECT e.id, g.n FROM rr.e JOIN (SELECT id % 50 AS x, count(*) AS n FROM rr.f GROUP BY 1) g ON g.x = 60 / e.amt::int WHERE e.amt > 0'),
	('computed_groups', 'k', 'SELECT k, count(*) AS n FROM (SELECT DISTINCT ON (60 / amt::int) * FROM rr.f WHERE amt > 0 ORDER BY 60 / amt::int, ts DESC, id) n GROUP BY k'),
	('chain', 'country', 'SELECT d.country, count(*) AS n, sum(n.amt) AS s FROM (SELECT DISTINCT ON (cat, k) * FROM rr.e ORDER BY cat, k, ts DESC) n JOIN rr.d ON d.id = n.did GROUP BY 1'),
	('optional_chain', 'country', 'SELECT d.country, count(*) AS n FROM (SELECT DISTINCT ON (cat) * FROM rr.e ORDER BY cat, ts DESC) n LEFT JOIN rr.d ON d.id = n.did GROUP BY 1'),
	('dependent', 'country', 'SELECT country, max(n) AS n FROM (SELECT d.id, d.country, count(*) AS n FROM rr.d JOIN rr.e ON e.did = d.id GROUP BY d.id, d.country) g GROUP BY 1'),
	-- the value of a row that is not there is none of the source's; another type's equality is not that of the group
	('made_of_nothing', 'id', 'SELECT e.id, g.n FROM rr.e LEFT JOIN rr.d ON d.id = e.did LEFT JOIN (SELECT cat, count(*) AS n FROM rr.f GROUP BY cat) g ON g.cat = coalesce(d.id, 2)'),
	('other_type', 'id', 'SELECT e.id, g.n FROM rr.e JOIN (SELECT did::bigint AS did, count(*) AS n FROM rr.f GROUP BY 1) g ON g.did = e.did'),
	('other_collation', 'id', 'SELECT e.id, g.n FROM rr.e JOIN (SELECT k COLLATE "C" AS k, count(*) AS n FROM rr.f GROUP BY 1) g ON g.k = e.k COLLATE "C"'),
	('kept_side', 'id', 'SELECT g.id, g.n, o.amt FROM (SELECT did AS id, count(*) AS n FROM rr.f GROUP BY did) g LEFT JOIN rr.e o ON o.id = g.id'),
	('limited', 'id', 'SELECT e.id, g.n FROM rr.e JOIN (SELECT did, count(*) AS n FROM rr.f GROUP BY did ORDER BY did LIMIT 4) g ON g.did = e.did'),
	('for_others', 'id', 'SELECT e.id, g.n FROM rr.others e JOIN (SELECT did, count(*) AS n FROM rr.f GROUP BY did) g ON g.did = e.did');
SELECT count(etl.define_model('rr.' || name, query, 'incremental', string_to_array(key, ','))) FROM rr.wanted;
CALL etl.run('rr.*', exclude => 'rr.f rr.e rr.d');

-- which queries are restricted so
CREATE FUNCTION rr.reached(model text) RETURNS int LANGUAGE sql AS
	$$SELECT (SELECT count(*)::int FROM regexp_matches(etl.compile(model), 'SELECT DISTINCT r\.k1', 'g'))$$;
-- what each build did, and how many rows differ from its query
CREATE PROCEDURE rr.step(INOUT result text) LANGUAGE plpgsql AS $$
DECLARE
	model record;
	n int;
	action text;
	lines text[];
BEGIN
	FOR model IN SELECT * FROM rr.wanted ORDER BY name LOOP
		EXECUTE format('CALL etl.run(%L)', 'rr.' || model.name);
		EXECUTE format('SELECT count(*) FROM ((TABLE rr.%1$I EXCEPT ALL (%2$s)) UNION ALL ((%2$s) EXCEPT ALL TABLE rr.%1$I)) x', model.name, model.query) INTO n;
		SELECT t.action INTO action FROM etl.tasks t WHERE t.run_id = etl.last_run_id();
		IF n > 0 OR action = 'full' THEN
			lines := lines || format('%s: %s, %s rows differ', model.name, action, n);
		END IF;
	END LOOP;
	result := array_to_string(lines, E'\n');
END $$;

SELECT etl.ingest('rr.f', rr.facts(61, 63)), etl.ingest('rr.e', rr.facts(61, 63)), etl.ingest('rr.d', '[{"id": 5, "country": "c7"}]') \g /dev/null
SELECT name, rr.reached('rr.' || name) AS reached FROM rr.wanted ORDER BY name;
CALL rr.step(NULL) \g /dev/null
-- corrections: keys move between groups, values come and go
SELECT etl.ingest('rr.e', '[{"id": 3, "k": null, "cat": 1, "did": 2, "ts": "2026-03-01", "amt": 5}, {"id": 5, "k": "k1", "cat": null, "did": null, "ts": "2026-03-02", "amt": 6},
	{"id": 8, "k": "k1", "cat": 3, "did": 5, "ts": "2025-03-02", "amt": 16}]') \g /dev/null
CALL rr.step(NULL);
SELECT etl.ingest('rr.f', '[{"id": 70, "cat": null, "did": null, "ts": "2026-03-01", "amt": 5}, {"id": 71, "k": "k9", "cat": 2, "ts": "2020-03-02", "amt": 6}]') \g /dev/null
CALL rr.step(NULL);
DELETE FROM rr.e WHERE id IN (3, 10, 15, 20) OR did = 4;
CALL rr.step(NULL);
SELECT etl.ingest('rr.d', '[{"id": 1, "country": null}, {"id": 2, "country": "c1"}, {"id": 9, "country": "c1"}]') \g /dev/null
CALL rr.step(NULL);
DELETE FROM rr.d WHERE id IN (1, 3);
CALL rr.step(NULL);
DELETE FROM rr.e;
CALL rr.step(NULL);

-- the rows of an interval
CREATE VIEW rr.by_day AS SELECT f.ts::date AS day, f.id, g.n FROM rr.f JOIN (SELECT cat, count(*) AS n FROM rr.f GROUP BY cat) g ON g.cat = f.cat WHERE f.ts > '2021-01-01';
SELECT etl.define_model('rr.daily', 'SELECT * FROM rr.by_day', 'incremental', '{id}', event_time => 'day', batch_size => '10 days');
CALL etl.run('rr.daily');
SELECT etl.reset_intervals('rr.daily', '2026-01-01', '2026-01-11');
SELECT rr.reached('rr.daily');
CALL etl.run('rr.daily');
SELECT action FROM etl.tasks WHERE run_id = etl.last_run_id();
SELECT count(*) AS differ FROM ((TABLE rr.daily EXCEPT ALL TABLE rr.by_day) UNION ALL (TABLE rr.by_day EXCEPT ALL TABLE rr.daily)) x;

SELECT count(etl.drop_model(target, true)) FROM etl.models WHERE target LIKE 'rr.%';
DROP VIEW rr.v, rr.others, rr.by_day;
SELECT count(etl.drop_stream('rr.' || s, true, true)) FROM unnest('{f,e,d}'::text[]) AS s;
SELECT etl.drop_source('rr');
DROP SCHEMA rr CASCADE;
DROP ROLE rr_other;
