-- A change is told by what it means to readers; a contract holds before a row is read; what is deprecated warns.
\set VERBOSITY terse
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SET client_min_messages = warning;
CREATE SCHEMA cc;
CREATE TABLE cc.t (id int, a numeric(10,2), b text);
SELECT etl.define_source('cc_push', 'push');
SELECT etl.define_stream('cc.s', 'cc_push', columns => 'id int, a numeric(10,2), b text');
SELECT etl.ingest('cc.s', '[{"id": 1, "a": 2.5, "b": "x"}, {"id": 2, "a": null, "b": "y"}]') > 0;
SELECT etl.define_model('cc.m', 'SELECT id, a, b FROM cc.s WHERE id > 0', 'table', key => '{id}');
SELECT etl.define_model('cc.n', 'SELECT id, a * 2 AS twice, upper(b) AS u FROM cc.m', 'table');
SELECT etl.define_model('cc.o', 'SELECT sum(twice) AS total, max(u) AS u FROM cc.n');
CALL etl.run('cc.*');

-- comments, layout, names that mean the same, description, tags, and how it is run: nothing to build
SELECT etl.define_model('cc.m', E'/* the same */ SELECT id, a,\n b FROM cc."s" AS x WHERE (x.id > 0) -- really', 'table', key => '{id}', description => 'd', tags => '{t}', options => '{"pool": "p", "keep_versions": 1}');
SELECT version, served_version FROM etl.models WHERE target = 'cc.m';
SELECT node, action FROM etl.plan('cc.*', 'cc.s');
SELECT node FROM etl.plan('state:modified');
SELECT obj_description('cc.m'::regclass);
SELECT * FROM etl.impact('cc.m');
SELECT * FROM etl.impact('cc.m', 'select s.id,a,b from cc.s where id>0');

-- additive
SELECT * FROM etl.impact('cc.m', 'SELECT id, a, b, a + 1 AS c FROM cc.s WHERE id > 0');
-- one column is another expression, one is gone, one has another type, the rows are others
SELECT * FROM etl.impact('cc.m', 'SELECT id, a + 1 AS a, b FROM cc.s WHERE id > 0');
SELECT * FROM etl.impact('cc.m', 'SELECT id, a FROM cc.s WHERE id > 0');
SELECT * FROM etl.impact('cc.m', 'SELECT id, a::int AS a, b FROM cc.s WHERE id > 0');
SELECT * FROM etl.impact('cc.m', 'SELECT id, a, b FROM cc.s WHERE id > 1');
SELECT * FROM etl.impact('cc.m', 'SELECT b, id, a FROM cc.s WHERE id > 0');
SELECT change_class, column_name, change, node, effect FROM etl.impact('cc.n', 'SELECT id, sum(a) AS twice, b AS u FROM cc.m GROUP BY id, b');
SELECT change_class, column_name, change FROM etl.impact('cc.o', 'SELECT 1.0 AS total, NULL::text AS u UNION ALL SELECT sum(twice), max(u) FROM cc.n');
SELECT etl.impact('cc.m', 'SELECT nonsense FROM cc.s');
SELECT etl.impact('cc.m', 'DROP TABLE cc.s');
SELECT etl.impact('cc.nothing');
-- what is not built yet, beside what is served
SELECT etl.define_model('cc.m', 'SELECT id, a, b, a + 1 AS c FROM cc.s WHERE id > 0', 'table', key => '{id}');
SELECT * FROM etl.impact('cc.m');
SELECT node FROM etl.plan('state:modified');
CALL etl.run('cc.*');
-- an option that the relation shows is a change
SELECT etl.define_model('cc.m', 'SELECT id, a, b, a + 1 AS c FROM cc.s WHERE id > 0', 'table', key => '{id}', options => '{"indexes": [["a"]]}');
SELECT change_class, change FROM etl.impact('cc.m');
CALL etl.run('cc.*');
CREATE ROLE cc_stranger;
GRANT etl_developer TO cc_stranger;
SET ROLE cc_stranger;
SELECT etl.impact('cc.m', 'SELECT 1 AS id');
RESET ROLE;

-- contracts: names and types at definition, all of them, and what is promised of rows by every build
SELECT etl.define_model('cc.c', 'SELECT id, a FROM cc.s', 'table', options => '{"contract": {"columns": {"id": "bigint", "a": "numeric"}}}');
SELECT etl.define_model('cc.c', 'SELECT id, a FROM cc.s', 'table', options => '{"contract": {"columns": {"id": "int", "a": "numeric(12,2)"}}}');
SELECT etl.define_model('cc.c', 'SELECT id, a, b FROM cc.s', 'table', options => '{"contract": {"columns": {"id": "int", "a": "numeric"}}}');
SELECT etl.define_model('cc.c', 'SELECT id FROM cc.s', 'table', options => '{"contract": {"columns": {"id": "int", "a": "numeric"}}}');
SELECT etl.define_model('cc.c', 'SELECT id FROM cc.s', 'table', options => '{"contract": {"columns": {"id": "no_such_type"}}}');
SELECT etl.define_model('cc.c', 'SELECT id FROM cc.s', 'table', options => '{"contract": {"not_null": ["x"]}}');
SELECT etl.define_model('cc.c', 'SELECT id FROM cc.s', 'table', options => '{"contract": {"colums": {"id": "int"}}}');
SELECT etl.define_model('cc.c', 'SELECT id, a FROM cc.s', 'table', options => '{"contract": {"columns": {"id": "int", "a": "numeric"}, "not_null": ["id", "a"], "unique": ["id"]}}');
SELECT name, kind, columns, on_fail FROM etl.checks WHERE target = 'cc.c' ORDER BY name;
-- no row is read for that: reading one would fail
CREATE VIEW cc.poison AS SELECT 1 / (id - id) AS id FROM cc.t;
INSERT INTO cc.t VALUES (1);
SELECT etl.define_model('cc.poisoned', 'SELECT id FROM cc.poison', 'table', options => '{"contract": {"columns": {"id": "bigint"}}}');
SELECT etl.define_model('cc.poisoned', 'SELECT id FROM cc.poison', 'table', options => '{"contract": {"columns": {"id": "int"}, "not_null": ["id"], "unique": ["id"]}}');
SELECT etl.drop_model('cc.poisoned');
SET client_min_messages = error;
DO $$ BEGIN CALL etl.run('cc.c'); EXCEPTION WHEN SQLSTATE 'ET012' THEN RAISE INFO 'the run failed'; END $$;
SET client_min_messages = warning;
SELECT to_regclass('cc.c');
SELECT etl.define_model('cc.c', 'SELECT id, a FROM cc.s', 'table', options => '{"contract": {"columns": {"id": "int", "a": "numeric"}, "not_null": ["id"]}}');
SELECT name FROM etl.checks WHERE target = 'cc.c' ORDER BY name;
CALL etl.run('cc.c');
SELECT count(*) FROM cc.c;
-- an input that exists only later is judged then
SELECT etl.define_model('cc.later', 'SELECT id FROM cc.arrives', options => '{"contract": {"columns": {"id": "text"}}}');
CREATE TABLE cc.arrives AS SELECT 1 AS id;
SET client_min_messages = error;
DO $$ BEGIN CALL etl.run('cc.later'); EXCEPTION WHEN SQLSTATE 'ET012' THEN RAISE INFO 'the run failed'; END $$;
SET client_min_messages = warning;

-- deprecation: whoever defines a reader is told, and from the date on every build of one
SET etl.test_now = '2030-01-01 12:00+00';
SELECT etl.define_model('cc.m', 'SELECT id, a, b, a + 1 AS c FROM cc.s WHERE id > 0', 'table', key => '{id}', options => '{"indexes": [["a"]], "deprecated_on": "2030-06-01", "replaced_by": "cc.m2"}');
SELECT etl.define_model('cc.reader', 'SELECT id FROM cc.m', 'table');
CALL etl.run('cc.reader');
SET etl.test_now = '2030-06-01 12:00+00';
CALL etl.run('cc.reader', full_refresh => true);
CALL etl.run('cc.reader');
SELECT level, message FROM etl.logs WHERE node = 'cc.reader' AND level = 'warning';
SELECT etl.define_model('cc.m2', 'SELECT id FROM cc.s', options => '{"deprecated_on": "soon"}');
SELECT etl.define_model('cc.m2', 'SELECT id FROM cc.s', options => '{"replaced_by": "cc.m"}');
RESET etl.test_now;
SET client_min_messages = error;
SELECT etl.drop_source('cc_push', cascade => true, drop_relation => true);
DO $$ BEGIN PERFORM etl.drop_model(target, cascade => true, drop_relation => true) FROM etl.models WHERE target LIKE 'cc.%'; END $$;
DROP OWNED BY cc_stranger;
DROP ROLE cc_stranger;
DROP SCHEMA cc CASCADE;
