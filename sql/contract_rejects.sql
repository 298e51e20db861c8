-- A row that a unique check quarantines after it landed keeps its record byte for byte, and can be replayed.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SELECT current_setting('data_directory') || '/etl_regress_cr' AS dir \gset
SELECT 'cat > /dev/null; rm -rf ' || :'dir' || '; mkdir ' || :'dir' AS prepare, 'cat > /dev/null; rm -rf ' || :'dir' AS clean,
	:'dir' || '/a.csv' AS a \gset
COPY (SELECT) TO PROGRAM :'prepare';
SELECT set_config('etl.allowed_directories', :'dir', false) <> '' AS allowed;
CREATE SCHEMA cr;
SELECT etl.define_source('cr_files', 'file', jsonb_build_object('root', :'dir'));
SELECT etl.define_stream('cr.a', 'cr_files', '{"path": "a.csv", "delimiter": ";"}', columns => 'id int, v text');
SELECT etl.define_check('cr.a', 'unique', '{id}', on_fail => 'quarantine');
COPY (VALUES ('id;v'), ('1;x'), ('1;"y; z"'), ('2;t'), ('2;t')) TO :'a';
CALL etl.run('cr.a');
SELECT _etl_row, id, v FROM cr.a ORDER BY _etl_row;
SELECT position, record, record_size, encode(raw, 'escape') AS raw, reasons, status FROM etl.rejects
	WHERE target = 'cr.a' ORDER BY position;
SELECT rows_read, rows_loaded, rows_rejected FROM etl.loads WHERE target = 'cr.a';
SELECT bool_and(r.origin = l.origin) FROM etl.rejects r JOIN etl.loads l USING (load_id) WHERE r.target = 'cr.a';

-- as it is, it is rejected again; patched, it lands with its first place
SELECT * FROM etl.replay('cr.a', 'position = 3');
SELECT count(*) FROM etl.rejects WHERE target = 'cr.a' AND status = 'open';
SELECT * FROM etl.replay('cr.a', 'position = 3', '{"id": 9}');
SELECT _etl_row, id, v FROM cr.a ORDER BY _etl_row;

SELECT etl.drop_stream('cr.a', true, true), etl.drop_source('cr_files');
DROP SCHEMA cr;
COPY (SELECT) TO PROGRAM :'clean';
