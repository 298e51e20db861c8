-- Every column of a model is traced to columns of nodes and tables, with what happened to it and what decided about its row.
\set VERBOSITY terse
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SET client_min_messages = warning;
CREATE SCHEMA ml;
CREATE TABLE ml.a (id int, x int, y text, d date, "Odd ""one" int);
CREATE TABLE ml.b (a_id int, z numeric, flag boolean);
CREATE VIEW ml.unmanaged AS SELECT id AS vid, upper(y) AS vy FROM ml.a WHERE x > 0;
CREATE FUNCTION ml.f(i int) RETURNS int LANGUAGE sql AS 'SELECT max(x) FROM ml.a WHERE id = i';
-- edges defines a model, shows its edges and drops it
CREATE FUNCTION ml.edges(query text) RETURNS TABLE (column_name text, source text, source_column text, transformation text) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM etl.define_model('ml.m', query);
	RETURN QUERY SELECT l.column_name, l.source, l.source_column, l.transformation FROM etl.column_lineage l
		WHERE l.target = 'ml.m' ORDER BY l.column_name COLLATE "C", l.source COLLATE "C", l.source_column COLLATE "C", l.transformation COLLATE "C";
	PERFORM etl.drop_model('ml.m');
END $$;

-- rename; two-column expression; aggregate; CASE
SELECT * FROM ml.edges('SELECT id AS renamed, x + length(y) AS both, 1 AS constant FROM ml.a');
SELECT * FROM ml.edges('SELECT d, sum(x) AS s, count(*) AS n, max(x) FILTER (WHERE id > 3) AS m FROM ml.a GROUP BY d HAVING count(*) > 1');
SELECT * FROM ml.edges('SELECT CASE WHEN flag THEN z ELSE a_id END AS c FROM ml.b');
-- both sides of a join; a comma join; an outer join with USING
SELECT * FROM ml.edges('SELECT a.y, b.z FROM ml.a JOIN ml.b ON b.a_id = a.id WHERE b.flag');
SELECT * FROM ml.edges('SELECT a.y FROM ml.a, ml.b WHERE b.a_id = a.id AND a.x > 1');
SELECT * FROM ml.edges('SELECT id FROM ml.a FULL JOIN (SELECT a_id AS id FROM ml.b) b USING (id)');
-- CTE, recursive CTE; SELECT *; UNION ALL; EXCEPT
SELECT * FROM ml.edges('WITH c AS (SELECT id, x * 2 AS xx FROM ml.a) SELECT id, sum(xx) AS s FROM c GROUP BY id');
SELECT * FROM ml.edges('WITH RECURSIVE r AS (SELECT id, x FROM ml.a UNION ALL SELECT id, x - 1 FROM r WHERE x > 0) SELECT * FROM r');
-- its columns may feed each other, and its row as a whole
SELECT * FROM ml.edges('WITH RECURSIVE r AS (SELECT id, x, length(y) AS n FROM ml.a
	UNION ALL SELECT b.a_id, r.n, r.x FROM ml.b JOIN r ON b.a_id = r.id) SELECT * FROM r');
SELECT * FROM ml.edges('WITH RECURSIVE r AS (SELECT id FROM ml.a UNION SELECT id + 1 FROM r) SELECT r::text AS whole FROM r');
SELECT * FROM ml.edges('WITH RECURSIVE r AS (SELECT id, x FROM ml.a UNION ALL SELECT r.x, r.id FROM r) CYCLE id SET seen USING path SELECT id, path FROM r');
SELECT * FROM ml.edges('SELECT * FROM ml.a');
SELECT * FROM ml.edges('SELECT id, y FROM ml.a UNION ALL SELECT a_id, flag::text FROM ml.b');
SELECT * FROM ml.edges('SELECT id FROM ml.a EXCEPT SELECT a_id FROM ml.b');
-- through an unmanaged view; sublinks; windows; distinct on and sort; SQL and opaque functions
SELECT * FROM ml.edges('SELECT vid, vy FROM ml.unmanaged');
SELECT * FROM ml.edges('SELECT (SELECT max(z) FROM ml.b WHERE a_id = a.id) AS m, EXISTS (SELECT flag FROM ml.b) AS e FROM ml.a');
SELECT * FROM ml.edges('SELECT rank() OVER (PARTITION BY d ORDER BY x) AS r, sum(x) OVER (PARTITION BY d) AS s, id FROM ml.a');
SELECT * FROM ml.edges('SELECT DISTINCT ON (id) id, x FROM ml.a ORDER BY id, d');
SELECT * FROM ml.edges('SELECT ml.f(a_id) AS v, r.y FROM ml.b, jsonb_populate_record(NULL::ml.a, ''{}'') r');
SELECT * FROM ml.edges('SELECT id, x FROM etl.dedupe(NULL::ml.a, ''{id}'')');

-- what decides about the rows of what is read decides here, too: through CTEs, views, functions, branches; one row of an aggregate decides nothing
SELECT * FROM ml.edges('WITH c AS (SELECT * FROM ml.a WHERE x > 0) SELECT count(*) AS n FROM c');
SELECT * FROM ml.edges('SELECT b.z FROM ml.b CROSS JOIN (SELECT DISTINCT d FROM ml.a) AS d CROSS JOIN (SELECT max(id) FROM ml.a WHERE y = '''') AS m');
SELECT * FROM ml.edges('SELECT count(*) AS n FROM ml.unmanaged');
CREATE FUNCTION ml.positive() RETURNS SETOF int LANGUAGE sql AS 'SELECT id FROM ml.a WHERE x > 0';
CREATE FUNCTION ml.any() RETURNS SETOF int LANGUAGE plpgsql AS 'BEGIN RETURN QUERY SELECT id FROM ml.a; END';
SELECT * FROM ml.edges('SELECT count(*) AS n FROM ml.positive(), ml.any()');
DROP FUNCTION ml.positive, ml.any;
SELECT * FROM ml.edges('SELECT id FROM ml.a WHERE EXISTS (SELECT FROM ml.b WHERE a_id = id)');
SELECT * FROM ml.edges('SELECT id, y FROM ml.a EXCEPT SELECT a_id, flag::text FROM ml.b');
SELECT * FROM ml.edges('SELECT id, y FROM ml.a INTERSECT SELECT a_id, flag::text FROM ml.b');
SELECT * FROM ml.edges('SELECT id FROM (SELECT id, x AS sorted FROM ml.a UNION ALL SELECT a_id, z::int FROM ml.b ORDER BY sorted LIMIT (SELECT max(x) FROM ml.a)) AS u');
-- a long chain, each link read twice by each column, is followed once
SELECT count(*) FROM ml.edges((SELECT 'WITH c0 AS (SELECT id, x, y FROM ml.a)' || string_agg(format(
	', c%s AS (SELECT p.id, p.x + 1 AS x, max(p.y) AS y FROM c%2$s AS p JOIN c%2$s AS q USING (id) WHERE p.x > 0 AND q.y <> '''' GROUP BY 1, 2)', i, i - 1), '' ORDER BY i)
	|| ' SELECT id, x, y FROM c20' FROM generate_series(1, 20) AS i));

-- and where changes cannot be followed through all its copies in good time, that is said at once
SELECT etl.define_source('ml_push', 'push');
SELECT etl.define_stream('ml.s', 'ml_push', columns => 'id int, x int, y text');
SELECT etl.ingest('ml.s', '[{"id": 1, "x": 1, "y": "a"}]') > 0;
SELECT etl.define_model('ml.chain' || n, (SELECT 'WITH c0 AS (SELECT id, x, y FROM ml.s)' || string_agg(format(
	', c%s AS (SELECT p.id, p.x + 1 AS x, max(p.y) AS y FROM c%2$s AS p JOIN c%2$s AS q USING (id) WHERE p.x > 0 AND q.y <> '''' GROUP BY 1, 2)', i, i - 1), '' ORDER BY i)
	|| format(' SELECT id, x, y FROM c%s', n) FROM generate_series(1, n) AS i), 'incremental', key => '{id, x}') FROM unnest('{3,12}'::int[]) AS n;
CALL etl.run('ml.chain*');
SELECT etl.ingest('ml.s', '[{"id": 2, "x": 1, "y": "b"}]') > 0;
SELECT node, action, reason FROM etl.plan('ml.chain*') ORDER BY node;
CALL etl.run('ml.chain*');
SELECT (SELECT count(*) FROM ml.chain3) AS short, (SELECT count(*) FROM ml.chain12) AS long;
SELECT count(etl.drop_model(target, true, true)) FROM etl.models WHERE target LIKE 'ml.chain%';
SELECT etl.drop_source('ml_push', true, true);

-- from model to model, up and down; it stops at managed nodes and goes on from there
SELECT etl.define_model('ml.one', 'SELECT id, x * 2 AS xx FROM ml.a');
CALL etl.run('ml.one');
SELECT etl.define_model('ml.two', 'SELECT id AS key, sum(xx) AS total FROM ml.one GROUP BY id');
SELECT * FROM etl.lineage('ml.two', 'total');
SELECT * FROM etl.lineage('ml.two', 'total', depth => 1);
SELECT * FROM etl.lineage('ml.a', 'x', 'downstream');
SELECT * FROM etl.lineage('ml.one', 'xx', 'both');
SELECT * FROM etl.lineage('ml.two', 'no_such');
SELECT * FROM etl.lineage('ml.nothing');
SELECT * FROM etl.lineage('ml.two', direction => 'sideways');

-- downstream are views and functions that etl does not manage, too: on models, on each other, through functions
CREATE VIEW ml.shown AS SELECT id AS key, xx + 1 AS more, y.n FROM ml.one, LATERAL (SELECT count(*) AS n FROM ml.b WHERE a_id = xx) AS y;
CREATE VIEW ml."shown ""again""" AS SELECT sum(more) AS sum FROM ml.shown WHERE key > 0;
CREATE MATERIALIZED VIEW ml.kept AS SELECT max(xx) AS most FROM ml.one;
CREATE VIEW ml.of_kept AS SELECT -most AS least FROM ml.kept;
CREATE FUNCTION ml.told(of_id int) RETURNS TABLE (twice int) LANGUAGE sql STABLE BEGIN ATOMIC SELECT xx * 2 FROM ml.one WHERE id = of_id; END;
CREATE FUNCTION ml.opaque() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT sum(xx) FROM ml.one); END';
CREATE FUNCTION ml.nothing() RETURNS int LANGUAGE sql AS $$SELECT 1 -- no ml.one here$$;
SELECT * FROM etl.lineage('ml.one', 'xx', 'downstream') ORDER BY depth, target COLLATE "C", column_name COLLATE "C", source, source_column, transformation;
CREATE FUNCTION ml.named(OUT "a ""key" int, OUT b int) RETURNS SETOF record LANGUAGE sql STABLE AS 'SELECT xx, id FROM ml.one';
SELECT target, column_name, source_column FROM etl.lineage('ml.one', 'xx', 'downstream', 1) WHERE target LIKE 'ml.named%' OR target LIKE 'ml.told%' AND transformation <> 'filter' ORDER BY 1;
DROP FUNCTION ml.named;
SELECT DISTINCT depth, target FROM etl.lineage('ml.a', 'x', 'downstream', depth => 2) ORDER BY 1, 2;
SELECT count(*) FROM etl.lineage('ml.of_kept', direction => 'downstream');
-- and such a view tells what it is made of
SELECT * FROM etl.lineage('ml."shown ""again"""') ORDER BY depth, source COLLATE "C", source_column, transformation;
SELECT * FROM etl.lineage('ml.of_kept', 'least') ORDER BY depth, source COLLATE "C", source_column, transformation;
DROP FUNCTION ml.told, ml.opaque, ml.nothing;
DROP VIEW ml.of_kept, ml."shown ""again""", ml.shown;
DROP MATERIALIZED VIEW ml.kept;

-- whoever may not read a relation does not see what it is made of
CREATE ROLE ml_user;
GRANT USAGE ON SCHEMA etl, ml TO ml_user;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA etl TO ml_user;
GRANT SELECT ON etl.column_lineage TO ml_user;
SET ROLE ml_user;
SELECT count(*) FROM etl.column_lineage WHERE target LIKE 'ml.%';
SELECT count(*) FROM etl.lineage('ml.two');
RESET ROLE;
GRANT SELECT ON ml.one TO ml_user;
SET ROLE ml_user;
SELECT DISTINCT target FROM etl.column_lineage WHERE target LIKE 'ml.%';
RESET ROLE;

SELECT etl.drop_model('ml.one', true, true);
DROP OWNED BY ml_user;
DROP ROLE ml_user;
DROP SCHEMA ml CASCADE;
