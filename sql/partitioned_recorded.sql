-- Models on partitioned models follow row by row, whoever changes which partition; what cannot be known is built in full.
\set VERBOSITY terse
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SET client_min_messages = warning;
CREATE SCHEMA pd;
SELECT etl.define_source('pd_push', 'push');
SELECT etl.define_stream('pd.s', 'pd_push', format => 'json', columns => 'id int, day date, k text, n int', key => '{id}', mode => 'merge');
SELECT etl.ingest('pd.s', (SELECT jsonb_agg(jsonb_build_object('id', i, 'day', '2026-01-01'::date + i * 7, 'k', 'k' || i % 4, 'n', i)) FROM generate_series(1, 20) i)) > 0 AS landed;

-- three levels, each in partitions of another kind, published each in its way
SELECT etl.define_model('pd.a', 'SELECT id, day, k, n FROM pd.s', 'incremental', '{id,day}', options => '{"partition_by": {"range": "day", "interval": "1 month"}}');
SELECT etl.define_model('pd."b""; drop"', 'SELECT k AS "k""x", day, sum(n) AS n, count(*) AS rows FROM pd.a GROUP BY k, day', 'incremental', '{"k\"x",day}', 'partition_replace', options => '{"partition_by": {"list": "\"k\"\"x\""}}');
SELECT etl.define_model('pd.c', 'SELECT day, sum(n) AS n FROM pd."b""; drop" GROUP BY day', 'incremental', '{day}', 'delete_insert', options => '{"partition_by": {"hash": "day", "partitions": 3}}');
SELECT etl.define_model('pd.d', 'SELECT date_trunc(''month'', day::timestamp) AS month, sum(n) AS n, count(*) AS days FROM pd.c GROUP BY 1', 'incremental', '{month}');
CREATE FUNCTION pd.differing() RETURNS TABLE (model text, rows bigint) LANGUAGE plpgsql AS $$
BEGIN
	FOR model IN SELECT target FROM etl.models WHERE target LIKE 'pd.%' ORDER BY target LOOP
		EXECUTE format('SELECT count(*) FROM ((TABLE %1$s EXCEPT ALL (%2$s)) UNION ALL ((%2$s) EXCEPT ALL TABLE %1$s)) d', model,
			(SELECT query FROM etl.models WHERE target = model)) INTO rows;
		IF rows > 0 THEN
			RETURN NEXT;
		END IF;
	END LOOP;
END $$;
CREATE VIEW pd.did AS SELECT node, action, rows_inserted AS ins, rows_updated AS upd, rows_deleted AS del, substring(reason FROM 'since (.*)') AS why
	FROM etl.tasks WHERE run_id = etl.last_run_id() AND kind = 'model' ORDER BY node;
CALL etl.run('pd.*');
SELECT * FROM pd.differing();

-- new rows in new partitions, changed ones, ones that move to another partition, deleted ones
SELECT etl.ingest('pd.s', '[{"id": 1, "day": "2026-01-08", "k": "k9", "n": 100}, {"id": 2, "day": "2027-01-15", "k": "k2", "n": 2}, {"id": 30, "day": "2026-09-01", "n": 3}]') > 0 AS landed;
DELETE FROM pd.s WHERE id = 7;
SELECT node, action FROM etl.plan('pd.*') WHERE kind = 'model';
CALL etl.run('pd.*');
TABLE pd.did;
SELECT * FROM pd.differing();
CALL etl.run('pd.*');
SELECT DISTINCT action FROM pd.did;

-- a statement that names a partition, a row that changes its partition, a partition that is emptied
UPDATE pd.a_p20260201 SET n = n + 1000;
CALL etl.run('pd.*', exclude => 'pd.s pd.a');
TABLE pd.did;
SELECT * FROM pd.differing() WHERE model <> 'pd.a';
UPDATE pd.a SET day = '2026-02-20' WHERE id = 3;
CALL etl.run('pd.*', exclude => 'pd.s pd.a');
SELECT node, action FROM pd.did;
SELECT * FROM pd.differing() WHERE model <> 'pd.a';
TRUNCATE pd.a_p20260301;
CALL etl.run('pd.*', exclude => 'pd.s pd.a');
TABLE pd.did;
SELECT * FROM pd.differing() WHERE model <> 'pd.a';
CALL etl.run('pd.a', full_refresh => true);
CALL etl.run('pd.*');
TABLE pd.did;
SELECT * FROM pd.differing();

-- partitions that somebody takes away or adds: it is not known what became of their rows, once
ALTER TABLE pd.a DETACH PARTITION pd.a_p20260201;
SELECT node, action, reason FROM etl.plan('pd."b""; drop"') WHERE kind = 'model';
CALL etl.run('pd.*', exclude => 'pd.s pd.a');
SELECT * FROM pd.differing() WHERE model <> 'pd.a';
-- its rows change while it is not there
UPDATE pd.a_p20260201 SET n = n * 2;
ALTER TABLE pd.a ATTACH PARTITION pd.a_p20260201 FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
CALL etl.run('pd.*', exclude => 'pd.s pd.a');
SELECT node, action, why FROM pd.did;
SELECT * FROM pd.differing() WHERE model <> 'pd.a';
-- nobody looks between
ALTER TABLE pd.a DETACH PARTITION pd.a_p20260201;
UPDATE pd.a_p20260201 SET n = n + 7;
ALTER TABLE pd.a ATTACH PARTITION pd.a_p20260201 FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
CREATE TABLE pd.stranger (n int, id int, k text, day date);
INSERT INTO pd.stranger VALUES (5, 500, 'k5', '2030-05-05');
ALTER TABLE pd.a ATTACH PARTITION pd.stranger FOR VALUES FROM ('2030-01-01') TO ('2031-01-01');
CALL etl.run('pd.*', exclude => 'pd.s pd.a');
SELECT * FROM pd.differing() WHERE model <> 'pd.a';
UPDATE pd.stranger SET n = 6;
INSERT INTO pd.a VALUES (501, '2030-06-06', 'k1', 1);
CALL etl.run('pd.*', exclude => 'pd.s pd.a');
SELECT node, action FROM pd.did;
SELECT * FROM pd.differing() WHERE model <> 'pd.a';
DROP TABLE pd.stranger;
CALL etl.run('pd.*', exclude => 'pd.s pd.a');
SELECT * FROM pd.differing() WHERE model <> 'pd.a';
CALL etl.run('pd.a', full_refresh => true);
CALL etl.run('pd.*');
SELECT * FROM pd.differing();

-- under another name what reads it is built once more, and follows again
SELECT etl.rename('pd.c', 'pd.e');
SELECT etl.define_model('pd.d', 'SELECT date_trunc(''month'', day::timestamp) AS month, sum(n) AS n, count(*) AS days FROM pd.e GROUP BY 1', 'incremental', '{month}');
CALL etl.run('pd.*');
SELECT etl.ingest('pd.s', '[{"id": 1, "day": "2026-01-08", "k": "k1", "n": 1}]') > 0 AS landed;
CALL etl.run('pd.*');
SELECT node, action, why FROM pd.did;
SELECT * FROM pd.differing();

-- a trigger that says it belongs to somebody else's table records nothing for it
CREATE ROLE etl_pd_other;
GRANT EXECUTE ON FUNCTION etl._changed() TO etl_pd_other;
GRANT USAGE ON SCHEMA etl TO etl_pd_other;
CREATE SCHEMA AUTHORIZATION etl_pd_other;
SET ROLE etl_pd_other;
CREATE TABLE etl_pd_other.x (id int, day date, k text, n int);
CREATE TRIGGER etl_changed_insert AFTER INSERT ON etl_pd_other.x REFERENCING NEW TABLE AS etl_new FOR EACH STATEMENT EXECUTE FUNCTION etl._changed('pd.a');
INSERT INTO etl_pd_other.x VALUES (1, '2026-01-01', 'x', 1);
RESET ROLE;
SELECT node, action FROM etl.plan('pd."b""; drop"') WHERE kind = 'model';
DROP OWNED BY etl_pd_other CASCADE;
DROP ROLE etl_pd_other;

-- a partitioned table that etl does not feed, watched; a partition in partitions
CREATE TABLE pd.w (id int, k text, n int) PARTITION BY LIST (k);
CREATE TABLE pd.w1 PARTITION OF pd.w FOR VALUES IN ('a');
CREATE TABLE pd.w2 PARTITION OF pd.w DEFAULT PARTITION BY HASH (id);
CREATE TABLE pd.w20 PARTITION OF pd.w2 FOR VALUES WITH (MODULUS 1, REMAINDER 0);
INSERT INTO pd.w SELECT i, chr(96 + i % 3), i FROM generate_series(1, 9) i;
SELECT etl.watch('pd.w');
SELECT etl.watch('pd.w');
SELECT etl.define_model('pd.of_w', 'SELECT k, sum(n) AS n FROM pd.w GROUP BY k', 'incremental', '{k}');
CALL etl.run('pd.of_w');
INSERT INTO pd.w VALUES (10, 'a', 10);
UPDATE pd.w20 SET n = 1 WHERE id = 2;
DELETE FROM pd.w2 WHERE id = 5;
UPDATE pd.w SET k = 'z' WHERE id = 10;
CALL etl.run('pd.of_w');
TABLE pd.did;
SELECT * FROM pd.differing();
CREATE TABLE pd.w3 PARTITION OF pd.w FOR VALUES IN ('q');
INSERT INTO pd.w VALUES (11, 'q', 10);
CALL etl.run('pd.of_w');
SELECT action FROM pd.did;
UPDATE pd.w3 SET n = 12;
CALL etl.run('pd.of_w');
SELECT action FROM pd.did;
SELECT * FROM pd.differing();
SELECT etl.unwatch('pd.w');
SELECT count(*) FROM pg_trigger WHERE tgrelid::regclass::text LIKE 'pd.w%';
CREATE FOREIGN DATA WRAPPER etl_pd_fdw;
CREATE SERVER etl_pd FOREIGN DATA WRAPPER etl_pd_fdw;
CREATE FOREIGN TABLE pd.w4 PARTITION OF pd.w FOR VALUES IN ('f') SERVER etl_pd;
\set VERBOSITY default
SELECT etl.watch('pd.w');
\set VERBOSITY terse

SELECT count(etl.drop_model(target, true)) FROM etl.models WHERE target LIKE 'pd.%';
SELECT etl.drop_stream('pd.s', true), etl.drop_source('pd_push');
SET client_min_messages = error;
DROP SCHEMA pd CASCADE;
DROP FOREIGN DATA WRAPPER etl_pd_fdw CASCADE;
