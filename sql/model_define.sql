-- A definition is judged at once as far as it can be: one SELECT, known options, no circle; its inputs may come later.
\set VERBOSITY terse
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SET client_min_messages = warning;
CREATE SCHEMA md;

-- any order, before any data
SELECT etl.define_model('md.b', 'SELECT id, n + 1 AS n FROM md.a');
SELECT etl.define_model('md.a', 'SELECT id, 1 AS n FROM md.t WHERE id > 0', 'table');
SELECT etl.define_model('md.a', 'SELECT id, 1 AS n FROM md.t WHERE id > 0', 'table');
SELECT etl.define_model('md.a', 'SELECT id, 2 AS n FROM md.t WHERE id > 0', 'table');
SELECT target, version, resolved FROM etl.models WHERE target LIKE 'md.%' ORDER BY 1;
SELECT node, action, reason FROM etl.plan('md.*') ORDER BY step, node;

-- a circle is named
\set VERBOSITY default
SELECT etl.define_model('md.a', 'WITH b AS (SELECT 1) SELECT * FROM md.b', 'table');
\set VERBOSITY terse
SELECT etl.define_model('md.self', 'SELECT * FROM md.self');

-- names: CTEs are no relations; row types of casts are; SQL functions are looked into
SET check_function_bodies = off;
CREATE FUNCTION md.f(i int) RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM md.in_function WHERE id = i';
RESET check_function_bodies;
SELECT etl.define_model('md.names', $$
	WITH t AS (SELECT 1 AS x), u AS (SELECT * FROM t, md.in_cte)
	SELECT (SELECT max(id) FROM md.in_sublink), md.f(1), r.*
	FROM u, jsonb_populate_record(NULL::md.row_type, '{}') r
	WHERE EXISTS (SELECT FROM md."in ""quotes""")
	UNION ALL TABLE md.in_union $$);
SELECT depends_on FROM etl.dependencies WHERE node = 'md.names' ORDER BY depends_on COLLATE "C";
SELECT etl.drop_model('md.names'), etl.drop_model('md.names');

-- what is no model
SELECT etl.define_model('md.x', 'SELECT 1; SELECT 2');
SELECT etl.define_model('md.x', '');
SELECT etl.define_model('md.x', 'DELETE FROM md.t');
SELECT etl.define_model('md.x', 'WITH d AS (DELETE FROM md.t RETURNING *) SELECT * FROM d');
SELECT etl.define_model('md.x', 'SELECT 1 AS a INTO md.y');
SELECT etl.define_model('md.x', '(SELECT 1 AS a INTO md.y UNION SELECT 2) EXCEPT SELECT 3');
SELECT etl.define_model('md.x', 'SELECT * FROM md.t FOR UPDATE');
SELECT etl.define_model('md.x', 'SELECT 1 AS a', 'tabel');
SELECT etl.define_model('md.x', 'SELECT 1 AS a', 'snapshot');
SELECT etl.define_model('md.x', 'SELECT 1 AS a', 'table', options => '{"index": []}');
SELECT etl.define_model('md.x', 'SELECT 1 AS a', options => '{"indexes": [["a"]]}');
SELECT etl.define_model('md.x', 'SELECT 1 AS a', 'incremental', strategy => 'merge');
SELECT etl.define_model('md.x', 'SELECT 1 AS a', 'table', key => '{b}');
SELECT etl.define_model(NULL, 'SELECT 1 AS a');

-- once every input exists, the analyzer judges
CREATE TABLE md.t (id int);
SELECT etl.define_model('md.a', 'SELECT idd FROM md.t', 'table');

-- only the owner's role changes a definition, and dropping says what reads it
CREATE ROLE md_user;
GRANT USAGE ON SCHEMA etl, md TO md_user;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA etl TO md_user;
SET ROLE md_user;
SELECT etl.define_model('md.a', 'SELECT 1 AS id');
SELECT etl.drop_model('md.a');
RESET ROLE;
SELECT etl.drop_model('md.a');
SELECT etl.drop_model('md.a', cascade => true);
SELECT count(*) FROM etl.models WHERE target LIKE 'md.%';

DROP OWNED BY md_user;
DROP ROLE md_user;
DROP SCHEMA md CASCADE;
