-- An incremental model equals its query where equal values are not the same, and where optional sides lie one within the other.
\set VERBOSITY terse
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SET client_min_messages = warning;
CREATE SCHEMA ie;
SELECT '/tmp/etl_incremental_equality_' || system_identifier AS dir FROM pg_control_system() \gset
\set command 'rm -rf ' :dir ' && mkdir -p ' :dir
COPY (SELECT) TO PROGRAM :'command';
SET etl.allowed_directories = :'dir';
SELECT etl.define_source('ie_files', 'file', jsonb_build_object('root', :'dir'));

-- deliver writes a file of lines for a stream
CREATE FUNCTION ie.deliver(stream text, file int, VARIADIC lines text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('COPY (SELECT unnest(%L::text[])) TO %L', lines,
		'/tmp/etl_incremental_equality_' || (SELECT system_identifier FROM pg_control_system()) || '/' || stream || file || '.csv');
END $$;
CREATE TABLE ie.q (name text, key text[], q text);

-- differing counts the rows in which a model differs from its query, as they are written
CREATE FUNCTION ie.differing(pattern text) RETURNS TABLE (model text, did text, why text, rows bigint) LANGUAGE plpgsql AS $$
DECLARE
	m record;
BEGIN
	FOR m IN SELECT * FROM ie.q WHERE name LIKE pattern ORDER BY name
	LOOP
		EXECUTE format('WITH t AS (SELECT t::text AS r FROM ie.%1$I t), q AS (SELECT q::text AS r FROM (%2$s) q)
			SELECT count(*) FROM ((TABLE t EXCEPT ALL TABLE q) UNION ALL (TABLE q EXCEPT ALL TABLE t)) d', m.name, m.q)
		INTO rows;
		SELECT action, substring(reason FROM 'since (.*)') INTO did, why FROM etl.tasks
		WHERE run_id = etl.last_run_id() AND node = 'ie.' || m.name;
		model := m.name;
		RETURN NEXT;
	END LOOP;
END $$;

-- a key that tells apart what the query's own grouping does not
SELECT etl.define_stream('ie.p', 'ie_files', '{"path": "p*.csv"}', 'csv', columns => 'price numeric, whole int, at int');
SELECT etl.define_stream('ie.f', 'ie_files', '{"path": "f*.csv"}', 'csv', columns => 'id int, price numeric');
INSERT INTO ie.q VALUES
	('e_group', '{k}', 'SELECT g.price::text AS k, g.n FROM (SELECT price, count(*) AS n FROM ie.p GROUP BY price) g'),
	('e_distinct', '{k}', 'SELECT g.price::text AS k FROM (SELECT DISTINCT price FROM ie.p) g'),
	('e_union', '{k}', 'SELECT g.price::text AS k FROM (SELECT price FROM ie.p UNION SELECT price FROM ie.f) g'),
	('e_window', '{k}', 'SELECT g.price::text AS k, g.at FROM (SELECT price, at, row_number() OVER (PARTITION BY price ORDER BY at DESC) AS n FROM ie.p) g WHERE n = 1'),
	('e_deep', '{k}', 'SELECT h.price::text AS k, h.n FROM (SELECT g.price, g.n FROM (SELECT price, count(*) AS n FROM ie.p GROUP BY price) g WHERE g.n > 0) h'),
	('e_condition', '{price}', 'SELECT g.price, g.n FROM (SELECT price, count(*) AS n FROM ie.p GROUP BY price) g WHERE length(g.price::text) < 4'),
	('e_beside', '{id,k}', 'SELECT f.id, g.price::text AS k, g.n FROM ie.f JOIN (SELECT price, count(*) AS n FROM ie.p GROUP BY price) g ON g.price = f.price'),
	('e_in', '{id}', 'SELECT f.id FROM ie.f WHERE f.price::text IN (SELECT g.price::text FROM (SELECT DISTINCT ON (price) price FROM ie.p ORDER BY price, at DESC) g)'),
	('e_like', '{id}', 'SELECT f.id FROM ie.f WHERE f.price::text = ANY (SELECT DISTINCT ON (price) price::text FROM ie.p ORDER BY price, at DESC)'),
	('e_itself', '{price}', 'SELECT g.price, g.n FROM (SELECT price, count(*) AS n FROM ie.p GROUP BY price) g WHERE g.price < 5 AND g.price <> 3'),
	('e_joined', '{id}', 'SELECT f.id, g.n FROM ie.f LEFT JOIN (SELECT price, count(*) AS n FROM ie.p GROUP BY price) g ON g.price = f.price'),
	('e_whole', '{k}', 'SELECT g.whole::text AS k, g.n FROM (SELECT whole, count(*) AS n FROM ie.p GROUP BY whole) g');
SELECT etl.define_model('ie.' || name, q, 'incremental', key) FROM ie.q ORDER BY name;
SELECT ie.deliver('p', 1, 'price,whole,at', '1.0,1,1', '2.0,2,1'), ie.deliver('f', 1, 'id,price', '1,1.0', '2,2.0');
CALL etl.run('ie.*');
SELECT ie.deliver('p', 2, 'price,whole,at', '1.00,1,2');
CALL etl.run('ie.*');
SELECT * FROM ie.differing('e%');
SELECT ie.deliver('f', 2, 'id,price', '3,1.0', '4,1.00');
CALL etl.run('ie.*');
SELECT * FROM ie.differing('e%');

-- what is on the optional side of a join is read below a subquery's own subqueries
SELECT etl.define_stream('ie.a', 'ie_files', '{"path": "a*.csv"}', 'csv', columns => 'id int');
SELECT etl.define_stream('ie.b', 'ie_files', '{"path": "b*.csv"}', 'csv', columns => 'id int, x int');
SELECT etl.define_stream('ie.c', 'ie_files', '{"path": "c*.csv"}', 'csv', columns => 'x int');
INSERT INTO ie.q VALUES
	('n_union', '{id}', 'SELECT a.id FROM ie.a LEFT JOIN ie.b ON b.id = a.id WHERE NOT EXISTS (SELECT FROM ie.c WHERE c.x = b.x UNION ALL SELECT FROM ie.c d WHERE d.x = b.x)'),
	('n_derived', '{id}', 'SELECT a.id FROM ie.a LEFT JOIN ie.b ON b.id = a.id WHERE NOT EXISTS (SELECT FROM (SELECT c.x FROM ie.c WHERE c.x = b.x OFFSET 0) d)'),
	('n_cte', '{id}', 'SELECT a.id FROM ie.a LEFT JOIN ie.b ON b.id = a.id WHERE NOT EXISTS (WITH d AS (SELECT c.x FROM ie.c WHERE c.x = b.x) SELECT FROM d)'),
	('n_values', '{id}', 'SELECT a.id FROM ie.a LEFT JOIN ie.b ON b.id = a.id WHERE NOT EXISTS (SELECT FROM (VALUES (b.x)) v(x) WHERE v.x = 5)'),
	('n_function', '{id}', 'SELECT a.id FROM ie.a LEFT JOIN ie.b ON b.id = a.id WHERE NOT EXISTS (SELECT FROM generate_series(b.x, 5))'),
	('n_lateral', '{id}', 'SELECT a.id FROM ie.a LEFT JOIN ie.b ON b.id = a.id WHERE NOT EXISTS (SELECT FROM ie.c, LATERAL (SELECT c.x + b.x AS y) l WHERE l.y = 10)');
SELECT etl.define_model('ie.' || name, q, 'incremental', key) FROM ie.q WHERE name LIKE 'n%' ORDER BY name;
SELECT ie.deliver('a', 1, 'id', '1'), ie.deliver('b', 1, 'id,x', '7,7'), ie.deliver('c', 1, 'x', '5');
CALL etl.run('ie.*');
SELECT ie.deliver('b', 2, 'id,x', '1,5');
CALL etl.run('ie.*');
SELECT * FROM ie.differing('n%');

-- one change on two optional sides, one within the other
SELECT etl.define_stream('ie.oa', 'ie_files', '{"path": "oa*.csv"}', 'csv', columns => 'id int');
SELECT etl.define_stream('ie.ob', 'ie_files', '{"path": "ob*.csv"}', 'csv', columns => 'id int, aid int');
SELECT etl.define_stream('ie.oc', 'ie_files', '{"path": "oc*.csv"}', 'csv', columns => 'bid int');
INSERT INTO ie.q VALUES
	('o_nested', '{aid,bid}', 'SELECT a.id AS aid, b.id AS bid FROM ie.oa a LEFT JOIN (ie.ob b LEFT JOIN ie.oc c ON c.bid = b.id) ON b.aid = a.id AND c.bid IS NULL'),
	('o_right', '{aid,bid}', 'SELECT a.id AS aid, b.id AS bid FROM ie.oc c RIGHT JOIN ie.ob b ON c.bid = b.id RIGHT JOIN ie.oa a ON b.aid = a.id AND c.bid IS NULL'),
	('o_derived', '{aid,bid}', 'SELECT a.id AS aid, s.id AS bid FROM ie.oa a LEFT JOIN (SELECT b.id, b.aid, c.bid FROM ie.ob b LEFT JOIN ie.oc c ON c.bid = b.id) s ON s.aid = a.id AND s.bid IS NULL'),
	('o_three', '{aid,bid}', 'SELECT z.id AS aid, b.id AS bid FROM ie.oa z LEFT JOIN (ie.oa a LEFT JOIN (ie.ob b LEFT JOIN ie.oc c ON c.bid = b.id) ON b.aid = a.id AND c.bid IS NULL) ON z.id = a.id AND b.id IS NOT NULL'),
	('o_six', '{aid}', 'SELECT a.id AS aid FROM ie.oa a LEFT JOIN (ie.oa b LEFT JOIN (ie.oa c LEFT JOIN (ie.oa d LEFT JOIN (ie.oa e LEFT JOIN (ie.oa f
		LEFT JOIN ie.oc g ON g.bid = f.id) ON f.id = e.id) ON e.id = d.id) ON d.id = c.id) ON c.id = b.id) ON b.id = a.id');
SELECT etl.define_model('ie.' || name, q, 'incremental', key) FROM ie.q WHERE name LIKE 'o%' ORDER BY name;
SELECT ie.deliver('oa', 1, 'id', '1'), ie.deliver('ob', 1, 'id,aid', '10,1'), ie.deliver('oc', 1, 'bid', '77');
CALL etl.run('ie.*');
SELECT ie.deliver('oc', 2, 'bid', '10');
CALL etl.run('ie.*');
SELECT * FROM ie.differing('o%');

-- a dimension's value that becomes another one that equals it, and is joined by what tells them apart
SELECT etl.define_source('ie_push', 'push');
SELECT etl.define_stream('ie.tf', 'ie_push', columns => 'id int, t text');
SELECT etl.define_stream('ie.td', 'ie_push', key => '{id}', mode => 'merge', columns => 'id int, x numeric, name text');
INSERT INTO ie.q VALUES
	('t_joined', '{id}', 'SELECT f.id, d.name FROM ie.tf f JOIN ie.td d ON d.x::text = f.t'),
	('t_optional', '{id}', 'SELECT f.id, d.name FROM ie.tf f LEFT JOIN ie.td d ON d.x::text = f.t'),
	('t_grouped', '{name}', 'SELECT d.name, count(*) AS n FROM ie.tf f LEFT JOIN ie.td d ON d.x::text = f.t GROUP BY 1');
SELECT etl.define_model('ie.' || name, q, 'incremental', key) FROM ie.q WHERE name LIKE 't%' ORDER BY name;
SELECT etl.ingest('ie.tf', '[{"id": 1, "t": "1.0"}, {"id": 2, "t": "1.00"}, {"id": 3, "t": "2"}]') > 0, etl.ingest('ie.td', '[{"id": 1, "x": 1.0, "name": "a"}]') > 0;
CALL etl.run('ie.t_*');
UPDATE ie.td SET x = 1.00;
CALL etl.run('ie.t_*');
SELECT * FROM ie.differing('t%');
-- its name changes, and rows without a match stay what they are; it goes, and comes again; keys of both kinds at once
UPDATE ie.td SET name = 'b';
CALL etl.run('ie.t_*');
SELECT * FROM ie.differing('t%');
DELETE FROM ie.td;
CALL etl.run('ie.t_*');
SELECT * FROM ie.differing('t%');
SELECT etl.ingest('ie.td', '[{"id": 1, "x": 2, "name": null}, {"id": 2, "x": 1.0, "name": "c"}]') > 0;
CALL etl.run('ie.t_*');
SELECT * FROM ie.differing('t%');
DELETE FROM ie.td WHERE id = 1;
SELECT etl.ingest('ie.td', '[{"id": 1, "x": 2, "name": "d"}]') > 0;
CALL etl.run('ie.t_*');
SELECT * FROM ie.differing('t%');

SELECT count(etl.drop_model(target, true, true)) FROM etl.models WHERE target LIKE 'ie.%';
SELECT count(etl.drop_stream(target, true, true)) FROM etl.streams WHERE target LIKE 'ie.%';
SELECT etl.drop_source('ie_files'), etl.drop_source('ie_push');
DROP SCHEMA ie CASCADE;
\set command 'rm -rf ' :dir
COPY (SELECT) TO PROGRAM :'command';
