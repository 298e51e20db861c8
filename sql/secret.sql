-- Secrets can be defined and named, and are never shown.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE FUNCTION pg_temp.told(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	RETURN sqlstate || ': ' || sqlerrm;
END
$$;
\pset format unaligned
\pset tuples_only on

-- kinds that need no key
SELECT etl.define_secret('secret_env', env => 'SOME_VARIABLE', allowed_hosts => '{api.example.com,*.example.org:8443}');
SELECT etl.define_secret('secret_env', env => 'SOME_VARIABLE', allowed_hosts => '{api.example.com,*.example.org:8443}');
SELECT etl.define_secret('secret_env', env => 'SOME_VARIABLE', allowed_hosts => '{}');
SELECT etl.define_secret('secret_env', env => 'SOME_VARIABLE', description => 'for a test');
SELECT etl.define_secret('weird "secret" {}', file => '/run/secrets/x');
SELECT name, kind, file, env, allowed_hosts, description, version FROM etl.secrets WHERE name IN ('secret_env', 'weird "secret" {}') ORDER BY name;

-- wrong arguments
SELECT pg_temp.told($$SELECT etl.define_secret(NULL, env => 'A')$$);
SELECT pg_temp.told($$SELECT etl.define_secret('', env => 'A')$$);
SELECT pg_temp.told($$SELECT etl.define_secret('x')$$);
SELECT pg_temp.told($$SELECT etl.define_secret('x', env => 'A', file => '/b')$$);
SELECT pg_temp.told($$SELECT etl.define_secret('x', file => 'b')$$);
SET etl.secret_key_file = '';
SELECT pg_temp.told($$SELECT etl.define_secret('x', 'open sesame')$$);
SET etl.secret_key_file = '/nonexistent/key';
SELECT pg_temp.told($$SELECT etl.define_secret('x', 'open sesame')$$);
RESET etl.secret_key_file;

-- in use
SELECT etl.define_source('secret_source', 'http', '{"url": "https://example.com", "auth": {"type": "bearer", "token": {"secret": "secret_env"}}}');
SELECT options FROM etl.sources WHERE name = 'secret_source';
SELECT pg_temp.told($$SELECT etl.drop_secret('secret_env')$$);
SELECT etl.drop_source('secret_source');

-- only administrators
CREATE ROLE secret_developer;
GRANT etl_developer TO secret_developer;
CREATE ROLE secret_admin;
GRANT etl_admin TO secret_admin;
SET ROLE secret_developer;
SELECT pg_temp.told($$SELECT etl.define_secret('x', env => 'A')$$);
SELECT pg_temp.told($$SELECT etl.drop_secret('secret_env')$$);
SELECT pg_temp.told($$SELECT sealed FROM etl.secret$$);
RESET ROLE;
SET ROLE secret_admin;
SELECT etl.define_secret('secret_own', env => 'A');
SELECT pg_temp.told($$SELECT etl.define_secret('secret_file', file => '/etc/passwd')$$);
SELECT etl.drop_secret('secret_own'), etl.drop_secret('secret_own');
RESET ROLE;
DROP ROLE secret_developer, secret_admin;
SELECT etl.drop_secret('secret_env'), etl.drop_secret('weird "secret" {}');
