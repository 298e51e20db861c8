-- Strategy partition_replace exchanges the partitions that a change touches and nothing else; what is published equals the query.
\set VERBOSITY terse
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SET timezone = 'UTC';
CREATE SCHEMA pr;
SELECT etl.define_source('pr_push', 'push');
SELECT etl.define_stream('pr.s', 'pr_push', format => 'json', columns => 'id int, day date, n int', key => '{id}', mode => 'merge');
SELECT etl.ingest('pr.s', '[{"id": 1, "day": "2026-01-01", "n": 1}, {"id": 2, "day": "2026-01-20", "n": 2}, {"id": 3, "day": "2026-02-01", "n": 3},
	{"id": 4, "day": "2026-03-01", "n": 4}, {"id": 5, "n": 5}, {"id": 6, "day": "2026-01-20", "n": 2}]') > 0 AS landed;
CREATE TABLE pr.before (model text, part oid, file oid);
CREATE FUNCTION pr.remember() RETURNS void LANGUAGE sql AS $$
	DELETE FROM pr.before;
	INSERT INTO pr.before SELECT inhparent::regclass::text, inhrelid, pg_relation_filenode(inhrelid) FROM pg_inherits JOIN pg_class c ON c.oid = inhparent AND c.relkind = 'p' WHERE c.relnamespace = 'pr'::regnamespace $$;
-- what became of each partition: its storage is the one of before, or another
CREATE FUNCTION pr.became(model text) RETURNS TABLE (part text, became text, visible bigint) LANGUAGE plpgsql AS $$
DECLARE
	leaf oid;
BEGIN
	FOR leaf IN SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = model::regclass LOOP
		part := regexp_replace(leaf::regclass::text, '_[0-9a-f]{8}$', '_…');
		became := coalesce((SELECT CASE WHEN b.file = pg_relation_filenode(leaf) THEN 'kept' ELSE 'replaced' END FROM pr.before b WHERE b.part = leaf), 'new');
		EXECUTE format('SELECT count(*) FROM ONLY %s', leaf::regclass) INTO visible;
		RETURN NEXT;
	END LOOP;
END $$;
CREATE FUNCTION pr.differing(model text, query text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	n bigint;
BEGIN
	EXECUTE format('SELECT count(*) FROM ((TABLE %s EXCEPT ALL (%s)) UNION ALL ((%s) EXCEPT ALL TABLE %s)) d', model, query, query, model) INTO n;
	RETURN n;
END $$;

-- without a key: what it is partitioned by tells what a change touches
SELECT etl.define_model('pr.rows', 'SELECT day, n FROM pr.s', 'incremental', strategy => 'partition_replace', options =>
	'{"partition_by": {"range": "day", "interval": "1 month"}, "indexes": [["n"]], "constraints": ["CHECK (n < 1000)"], "with": {"fillfactor": "90"}}');
-- with one
SELECT etl.define_model('pr.sums', 'SELECT day, sum(n) AS n, count(*) AS rows FROM pr.s GROUP BY day', 'incremental', '{day}', 'partition_replace',
	options => '{"partition_by": {"hash": "day", "partitions": 3}}');
-- list, hostile
SELECT etl.define_model('pr."o""; drop"', 'SELECT id, n % 3 AS "m""x" FROM pr.s', 'incremental', '{id,"m\"x"}', 'partition_replace', options => '{"partition_by": {"list": "\"m\"\"x\""}}');
CALL etl.run('pr.*');
SELECT pr.remember();
SELECT part, became, visible FROM pr.became('pr.rows') ORDER BY 1;
SELECT etl.ingest('pr.s', '[{"id": 2, "day": "2026-01-21", "n": 20}, {"id": 4, "day": "2026-04-01", "n": 40}, {"id": 7, "day": "2026-04-02", "n": 7}]') > 0 AS landed;
CALL etl.run('pr.*');
SELECT node, action, rows_inserted, rows_updated, rows_deleted FROM etl.tasks WHERE run_id = etl.last_run_id() ORDER BY 1;
SELECT part, became, visible FROM pr.became('pr.rows') ORDER BY 1;
SELECT pr.differing('pr.rows', 'SELECT day, n FROM pr.s'), pr.differing('pr.sums', 'SELECT day, sum(n), count(*) FROM pr.s GROUP BY day'),
	pr.differing('pr."o""; drop"', 'SELECT id, n % 3 FROM pr.s');
-- indexes, constraints and storage of what is new and what was replaced
SELECT i.inhrelid::regclass AS part, (SELECT count(*) FROM pg_index WHERE indrelid = i.inhrelid AND indisvalid AND EXISTS (SELECT FROM pg_inherits x WHERE x.inhrelid = indexrelid)) AS indexes,
	(SELECT count(*) FROM pg_constraint WHERE conrelid = i.inhrelid) AS constraints, reloptions, (SELECT count(*) FROM pg_stats WHERE tablename = c.relname) AS analyzed
	FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'pr.rows'::regclass AND c.relname !~ 'default' ORDER BY 1;
SET enable_seqscan = off;
SELECT day FROM pr.rows WHERE n = 40;
SELECT day FROM pr.rows WHERE n = 20;
RESET enable_seqscan;
-- rows without a value, and rows that go
SELECT pr.remember();
SELECT etl.ingest('pr.s', '[{"id": 5, "n": 55}]') > 0 AS landed;
DELETE FROM pr.s WHERE id = 3;
CALL etl.run('pr.*');
SELECT node, action, rows_inserted, rows_updated, rows_deleted FROM etl.tasks WHERE run_id = etl.last_run_id() ORDER BY 1;
SELECT part, became, visible FROM pr.became('pr.rows') ORDER BY 1;
SELECT pr.differing('pr.rows', 'SELECT day, n FROM pr.s'), pr.differing('pr.sums', 'SELECT day, sum(n), count(*) FROM pr.s GROUP BY day'),
	pr.differing('pr."o""; drop"', 'SELECT id, n % 3 FROM pr.s');
-- nothing to do
SELECT pr.remember();
CALL etl.run('pr.*');
SELECT DISTINCT became FROM pr.became('pr.rows');

-- a check that fails leaves all partitions as they were, and no table behind
SELECT etl.define_check('pr.rows', 'unique', '{day,n}', '{}', name => 'one');
CALL etl.run('pr.rows');
SELECT etl.ingest('pr.s', '[{"id": 8, "day": "2026-05-01", "n": 1}, {"id": 9, "day": "2026-05-01", "n": 1}, {"id": 1, "day": "2026-01-02", "n": 1}]') > 0 AS landed;
\set VERBOSITY sqlstate
CALL etl.run('pr.rows');
\set VERBOSITY terse
SELECT check_name, status, evaluated, failed FROM etl.check_results WHERE run_id = etl.last_run_id();
SELECT part, became, visible FROM pr.became('pr.rows') ORDER BY 1;
SELECT count(*) FROM pg_class WHERE relnamespace = 'pr'::regnamespace AND relname ~ 'etl_new|pg_temp|20260501';
SELECT etl.ingest('pr.s', '[{"id": 9, "day": "2026-05-01", "n": 2}]') > 0 AS landed;
CALL etl.run('pr.rows');
SELECT check_name, status, evaluated, failed FROM etl.check_results WHERE run_id = etl.last_run_id();
SELECT pr.differing('pr.rows', 'SELECT day, n FROM pr.s');
-- a constraint does as well
SELECT etl.ingest('pr.s', '[{"id": 9, "day": "2026-05-01", "n": 2000}]') > 0 AS landed;
\set VERBOSITY sqlstate
CALL etl.run('pr.rows');
\set VERBOSITY terse
SELECT sqlstate FROM etl.tasks WHERE run_id = etl.last_run_id();
SELECT etl.ingest('pr.s', '[{"id": 9, "day": "2026-05-01", "n": 3}]') > 0 AS landed;
-- what is moved by a check is published by DML
SELECT etl.define_check('pr.rows', 'unique', '{day,n}', '{}', 'quarantine', name => 'one');
SELECT pr.remember();
SELECT etl.ingest('pr.s', '[{"id": 10, "day": "2026-05-01", "n": 3}]') > 0 AS landed;
CALL etl.run('pr.rows');
SELECT status, rows_rejected FROM etl.tasks WHERE run_id = etl.last_run_id();
SELECT DISTINCT became FROM pr.became('pr.rows');
SELECT etl.drop_check('pr.rows', 'one');
SELECT etl.ingest('pr.s', '[{"id": 10, "day": "2026-05-01", "n": 4}]') > 0 AS landed;

-- a full build replaces the partitions in which something differs; views, comments and privileges stay
CREATE VIEW pr.of_others AS SELECT sum(n) AS n FROM pr.rows;
GRANT SELECT ON pr.rows TO PUBLIC;
COMMENT ON TABLE pr.rows IS 'mine';
CALL etl.run('pr.rows');
SELECT pr.remember();
UPDATE pr.rows SET n = 999 WHERE day = '2026-04-01';
CALL etl.run('pr.rows', full_refresh => true);
SELECT action, rows_inserted, rows_updated, rows_deleted FROM etl.tasks WHERE run_id = etl.last_run_id();
SELECT part, became FROM pr.became('pr.rows') WHERE became <> 'kept';
SELECT n = (SELECT sum(n) FROM pr.s) AS equal, has_table_privilege('pg_monitor', 'pr.rows', 'SELECT'), obj_description('pr.rows'::regclass) FROM pr.of_others;
-- who reads it follows; a trigger of others and the caller's transaction: by DML
SELECT etl.define_model('pr.reader', 'SELECT day, count(*) AS n FROM pr.sums GROUP BY day', 'incremental', '{day}');
CALL etl.run('pr.sums pr.reader');
SELECT etl.ingest('pr.s', '[{"id": 11, "day": "2026-06-01", "n": 6}]') > 0 AS landed;
SELECT pr.remember();
CALL etl.run('pr.sums pr.reader');
SELECT node, action, rows_inserted FROM etl.tasks WHERE run_id = etl.last_run_id() ORDER BY 1;
SELECT DISTINCT became FROM pr.became('pr.sums') ORDER BY 1;
SELECT pr.differing('pr.reader', 'SELECT day, count(*) FROM pr.sums GROUP BY day');
CREATE FUNCTION pr.fired() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE INFO 'fired for %', NEW.day; RETURN NEW; END $$;
CREATE TRIGGER fired AFTER INSERT ON pr.sums FOR EACH ROW EXECUTE FUNCTION pr.fired();
SELECT pr.remember();
SELECT etl.ingest('pr.s', '[{"id": 21, "day": "2026-06-21", "n": 6}]') > 0 AS landed;
CALL etl.run('pr.sums');
SELECT DISTINCT became FROM pr.became('pr.sums') ORDER BY 1;
SELECT pr.remember();
BEGIN;
CALL etl.run('pr.rows');
SELECT DISTINCT became FROM pr.became('pr.rows') ORDER BY 1;
ROLLBACK;
SELECT count(*) FROM pr.rows WHERE day = '2026-06-01';
CALL etl.run('pr.*');
SELECT pr.differing('pr.rows', 'SELECT day, n FROM pr.s'), pr.differing('pr.sums', 'SELECT day, sum(n), count(*) FROM pr.s GROUP BY day');
-- an option that changes indexes and constraints
SELECT etl.define_model('pr.rows', 'SELECT day, n FROM pr.s', 'incremental', strategy => 'partition_replace', options =>
	'{"partition_by": {"range": "day", "interval": "1 month"}, "indexes": [["day"]], "constraints": ["CHECK (n < 2000)"], "with": {"fillfactor": "90"}}');
SELECT etl.ingest('pr.s', '[{"id": 12, "day": "2026-06-02", "n": 7}]') > 0 AS landed;
CALL etl.run('pr.rows');
SELECT replace(pg_get_indexdef(indexrelid), indexrelid::regclass::text, '…') FROM pg_index WHERE indrelid = 'pr.rows_p20260601'::regclass;
SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'pr.rows_p20260601'::regclass;
SELECT pr.differing('pr.rows', 'SELECT day, n FROM pr.s');
-- an unprivileged owner
CREATE ROLE etl_pr_owner;
GRANT etl_developer, etl_operator TO etl_pr_owner;
CREATE SCHEMA AUTHORIZATION etl_pr_owner;
GRANT USAGE ON SCHEMA etl, pr TO etl_pr_owner;
GRANT SELECT ON pr.s TO etl_pr_owner;
SET ROLE etl_pr_owner;
SELECT etl.define_model('etl_pr_owner.m', 'SELECT id, day FROM pr.s', 'incremental', '{id,day}', 'partition_replace', options => '{"partition_by": {"range": "day", "interval": "1 month"}, "constraints": ["PRIMARY KEY (id, day)"]}');
RESET ROLE;
SELECT etl.ingest('pr.s', '[{"id": 5, "day": "2026-06-03"}]') > 0 AS landed;
CALL etl.run('etl_pr_owner.m');
SELECT etl.ingest('pr.s', '[{"id": 5, "day": "2026-07-03"}, {"id": 6, "day": "2026-06-03"}]') > 0 AS landed;
CALL etl.run('etl_pr_owner.m');
SELECT action, rows_inserted, rows_updated, rows_deleted FROM etl.tasks WHERE run_id = etl.last_run_id();
SELECT pr.differing('etl_pr_owner.m', 'SELECT id, day FROM pr.s');
SELECT c.relname, relowner::regrole, (SELECT count(*) FROM pg_constraint x WHERE conrelid = c.oid AND contype = 'p') AS keys FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'etl_pr_owner.m'::regclass AND c.relname !~ 'default' ORDER BY 1;
INSERT INTO etl_pr_owner.m VALUES (5, '2026-07-03');

-- refused at definition
SELECT etl.define_model('pr.x', 'SELECT day, n FROM pr.s', 'incremental', strategy => 'partition_replace');
SELECT etl.define_model('pr.x', 'SELECT day, n FROM pr.s', 'table', strategy => 'partition_replace', options => '{"partition_by": {"list": "day"}}');
SELECT etl.define_model('pr.x', 'SELECT day, n FROM pr.s', 'incremental', strategy => 'partition_replace', options => '{"partition_by": {"list": "day + 1"}}');
SELECT etl.define_model('pr.x', 'SELECT day, n FROM pr.s', 'incremental', strategy => 'partition_replace', event_time => 'day', batch_size => '1 day', options => '{"partition_by": {"list": "day"}}');
SELECT etl.define_model('pr.x', 'SELECT day, n FROM pr.s', 'incremental', strategy => 'overwrite', options => '{"partition_by": {"list": "day"}}');

SELECT count(etl.drop_model(target, true)) FROM etl.models WHERE target ~ '^(pr|etl_pr_owner)\.';
SELECT etl.drop_stream('pr.s', true), etl.drop_source('pr_push');
DROP SCHEMA pr CASCADE;
DROP OWNED BY etl_pr_owner CASCADE;
DROP ROLE etl_pr_owner;
