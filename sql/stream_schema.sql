-- The relation follows the source only as its policy says, and never by a guess.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY sqlstate
SELECT current_setting('data_directory') || '/etl_regress_sc' AS dir \gset
SELECT 'cat > /dev/null; rm -rf ' || :'dir' || '; mkdir -p ' || :'dir' || '/day=2024-01-01' AS prepare, 'cat > /dev/null; rm -rf ' || :'dir' AS clean, :'dir' || '/i1.csv' AS i1,
	:'dir' || '/i2.csv' AS i2, :'dir' || '/p1.csv' AS p1, :'dir' || '/p2.csv' AS p2, :'dir' || '/j1.ndjson' AS j1,
	:'dir' || '/day=2024-01-01/h.csv' AS h \gset
COPY (SELECT) TO PROGRAM :'prepare';
SELECT set_config('etl.allowed_directories', :'dir', false) <> '' AS allowed;
SELECT etl.define_source('sc_files', 'file', jsonb_build_object('root', :'dir'));
CREATE VIEW public.sc_columns AS
	SELECT c.oid::regclass::text AS relation, attname, format_type(atttypid, atttypmod) AS type, col_description(c.oid, attnum) AS original
	FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid
	WHERE relnamespace::regnamespace::text = 'sc' AND relkind = 'r' AND attnum > 2 AND NOT attisdropped ORDER BY c.oid, attnum;

-- inference, names in snake_case with the original in the comment, names that collide
COPY (VALUES ('Order ID|order_id|zip|amount|day|ok|ctid|2nd "col"|empty'), ('1|7|00123|1.50|2024-01-01|true|x|y|'), ('2|8|04567|20|2024-02-01|false|x|y|')) TO :'i1';
SELECT etl.define_stream('sc.i', 'sc_files', '{"path": "i*.csv", "delimiter": "|"}');
CALL etl.run('sc.i');
SELECT * FROM public.sc_columns;
SELECT order_id, order_id_2, zip, amount, day, ok FROM sc.i ORDER BY 1;
-- later values widen bigint and date; the rest is a reject whose remedy is the ALTER; a new column is added
COPY (VALUES ('day|Order ID|ok|fresh'), ('2024-01-01T10:00:00Z|3.5|true|5'), ('2024-01-02|4|perhaps|'), ('2024-01-03|5|true|6')) TO :'i2';
CALL etl.run('sc.i');
SELECT * FROM public.sc_columns;
SELECT order_id, day AT TIME ZONE 'UTC' AS day, ok, fresh FROM sc.i ORDER BY 1;
SELECT position, reasons FROM etl.rejects WHERE target = 'sc.i';
SELECT change, column_name, old_type, new_type FROM etl.schema_changes WHERE target = 'sc.i' ORDER BY column_name COLLATE "C" NULLS FIRST;
SELECT rows_read, rows_loaded, rows_rejected FROM etl.loads WHERE target = 'sc.i' ORDER BY load_id;
-- a column that a view reads is not widened under it
CREATE VIEW sc.reader AS SELECT fresh FROM sc.i;
COPY (VALUES ('fresh'), ('1.5'), ('7')) TO :'i2';
CALL etl.run('sc.i');
SELECT reasons FROM etl.rejects WHERE target = 'sc.i' AND status = 'open';

-- the five policies
COPY (VALUES ('id,n'), ('1,2'), ('2,x')) TO :'p1' (DELIMITER '|');
COPY (VALUES ('id,n,q'), ('5,2,'), ('6,5,z')) TO :'p2' (DELIMITER '|');
SELECT etl.define_stream('sc.' || p, 'sc_files', '{"path": "p*.csv"}', columns => 'id bigint, n bigint', schema_policy => p)
FROM unnest('{evolve,freeze,discard_row,discard_value,quarantine}'::text[]) AS p;
CALL etl.run('sc.evolve sc.freeze sc.discard_row sc.discard_value sc.quarantine');
SELECT node, sqlstate, rows_inserted, rows_rejected FROM etl.tasks WHERE run_id = etl.last_run_id() ORDER BY node;
SELECT target, sum(rows_read) AS read, sum(rows_loaded) AS loaded, sum(rows_discarded) AS discarded, sum(rows_rejected) AS rejected
FROM etl.loads WHERE target ~ '^sc\.[edq]' GROUP BY target ORDER BY target;
SELECT id, n, q FROM sc.evolve ORDER BY id;
SELECT id, n FROM sc.discard_value ORDER BY id;
SELECT target, change, column_name FROM etl.schema_changes WHERE change LIKE '%discarded' AND target LIKE 'sc.%' ORDER BY event_id;

-- JSON: a field that appears late, nested values, numbers by value
COPY (VALUES ('{"id": 1, "tags": ["a"], "n": 1e2}'), ('{"id": 2, "late": "2024-05-05", "n": 7}'), ('not json')) TO :'j1';
SELECT etl.define_stream('sc.j', 'sc_files', '{"path": "j1.ndjson"}', columns => 'id bigint');
CALL etl.run('sc.j');
SELECT id, tags, n, late FROM sc.j ORDER BY id;
SELECT relation, attname, type FROM public.sc_columns WHERE relation = 'sc.j';

-- columns from the path
COPY (VALUES ('id'), ('1')) TO :'h';
SELECT etl.define_stream('sc.h', 'sc_files', '{"path": "**/h.csv", "path_columns": ["day"]}', columns => 'id int, day date');
CALL etl.run('sc.h');
SELECT id, day FROM sc.h;

DROP VIEW sc.reader, public.sc_columns;
SELECT etl.drop_source('sc_files', cascade => true, drop_relation => true);
DROP SCHEMA sc CASCADE;
COPY (SELECT) TO PROGRAM :'clean';
