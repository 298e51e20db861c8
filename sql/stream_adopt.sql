-- A table with rows becomes a stream's target when told: its rows, columns, views and grants stay, etl's columns come, and models see old and new rows.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY sqlstate
SELECT current_setting('data_directory') || '/etl_regress_ad' AS dir \gset
SELECT 'cat > /dev/null; rm -rf ' || :'dir' || '; mkdir ' || :'dir' AS prepare, 'cat > /dev/null; rm -rf ' || :'dir' AS clean,
	:'dir' || '/a.csv' AS a, :'dir' || '/b.csv' AS b \gset
COPY (SELECT) TO PROGRAM :'prepare';
SELECT set_config('etl.allowed_directories', :'dir', false) <> '' AS allowed;
SELECT etl.define_source('ad_files', 'file', jsonb_build_object('root', :'dir'));
CREATE SCHEMA ad;
CREATE ROLE etlt_reader;
COPY (VALUES ('id,the "name",note'), ('2,two,n2'), ('3,three,n3'), ('x,bad,n')) TO :'a' (DELIMITER '|');

CREATE TABLE ad.orders (id bigint, gone int, "the ""name""" varchar(10) DEFAULT 'none', at date DEFAULT '2026-01-01', note text NOT NULL);
ALTER TABLE ad.orders DROP COLUMN gone;
INSERT INTO ad.orders VALUES (1, 'one', '2025-01-01', 'kept'), (2, 'old two', '2025-01-02', 'kept');
CREATE VIEW ad.names AS SELECT id, "the ""name""" FROM ad.orders;
GRANT SELECT ON ad.orders TO etlt_reader;
COMMENT ON TABLE ad.orders IS 'mine';
SELECT 'ad.orders'::regclass::oid AS oid \gset

-- never without being told, nothing of it changed; nor what is no table
SELECT etl.define_stream('ad.orders', 'ad_files', '{"path": "a.csv"}');
CALL etl.run('ad.orders');
SELECT sqlstate, hint FROM etl.tasks WHERE run_id = etl.last_run_id();
SELECT count(*) FROM pg_attribute WHERE attrelid = 'ad.orders'::regclass AND attname LIKE '\_etl%';
SELECT etl.define_stream('ad.names', 'ad_files', '{"path": "a.csv", "adopt": true}');
CALL etl.run('ad.names');
SELECT sqlstate, hint FROM etl.tasks WHERE run_id = etl.last_run_id();
SELECT etl.drop_stream('ad.names');

-- told: etl's columns come, the rows, the view, the grant, the comment and the OID stay
SELECT etl.define_stream('ad.orders', 'ad_files', '{"path": "a.csv", "adopt": true}');
SELECT etl.define_model('ad.sums', 'SELECT note, count(*) AS n, sum(id) AS ids FROM ad.orders GROUP BY note', 'incremental');
CALL etl.run('ad.*');
SELECT _etl_load_id IS NULL AS before, _etl_row, id, "the ""name""" AS name, at, note FROM ad.orders ORDER BY id, before DESC;
SELECT position, reasons->0->>'column' AS "column" FROM etl.rejects WHERE target = 'ad.orders';
SELECT 'ad.orders'::regclass::oid = :oid AS same, obj_description('ad.orders'::regclass), has_table_privilege('etlt_reader', 'ad.orders', 'SELECT') AS granted;
SELECT count(*) FROM ad.names;
SELECT change FROM etl.schema_changes WHERE target = 'ad.orders' ORDER BY 1;
SELECT * FROM ad.sums ORDER BY note;

-- later files: the model follows; a new column comes as to any stream
COPY (VALUES ('id,the "name",note,more'), ('4,four,n3,m')) TO :'b' (DELIMITER '|');
SELECT etl.define_stream('ad.orders', 'ad_files', '{"path": "*.csv", "adopt": true}');
CALL etl.run('ad.*');
SELECT id, "the ""name""" AS name, more FROM ad.orders WHERE id > 3;
SELECT * FROM ad.sums ORDER BY note;
CALL etl.run('ad.*', full_refresh => true);
SELECT * FROM ad.sums ORDER BY note;
-- a changed file replaces its own rows and none of those that were there before
COPY (VALUES ('id,the "name",note'), ('5,five,n5')) TO :'a' (DELIMITER '|');
CALL etl.run('ad.*');
SELECT id, "the ""name""" AS name FROM ad.orders ORDER BY id;
SELECT note, n FROM ad.sums ORDER BY note;

-- merge: rows that were there are updated by key; without a constraint etl makes one, where the rows allow it
CREATE TABLE ad.state (id bigint PRIMARY KEY, note text, mine int DEFAULT 7);
INSERT INTO ad.state VALUES (4, 'before', 1), (9, 'untouched', 2);
SELECT etl.define_stream('ad.state', 'ad_files', '{"path": "b.csv", "adopt": true}', key => '{id}', mode => 'merge', schema_policy => '{"columns": "discard_value"}');
CALL etl.run('ad.state');
SELECT _etl_load_id IS NULL AS before, id, note, mine FROM ad.state ORDER BY id;
CREATE TABLE ad.twice (id bigint, note text);
INSERT INTO ad.twice VALUES (4, 'a'), (4, 'b');
SELECT etl.define_stream('ad.twice', 'ad_files', '{"path": "b.csv", "adopt": true}', key => '{id}', mode => 'merge', schema_policy => '{"columns": "discard_value"}');
CALL etl.run('ad.twice');
SELECT sqlstate, error FROM etl.tasks WHERE run_id = etl.last_run_id();
SELECT * FROM ad.twice ORDER BY note;
DELETE FROM ad.twice WHERE note = 'a';
CALL etl.run('ad.twice');
SELECT _etl_load_id IS NULL AS before, id, note FROM ad.twice;

-- a column of the user's with the name of one of etl's: named, and nothing lands
CREATE TABLE ad.own (_etl_load_id text, id bigint);
SELECT etl.define_stream('ad.own', 'ad_files', '{"path": "b.csv", "adopt": true}', schema_policy => '{"columns": "discard_value"}');
CALL etl.run('ad.own');
SELECT sqlstate, error, hint FROM etl.tasks WHERE run_id = etl.last_run_id();
ALTER TABLE ad.own RENAME _etl_load_id TO load_of_theirs;
CALL etl.run('ad.own');
SELECT _etl_row, id, load_of_theirs FROM ad.own;
ALTER TABLE ad.own ALTER _etl_row TYPE text;
SELECT etl.reload('ad.own');
CALL etl.run('ad.own');
SELECT sqlstate, error FROM etl.tasks WHERE run_id = etl.last_run_id();

-- dropping the stream leaves the table
SELECT etl.drop_model('ad.sums');
SELECT etl.drop_stream('ad.orders');
SELECT count(*) FROM ad.orders;

SELECT etl.drop_source('ad_files', cascade => true) IS NOT NULL AS dropped;
DROP SCHEMA ad CASCADE;
DROP ROLE etlt_reader;
COPY (SELECT) TO PROGRAM :'clean';
