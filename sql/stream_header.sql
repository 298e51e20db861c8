-- A file without a header gets the names of its fields from the option: columns go by name, rejects are replayed by it, and a wrong list is refused.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY terse
SELECT current_setting('data_directory') || '/etl_regress_he' AS dir \gset
SELECT 'cat > /dev/null; rm -rf ' || :'dir' || '; mkdir ' || :'dir' AS prepare, 'cat > /dev/null; rm -rf ' || :'dir' AS clean, :'dir' || '/a.csv' AS a \gset
COPY (SELECT) TO PROGRAM :'prepare';
SELECT set_config('etl.allowed_directories', :'dir', false) <> '' AS allowed;
SELECT etl.define_source('he_files', 'file', jsonb_build_object('root', :'dir'));

COPY (VALUES ('1,Ann,5'), ('x,Bob,6'), ('3,Eve'), ('4,Zoe,7')) TO :'a' (DELIMITER '|');
SELECT etl.define_stream('he.s', 'he_files', '{"path": "a.csv", "header": ["Id", "Full Name", "n"]}', columns => 'n int, id int');
CALL etl.run('he.s');
SELECT _etl_row, id, full_name, n FROM he.s ORDER BY id;
SELECT position, record, reasons->0->>'check' AS "check" FROM etl.rejects WHERE target = 'he.s' ORDER BY position;
SELECT * FROM etl.replay('he.s', 'position = 2', '{"Id": 2}');
SELECT _etl_row, id, full_name, n FROM he.s ORDER BY id;

-- in the place of the header that the file has
COPY (VALUES ('a,b'), ('1,2')) TO :'a' (DELIMITER '|');
SELECT * FROM etl.preview('he_files', '{"path": "a.csv", "header": ["x", "y"], "skip_lines": 1}');

SELECT etl.define_stream('he.s', 'he_files', '{"path": "a.csv", "header": []}');
SELECT etl.define_stream('he.s', 'he_files', '{"path": "a.csv", "header": ["a", ""]}');
SELECT etl.define_stream('he.s', 'he_files', '{"path": "a.csv", "header": ["a", "b", "a"]}');
SELECT etl.define_stream('he.s', 'he_files', '{"path": "a.csv", "header": "yes"}');

SELECT etl.drop_source('he_files', cascade => true, drop_relation => true) IS NOT NULL AS dropped;
DROP SCHEMA he CASCADE;
COPY (SELECT) TO PROGRAM :'clean';
