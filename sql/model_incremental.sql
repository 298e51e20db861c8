-- An incremental model equals its query over its inputs after any history, whichever way it got there.
\set VERBOSITY terse
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE SCHEMA mi;
SELECT '/tmp/etl_model_incremental_' || system_identifier AS dir FROM pg_control_system() \gset
\set command 'rm -rf ' :dir ' && mkdir -p ' :dir '/a ' :dir '/b'
COPY (SELECT) TO PROGRAM :'command';
SET etl.allowed_directories = :'dir';
SELECT etl.define_source('mi_files', 'file', jsonb_build_object('root', :'dir'));
SELECT etl.define_stream('mi.s', 'mi_files', '{"path": "a/*.csv"}', 'csv', columns => 'id int, k text, cat int, ts timestamptz, amt numeric');
SELECT etl.define_stream('mi.s2', 'mi_files', '{"path": "b/*.csv"}', 'csv', columns => 'id int, k text, cat int, ts timestamptz, amt numeric');

-- deliver writes a file of n rows that depends on the seed alone
CREATE FUNCTION mi.deliver(folder text, file int, n int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format($q$COPY (SELECT (i * 7919 + %2$s * 31) %% 60 AS id,
		CASE WHEN (i + %2$s) %% 9 = 0 THEN NULL ELSE 'k' || (i * 13 + %2$s) %% 17 END AS k, (i + %2$s) %% 5 AS cat,
		timestamptz '2026-01-01 00:00Z' + ((i * 37 + %2$s * 11) %% 200) * interval '1 hour' AS ts,
		((i * 101 + %2$s * 7) %% 1000) / 10.0 AS amt FROM generate_series(1, %3$s) AS i)
		TO %1$L (FORMAT csv, HEADER)$q$,
		'/tmp/etl_model_incremental_' || (SELECT system_identifier FROM pg_control_system()) || '/' || folder || '/' || file || '.csv', file, n);
END $$;
SELECT etl.define_model('mi.v', 'SELECT * FROM mi.s WHERE amt > 5');
CREATE TABLE mi.q (name text, key text[], q text);
INSERT INTO mi.q VALUES
	('rows', NULL, 'SELECT _etl_load_id, _etl_row, id, amt * 2 AS d FROM mi.s WHERE amt > 10'),
	('day', '{day}', 'SELECT date_trunc(''day'', ts) AS day, sum(amt) AS amt, count(*) AS n FROM mi.s GROUP BY 1'),
	('view_cte', '{day,cat}', 'WITH x AS (SELECT *, ts::date AS day FROM mi.v) SELECT day, cat, sum(amt) AS s, max(k) AS k FROM x GROUP BY day, cat HAVING count(*) > 1'),
	('distinct_on', '{k}', 'SELECT DISTINCT ON (k) k, id, amt FROM mi.s ORDER BY k, ts DESC, _etl_load_id, _etl_row'),
	('union_group', '{k}', 'SELECT k, sum(amt) AS s, count(*) AS n FROM (SELECT k, amt FROM mi.s UNION ALL SELECT k, -amt FROM mi.s2 UNION ALL SELECT ''k'' || g, g FROM generate_series(1, 25) g) u GROUP BY k'),
	('two_branches', '{src,id}', 'SELECT ''s'' AS src, id, count(*) AS n FROM mi.s GROUP BY id UNION ALL SELECT ''s2'', id, count(*) FROM mi.s2 GROUP BY id'),
	('windows', '{id,rn}', 'SELECT id, row_number() OVER w AS rn, amt, sum(amt) OVER (PARTITION BY id) AS total FROM mi.s WINDOW w AS (PARTITION BY id ORDER BY ts, _etl_load_id, _etl_row)'),
	('union_rows', NULL, 'SELECT id, amt FROM mi.s WHERE cat = 1 UNION ALL SELECT id, -amt FROM mi.s2 UNION ALL SELECT 1, 2'),
	('optional', '{day}', 'SELECT s.ts::date AS day, count(b.n) AS n FROM mi.s LEFT JOIN (SELECT 1 AS cat, 7 AS n) b USING (cat) GROUP BY 1'),
	('total', NULL, 'SELECT count(*) AS c, sum(amt) AS s FROM mi.s'),
	('itself', '{id}', 'SELECT id, count(*) AS n FROM mi.s a WHERE EXISTS (SELECT FROM mi.s b WHERE b.id = a.id AND b.amt > 50) GROUP BY id'),
	('nullable', '{id}', 'SELECT x.id, s.amt FROM generate_series(1, 80) x(id) LEFT JOIN (SELECT id, max(amt) AS amt FROM mi.s GROUP BY id) s USING (id)'),
	('limited', '{id}', 'SELECT DISTINCT ON (id) id, amt FROM mi.s ORDER BY id, amt DESC LIMIT 10');
SELECT etl.define_model('mi.' || name, q, 'incremental', key) FROM mi.q ORDER BY name;
CREATE VIEW mi.last AS
	SELECT node, action, rows_inserted AS ins, rows_updated AS upd, rows_deleted AS del
	FROM etl.tasks WHERE run_id = etl.last_run_id() AND kind = 'model' AND action <> 'view' AND node <> 'mi.v' ORDER BY node;

-- differing counts the rows in which a model differs from its query
CREATE FUNCTION mi.differing() RETURNS TABLE (model text, rows bigint) LANGUAGE plpgsql AS $$
DECLARE
	m record;
BEGIN
	FOR m IN SELECT * FROM mi.q ORDER BY name
	LOOP
		EXECUTE format('SELECT count(*) FROM ((TABLE mi.%1$I EXCEPT ALL (%2$s)) UNION ALL ((%2$s) EXCEPT ALL TABLE mi.%1$I)) d', m.name, m.q)
		INTO rows;
		model := m.name;
		IF rows > 0 THEN RETURN NEXT; END IF;
	END LOOP;
END $$;

SELECT mi.deliver('a', 1, 100), mi.deliver('b', 1, 20);
CALL etl.run('mi.*');
SELECT * FROM mi.last;
SELECT * FROM mi.differing();

-- nothing new: nothing is written
CALL etl.run('mi.*');
SELECT DISTINCT action, ins, upd, del FROM mi.last;

-- one stream grows
SELECT mi.deliver('a', 2, 7);
CALL etl.run('mi.*');
SELECT * FROM mi.last;
SELECT * FROM mi.differing();
SELECT node, reason FROM etl.tasks WHERE run_id = etl.last_run_id() AND node IN ('mi.day', 'mi.total', 'mi.nullable') ORDER BY node;

-- both grow, a little and by one row, in a transaction block too
SELECT mi.deliver('a', 3, 1), mi.deliver('b', 2, 9);
BEGIN;
CALL etl.run('mi.*');
COMMIT;
SELECT * FROM mi.differing();
SELECT mi.deliver('b', 3, 30);
CALL etl.run('mi.*');
SELECT * FROM mi.differing();

-- a changed file takes rows back: they are recorded as they go
SELECT mi.deliver('a', 2, 3);
CALL etl.run('mi.*');
SELECT action, reason FROM etl.tasks WHERE run_id = etl.last_run_id() AND node = 'mi.day';
SELECT * FROM mi.differing();

-- only affected rows are written
SELECT ctid AS untouched, k AS key FROM mi.distinct_on WHERE k NOT IN ('k3', 'k16') ORDER BY k LIMIT 1 \gset
SELECT mi.deliver('a', 9, 1);
CALL etl.run('mi.s');
SELECT etl.compile('mi.day') ~ 'etl_affected' AS by_keys, etl.compile('mi.total') ~ 'etl_' AS whole;
CALL etl.run('mi.*');
SELECT ctid = :'untouched' AS untouched FROM mi.distinct_on WHERE k = :'key';
SELECT node, upd + ins AS written FROM mi.last WHERE node IN ('mi.day', 'mi.view_cte');
SELECT * FROM mi.differing();

-- a row that a check diverts is rejected once, and comes back when its key is well again
SELECT etl.define_model('mi.checked', 'SELECT id, sum(amt) AS amt FROM mi.s GROUP BY id', 'incremental', '{id}');
SELECT etl.define_check('mi.checked', 'range', '{amt}', '{"max": 90}', on_fail => 'quarantine');
CALL etl.run('mi.checked');
SELECT status, count(*) FROM etl.rejects WHERE target = 'mi.checked' GROUP BY 1;
SELECT count(*) FILTER (WHERE amt > 90) AS over FROM (SELECT id, sum(amt) AS amt FROM mi.s GROUP BY id) s;
SELECT mi.deliver('a', 10, 60);
CALL etl.run('mi.s mi.checked');
SELECT action FROM etl.tasks WHERE run_id = etl.last_run_id() AND node = 'mi.checked';
SELECT count(*) = (SELECT count(*) FROM (SELECT id, sum(amt) AS amt FROM mi.s GROUP BY id) s WHERE amt > 90) AS each_once
FROM etl.rejects WHERE target = 'mi.checked' AND status = 'open';
SELECT count(*) FROM (TABLE mi.checked UNION ALL SELECT id, amt FROM (SELECT id, sum(amt) AS amt FROM mi.s GROUP BY id) s WHERE amt > 90
	EXCEPT ALL SELECT id, sum(amt) FROM mi.s GROUP BY id) d;

-- a full refresh gives the same
CALL etl.run('mi.*', full_refresh => true);
SELECT * FROM mi.differing();

SELECT count(etl.drop_model(target, true, true)) FROM etl.models WHERE target LIKE 'mi.%';
SELECT count(etl.drop_stream(target, true, true)) FROM etl.streams WHERE target LIKE 'mi.%';
SELECT etl.drop_source('mi_files');
DROP SCHEMA mi CASCADE;
\set command 'rm -rf ' :dir
COPY (SELECT) TO PROGRAM :'command';
