-- A column takes a wider type by itself where only managed relations stand on it; elsewhere it stays and the reject names the obstacle.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY terse
SELECT current_setting('data_directory') || '/etl_regress_wd' AS dir \gset
SELECT 'cat > /dev/null; rm -rf ' || :'dir' || '; mkdir -p ' || :'dir' AS prepare, 'cat > /dev/null; rm -rf ' || :'dir' AS clean \gset
COPY (SELECT) TO PROGRAM :'prepare';
SELECT set_config('etl.allowed_directories', :'dir', false) <> '' AS allowed;
SELECT etl.define_source('wd_files', 'file', jsonb_build_object('root', :'dir'));
\set ECHO none
SELECT format('COPY (VALUES %s) TO %L', '(''id,n,day''), (''1,7,2024-01-01''), (''2,8,2024-07-01'')', :'dir' || '/' || t || '1.csv')
FROM unnest('{none,managed,tower,foreign,index,computed,matview,rule,policy,trigger,function,stuck,mixed}'::text[]) AS t \gexec
\set ECHO all
SELECT etl.define_stream('wd.' || t || '_s', 'wd_files', jsonb_build_object('path', t || '*.csv', 'timezone', 'Europe/Berlin'))
FROM unnest('{none,managed,tower,foreign,index,computed,matview,rule,policy,trigger,function,stuck,mixed}'::text[]) AS t;
CALL etl.run('wd.*');

-- what stands on the columns
CREATE ROLE wd_reader;
SELECT etl.define_model('wd.managed_v', 'SELECT id, n, day FROM wd.managed_s');
SELECT etl.define_model('wd.tower_a', 'SELECT id, n * 2 AS twice, day FROM wd.tower_s', description => 'the lower one');
SELECT etl.define_model('wd.tower_b', 'SELECT count(*) AS rows, sum(twice) AS s, max(day) AS last FROM wd.tower_a');
SELECT etl.define_model('wd.tower_c', 'SELECT b.s, a.day FROM wd.tower_b b CROSS JOIN wd.tower_a a');
SELECT etl.define_model('wd.stuck_v', 'SELECT id, n & 1 AS odd, day - 1 AS eve FROM wd.stuck_s');
SELECT etl.define_model('wd.mixed_v', 'SELECT n, day FROM wd.mixed_s');
SELECT etl.define_model('wd.function_v', 'SELECT n, day FROM wd.function_s');
CALL etl.run('kind:model,wd.*');
CREATE VIEW wd.foreign_v AS SELECT n, day FROM wd.foreign_s;
CREATE VIEW wd.mixed_foreign AS SELECT day FROM wd.mixed_v;
CREATE INDEX ON wd.index_s (n); CREATE INDEX ON wd.index_s (day);
CREATE INDEX computed_n ON wd.computed_s ((n % 2)); CREATE INDEX computed_day ON wd.computed_s (id) WHERE day > '2024-01-01';
CREATE MATERIALIZED VIEW wd.matview_m AS SELECT n, day FROM wd.matview_s;
CREATE RULE watch AS ON UPDATE TO wd.rule_s WHERE new.n > 5 AND new.day IS NULL DO INSTEAD NOTHING;
CREATE POLICY p ON wd.policy_s USING (n > 0 AND day IS NOT NULL);
CREATE FUNCTION wd.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
CREATE TRIGGER t BEFORE UPDATE OF n, day ON wd.trigger_s FOR EACH ROW EXECUTE FUNCTION wd.nothing();
CREATE FUNCTION wd.total() RETURNS numeric BEGIN ATOMIC SELECT sum(n) FROM wd.function_v WHERE day IS NOT NULL; END;
-- what a view has must come back with it
COMMENT ON COLUMN wd.tower_a.twice IS 'two of each';
ALTER VIEW wd.tower_a SET (security_barrier = true, security_invoker = true);
ALTER VIEW wd.tower_b OWNER TO wd_reader;
ALTER VIEW wd.tower_a ALTER COLUMN id SET DEFAULT 5;
GRANT SELECT ON wd.tower_a TO wd_reader WITH GRANT OPTION;
GRANT UPDATE (day) ON wd.tower_a TO PUBLIC;
REVOKE DELETE ON wd.tower_a FROM CURRENT_USER;

\set ECHO none
SELECT format('COPY (VALUES %s) TO %L', '(''id,n,day''), (''3,2.5,2024-01-02''), (''4,9,2024-07-02T10:00:00Z'')', :'dir' || '/' || t || '2.csv')
FROM unnest('{none,managed,tower,foreign,index,computed,matview,rule,policy,trigger,function,stuck,mixed}'::text[]) AS t \gexec
\set ECHO all
GRANT USAGE ON SCHEMA wd TO wd_reader;
GRANT SELECT ON wd.tower_s TO wd_reader;
CALL etl.run('kind:stream,wd.*');

-- per cell: the type that the column has now
SELECT split_part(c.relname, '_', 1) AS dependent, max(format_type(atttypid, -1)) FILTER (WHERE attname = 'n') AS n,
	max(format_type(atttypid, -1)) FILTER (WHERE attname = 'day') AS day,
	(SELECT sum(rows_loaded) || ' + ' || sum(rows_rejected) FROM etl.loads WHERE target = 'wd.' || c.relname) AS loaded_rejected,
	(SELECT count(*) FROM etl.schema_changes WHERE target = 'wd.' || c.relname AND change = 'type_widened') AS widened
FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
WHERE relnamespace = 'wd'::regnamespace AND c.relname LIKE '%\_s' GROUP BY c.relname ORDER BY c.relname COLLATE "C";
SELECT split_part(substr(target, 4), '_', 1) AS dependent, r->>'column' AS col, regexp_replace(r->>'message', '^.*keep such values: ', '') AS remedy
FROM etl.rejects, jsonb_array_elements(reasons) AS r WHERE target LIKE 'wd.%' ORDER BY target COLLATE "C", col;

-- dates became midnights of the stream's zone, views show the wider columns
SET timezone = 'UTC';
SELECT id, n, day FROM wd.none_s ORDER BY id;
SELECT * FROM wd.managed_v ORDER BY id;
SELECT * FROM wd.tower_b; SELECT * FROM wd.tower_c ORDER BY day;
SELECT c.relname, obj_description(c.oid, 'pg_class') AS comment, col_description(c.oid, 2) AS comment_2, c.reloptions, c.relowner::regrole::text = 'wd_reader' AS others,
	(SELECT string_agg(a.privilege_type || CASE WHEN a.is_grantable THEN '*' ELSE '' END, ' ' ORDER BY a.privilege_type)
	 FROM aclexplode(c.relacl) a WHERE a.grantee = 'wd_reader'::regrole) AS reader,
	(SELECT NOT bool_or(a.privilege_type = 'DELETE') FROM aclexplode(c.relacl) a) AS no_delete,
	(SELECT string_agg(attname || ' ' || (a).privilege_type, ' ') FROM pg_attribute t, aclexplode(t.attacl) a WHERE t.attrelid = c.oid) AS of_columns,
	(SELECT string_agg(pg_get_expr(adbin, adrelid), ' ') FROM pg_attrdef WHERE adrelid = c.oid) AS defaults
FROM pg_class c WHERE relnamespace = 'wd'::regnamespace AND relname LIKE 'tower\__' AND relkind = 'v' ORDER BY 1;
-- the plain indexes are there and serve
SELECT count(*) FROM pg_index WHERE indrelid = 'wd.index_s'::regclass AND indisvalid;
SET enable_seqscan = off;
SELECT id FROM wd.index_s WHERE n = 2.5;
RESET enable_seqscan;
SELECT action, reason FROM etl.plan('kind:model,wd.*') WHERE action <> 'unchanged';

-- stored models over the stream are built anew, and equal their queries
\set ECHO none
SELECT format('COPY (VALUES (''id,n,day''), (''1,7,2024-01-01''), (''2,8,2024-03-01'')) TO %L', :'dir' || '/keyed1.csv') \gexec
\set ECHO all
SELECT etl.define_stream('wd.st', 'wd_files', '{"path": "keyed*.csv"}');
SELECT etl.define_model('wd.st_v', 'SELECT id, n / 2 AS half, day FROM wd.st');
SELECT etl.define_model('wd.st_inc', 'SELECT id, round(max(half) * 10)::int AS h, max(day)::text AS d FROM wd.st_v GROUP BY id', 'incremental', '{id}');
SELECT etl.define_model('wd.st_rows', 'SELECT id, n, day FROM wd.st', 'incremental');
SELECT etl.define_model('wd.st_view_above', 'SELECT h FROM wd.st_inc');
CALL etl.run('wd.st wd.st_*');
SELECT * FROM wd.st_inc ORDER BY id;
\set ECHO none
SELECT format('COPY (VALUES (''id,n,day''), (''1,6,2024-02-01T12:00:00Z''), (''3,1.5,2024-03-01'')) TO %L', :'dir' || '/keyed2.csv') \gexec
\set ECHO all
CALL etl.run('wd.st');
SELECT node, action, replace(reason, (SELECT max(load_id)::text FROM etl.loads WHERE target = 'wd.st'), 'N') AS reason FROM etl.plan('wd.st_*');
CALL etl.run('wd.st_*');
SELECT * FROM wd.st_inc ORDER BY id;
SELECT * FROM wd.st_rows ORDER BY id, n;
SELECT node, action FROM etl.plan('wd.st_*') WHERE action <> 'unchanged';
CREATE TABLE wd.before AS TABLE wd.st_inc;
CALL etl.run('wd.st_*', full_refresh => true);
(TABLE wd.before EXCEPT TABLE wd.st_inc) UNION ALL (TABLE wd.st_inc EXCEPT TABLE wd.before);

DROP TABLE wd.before;
DROP VIEW wd.mixed_foreign; DROP MATERIALIZED VIEW wd.matview_m; DROP VIEW wd.foreign_v; DROP FUNCTION wd.total();
SELECT etl.drop_source('wd_files', cascade => true, drop_relation => true) IS NOT NULL AS dropped;

DROP SCHEMA wd CASCADE;
DROP ROLE wd_reader;
COPY (SELECT) TO PROGRAM :'clean';
