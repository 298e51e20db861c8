-- schema_policy, cell by cell: entities x modes, and what becomes of the table, the records and the load in each.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY terse
SELECT etl.define_source('sg_push', 'push');
CREATE SCHEMA sg;
CREATE FUNCTION sg.push(target text, records jsonb) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM etl.ingest(target, records);
	RETURN 'loaded';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
-- what there is: the columns, the rows, the rejects, the accounting, what was noted of the schema
CREATE FUNCTION sg.cell(stream text) RETURNS TABLE (cell text, columns text, rows text, rejects text, accounting text, changes text) LANGUAGE plpgsql AS $$
BEGIN
	cell := split_part(stream, '.', 2);
	columns := (SELECT string_agg(attname || ' ' || format_type(atttypid, NULL), ', ' ORDER BY attnum) FROM pg_attribute
		WHERE attrelid = to_regclass(stream) AND attnum > 2 AND NOT attisdropped);
	IF to_regclass(stream) IS NOT NULL THEN
		EXECUTE format('SELECT string_agg(replace((to_jsonb(r) - ''{_etl_load_id,_etl_row}''::text[])::text, ''"'', ''''), '' '' ORDER BY id) FROM %s AS r', stream) INTO rows;
	END IF;
	rejects := (SELECT string_agg(record || ' -> ' || (reasons->0->>'check') || ' ' || (reasons->0->>'column'), ' ' ORDER BY reject_id) FROM etl.rejects WHERE target = stream);
	accounting := (SELECT sum(rows_read) || ' = ' || sum(rows_loaded) || ' loaded + ' || sum(rows_discarded) || ' discarded + ' || sum(rows_rejected) || ' rejected' FROM etl.loads WHERE target = stream);
	changes := (SELECT string_agg(change || coalesce(' ' || column_name, ''), ', ' ORDER BY event_id) FROM etl.schema_changes WHERE target = stream);
	RETURN NEXT;
END $$;
CREATE FUNCTION sg.modes() RETURNS TABLE (mode text, n bigint) LANGUAGE sql AS
	$$SELECT * FROM unnest('{evolve,freeze,discard_row,discard_value,quarantine}'::text[]) WITH ORDINALITY$$;
\x on

-- tables: the one that is not there is made, or nothing lands, or its records are discarded or rejects
SELECT count(etl.define_stream('sg.tables_' || mode, 'sg_push', schema_policy => format('{"tables": "%s"}', mode))) FROM sg.modes();
SELECT mode, sg.push('sg.tables_' || mode, '[{"id": 1}, {"id": 2, "new": true}]') AS pushed FROM sg.modes() ORDER BY n;
SELECT c.* FROM sg.modes() AS m, sg.cell('sg.tables_' || mode) AS c ORDER BY n;
SELECT DISTINCT reasons -> 0 ->> 'message' AS message FROM etl.rejects WHERE target = 'sg.tables_quarantine';
-- declared columns make no table either; those that were rejected land when somebody has made it
SELECT count(etl.define_stream('sg.made_' || mode, 'sg_push', '{"adopt": true}', columns => 'id int', schema_policy => format('{"tables": "%s"}', mode))) FROM sg.modes();
SELECT mode, sg.push('sg.made_' || mode, '[{"id": 1}, {"id": "x"}]') AS pushed FROM sg.modes() ORDER BY n;
\x off
SELECT etl.replay('sg.made_quarantine');
CREATE TABLE sg.made_quarantine (id int);
SELECT * FROM etl.replay('sg.made_quarantine');
\x on
SELECT c.* FROM sg.modes() AS m, sg.cell('sg.made_' || mode) AS c ORDER BY n;
-- a child table is a table, too: the row of the record stays
SELECT count(etl.define_stream('sg.child_' || mode, 'sg_push', '{"nested": "table", "adopt": true}', schema_policy => format('{"tables": "%s"}', mode))) FROM sg.modes();
CREATE TABLE sg.child_evolve (id int); CREATE TABLE sg.child_freeze (id int); CREATE TABLE sg.child_discard_row (id int); CREATE TABLE sg.child_discard_value (id int); CREATE TABLE sg.child_quarantine (id int);
SELECT mode, sg.push('sg.child_' || mode, '[{"id": 1, "a": [{"id": 10, "b": [1]}]}, {"id": 2}]') AS pushed FROM sg.modes() ORDER BY n;
SELECT c.* FROM sg.modes() AS m, sg.cell('sg.child_' || mode) AS c ORDER BY n;
SELECT c.cell, c.columns, regexp_replace(c.rows, '_etl_parent_load_id: \d+', '_etl_parent_load_id: #', 'g') AS rows, regexp_replace(c.rejects, '"_etl_parent_load_id":\d+', '"_etl_parent_load_id":#', 'g') AS rejects, c.accounting, c.changes
	FROM sg.modes() AS m, sg.cell('sg.child_' || mode || '__a') AS c ORDER BY n;
\x off
SELECT etl.define_stream('sg.x', 'sg_push', schema_policy => '{"columns": "maybe"}');
SELECT etl.define_stream('sg.x', 'sg_push', schema_policy => '{"rows": "freeze"}');
SELECT etl.define_stream('sg.x', 'sg_push', schema_policy => '{"columns": null}');
-- a table that is there is filled, whatever tables says
SELECT etl.define_stream('sg.tables_freeze', 'sg_push', '{"adopt": true}', schema_policy => '{"tables": "freeze"}');
CREATE TABLE sg.tables_freeze (id int);
SELECT sg.push('sg.tables_freeze', '[{"id": 1}, {"id": 2, "new": true}]');
\x on
SELECT * FROM sg.cell('sg.tables_freeze');

-- columns: a field that has none, with a value, with null, and again in a later load
SELECT count(etl.define_stream('sg.columns_' || mode, 'sg_push', columns => 'id int', schema_policy => format('{"columns": "%s"}', mode))) FROM sg.modes();
SELECT mode, sg.push('sg.columns_' || mode, '[{"id": 1}, {"id": 2, "new": "a"}, {"id": 3, "new": null}]') AS pushed FROM sg.modes() ORDER BY n;
SELECT mode, sg.push('sg.columns_' || mode, '[{"id": 4, "new": "b"}, {"id": 5}]') AS pushed FROM sg.modes() ORDER BY n;
SELECT c.* FROM sg.modes() AS m, sg.cell('sg.columns_' || mode) AS c ORDER BY n;

-- data_type: a value that a wider type holds, one that none holds, one that fits
SELECT count(etl.define_stream('sg.type_' || mode, 'sg_push', columns => 'id int', schema_policy => format('{"data_type": "%s"}', mode))) FROM sg.modes();
SELECT mode, sg.push('sg.type_' || mode, '[{"id": 1, "v": 1}]') AS pushed FROM sg.modes() ORDER BY n;
SELECT mode, sg.push('sg.type_' || mode, '[{"id": 2, "v": 2}, {"id": 3, "v": 3.5}]') AS pushed FROM sg.modes() ORDER BY n;
SELECT mode, sg.push('sg.type_' || mode, '[{"id": 4, "v": "x"}, {"id": 5, "v": 5}]') AS pushed FROM sg.modes() ORDER BY n;
SELECT c.* FROM sg.modes() AS m, sg.cell('sg.type_' || mode) AS c ORDER BY n;

-- a declared type is the user's: no mode widens it
SELECT count(etl.define_stream('sg.declared_' || mode, 'sg_push', columns => 'id int, v int', schema_policy => format('{"data_type": "%s"}', mode))) FROM sg.modes();
SELECT mode, sg.push('sg.declared_' || mode, '[{"id": 1, "v": 1}, {"id": 2, "v": 2.5}]') AS pushed FROM sg.modes() ORDER BY n;
SELECT c.* FROM sg.modes() AS m, sg.cell('sg.declared_' || mode) AS c ORDER BY n;

-- two entities at once: each by its own mode
SELECT etl.define_stream('sg.pair', 'sg_push', columns => 'id int, v int', schema_policy => '{"columns": "discard_value", "data_type": "quarantine"}');
SELECT sg.push('sg.pair', '[{"id": 1, "v": "x", "new": 1}, {"id": 2, "v": 2, "new": 2}]');
SELECT * FROM sg.cell('sg.pair');

-- widening under what stands on the column: a managed view is built anew, an index follows, a view of others keeps the column as it is
SELECT count(etl.define_stream('sg.under_' || u, 'sg_push', columns => 'id int')) FROM unnest('{managed,unmanaged,index,both}'::text[]) AS u;
SELECT count(sg.push('sg.under_' || u, '{"id": 1, "v": 1}')) FROM unnest('{managed,unmanaged,index,both}'::text[]) AS u;
SELECT etl.define_model('sg.managed_v', 'SELECT v + 1 AS w FROM sg.under_managed'), etl.define_model('sg.both_v', 'SELECT v FROM sg.under_both');
CALL etl.run('sg.managed_v sg.both_v');
CREATE VIEW sg.unmanaged_v AS SELECT v FROM sg.under_unmanaged;
CREATE VIEW sg.both_w AS SELECT v FROM sg.both_v;
CREATE INDEX under_index_v ON sg.under_index (v);
CREATE INDEX under_both_v ON sg.under_both (v);
SELECT u, sg.push('sg.under_' || u, '[{"id": 2, "v": 2.5}, {"id": 3, "v": 3}]') AS pushed FROM unnest('{managed,unmanaged,index,both}'::text[]) AS u;
SELECT c.* FROM unnest('{managed,unmanaged,index,both}'::text[]) AS u, sg.cell('sg.under_' || u) AS c;
\x off
SELECT target, reasons -> 0 ->> 'message' AS message FROM etl.rejects WHERE target ~ '^sg\.under' ORDER BY target;
SELECT w, pg_typeof(w) FROM sg.managed_v ORDER BY w;
SELECT indexrelid::regclass AS index, indisvalid FROM pg_index WHERE indrelid IN ('sg.under_index'::regclass, 'sg.under_both'::regclass) ORDER BY 1;
-- the remedy that the reject names helps
SELECT etl.replay('sg.under_unmanaged');
DROP VIEW sg.unmanaged_v;
SELECT etl.replay('sg.under_unmanaged');
SELECT sg.push('sg.under_unmanaged', '{"id": 4, "v": 4.5}');
SELECT * FROM etl.replay('sg.under_unmanaged');
SELECT id, v FROM sg.under_unmanaged ORDER BY id;

DROP VIEW sg.both_w;
SELECT etl.drop_source('sg_push', cascade => true, drop_relation => true);
DROP SCHEMA sg CASCADE;
