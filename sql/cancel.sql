-- A statement that is cancelled in the middle of what etl evaluates leaves no transaction open behind it.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS etl;
CREATE SCHEMA cn;
CREATE TABLE cn.t AS SELECT 1 AS id;
CREATE FUNCTION cn.slow() RETURNS int LANGUAGE plpgsql AS $$BEGIN PERFORM pg_sleep(600); RETURN 1; END$$;
SELECT etl.define_check('cn.t', 'expression', '{id}', '{"expression": "cn.slow() > 0"}');
SELECT etl.define_model('cn.m', 'SELECT cn.slow() AS n FROM cn.t');
SELECT etl.define_unit_test('cn.m', 'slow', '{"cn.t": [{"id": 1}]}', '[]');
SET statement_timeout = '500ms';
SELECT * FROM etl.check('cn.t');
SELECT 'the session goes on';
SELECT * FROM etl.test('cn.m');
SELECT 'the session goes on';
RESET statement_timeout;
SELECT etl.drop_model('cn.m'), etl.drop_check('cn.t', 'expression_id');
DROP SCHEMA cn CASCADE;
