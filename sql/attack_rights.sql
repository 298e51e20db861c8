-- Rights hold against developers and viewers who are hostile: what a view hides stays hidden, and etl writes nothing that the owner of a definition may not write.
\set VERBOSITY terse
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SET client_min_messages = warning;
\! mkdir -p /tmp/etl_attack && printf 'id,name\n1,a\nx,secret\n' > /tmp/etl_attack/o.csv
LOAD 'etl';
SET etl.allowed_directories = '/tmp/etl_attack';
CREATE ROLE etlt_ann;
CREATE ROLE etlt_bob;
CREATE ROLE etlt_watch;
CREATE ROLE etlt_ops;
GRANT etl_developer, pg_read_server_files TO etlt_ann, etlt_bob;
GRANT etl_viewer TO etlt_watch;
GRANT etl_operator TO etlt_ops;
CREATE SCHEMA ar;
GRANT ALL ON SCHEMA ar TO etlt_ann, etlt_bob, etlt_watch;

SET ROLE etlt_ann;
SELECT etl.define_source('ar_files', 'file', '{"root": "/tmp/etl_attack"}');
SELECT etl.define_stream('ar.orders', 'ar_files', '{"path": "o.csv"}', columns => 'id bigint, name text');
SELECT etl.define_stream('ar.later', 'ar_files', '{"path": "o.csv"}', columns => 'id bigint, name text');
SELECT etl.define_model('ar.names', 'SELECT name FROM ar.orders', 'table');
CALL etl.run('ar.*');
SELECT target, status FROM etl.rejects WHERE target LIKE 'ar.%' ORDER BY 1;

-- a cheap function in a query does not see the rows that a view hides
SET ROLE etlt_watch;
CREATE FUNCTION ar.tell(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001
	AS $$ BEGIN RAISE WARNING 'leaked: %', $1; RETURN true; END $$;
SELECT count(*) FROM etl.rejects WHERE ar.tell(record);
SELECT count(*) FROM etl.models WHERE ar.tell(query);
SELECT count(*) FROM etl.loads WHERE ar.tell(origin);
RESET ROLE;
SELECT relname AS without_barrier FROM pg_class
WHERE relnamespace = 'etl'::regnamespace AND relkind = 'v' AND reloptions IS DISTINCT FROM '{security_barrier=true}';

-- a filter sees what its caller may see, and reaches only the rejects of the stream it is for
SET ROLE etlt_ops;
SELECT etl.discard('ar.orders', 'ar.tell(record)');
SELECT * FROM etl.replay('ar.orders', 'ar.tell(record)');
SET ROLE etlt_ann;
SELECT etl.discard('ar.orders', $$false) UNION SELECT reject_id FROM etl.rejects WHERE (target = 'ar.later'$$);
SELECT etl.discard('ar.orders', $$true) UNION ALL SELECT reject_id FROM etl.rejects WHERE (target LIKE 'ar.%'$$);
SELECT target, status FROM etl.rejects WHERE target LIKE 'ar.%' ORDER BY 1;

-- a relation of another cannot be made a target, which would show its rejects; nor is it written to when it comes later
SET ROLE etlt_bob;
SELECT etl.define_stream('ar.plain', 'ar_files', '{"path": "o.csv", "adopt": true}', columns => 'id bigint, name text');
SELECT etl.define_model('ar.plainer', $$SELECT 'mine' AS name$$, 'table', options => '{"adopt": true}');
SET ROLE etlt_ann;
SELECT etl.drop_stream('ar.later');
SELECT etl.drop_model('ar.names');
CREATE TABLE ar.plainer (name text);
CREATE TABLE ar.plain (_etl_load_id bigint, _etl_row bigint, id bigint, name text);
SET ROLE etlt_bob;
SELECT etl.define_stream('ar.later', 'ar_files', '{"path": "o.csv"}', columns => 'id bigint, name text');
SELECT etl.define_model('ar.names', $$SELECT 'mine' AS name$$, 'table', options => '{"adopt": true}');
SELECT count(*) FROM etl.rejects;
SET client_min_messages = error;
\set VERBOSITY sqlstate
CALL etl.run('ar.plain ar.plainer');
\set VERBOSITY terse
RESET client_min_messages;
SELECT node, sqlstate, error FROM etl.tasks WHERE run_id = etl.last_run_id() ORDER BY node;
RESET ROLE;
SELECT * FROM ar.names;
SELECT count(*) FROM ar.plain;
SELECT count(*) FROM ar.plainer;
-- nor to what is the server's or etl's own
SELECT etl.define_model('pg_catalog.pg_authid', 'SELECT 1 AS oid', 'table', options => '{"adopt": true}');
SELECT etl.define_model('information_schema.x', 'SELECT 1 AS a');
SELECT etl.define_model('pg_temp.x', 'SELECT 1 AS a', 'table');
SELECT etl.define_stream('etl.reject', 'ar_files', '{"path": "o.csv", "adopt": true}');

SELECT count(*) > 5 AS listed FROM etl.options('model');

-- adoption drops no data: a view does not take the place of a table, nor a table that of another kind of relation
SET client_min_messages = error;
CREATE TABLE ar.kept AS SELECT 1 AS a;
CREATE MATERIALIZED VIEW ar.kept_too AS SELECT 1 AS a;
SELECT etl.define_model('ar.kept', 'SELECT 2 AS a', options => '{"adopt": true}'),
	etl.define_model('ar.kept_too', 'SELECT 2 AS a', 'table', options => '{"adopt": true}');
\set VERBOSITY sqlstate
CALL etl.run('ar.kept ar.kept_too');
\set VERBOSITY terse
SELECT node, sqlstate, error FROM etl.tasks WHERE run_id = etl.last_run_id() ORDER BY node;
SELECT a FROM ar.kept UNION ALL SELECT a FROM ar.kept_too;

SELECT etl.drop_model('ar.kept'), etl.drop_model('ar.kept_too'), etl.drop_model('ar.plainer'), etl.drop_stream('ar.plain'),
	etl.drop_stream('ar.orders', true, true), etl.drop_source('ar_files');
DROP SCHEMA ar CASCADE;
DROP OWNED BY etlt_ann, etlt_bob, etlt_watch, etlt_ops;
DROP ROLE etlt_ann, etlt_bob, etlt_watch, etlt_ops;
\! rm -r /tmp/etl_attack
