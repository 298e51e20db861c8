-- A quarantining unique check moves rows of the load at hand, never a row that was there before; the accounting closes.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY terse
SELECT current_setting('data_directory') || '/etl_regress_un' AS dir \gset
SELECT 'cat > /dev/null; rm -rf ' || :'dir' || '; mkdir -p ' || :'dir' AS prepare, 'cat > /dev/null; rm -rf ' || :'dir' AS clean, :'dir' || '/a1.csv' AS a1, :'dir' || '/a2.csv' AS a2,
	:'dir' || '/a3.csv' AS a3 \gset
COPY (SELECT) TO PROGRAM :'prepare';
SELECT set_config('etl.allowed_directories', :'dir', false) <> '' AS allowed;
SELECT etl.define_source('un_files', 'file', jsonb_build_object('root', :'dir'));
SELECT etl.define_stream('un.' || t, 'un_files', '{"path": "a*.csv"}', columns => 'id bigint, v bigint') FROM unnest('{plain,ordered}'::text[]) AS t;
SELECT etl.define_check('un.plain', 'unique', '{id}', on_fail => 'quarantine');
SELECT etl.define_check('un.ordered', 'unique', '{id}', '{"order_by": "v DESC"}', 'quarantine');
CREATE VIEW public.un_rejects AS SELECT target, record, reasons->0->>'check' AS check, r.status, dense_rank() OVER (PARTITION BY target ORDER BY load_id) AS nth, r.position
	FROM etl.rejects AS r WHERE target LIKE 'un.%' ORDER BY reject_id;

-- within a load the first stays, or the first by order_by; a record that does not land at all is not in the comparison
COPY (VALUES ('id,v'), ('1,10'), ('1,11'), ('2,20'), ('3,x'), ('3,30')) TO :'a1' (DELIMITER '|');
CALL etl.run('un.*');
SELECT * FROM (SELECT 'plain' AS s, id, v FROM un.plain UNION ALL SELECT 'ordered', id, v FROM un.ordered) AS x ORDER BY s DESC, id, v;
-- a later load never takes a row's place, however much order_by prefers it
COPY (VALUES ('id,v'), ('1,99'), ('2,98'), ('4,40'), ('4,41'), ('5,50')) TO :'a2' (DELIMITER '|');
CALL etl.run('un.*');
SELECT * FROM (SELECT 'plain' AS s, id, v FROM un.plain UNION ALL SELECT 'ordered', id, v FROM un.ordered) AS x ORDER BY s DESC, id, v;
SELECT target, record, "check", status, nth, position FROM public.un_rejects ORDER BY target, nth, position;
SELECT target, rows_read, rows_loaded, rows_rejected, rows_deleted FROM etl.loads WHERE target LIKE 'un.%' ORDER BY target, load_id;

-- a replay comes after what is there, too: what is moved again stays open, what lands is closed
SELECT * FROM etl.replay('un.ordered', patch => '{"id": 7}');
SELECT id, v FROM un.ordered WHERE id = 7;
SELECT record, "check", status FROM public.un_rejects WHERE target = 'un.ordered';
SELECT rows_read, rows_loaded, rows_rejected, rows_deleted FROM etl.loads WHERE origin = 'replay' AND target = 'un.ordered';
SELECT * FROM etl.replay('un.plain');
SELECT count(*), count(DISTINCT id) FROM un.plain;
SELECT record, "check", status FROM public.un_rejects WHERE target = 'un.plain';
SELECT rows_read, rows_loaded, rows_rejected, rows_deleted FROM etl.loads WHERE origin = 'replay' AND target = 'un.plain';

-- duplicates from before the check are told, not moved
SELECT etl.drop_check('un.plain', 'unique_id');
COPY (VALUES ('id,v'), ('5,51'), ('5,52')) TO :'a3' (DELIMITER '|');
CALL etl.run('un.plain');
SELECT etl.define_check('un.plain', 'unique', '{id}', '{"order_by": "v DESC"}', 'quarantine');
COPY (VALUES ('id,v'), ('5,53'), ('6,60')) TO :'a1' (DELIMITER '|');
SELECT etl.reload('un.plain', :'a1');
CALL etl.run('un.plain');
SELECT id, v FROM un.plain ORDER BY id, v;
SELECT status, evaluated, failed FROM etl.check_results WHERE target = 'un.plain' ORDER BY checked_at DESC LIMIT 1;

-- a merge stream: the row of a key that the load changed may be moved, and is counted once
SELECT etl.define_stream('un.merged', 'un_files', '{"path": "m*.csv"}', columns => 'id bigint, email text', key => '{id}', mode => 'merge');
SELECT etl.define_check('un.merged', 'unique', '{email}', on_fail => 'quarantine');
SELECT :'dir' || '/m1.csv' AS m1, :'dir' || '/m2.csv' AS m2 \gset
COPY (VALUES ('id,email'), ('1,a'), ('2,b')) TO :'m1' (DELIMITER '|');
CALL etl.run('un.merged');
COPY (VALUES ('id,email'), ('2,a')) TO :'m2' (DELIMITER '|');
CALL etl.run('un.merged');
SELECT id, email FROM un.merged ORDER BY id;
SELECT rows_read, rows_loaded, rows_updated, rows_rejected, rows_deleted FROM etl.loads WHERE target = 'un.merged' ORDER BY load_id;

DROP VIEW public.un_rejects;
SELECT etl.drop_source('un_files', cascade => true, drop_relation => true) IS NOT NULL AS dropped;
DROP SCHEMA un CASCADE;
COPY (SELECT) TO PROGRAM :'clean';
