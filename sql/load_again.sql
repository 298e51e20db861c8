-- What a load takes the place of leaves no open reject behind, and what cannot be taken out is not said to be.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY terse
SELECT current_setting('data_directory') || '/etl_regress_la' AS dir \gset
SELECT 'cat > /dev/null; rm -rf ' || :'dir' || '; mkdir -p ' || :'dir' AS prepare, 'cat > /dev/null; rm -rf ' || :'dir' AS clean,
	:'dir' || '/state.csv' AS state, :'dir' || '/all.csv' AS all,
	:'dir' || '/n.json' AS nested \gset
COPY (SELECT) TO PROGRAM :'prepare';
SELECT set_config('etl.allowed_directories', :'dir', false) <> '' AS allowed;
SELECT etl.define_source('la_files', 'file', jsonb_build_object('root', :'dir'));

-- a merge stream: the corrected file closes the rejects of the former one
SELECT etl.define_stream('la.state', 'la_files', '{"path": "state.csv"}', columns => 'id int, v int', key => '{id}', mode => 'merge');
COPY (VALUES ('id,v'), ('1,10'), ('2,x'), ('3,y')) TO :'state';
CALL etl.run('la.state');
COPY (VALUES ('id,v'), ('1,10'), ('2,20'), ('3,y'), ('4,40')) TO :'state';
CALL etl.run('la.state');
SELECT status, position, record FROM etl.rejects WHERE target = 'la.state' ORDER BY reject_id;
SELECT etl.reload('la.state');
CALL etl.run('la.state');
SELECT status, count(*) FROM etl.rejects WHERE target = 'la.state' GROUP BY 1 ORDER BY 1;
SELECT id, v FROM la.state ORDER BY id;

-- a replace stream: what a load replaces is not replayed into it
SELECT etl.define_stream('la.whole', 'la_files', '{"path": "all.csv"}', columns => 'id int, v int', mode => 'replace');
COPY (VALUES ('id,v'), ('1,10'), ('2,x')) TO :'all';
CALL etl.run('la.whole');
COPY (VALUES ('id,v'), ('1,11')) TO :'all';
CALL etl.run('la.whole');
SELECT status, record FROM etl.rejects WHERE target = 'la.whole';
SELECT * FROM etl.replay('la.whole', patch => '{"v": 1}');
SELECT id, v FROM la.whole;

-- a replay's rows belong to the loads that they were read with
SELECT etl.define_stream('la.rows', 'la_files', '{"path": "state.csv"}', columns => 'id int, v int');
CALL etl.run('la.rows');
SELECT * FROM etl.replay('la.rows', patch => '{"v": null}');
SELECT load_id FROM etl.loads WHERE target = 'la.rows' AND origin = 'replay' \gset
\set VERBOSITY sqlstate
SELECT etl.unload(:load_id);
\set VERBOSITY terse
SELECT id, v FROM la.rows ORDER BY id;

-- a record whose clear text is not kept is replayed though its nested values stood on several lines
SELECT etl.define_secret('la_key', 'a key of more than sixteen bytes');
SELECT etl.define_stream('la.nested', 'la_files', '{"path": "n.json", "transform": {"mail": {"hash": {"secret": "la_key"}}}}', 'json',
	columns => 'id int, mail text, more jsonb');
COPY (VALUES ('[{"id": "x", "mail": "a@b.c", "more": {'), ('"a": 1,'), ('"b": [1,'), ('2]}}]')) TO :'nested';
CALL etl.run('la.nested');
SELECT record LIKE '%a@b.c%' AS clear, strpos(record, E'\n') AS line_ends FROM etl.rejects WHERE target = 'la.nested';
SELECT * FROM etl.replay('la.nested', patch => '{"id": 7}');
SELECT id, length(mail), more FROM la.nested;

COPY (SELECT) TO PROGRAM :'clean';
DROP SCHEMA la CASCADE;
SELECT etl.drop_source('la_files', true);
SELECT etl.drop_secret('la_key');
