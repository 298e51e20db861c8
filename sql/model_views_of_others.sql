-- A model that reads a stream only through the view of another role never needs more rights than the view gives.
\set VERBOSITY terse
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SELECT '/tmp/etl_views_of_others_' || system_identifier AS dir FROM pg_control_system() \gset
\set command 'cat > /dev/null; rm -rf ' :dir ' && mkdir -p ' :dir
COPY (SELECT) TO PROGRAM :'command';
SET etl.allowed_directories = :'dir';
CREATE ROLE etlt_reader;
GRANT etl_developer TO etlt_reader;
CREATE SCHEMA vo;
CREATE SCHEMA vo_reader;
GRANT USAGE ON SCHEMA vo TO etlt_reader;
GRANT ALL ON SCHEMA vo_reader TO etlt_reader;
SELECT etl.define_source('vo_files', 'file', jsonb_build_object('root', :'dir'));
SELECT etl.define_stream('vo.s', 'vo_files', '{"path": "*.csv"}', columns => 'id bigint, name text', format => 'csv');
\set command 'cat > ' :dir '/1.csv'
COPY (VALUES ('id,name'), ('1,a'), ('2,b')) TO PROGRAM :'command';
CALL etl.run('vo.s');
CREATE VIEW vo.w AS SELECT id, name FROM vo.s;
GRANT SELECT ON vo.w TO etlt_reader;

SET ROLE etlt_reader;
SELECT etl.define_model('vo_reader.m', 'SELECT name, count(*) AS n FROM vo.w GROUP BY name', 'incremental', key => '{name}');
RESET ROLE;
CALL etl.run('vo_reader.m');
\set command 'cat > ' :dir '/2.csv'
COPY (VALUES ('id,name'), ('3,b'), ('4,c')) TO PROGRAM :'command';
CALL etl.run('vo.s vo_reader.m');
SELECT * FROM vo_reader.m ORDER BY name;
SELECT node, action, status, reason FROM etl.tasks WHERE run_id = etl.last_run_id() ORDER BY node;

-- without the view's grant there is nothing left
REVOKE SELECT ON vo.w FROM etlt_reader;
\set command 'cat > ' :dir '/3.csv'
COPY (VALUES ('id,name'), ('5,d')) TO PROGRAM :'command';
\set VERBOSITY sqlstate
CALL etl.run('vo.s vo_reader.m');
\set VERBOSITY terse
SELECT node, status, error FROM etl.tasks WHERE run_id = etl.last_run_id() ORDER BY node;
SELECT * FROM vo_reader.m ORDER BY name;

SELECT etl.drop_model('vo_reader.m', drop_relation => true);
DROP VIEW vo.w;
SELECT etl.drop_stream('vo.s', drop_relation => true), etl.drop_source('vo_files');
DROP SCHEMA vo, vo_reader;
DROP OWNED BY etlt_reader;
DROP ROLE etlt_reader;
\set command 'cat > /dev/null; rm -r ' :dir
COPY (SELECT) TO PROGRAM :'command';
