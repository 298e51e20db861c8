-- A check is declared, redefined and dropped; what makes no sense is refused at definition, saying what to do.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS etl;
CREATE SCHEMA qd;
SET search_path = qd, public;

-- before the relation exists, idempotent, with its default name and dimension
SELECT etl.define_check('qd.t', 'not_null', '{a,b}');
SELECT etl.define_check('t', 'not_null', '{a,b}');
SELECT etl.define_check('qd.t', 'not_null', '{a,b}', on_fail => 'warn', description => 'both');
SELECT etl.define_check('qd.t', 'row_count', options => '{"min": 1}');
SELECT etl.define_check('qd.t', 'expression', '{}', '{"expression": "a > b -- why"}', name => 'ordered');
SELECT etl.define_check('qd.t', 'unique', '{a}', '{"weight": 2, "max_failed": "1%", "where": "b > 0"}', 'quarantine', 'accuracy');
SELECT target, name, kind, columns, options, on_fail, dimension, description, version
FROM etl.checks WHERE target = 'qd.t' ORDER BY name COLLATE "C";
SELECT check_name, status, detail FROM etl.check('qd.t') ORDER BY check_name COLLATE "C";
SELECT etl.drop_check('qd.t', 'ordered');
SELECT etl.drop_check('qd.t', 'ordered');

-- kinds, dimensions and on_fail are known words
SELECT etl.define_check('qd.t', 'nonnull', '{a}');
SELECT etl.define_check('qd.t', 'not_null', '{a}', dimension => 'compleetness');
SELECT etl.define_check('qd.t', 'not_null', '{a}', on_fail => 'explode');
-- columns
SELECT etl.define_check('qd.t', 'not_null');
SELECT etl.define_check('qd.t', 'not_null', '{a,a}');
SELECT etl.define_check('qd.t', 'not_null', '{a,NULL}');
SELECT etl.define_check('qd.t', 'row_count', '{a}', '{"min": 1}');
SELECT etl.define_check(NULL, 'not_null', '{a}');
-- options
SELECT etl.define_check('qd.t', 'range', '{a}', '{"mni": 1}');
SELECT etl.define_check('qd.t', 'range', '{a}');
SELECT etl.define_check('qd.t', 'range', '{a}', '{"min": [1]}');
SELECT etl.define_check('qd.t', 'row_count', '{}', '{"min": 5, "max": 2}');
SELECT etl.define_check('qd.t', 'not_null', '{a}', '{"max_failed": "some"}');
SELECT etl.define_check('qd.t', 'not_null', '{a}', '{"weight": -1}');
SELECT etl.define_check('qd.t', 'regex', '{a}', '{"pattern": "("}');
SELECT etl.define_check('qd.t', 'accepted_values', '{a}', '{"values": []}');
SELECT etl.define_check('qd.t', 'accepted_values', '{a}', '{"values": "x"}');
SELECT etl.define_check('qd.t', 'relationship', '{a}', '{"columns": ["x"]}');
SELECT etl.define_check('qd.t', 'relationship', '{a}', '{"to": "qd.p", "columns": ["x", "y"]}');
SELECT etl.define_check('qd.t', 'freshness', '{a}', '{"max_age": "soon"}');
SELECT etl.define_check('qd.t', 'row_count', '{}', '{"min": 1}', 'quarantine');
-- an expression is one expression and nothing else
SELECT etl.define_check('qd.t', 'expression', '{}', '{"expression": "a > 0"}');
SELECT etl.define_check('qd.t', 'expression', '{a}', '{"expression": "a); DROP TABLE x; --"}');
SELECT etl.define_check('qd.t', 'expression', '{a}', '{"expression": "a FROM x"}');
SELECT etl.define_check('qd.t', 'expression', '{a}', '{"expression": "a, b"}');
SELECT etl.define_check('qd.t', 'not_null', '{a}', '{"where": "*"}');
SELECT etl.define_check('qd.t', 'unique', '{a}', '{"order_by": "a LIMIT 1"}');
-- a view has no rows that could be moved
SELECT etl.define_model('qd.v', 'SELECT 1 AS a', 'view');
SELECT etl.define_check('qd.v', 'not_null', '{a}', on_fail => 'quarantine');

SELECT etl.drop_model('qd.v');
SELECT etl.drop_check('qd.t', name) FROM etl.checks WHERE target = 'qd.t';
DROP SCHEMA qd CASCADE;
