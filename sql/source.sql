-- Sources are judged when they are defined: every wrong option is named, with the nearest right one.
\set VERBOSITY verbose
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE FUNCTION pg_temp.told(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
	hint text;
BEGIN
	EXECUTE statement;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN sqlstate || ': ' || sqlerrm || E'\n  ' || detail || E'\n  ' || hint;
END
$$;

-- created, unchanged, updated
SELECT etl.define_source('source_test', 'file', '{"root": "/srv/in"}', 'files');
SELECT etl.define_source('source_test', 'file', '{"root": "/srv/in"}', 'files');
SELECT etl.define_source('source_test', 'file', '{"root": "/srv/other"}', 'files');
SELECT etl.define_source('weird "name"', 'file');
SELECT name, connector, options, description, version FROM etl.sources WHERE name IN ('source_test', 'weird "name"') ORDER BY name;

-- wrong connectors, names and options
\pset format unaligned
\pset tuples_only on
SELECT pg_temp.told($$SELECT etl.define_source('s', 'fil')$$);
SELECT pg_temp.told($$SELECT etl.define_source('', 'file')$$);
SELECT pg_temp.told($$SELECT etl.define_source(NULL, 'file')$$);
SELECT pg_temp.told($$SELECT etl.define_source('s', NULL)$$);
SELECT pg_temp.told($$SELECT etl.define_source('s', 'file', '{"rot": "/srv"}')$$);
SELECT pg_temp.told($$SELECT etl.define_source('s', 'file', '{"root": "srv"}')$$);
SELECT pg_temp.told($$SELECT etl.define_source('s', 'file', '{"root": ["/srv"]}')$$);
SELECT pg_temp.told($$SELECT etl.define_source('s', 'file', '[]')$$);
SELECT pg_temp.told($$SELECT etl.define_source('s', 'http')$$);
SELECT pg_temp.told($$SELECT etl.define_source('s', 'http', '{"url": "ftp://example.com/"}')$$);
SELECT pg_temp.told($$SELECT etl.define_source('s', 'http', '{"url": "example.com"}')$$);
SELECT pg_temp.told($$SELECT etl.define_source('s', 'http', '{"url": "https://user:pw@example.com"}')$$);
SELECT pg_temp.told($$SELECT etl.define_source('s', 'http', '{"url": "https://example.com", "auth": {"type": "beerer"}}')$$);
SELECT pg_temp.told($$SELECT etl.define_source('s', 'http', '{"url": "https://example.com", "auth": {"type": "bearer"}}')$$);
SELECT pg_temp.told($$SELECT etl.define_source('s', 'http', '{"url": "https://example.com", "auth": {"type": "bearer", "tokn": "x"}}')$$);
SELECT pg_temp.told($$SELECT etl.define_source('s', 'http', '{"url": "https://example.com", "retry": {"attempts": 0}}')$$);
SELECT pg_temp.told($$SELECT etl.define_source('s', 'http', '{"url": "https://example.com", "timeout": {"total": "soon"}}')$$);
SELECT pg_temp.told($$SELECT etl.define_source('s', 'http', '{"url": "https://example.com", "rate_limit": {"per": "1 s"}}')$$);
SELECT pg_temp.told($$SELECT etl.define_source('s', 'http', '{"url": "https://example.com", "headers": {"X": "a\r\nY: b"}}')$$);
SELECT pg_temp.told($$SELECT etl.define_source('s', 'http', '{"url": "https://example.com", "max_response_size": "much"}')$$);

-- options of the streams
SELECT etl.define_source('source_http', 'http', '{"url": "https://example.com"}');
SELECT pg_temp.told($$SELECT etl.define_stream('source_raw.t', 'source_http', '{"path": "http://other/"}', 'json')$$);
SELECT pg_temp.told($$SELECT etl.define_stream('source_raw.t', 'source_http', '{"paginate": {"type": "pages"}}', 'json')$$);
SELECT pg_temp.told($$SELECT etl.define_stream('source_raw.t', 'source_http', '{"paginate": {"type": "cursor"}}', 'json')$$);
SELECT pg_temp.told($$SELECT etl.define_stream('source_raw.t', 'source_http', '{"paginate": {"type": "page", "siz": 3}}', 'json')$$);
SELECT pg_temp.told($$SELECT etl.define_stream('source_raw.t', 'source_http', '{"paginate": {"type": "page"}}', 'csv')$$);
SELECT pg_temp.told($$SELECT etl.define_stream('source_raw.t', 'source_http', '{"incremental": {"field": "at"}}', 'json')$$);
SELECT pg_temp.told($$SELECT etl.define_stream('source_raw.t', 'source_http', '{"body": {}}', 'json')$$);
SELECT pg_temp.told($$SELECT etl.define_stream('source_raw.t', 'source_test', '{}', 'csv')$$);
SELECT pg_temp.told($$SELECT etl.define_stream('source_raw.t', 'weird "name"', '{"path": "a.csv"}', 'csv')$$);

-- clear text is hidden, references are not
SELECT etl.redact('{"url": "https://h", "auth": {"type": "api_key", "name": "k", "value": "v1"},
	"headers": {"Authorization": "Bearer v2", "Accept": "json", "X-Api-Key": "v3"}, "query": {"access_token": ["v4", {"a": "b"}]},
	"nested": [{"password": "v5"}, {"password": {"secret": "name"}}], "token_url": "https://t", "value": "shown"}');
SELECT etl.redact(NULL) IS NULL;

-- every option is listed
SELECT option, type, default_value FROM etl.options('file') WHERE option IN ('root', 'path', 'order');
SELECT count(*) > 5 FROM etl.options('http');
SELECT option FROM etl.options('http:incremental');
SELECT left(pg_temp.told($$SELECT etl.options('htp')$$), 60);

-- a source in use stays
SELECT etl.define_stream('source_raw.t', 'source_http', '{"path": "/a"}', 'json', columns => 'id bigint');
SELECT pg_temp.told($$SELECT etl.drop_source('source_http')$$);
SELECT pg_temp.told($$SELECT etl.define_source('source_http', 'file')$$);
SELECT etl.drop_source('source_http', cascade => true);
SELECT count(*) FROM etl.streams WHERE target = 'source_raw.t';
SELECT etl.drop_source('source_http');

-- a source belongs to its owner
CREATE ROLE source_other;
GRANT etl_developer TO source_other;
SET ROLE source_other;
SELECT left(pg_temp.told($$SELECT etl.define_source('source_test', 'file')$$), 5);
SELECT left(pg_temp.told($$SELECT etl.drop_source('source_test')$$), 5);
RESET ROLE;
DROP OWNED BY source_other;
DROP ROLE source_other;
SELECT etl.drop_source('source_test'), etl.drop_source('weird "name"');
