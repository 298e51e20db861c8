-- A file is taken when it is complete, once; what becomes of it afterwards is as told, and a load can be taken out again.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY terse
SELECT current_setting('data_directory') || '/etl_regress_pu' AS dir \gset
SELECT 'cat > /dev/null; rm -rf ' || :'dir' || '; mkdir -p ' || :'dir' || '/in ' || :'dir' || '/done "' || :'dir' || '/h/year=2024/place=New%20York" ' || :'dir' || '/h/year=2025/place=__HIVE_DEFAULT_PARTITION__' AS prepare,
	'cat > /dev/null; rm -rf ' || :'dir' AS clean, 'cat > /dev/null; touch -d "1 hour ago" ' || :'dir' || '/in/*' AS age, 'cat > /dev/null; touch ' || :'dir' || '/in/*' AS touched,
	'cat > /dev/null; rm ' || :'dir' || '/in/b.csv' AS remove, :'dir' || '/in/a.csv' AS a, :'dir' || '/in/b.csv' AS b,
	:'dir' || '/h/year=2024/place=New%20York/x.csv' AS h1, :'dir' || '/h/year=2025/place=__HIVE_DEFAULT_PARTITION__/x.csv' AS h2 \gset
COPY (SELECT) TO PROGRAM :'prepare';
SELECT set_config('etl.allowed_directories', :'dir', false) <> '' AS allowed;
SELECT etl.define_source('pu_files', 'file', jsonb_build_object('root', :'dir'));
CREATE VIEW public.pu_there AS SELECT name FROM pg_ls_dir(current_setting('etl.allowed_directories') || '/in') AS name ORDER BY name;
CREATE VIEW public.pu_archived AS SELECT name FROM pg_ls_dir(current_setting('etl.allowed_directories') || '/done') AS name ORDER BY name;

-- a file that was written a moment ago is still being written
SELECT etl.define_stream('pu.s', 'pu_files', '{"path": "in/*.csv", "settle": "10 min"}', columns => 'id int');
COPY (VALUES ('id'), ('1'), ('2')) TO :'a';
COPY (VALUES ('id'), ('3')) TO :'b';
CALL etl.run('pu.s');
SELECT reason FROM etl.tasks WHERE run_id = etl.last_run_id();
COPY (SELECT) TO PROGRAM :'age';
CALL etl.run('pu.s');
SELECT id FROM pu.s ORDER BY id;

-- one that vanishes is told once; its rows stay
COPY (SELECT) TO PROGRAM :'remove';
CALL etl.run('pu.s');
SELECT replace(reason, :'dir', 'DIR') AS reason FROM etl.tasks WHERE run_id = etl.last_run_id();
CALL etl.run('pu.s');
SELECT reason FROM etl.tasks WHERE run_id = etl.last_run_id();
SELECT level, replace(message, :'dir', 'DIR') AS message FROM etl.logs WHERE node = 'pu.s' AND message LIKE '%vanished';
SELECT count(*) FROM pu.s;

-- unload takes a load out and keeps its file out, also when it changes, until a reload; models follow
SELECT etl.define_model('pu.total', 'SELECT count(*) AS n, sum(id) AS s FROM pu.s', materialized => 'incremental', key => NULL);
CALL etl.run('pu.total');
SELECT load_id FROM etl.loads WHERE target = 'pu.s' AND origin = :'a' \gset
SELECT etl.unload(:load_id);
\set VERBOSITY sqlstate
SELECT etl.unload(:load_id);
\set VERBOSITY terse
SELECT etl.unload(-1);
SELECT etl.unload(NULL);
CALL etl.run('pu.*');
SELECT n, s FROM pu.total;
COPY (VALUES ('id'), ('1'), ('2'), ('4')) TO :'a';
COPY (SELECT) TO PROGRAM :'age';
CALL etl.run('pu.*');
SELECT n, s FROM pu.total;
SELECT status, rows_loaded FROM etl.loads WHERE target = 'pu.s' ORDER BY load_id;
SELECT etl.reload('pu.s', :'a');
CALL etl.run('pu.*');
SELECT n, s FROM pu.total;
CREATE ROLE pu_other;
SELECT max(load_id) AS load_id FROM etl.loads WHERE target = 'pu.s' \gset
GRANT USAGE ON SCHEMA etl TO pu_other;
GRANT EXECUTE ON FUNCTION etl.unload(bigint) TO pu_other;
SET ROLE pu_other;
SELECT etl.unload(:load_id);
RESET ROLE;
SELECT etl.define_stream('pu.m', 'pu_files', '{"path": "in/a.csv"}', columns => 'id int', key => '{id}', mode => 'merge');
CALL etl.run('pu.m');
SELECT max(load_id) AS load_id FROM etl.loads WHERE target = 'pu.m' \gset
SELECT etl.unload(:load_id);

-- archive: the file moves when its load is committed, and never over another
SELECT etl.define_stream('pu.arch', 'pu_files', '{"path": "**/[ab].csv", "after_load": "archive"}', columns => 'id int');
SELECT etl.define_stream('pu.arch', 'pu_files', '{"path": "**/[ab].csv", "after_load": "archive", "archive_to": "done"}', columns => 'id int');
BEGIN;
CALL etl.run('pu.arch');
COMMIT;
SELECT name, id FROM public.pu_there, pu.arch ORDER BY id;
CALL etl.run('pu.arch');
SELECT * FROM public.pu_there;
SELECT * FROM public.pu_archived;
COPY (VALUES ('id'), ('9')) TO :'a';
CALL etl.run('pu.arch');
SELECT * FROM public.pu_archived;
SELECT id FROM pu.arch ORDER BY id;

-- delete; what the owner may not remove stays and is told
SELECT etl.define_stream('pu.del', 'pu_files', '{"path": "in/*.csv", "after_load": "delete"}', columns => 'id int');
COPY (VALUES ('id'), ('7')) TO :'b';
CALL etl.run('pu.del');
SELECT * FROM public.pu_there;
SELECT id FROM pu.del;
CREATE ROLE pu_reader;
GRANT pg_read_server_files, etl_developer, etl_operator TO pu_reader;
CREATE SCHEMA pur AUTHORIZATION pu_reader;
COPY (VALUES ('id'), ('8')) TO :'b';
SET ROLE pu_reader;
SELECT etl.define_source('pu_own', 'file', jsonb_build_object('root', :'dir'));
SELECT etl.define_stream('pur.del', 'pu_own', '{"path": "in/*.csv", "after_load": "delete"}', columns => 'id int');
CALL etl.run('pur.del');
RESET ROLE;
SELECT * FROM public.pu_there;
SELECT id FROM pur.del;

-- folders as Hive names them
COPY (VALUES ('id'), ('1')) TO :'h1';
COPY (VALUES ('id'), ('2')) TO :'h2';
SELECT etl.define_stream('pu.hive', 'pu_files', '{"path": "h/year=*/place=*/*.csv", "path_columns": "hive"}', columns => 'id int, year int');
CALL etl.run('pu.hive');
SELECT id, year, place FROM pu.hive ORDER BY id;
SELECT etl.define_stream('pu.hive', 'pu_files', '{"path": "h/**/*.csv", "path_columns": "hive"}', columns => 'id int, year int');
\set VERBOSITY sqlstate
SET client_min_messages = error;
-- a field with the name of a path column: nothing lands, since one of the two values would be lost
SELECT etl.define_stream('pu.named_twice', 'pu_files', '{"path": "h/year=*/place=*/*.csv", "path_columns": {"id": "year=(\\d+)"}}');
CALL etl.run('pu.named_twice');
SELECT sqlstate, regexp_replace(error, 'of "[^"]*"', 'of a file') AS error, detail, hint FROM etl.tasks WHERE run_id = etl.last_run_id();
SELECT etl.define_stream('pu.named_twice', 'pu_files', '{"path": "h/year=*/place=*/*.csv", "path_columns": {"ID": "year=(\\d+)"}}', columns => 'id int');
CALL etl.run('pu.named_twice');
SELECT sqlstate FROM etl.tasks WHERE run_id = etl.last_run_id();
SELECT etl.define_stream('pu.named_twice', 'pu_files', '{"path": "h/year=*/place=*/*.csv", "header": false, "skip_lines": 1, "path_columns": {"id": "year=(\\d+)"}}', columns => 'id int');
CALL etl.run('pu.named_twice');
SELECT sqlstate FROM etl.tasks WHERE run_id = etl.last_run_id();
SELECT etl.define_stream('pu.named_twice', 'pu_files', '{"path": "h/year=*/place=*/*.csv", "path_columns": {"id": "year=(\\d+)"}, "transform": {"id": "drop"}}', columns => 'id int');
CALL etl.run('pu.named_twice');
SELECT id FROM pu.named_twice ORDER BY id;
RESET client_min_messages;

DROP VIEW public.pu_there, public.pu_archived;
SELECT etl.drop_source('pu_own', cascade => true, drop_relation => true) IS NOT NULL AS dropped;
SELECT etl.drop_source('pu_files', cascade => true, drop_relation => true) IS NOT NULL AS dropped;
DROP SCHEMA pur CASCADE;
REVOKE USAGE ON SCHEMA etl FROM pu_other;
REVOKE EXECUTE ON FUNCTION etl.unload(bigint) FROM pu_other;
DROP ROLE pu_other, pu_reader;
DROP SCHEMA IF EXISTS pu CASCADE;
COPY (SELECT) TO PROGRAM :'clean';
