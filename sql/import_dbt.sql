-- An import of a dbt manifest does what can be done, says what cannot, and one bad entry takes nothing else with it.
\set VERBOSITY terse
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SET client_min_messages = warning;
SELECT * FROM etl.import_dbt(NULL);
SELECT * FROM etl.import_dbt('[]');
SELECT * FROM etl.import_dbt('{"nodes": {}}');
SELECT * FROM etl.import_dbt('{"metadata": {"dbt_schema_version": "https://schemas.getdbt.com/dbt/manifest/v11.json"}, "nodes": {}}');
SELECT * FROM etl.import_dbt('{"metadata": {"dbt_schema_version": "https://schemas.getdbt.com/dbt/manifest/v12.json"}, "nodes": {}}');

-- nodes in short
CREATE FUNCTION pg_temp.manifest(nodes jsonb) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('metadata', '{"dbt_schema_version": "https://schemas.getdbt.com/dbt/manifest/v12.json"}'::jsonb,
		'sources', '{}'::jsonb, 'nodes', jsonb_object_agg(key, '{"database": "there", "schema": "id", "resource_type": "model", "depends_on": {"nodes": []}}'::jsonb
			|| value || jsonb_build_object('config', '{"materialized": "view"}'::jsonb || coalesce(value -> 'config', '{}'))))
	FROM jsonb_each(nodes) $$;
SELECT dbt_id, target, name, action, detail FROM etl.import_dbt(pg_temp.manifest($${
	"model.a": {"name": "a", "compiled_code": "select 1 as id, 'x' as \"Odd \"\"name\""},
	"model.b": {"name": "B \"b\"; drop", "compiled_code": "select \"there\".\"id\".\"a\".id from \"there\".\"id\".\"a\" where 'there.id.a' <> '' -- \"there\".\"id\".\"a\"\n"},
	"model.c": {"name": "c", "compiled_code": "select nothing from \"there\".\"id\".\"a\""},
	"model.d": {"name": "d", "compiled_code": "select from from"},
	"model.e": {"name": "e", "compiled_code": "select id from \"there\".\"id\".\"a\" where id > (select max(id) from \"there\".\"id\".\"e\")", "config": {"materialized": "incremental"}},
	"model.f": {"name": "f"},
	"model.g": {"name": "g", "compiled_code": "select 1 as id", "config": {"materialized": "dynamic_table"}},
	"model.h": {"name": "h", "compiled_code": "select 1 as id, 2 as other", "config": {"materialized": "incremental", "unique_key": "id || other", "incremental_strategy": "merge", "sql_header": "set x", "merge_update_columns": ["other"]}},
	"model.i": {"name": "i", "compiled_code": "def model(dbt, session): pass", "language": "python"},
	"model.j": {"name": "j", "compiled_code": "drop table x"},
	"model.k": {"name": "k", "compiled_code": "select 1 as id", "config": {"materialized": "table", "contract": {"enforced": true}, "grants": {"select": ["id_reader", "pg_monitor"], "insert": ["pg_monitor"]}},
		"columns": {"id": {"data_type": "integer", "constraints": [{"type": "primary_key"}, {"type": "check", "expression": "id > 0"}, {"type": "foreign_key", "expression": "x (id)"}]}}},
	"model.l": {"name": "l", "compiled_code": "select 1 as id", "config": {"contract": {"enforced": true}}, "columns": {"id": {"data_type": "text"}}},
	"model.m": 5,
	"model.tagged": {"name": "tagged", "compiled_code": "select 1 as id", "tags": ["per day", "a,b", "a b", "kept"]},
	"snapshot.n": {"name": "n", "resource_type": "snapshot", "compiled_code": "select 1 as id, now()::timestamp as at", "config": {"materialized": "snapshot", "strategy": "timestamp", "updated_at": "at", "unique_key": ["id"], "dbt_valid_to_current": "'9999-12-31'"}},
	"test.o": {"name": "o", "resource_type": "test", "attached_node": "model.a", "depends_on": {"nodes": ["model.a"]}, "compiled_code": "select 1 where false",
		"test_metadata": {"name": "unique", "kwargs": {"column_name": "id + 1"}}},
	"test.p": {"name": "p", "resource_type": "test", "attached_node": "model.a", "depends_on": {"nodes": ["model.a"]}, "compiled_code": "select 1 where false",
		"config": {"fail_calc": "sum(n)"}, "test_metadata": {"name": "other", "kwargs": {}}},
	"test.q": {"name": "q", "resource_type": "test", "attached_node": "model.a", "depends_on": {"nodes": ["model.a"]}, "compiled_code": "select 1 where false",
		"config": {"severity": "warn", "warn_if": ">=3"}, "test_metadata": {"name": "not_null", "kwargs": {"column_name": "\"Odd \"\"name\""}}},
	"test.r": {"name": "r", "resource_type": "test", "attached_node": "model.zzz", "depends_on": {"nodes": ["model.zzz"]}, "compiled_code": "select 1 where false",
		"config": {"error_if": "between 1 and 2"}, "test_metadata": {"name": "not_null", "kwargs": {"column_name": "id"}}},
	"odd.s": {"name": "s", "resource_type": "something new"}
}$$)) ORDER BY dbt_id;
SELECT target, materialized, key, strategy, options FROM etl.models WHERE target LIKE 'id.%' ORDER BY target;
SELECT query FROM etl.models WHERE target LIKE '%drop%';
SELECT target, name, kind, columns, on_fail, options FROM etl.checks WHERE target LIKE 'id%' AND name NOT LIKE 'contract%' ORDER BY name;
SET client_min_messages = error;
CALL etl.run('id.a id.n id.o');
SELECT count(*) FROM id.n WHERE is_current;
SELECT count(etl.drop_model(target, true, true)) FROM etl.models WHERE target LIKE 'id.%';
DROP SCHEMA id CASCADE;
