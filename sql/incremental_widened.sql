-- What shares a DISTINCT ON or a window with a changed row is found, too: newest rows grouped by what they say are followed, NULL keys among them.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS etl;
CREATE SCHEMA iw;
SELECT etl.define_source('iw_push', 'push');
SELECT etl.define_stream('iw.f', 'iw_push', columns => 'id int, j int, k text, ts int, amt numeric');
SELECT etl.define_stream('iw.e', 'iw_push', mode => 'merge', key => '{id}', columns => 'id int, j int, k text, ts int, amt numeric');
SELECT etl.define_stream('iw.d', 'iw_push', mode => 'merge', key => '{k}', columns => 'k text, country text');
SELECT etl.ingest('iw.f', '[{"id": 1, "j": 1, "k": "a", "ts": 1, "amt": 1}, {"id": 2, "j": 2, "k": "b", "ts": 1, "amt": 2}, {"j": 1, "k": "c", "ts": 1, "amt": 3},
	{"id": 1, "k": "d", "ts": 1, "amt": 4}, {"k": "e", "ts": 1, "amt": 5}, {"id": 9, "j": 9, "k": "a", "ts": 1, "amt": 9}]') > 0 AS loaded;
SELECT etl.ingest('iw.e', (SELECT jsonb_agg(jsonb_build_object('id', i, 'j', i % 3, 'k', 'k' || i % 4, 'ts', i, 'amt', i)) FROM generate_series(1, 24) i)) > 0 AS loaded;
SELECT etl.ingest('iw.d', '[{"k": "a", "country": "AT"}, {"k": "b", "country": "BE"}, {"k": "c", "country": "CH"}]') > 0 AS loaded;

CREATE TABLE iw.m(name text, key text[], query text);
INSERT INTO iw.m VALUES
	('newest', '{k}', 'SELECT k, count(*) AS n, sum(amt) AS s FROM (SELECT DISTINCT ON (id) id, k, amt FROM iw.f ORDER BY id, ts DESC, k) n GROUP BY k'),
	('hidden_key', '{k}', 'WITH n AS (SELECT DISTINCT ON (id, j) k, amt FROM iw.f ORDER BY id, j, ts DESC, k) SELECT k, sum(amt) AS s FROM n GROUP BY k HAVING count(*) > 0'),
	('numbered', '{k}', 'SELECT k, sum(amt) AS s FROM (SELECT f.*, row_number() OVER (PARTITION BY id, j ORDER BY ts DESC, k) AS rn FROM iw.f) n WHERE rn = 1 GROUP BY k'),
	('by_country', '{country}', 'SELECT d.country, count(*) AS n, sum(n.amt) AS s FROM (SELECT DISTINCT ON (id) id, k, amt FROM iw.f ORDER BY id, ts DESC, k) n
		LEFT JOIN iw.d d USING (k) GROUP BY 1'),
	('of_merge', '{k}', 'SELECT k, count(*) AS n FROM (SELECT DISTINCT ON (j) j, k FROM iw.e ORDER BY j, ts DESC) n GROUP BY k'),
	('neighbours', '{id}', 'SELECT id, lag(amt) OVER (PARTITION BY k ORDER BY ts, id) AS before, sum(amt) OVER (PARTITION BY k) AS of_k FROM iw.e'),
	('twice', '{j}', 'SELECT j, max(amt) AS most FROM (SELECT DISTINCT ON (k) k, j, amt FROM (SELECT DISTINCT ON (id) * FROM iw.f ORDER BY id, ts DESC, k) o ORDER BY k, amt, j) n GROUP BY j'),
	('joined_below', '{j}', 'SELECT j, count(country) AS n FROM (SELECT DISTINCT ON (f.id) f.id, f.j, d.country FROM iw.f f LEFT JOIN iw.d d USING (k) ORDER BY f.id, f.ts DESC, f.k) n GROUP BY j');
SELECT count(etl.define_model('iw.' || name, query, 'incremental', key)) AS models FROM iw.m;
CALL etl.run('iw.*');
-- what the last run did, and how many rows differ from what the query yields
CREATE FUNCTION iw.did() RETURNS TABLE (model text, action text, inserted bigint, updated bigint, deleted bigint, differ bigint) LANGUAGE plpgsql AS $$
BEGIN
	FOR model, action, inserted, updated, deleted IN SELECT m.name, t.action, rows_inserted, rows_updated, rows_deleted
		FROM etl.tasks t JOIN iw.m m ON t.node = 'iw.' || m.name WHERE run_id = etl.last_run_id() AND t.action <> 'unchanged' ORDER BY 1 LOOP
		EXECUTE (SELECT format('SELECT count(*) FROM ((TABLE iw.%1$I EXCEPT ALL (%2$s)) UNION ALL ((%2$s) EXCEPT ALL TABLE iw.%1$I)) x', m.name, m.query) FROM iw.m m WHERE m.name = model)
			INTO differ;
		RETURN NEXT;
	END LOOP;
END $$;

-- a newer row of a key, and one that is late
SELECT etl.ingest('iw.f', '[{"id": 1, "j": 1, "k": "b", "ts": 2, "amt": 10}, {"id": 2, "j": 2, "k": "x", "ts": 0, "amt": 10}]') > 0 AS loaded;
CALL etl.run('iw.*');
SELECT * FROM iw.did();
-- of keys of which a column, or all, are NULL
SELECT etl.ingest('iw.f', '[{"j": 1, "k": "y", "ts": 2, "amt": 10}]') > 0 AS loaded;
CALL etl.run('iw.*');
SELECT * FROM iw.did();
SELECT etl.ingest('iw.f', '[{"id": 1, "k": "z", "ts": 2, "amt": 10}, {"k": "z", "ts": 2, "amt": 11}]') > 0 AS loaded;
CALL etl.run('iw.*');
SELECT * FROM iw.did();
-- a dimension
SELECT etl.ingest('iw.d', '[{"k": "b", "country": "BR"}, {"k": "z", "country": "ZA"}]') > 0 AS loaded;
CALL etl.run('iw.*');
SELECT * FROM iw.did();
-- what is gone lets another one be the newest, and neighbours move
DELETE FROM iw.e WHERE id IN (5, 6, 24);
UPDATE iw.e SET k = 'k9' WHERE id = 7;
CALL etl.run('iw.*');
SELECT * FROM iw.did();
SELECT etl.drop_source('iw_push', cascade => true, drop_relation => true) IS NOT NULL AS dropped;
DROP SCHEMA iw CASCADE;
