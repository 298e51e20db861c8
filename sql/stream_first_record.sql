-- The key and the types of a stream may come with its first record: what came empty before it is no fault; managed views give way to a wider type.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY sqlstate
SET timezone = 'UTC';
SELECT current_setting('data_directory') || '/etl_regress_fr' AS dir \gset
SELECT 'cat > /dev/null; rm -rf ' || :'dir' || '; mkdir ' || :'dir' AS prepare, 'cat > /dev/null; rm -rf ' || :'dir' AS clean,
	'cat > /dev/null; printf ' AS printf, ' > ' || :'dir' || '/' AS into \gset
COPY (SELECT) TO PROGRAM :'prepare';
SELECT set_config('etl.allowed_directories', :'dir', false) <> '' AS allowed;
SELECT etl.define_source('fr_files', 'file', jsonb_build_object('root', :'dir'));

-- empty files, and one with nothing but rejects, come before the first record
SELECT :'printf' || $$''$$ || :'into' || 'a1.ndjson' AS make \gset
COPY (SELECT) TO PROGRAM :'make';
SELECT :'printf' || $$'{bad\n'$$ || :'into' || 'a2.ndjson' AS make \gset
COPY (SELECT) TO PROGRAM :'make';
SELECT etl.define_stream('fr.late', 'fr_files', '{"path": "a*.ndjson"}', key => '{id}', mode => 'merge', event_time => 'at');
CALL etl.run('fr.late');
SELECT :'printf' || $$'{"id":1,"at":"2024-01-01","v":"a"}\n{"id":1,"at":"2024-01-02","v":"b"}\n{"v":"no key"}\n'$$ || :'into' || 'a3.ndjson' AS make \gset
COPY (SELECT) TO PROGRAM :'make';
CALL etl.run('fr.late');
SELECT id, at, v FROM fr.late;
SELECT rows_read, rows_loaded, rows_deduplicated, rows_rejected FROM etl.loads WHERE target = 'fr.late' ORDER BY load_id;
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'fr.late'::regclass AND contype = 'p';

-- the key may be inferred where other columns are declared; a key that no record has is an error
SELECT :'printf' || $$'id,n,at\n1,x,2024-01-02\n2,5,2024-01-01\n'$$ || :'into' || 'b1.csv' AS make \gset
COPY (SELECT) TO PROGRAM :'make';
SELECT etl.define_stream('fr.partly', 'fr_files', '{"path": "b*.csv"}', columns => 'n int', key => '{id}', mode => 'merge', event_time => 'at');
CALL etl.run('fr.partly');
SELECT id, n, at FROM fr.partly;
SELECT etl.define_stream('fr.wrong', 'fr_files', '{"path": "b*.csv"}', columns => 'n int', key => '{nr}');
CALL etl.run('fr.wrong');

-- a patch that names neither a column nor a field is refused, and nothing is replayed
\set VERBOSITY default
SELECT * FROM etl.replay('fr.partly', patch => '{"nn": 7}');
\set VERBOSITY sqlstate
SELECT * FROM etl.replay('fr.partly', patch => '{"n": 7}');
SELECT id, n, at FROM fr.partly ORDER BY id;

-- without a header fields go by position, and those behind the last column make new ones
SELECT :'printf' || $$'1,a,x\n2,b,y\n'$$ || :'into' || 'h1.csv' AS make \gset
COPY (SELECT) TO PROGRAM :'make';
SELECT etl.define_stream('fr.bare', 'fr_files', '{"path": "h*.csv", "header": false}', columns => 'id int, n text');
CALL etl.run('fr.bare');
SELECT * FROM (SELECT to_jsonb(b) - '_etl_load_id' FROM fr.bare AS b ORDER BY id) AS rows;
-- names are in small letters, whatever the locale
SELECT :'printf' || $$'ÄrgerÖl,ЦЕНА,Größe,ΤΙΜΗ,Łódź\n1,2,3,4,5\n'$$ || :'into' || 'u1.csv' AS make \gset
COPY (SELECT) TO PROGRAM :'make';
SELECT etl.define_stream('fr.names', 'fr_files', '{"path": "u*.csv"}');
CALL etl.run('fr.names');
SELECT attname, col_description(attrelid, attnum) AS original FROM pg_attribute WHERE attrelid = 'fr.names'::regclass AND attnum > 2 ORDER BY attnum;

-- a wider type: views that are models come back with it, their grants too; others stand in its way
SELECT :'printf' || $$'id,n,d\n1,1,2024-01-01\n'$$ || :'into' || 'c1.csv' AS make \gset
COPY (SELECT) TO PROGRAM :'make';
SELECT etl.define_stream('fr.wide', 'fr_files', '{"path": "c*.csv"}');
SELECT etl.define_model('fr.view', 'SELECT id, n, d FROM fr.wide');
SELECT etl.define_model('fr.view_on_view', 'SELECT id, n + 1 AS n FROM fr.view');
SELECT etl.define_model('fr.stored', 'SELECT id, n FROM fr.view', materialized => 'table');
CALL etl.run('fr.wide+');
GRANT SELECT ON fr.view TO PUBLIC;
SELECT :'printf' || $$'id,n,d\n2,2.5,2024-01-01T10:00:00Z\n'$$ || :'into' || 'c2.csv' AS make \gset
COPY (SELECT) TO PROGRAM :'make';
CALL etl.run('fr.wide+');
SELECT * FROM fr.view ORDER BY id;
SELECT * FROM fr.view_on_view ORDER BY id;
SELECT * FROM fr.stored ORDER BY id;
SELECT relacl IS NOT NULL AS granted FROM pg_class WHERE oid = 'fr.view'::regclass;
SELECT change, column_name, old_type, new_type FROM etl.schema_changes WHERE target = 'fr.wide' AND change = 'type_widened' ORDER BY column_name;
SELECT :'printf' || $$'id,n,d\n3.5,3,2024-01-01\n4,4,2024-01-01\n'$$ || :'into' || 'c3.csv' AS make \gset
COPY (SELECT) TO PROGRAM :'make';
CREATE VIEW fr.unmanaged AS SELECT id FROM fr.view;
CALL etl.run('fr.wide');
SELECT id FROM fr.view ORDER BY id;
SELECT record, reasons->0->>'message' AS message FROM etl.rejects WHERE target = 'fr.wide';

COPY (SELECT) TO PROGRAM :'clean';
SELECT etl.drop_model('fr.view', cascade => true);
SELECT etl.drop_source('fr_files', cascade => true);
DROP SCHEMA fr CASCADE;
