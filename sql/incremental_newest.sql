-- A dimension that changes reaches the newest rows of their keys through an index, old rows among those it finds, and the result is that of the query.
\set VERBOSITY terse
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
CREATE SCHEMA nw;
SELECT etl.define_source('nw_push', 'push');
SELECT etl.define_stream('nw.f', 'nw_push', columns => 'id int, at int, did int, amt int');
SELECT etl.define_stream('nw.d', 'nw_push', key => '{id}', mode => 'merge', columns => 'id int, name text');
SELECT etl.ingest('nw.d', '[{"id": 1, "name": "a"}, {"id": 2, "name": "b"}, {"id": 3, "name": "c"}, {"id": 4, "name": "d"}]') > 0;
SELECT etl.ingest('nw.f', '[{"id": 1, "at": 1, "did": 1, "amt": 1}, {"id": 1, "at": 2, "did": 2, "amt": 2}, {"id": 2, "at": 1, "did": 2, "amt": 3}, {"id": 3, "at": 1, "did": 9, "amt": 4}, {"id": 4, "at": 1, "did": null, "amt": 5}]') > 0;
CREATE VIEW nw.newest AS SELECT DISTINCT ON (id) id, did, amt FROM nw.f ORDER BY id, at DESC;
CREATE VIEW nw.numbered AS SELECT id, did, amt FROM (SELECT f.*, row_number() OVER (PARTITION BY id ORDER BY at DESC) AS n FROM nw.f) x WHERE n = 1;
CREATE TABLE nw.q (name text, key text[], q text);
INSERT INTO nw.q VALUES
	('plain', '{id}', 'WITH n AS (SELECT DISTINCT ON (id) id, did, amt FROM nw.f ORDER BY id, at DESC) SELECT n.id, n.amt, d.name FROM n JOIN nw.d ON d.id = n.did'),
	('optional', '{id}', 'SELECT n.id, n.amt, d.name FROM nw.newest n LEFT JOIN nw.d ON d.id = n.did'),
	('hidden', '{id}', 'SELECT x.id, x.amt, d.name FROM (SELECT * FROM nw.newest WHERE amt > 2) x JOIN nw.d ON d.id = x.did AND d.name > ''a'''),
	('other_way', '{did,id}', 'SELECT d.id AS did, n.id, n.amt, d.name FROM nw.d LEFT JOIN nw.newest n ON n.did = d.id'),
	('absent', '{did}', 'SELECT d.id AS did, d.name FROM nw.d LEFT JOIN nw.newest n ON n.did = d.id WHERE n.id IS NULL'),
	('within', '{did}', 'SELECT d.id AS did, e.name FROM nw.d LEFT JOIN (nw.newest n JOIN nw.d e ON e.id = n.did) ON n.amt = d.id'),
	('grouped', '{name}', 'SELECT d.name, count(*) AS n, sum(n.amt) AS s FROM nw.newest n JOIN nw.d ON d.id = n.did GROUP BY 1'),
	('found', '{id}', 'SELECT n.id, n.amt FROM nw.newest n WHERE n.did IN (SELECT id FROM nw.d WHERE name > ''b'')'),
	('by_number', '{id}', 'SELECT n.id, n.amt, d.name FROM (SELECT *, row_number() OVER (PARTITION BY id ORDER BY at DESC) AS n FROM nw.f) n JOIN nw.d ON d.id = n.did WHERE 1 = n.n'),
	('number_optional', '{id}', 'SELECT n.id, n.amt, d.name FROM nw.numbered n LEFT JOIN nw.d ON d.id = n.did'),
	('number_other_way', '{did,id}', 'SELECT d.id AS did, n.id, n.amt, d.name FROM nw.d LEFT JOIN nw.numbered n ON n.did = d.id'),
	('number_on', '{did,id}', 'SELECT d.id AS did, n.id, n.amt, d.name FROM nw.d LEFT JOIN (SELECT *, row_number() OVER (PARTITION BY id ORDER BY at DESC) AS n FROM nw.f) n ON n.did = d.id AND n.n = 1'),
	('number_shown', '{id}', 'SELECT n.id, n.n, d.name FROM (SELECT *, row_number() OVER (PARTITION BY id ORDER BY at DESC) AS n FROM nw.f) n JOIN nw.d ON d.id = n.did WHERE n.n = 1'),
	('number_joined', '{id}', 'SELECT n.id, n.amt, d.name FROM (SELECT *, row_number() OVER (PARTITION BY id ORDER BY at DESC) AS n FROM nw.f) n JOIN nw.d ON d.id = n.n AND d.id = n.did WHERE n.n < 2'),
	('first_two', '{id,at}', 'SELECT n.id, n.at, d.name FROM (SELECT *, row_number() OVER (PARTITION BY id ORDER BY at DESC) AS n FROM nw.f) n JOIN nw.d ON d.id = n.did AND n.n <= 2'),
	('number_and_sum', '{id}', 'SELECT n.id, n.s, d.name FROM (SELECT *, row_number() OVER w AS n, sum(amt) OVER w AS s FROM nw.f WINDOW w AS (PARTITION BY id ORDER BY at DESC)) n JOIN nw.d ON d.id = n.did WHERE n.n = 1'),
	('number_tested', '{id}', 'SELECT n.id, n.amt FROM nw.numbered n WHERE EXISTS (SELECT FROM nw.d WHERE d.id = n.did AND d.name > ''b'')'),
	('limited', '{id}', 'SELECT n.id, n.amt, d.name FROM (SELECT DISTINCT ON (id) id, did, amt FROM nw.f ORDER BY id, at DESC LIMIT 3) n JOIN nw.d ON d.id = n.did');
SELECT etl.define_model('nw.' || name, q, 'incremental', key) FROM nw.q ORDER BY name;
CREATE FUNCTION nw.differences() RETURNS TABLE (model text, rows bigint) LANGUAGE plpgsql AS $$
DECLARE
	m record;
BEGIN
	FOR m IN SELECT * FROM nw.q ORDER BY name LOOP
		EXECUTE format('SELECT count(*) FROM ((TABLE nw.%1$I EXCEPT ALL %2$s) UNION ALL ((%2$s) EXCEPT ALL TABLE nw.%1$I)) x', m.name, '(' || m.q || ')') INTO rows;
		model := m.name;
		IF rows > 0 THEN RETURN NEXT; END IF;
	END LOOP;
END $$;
\set settle 'CALL etl.run(\'nw.*\', exclude => \'nw.f nw.d\'); SELECT * FROM nw.differences();'

:settle
-- one that only an old row has: nothing is written
SELECT etl.ingest('nw.d', '[{"id": 1, "name": "A"}]') > 0;
:settle
SELECT node, action, rows_inserted + rows_updated + rows_deleted AS written FROM etl.tasks WHERE run_id = etl.last_run_id() AND node IN ('nw.plain', 'nw.optional', 'nw.grouped', 'nw.hidden') ORDER BY 1;
-- one that the newest rows have; one that comes, and one that goes
SELECT etl.ingest('nw.d', '[{"id": 2, "name": "B"}]') > 0;
:settle
SELECT etl.ingest('nw.d', '[{"id": 9, "name": "n"}, {"id": 5, "name": "e"}]') > 0;
:settle
DELETE FROM nw.d WHERE id IN (1, 2);
:settle
-- both sides at once: the newest row is another one
SELECT etl.ingest('nw.f', '[{"id": 2, "at": 7, "did": 1, "amt": 3}, {"id": 3, "at": 0, "did": 3, "amt": 4}]') > 0, etl.ingest('nw.d', '[{"id": 1, "name": "one"}, {"id": 3, "name": "three"}]') > 0;
:settle
SELECT node, action FROM etl.tasks WHERE run_id = etl.last_run_id() ORDER BY 1;

SELECT count(etl.drop_model('nw.' || name, drop_relation => true)) FROM nw.q;
DROP VIEW nw.newest, nw.numbered;
SELECT etl.drop_stream('nw.f', drop_relation => true), etl.drop_stream('nw.d', drop_relation => true), etl.drop_source('nw_push');
DROP SCHEMA nw CASCADE;
