-- A contract's JSON Schema is kept record by record, exported, and a new version is judged against the one before.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY terse
-- documents: what is right, what is wrong, and where
CREATE FUNCTION pg_temp.faults(schema jsonb, document jsonb) RETURNS text LANGUAGE sql AS
	$$SELECT string_agg(path || ' ' || keyword || ': ' || message, '; ') FROM etl.validate_json(schema, document)$$;
SELECT s AS schema, d AS document, pg_temp.faults(s::jsonb, d::jsonb) AS faults FROM (VALUES
	('true', '1'), ('false', '1'), ('{}', 'null'),
	('{"type": "integer"}', '1'), ('{"type": "integer"}', '1.0'), ('{"type": "integer"}', '1.5'), ('{"type": ["string", "null"]}', 'null'), ('{"type": ["string", "null"]}', '[]'),
	('{"enum": [1, "a", null, {"x": [1]}]}', '{"x": [1.0]}'), ('{"enum": [1, "a"]}', '"b"'), ('{"const": {"a": 1}}', '{"a": 2}'),
	('{"minimum": 0, "exclusiveMaximum": 10, "multipleOf": 0.1}', '10'), ('{"minimum": 0}', '-0.5'), ('{"multipleOf": 0.1}', '0.3'), ('{"multipleOf": 0.1}', '0.35'), ('{"minimum": 0}', '"text"'),
	('{"minLength": 2, "maxLength": 3}', '"äöü"'), ('{"maxLength": 2}', '"äöü"'), ('{"pattern": "^a.c$"}', '"abd"'), ('{"pattern": "b"}', '"abc"'),
	('{"format": "date"}', '"2026-02-30"'), ('{"format": "date"}', '"2026-02-28"'), ('{"format": "date-time"}', '"2026-02-28"'), ('{"format": "date-time"}', '"2026-02-28T10:00:00Z"'),
	('{"format": "uuid"}', '"x"'), ('{"format": "email"}', '"a@b.c"'), ('{"format": "email"}', '"a b@c"'), ('{"format": "ipv4"}', '"256.1.1.1"'), ('{"format": "ipv4"}', '"10.0.0.1"'), ('{"format": "no-such"}', '"x"'),
	('{"properties": {"a": {"type": "string"}}, "required": ["a", "b"], "additionalProperties": false}', '{"a": 1, "c": 2}'),
	('{"patternProperties": {"^n_": {"type": "number"}}, "additionalProperties": {"type": "string"}}', '{"n_a": "x", "b": 1, "c": "d"}'),
	('{"propertyNames": {"maxLength": 2}, "minProperties": 2}', '{"abc": 1}'), ('{"dependentRequired": {"card": ["address"]}}', '{"card": 1}'),
	('{"items": {"type": "integer"}, "minItems": 1, "uniqueItems": true}', '[1, "x", 1]'), ('{"prefixItems": [{"type": "string"}], "items": false}', '["a", 1]'), ('{"contains": {"const": 1}}', '[2, 3]'), ('{"items": {"type": "integer"}}', '[]'),
	('{"allOf": [{"minimum": 1}, {"maximum": 2}]}', '3'), ('{"anyOf": [{"type": "string"}, {"minimum": 5}]}', '3'), ('{"oneOf": [{"minimum": 1}, {"minimum": 2}]}', '3'), ('{"not": {"type": "null"}}', 'null'),
	('{"if": {"required": ["a"]}, "then": {"required": ["b"]}, "else": {"required": ["c"]}}', '{"a": 1}'), ('{"if": {"required": ["a"]}, "then": {"required": ["b"]}, "else": {"required": ["c"]}}', '{}'),
	('{"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "string"}}}', '1'),
	('{"$ref": "#/$defs/tree", "$defs": {"tree": {"properties": {"kids": {"items": {"$ref": "#/$defs/tree"}}, "v": {"type": "integer"}}}}}', '{"v": 1, "kids": [{"v": 2, "kids": [{"v": "x"}]}]}')
) AS t(s, d);

-- schemas that are none, or say more than is understood
SELECT etl.validate_json('{"type": "strin"}', '1');
SELECT etl.validate_json('{"properties": {"a": {"minimum": "1"}}}', '1');
SELECT etl.validate_json('{"minlength": 1}', '1');
SELECT etl.validate_json('{"$ref": "https://example.org/x"}', '1');
SELECT etl.validate_json('{"$ref": "#"}', '1');
SELECT etl.validate_json('[]', '1');
SELECT etl.validate_json('{"pattern": "("}', '"x"');
SELECT * FROM etl.validate_json(NULL, '1');

-- versions
SELECT o, n, c.* FROM (VALUES
	('{"properties": {"a": {"type": "integer"}}}', '{"properties": {"a": {"type": "number"}, "b": {"type": "string"}}}'),
	('{"properties": {"a": {"type": ["integer", "null"]}}}', '{"properties": {"a": {"type": "integer"}}}'),
	('{"properties": {"a": {}}, "required": ["a"]}', '{"properties": {"a": {}, "b": {}}, "required": ["a", "b"]}'),
	('{"properties": {"a": {}, "b": {}}, "required": ["a", "b"]}', '{"properties": {"a": {}}, "required": ["a"], "additionalProperties": false}'),
	('{"enum": ["x", "y"]}', '{"enum": ["y", "x", "z"]}'), ('{"maxLength": 10}', '{"maxLength": 20}'), ('{"pattern": "a"}', '{"pattern": "b"}'),
	('{"items": {"type": "string"}}', '{"items": {"type": "integer"}}'),
	('{"$ref": "#/$defs/a", "$defs": {"a": {"minimum": 1}}}', '{"minimum": 1}'), ('{"title": "x"}', '{"title": "y", "description": "z"}')) AS t(o, n), etl.compare_json_schemas(o::jsonb, n::jsonb) AS c;

-- export: of columns, of a relation with foreign names
SELECT etl.define_source('co_push', 'push');
SELECT etl.define_stream('co.s', 'co_push', columns => 'id int NOT NULL, name varchar(20), day date, tags text[], doc jsonb, price numeric(10,2)', key => '{id}');
SELECT jsonb_pretty(etl.json_schema('co.s'));
SELECT etl.ingest('co.s', '[{"id": 1, "Unit Price": 1.5}]') > 0 AS loaded;
SELECT etl.json_schema('co.s')->'properties'->'Unit Price', etl.json_schema('co.s')->'required';
SELECT etl.json_schema('co.nothing');
SELECT pg_temp.faults(etl.json_schema('co.s'), '{"id": 3000000000, "name": "a name of more than twenty letters", "day": "soon"}');

-- records: each fault of a record in one reason; a replay with a patch goes through
SELECT etl.define_stream('co.kept', 'co_push', columns => 'id int, qty int', contract => '{"schema_version": "1", "compatibility": "backward", "json_schema":
	{"type": "object", "properties": {"id": {"type": "integer"}, "qty": {"type": "integer", "minimum": 1}, "lines": {"type": "array", "items": {"required": ["sku"]}}}, "required": ["id"]}}');
SELECT etl.ingest('co.kept', '[{"id": 1, "qty": 2, "lines": [{"sku": "a"}]}, {"id": "2", "qty": 0, "lines": [{}]}, {"qty": 5}, {"id": 3, "more": true}]') > 0 AS loaded;
SELECT id, qty, lines, more FROM co.kept ORDER BY id;
SELECT position, reasons->0->>'check' AS "check", reasons->0->>'message' AS message FROM etl.rejects WHERE target = 'co.kept' ORDER BY position;
SELECT etl.define_source('co_files', 'file');
SELECT etl.define_stream('co.csv', 'co_files', '{"path": "/x/a.csv"}', contract => '{"json_schema": {}}');
SELECT etl.define_stream('co.x', 'co_push', contract => '{"json_schema": {"type": "objekt"}}');
SELECT etl.define_stream('co.x', 'co_push', contract => '{"schema_versoin": "1"}');

-- a new version must be what the contract wants; its verdict is told
\set VERBOSITY default
SELECT etl.define_stream('co.kept', 'co_push', columns => 'id int, qty int', contract => '{"schema_version": "2", "compatibility": "backward", "json_schema": {"properties": {"id": {"type": "integer"}, "qty": {"type": "integer", "minimum": 2}}, "required": ["id", "day"]}}');
\set VERBOSITY terse
SELECT etl.define_stream('co.kept', 'co_push', columns => 'id int, qty int', contract => '{"schema_version": "2", "compatibility": "backward", "json_schema": {"properties": {"id": {"type": "number"}, "qty": {"type": "integer"}}}}');
SELECT etl.define_stream('co.s', 'co_push', columns => 'id bigint NOT NULL, name varchar(20), day date, tags text[], doc jsonb, price numeric(10,2)', key => '{id}', contract => '{"schema_version": "2"}');
SELECT target, change, old_type, new_type FROM etl.schema_changes WHERE target ~ '^co' AND change ~ 'contract' ORDER BY event_id;

SELECT etl.drop_source('co_push', cascade => true, drop_relation => true), etl.drop_source('co_files');
DROP SCHEMA co CASCADE;
