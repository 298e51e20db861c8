-- What cannot work is refused where it is defined, with an error that names the argument or option and what to write.
\set VERBOSITY default
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS etl;
CREATE SCHEMA dr;
CREATE TABLE dr.t (id int, a text, amt numeric, ts timestamptz);
SELECT etl.define_source('dr_files', 'file', '{"root": "/data"}');
SELECT etl.define_source('dr_api', 'http', '{"url": "http://example.com"}');

-- columns and keys of streams
SELECT etl.define_stream('dr.s', 'dr_files', '{"path": "*.csv"}', key => '{""}');
SELECT etl.define_stream('dr.s', 'dr_files', '{"path": "*.csv"}', key => '{{a,b},{c,d}}');
SELECT etl.define_stream('dr.s', 'dr_files', '{"path": "*.csv"}', key => '{_etl_row}', mode => 'merge');
SELECT etl.define_stream('dr.s', 'dr_files', '{"path": "*.csv"}', columns => 'id json', key => '{id}', mode => 'merge');
SELECT etl.define_stream('dr.s', 'dr_files', '{"path": "*.csv"}', columns => 'id int, id text');
SELECT etl.define_stream('dr.s', 'dr_files', '{"path": "*.csv"}', columns => 'ctid int');
SELECT etl.define_stream('dr.s', 'dr_files', '{"path": "*.csv"}', columns => 'id int,, a text');
SELECT etl.define_stream('dr.s', 'dr_files', '{"path": "*.csv"}', event_time => '');
SELECT etl.define_stream('dr.s', 'dr_files', '{"path": "*.csv"}', tags => '{"a b"}');
SELECT etl.define_stream('dr.s', 'dr_files', '{"path": "*.csv"}', contract => '{"watermark": "-2 days"}');
SELECT etl.define_stream('dr.s', 'dr_files', '{"path": "*.csv", "on_change": "replace"}', key => '{id}', mode => 'merge');

-- what a hint says lists the options is a set of them
SELECT etl.define_stream('dr.s', 'dr_files', '{"path": "*.csv"}', contract => '{"privacy": "public"}');
SELECT etl.define_stream('dr.s', 'dr_files', '{"path": "*.csv"}', contract => '{"delivery": "often"}');
SELECT etl.define_stream('dr.s', 'dr_files', '{"path": "*.csv", "retention": {"max_days": 3}}');
SELECT etl.define_stream('dr.s', 'dr_files', '{"path": "*.csv", "retention": {"max_loads": 0}}');
SELECT etl.define_stream('dr.s', 'dr_files', '{"path": "*.csv", "transform": {"a": {"casts": "int"}}}');
SELECT etl.define_stream('dr.s', 'dr_files', '{"path": "*.csv", "decrypt": {"keys": {"secret": "s"}}}');
SELECT etl.define_stream('dr.s', 'dr_files', '{"path": "*.csv", "partition_by": "year"}');
SELECT etl.define_stream('dr.s', 'dr_files', '{"path": "*.csv", "invalid_bytes": "drop"}');
SELECT etl.define_model('dr.m', 'SELECT id FROM dr.t', 'table', options => '{"retry": {"tries": 3}}');
SELECT etl.define_model('dr.m', 'SELECT id FROM dr.t', 'table', options => '{"contract": {"column": {}}}');
SELECT etl.define_schedule('dr', every => '1 h', options => '{"blackout": [{"from": "22:00"}]}');
SELECT s AS of, (SELECT string_agg(option, ' ') FROM etl.options(s)) AS options
	FROM unnest('{stream:contract,stream:retention,stream:transform,stream:decrypt,retry,model:contract,schedule:blackout}'::text[]) AS s;

-- their options
SELECT etl.define_stream('dr.s', 'dr_files', '{"path": "*.csv", "skip_lines": -1}');
SELECT etl.define_stream('dr.s', 'dr_files', '{"path": "*.csv", "skip_lines": 99999999999999999999}');
SELECT etl.define_stream('dr.s', 'dr_files', '{"path": "*.csv", "delimiter": ""}');
SELECT etl.define_stream('dr.s', 'dr_files', '{"path": "*.csv", "delimiter": ";", "quote": ";"}');
SELECT etl.define_stream('dr.s', 'dr_files', '{"path": "*.csv", "encoding": "klingon"}');
SELECT etl.define_stream('dr.s', 'dr_files', '{"path": "*.csv", "max_rejects": "120%"}');
SELECT etl.define_stream('dr.s', 'dr_api', '{"path": "/x", "paginate": {"type": "page", "size": 0}}');
SELECT etl.define_stream('dr.s', 'dr_api', '{"path": "/x", "paginate": {"type": "page", "max_pages": 0}}');
SELECT etl.define_stream('dr.s', 'dr_api', '{"path": "/x", "incremental": {"field": "id", "param": "p", "lookback": "-1 d"}}');
SELECT etl.define_source('dr_x', 'http', '{"url": "http://example.com", "max_response_size": "-1MB"}');
SELECT etl.define_source('dr_x', 'http', '{"url": "http://example.com", "timeout": {"total": "-1 s"}}');
SELECT etl.define_secret('dr_x', env => '');
SELECT etl.define_secret('dr_x', env => 'X', allowed_hosts => '{""}');

-- models
SELECT etl.define_model('dr.m', 'SELECT id FROM dr.t', 'incremental', key => '{id,id}');
SELECT etl.define_model('dr.m', 'SELECT to_json(id) AS id, amt FROM dr.t', 'incremental', key => '{id}');
SELECT etl.define_model('dr.m', 'SELECT point(id, id) AS at, amt FROM dr.t', 'table', key => '{at}');
SELECT etl.define_model('dr.m', 'SELECT id, id FROM dr.t', 'table');
SELECT etl.define_model('dr.m', 'SELECT id AS ctid FROM dr.t', 'table');
SELECT etl.define_model('dr.m', 'SELECT ROW(1, 2) AS a', 'table');
SELECT etl.define_model('dr.m', 'SELECT $1 AS a', 'table');
SELECT etl.define_model('dr.m', 'SELECT id FROM dr.t', 'table', options => '{"indexes": 5}');
SELECT etl.define_model('dr.m', 'SELECT id FROM dr.t', 'table', options => '{"indexes": [[]]}');
SELECT etl.define_model('dr.m', 'SELECT id FROM dr.t', 'table', options => '{"indexes": [5]}');
SELECT etl.define_model('dr.m', 'SELECT id FROM dr.t', 'table', options => '{"indexes": [[null]]}');
SELECT etl.define_model('dr.m', 'SELECT id FROM dr.t', 'table', options => '{"indexes": [["id", "id"]]}');
SELECT etl.define_model('dr.m', 'SELECT id FROM dr.t', 'table', options => '{"unique": [["idd"]]}');
SELECT etl.define_model('dr.m', 'SELECT id FROM dr.t', 'table', options => '{"indexes": ["id desc, lower("]}');
SELECT etl.define_model('dr.m', 'SELECT id FROM dr.t', 'table', options => '{"indexes": ["id) WHERE (id > 1"]}');
SELECT etl.define_model('dr.m', 'SELECT id FROM dr.missing', 'table', options => '{"indexes": {"id": 1}}');
SELECT etl.define_model('dr.m', 'SELECT id FROM dr.t', 'table', options => '{"with": {"fillfactor": 500}}');
SELECT etl.define_model('dr.m', 'SELECT id FROM dr.t', 'table', options => '{"post_hook": "not sql"}');
SELECT etl.define_model('dr.m', 'SELECT id FROM dr.t', 'table', options => '{"depends_on": [5]}');

-- checks
SELECT etl.define_check('dr.t', 'not_null', '{""}');
SELECT etl.define_check('dr.t', 'not_null', '{{a},{id}}');
SELECT etl.define_check('dr.t', 'range', '{amt}', '{"min": 5, "max": 1}');
SELECT etl.define_check('dr.t', 'range', '{ts}', '{"min": "2026-02-01", "max": "2026-01-31"}');
SELECT etl.define_check('dr.t', 'row_count', '{}', '{"min": 5, "max": 1}');
SELECT etl.define_check('dr.t', 'row_count', '{}', '{"min": -5}');
SELECT etl.define_check('dr.t', 'row_count', '{}', '{"max": 1e30}');
SELECT etl.define_check('dr.t', 'not_null', '{a}', '{"weight": 0}');
SELECT etl.define_check('dr.t', 'not_null', '{a}', '{"max_failed": "101%"}');
SELECT etl.define_check('dr.t', 'accepted_values', '{a}', '{"values": []}');
SELECT etl.define_check('dr.t', 'freshness', '{ts}', '{"max_age": "0"}');

-- intervals that no timestamp ends
SELECT etl.define_model('dr.long', 'SELECT now() AS at', 'incremental', event_time => 'at', batch_size => '2562047788:00:54');
SELECT etl.define_model('dr.long', 'SELECT now() AS at', 'incremental', event_time => 'at', batch_size => '1001 years');

-- and a drop without a name
\set VERBOSITY sqlstate
SELECT etl.drop_source(NULL);
SELECT etl.drop_stream(NULL);
SELECT etl.drop_model(NULL);
SELECT etl.drop_secret(NULL);
SELECT etl.drop_check(NULL, 'x');
SELECT etl.drop_check('dr.t', NULL);
\set VERBOSITY default

-- what is merely unusual is accepted, and works
SELECT etl.define_check('dr.t', 'range', '{amt}', '{"min": 5, "max": 5}', name => 'one_value');
SELECT etl.define_model('dr.m', 'SELECT id, a AS "A b" FROM dr.t', 'table',
	options => '{"indexes": [["A b", "id"], "lower(\"A b\") DESC, id"], "unique": ["id"], "with": {"fillfactor": 70}}');
CALL etl.run('dr.m');
SELECT regexp_replace(indexdef, '_etl_([iu])[0-9a-f]+', '_\1') FROM pg_indexes WHERE tablename = 'm' AND schemaname = 'dr' ORDER BY 1;
SELECT count(*) FROM etl.streams WHERE target LIKE 'dr.%';

SELECT etl.drop_model('dr.m', drop_relation => true);
SELECT etl.drop_source('dr_files'), etl.drop_source('dr_api');
SELECT etl.drop_check('dr.t', 'one_value');
DROP SCHEMA dr CASCADE;
