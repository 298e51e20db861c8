-- A row that a page or an index cannot hold is a reject that says so, and the rows beside it land, however the relation is written.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY terse
SELECT current_setting('data_directory') || '/etl_regress_rl' AS dir \gset
SELECT 'cat > /dev/null; rm -rf ' || :'dir' || '; mkdir ' || :'dir' AS prepare, 'cat > /dev/null; rm -rf ' || :'dir' AS clean,
	:'dir' || '/keys.csv' AS keys, :'dir' || '/wide.csv' AS wide, :'dir' || '/wide.ndjson' AS many, :'dir' || '/words.csv' AS words \gset
COPY (SELECT) TO PROGRAM :'prepare';
SELECT set_config('etl.allowed_directories', :'dir', false) <> '' AS allowed;
SELECT etl.define_source('rl_files', 'file', jsonb_build_object('root', :'dir'));
CREATE VIEW public.rl_rejects AS
	SELECT target, position, r->>'check' AS "check", regexp_replace(r->>'message', '\d{4,}', '…', 'g') AS message
	FROM etl.rejects, jsonb_array_elements(reasons) AS r WHERE target LIKE 'rl.%' ORDER BY target, position, reject_id;

-- keys: what is longer than a third of a page cannot be in a B-tree; what compresses can
SELECT string_agg(md5(i::text), '' ORDER BY i) AS noise FROM generate_series(1, 400) AS i \gset
COPY (SELECT * FROM (VALUES ('id', 't'), ('1', 'a'), ('2', :'noise'), ('3', repeat('x', 12800)), ('4', left(:'noise', 2500)), ('5', left(:'noise', 8000)), ('6', 'b')) AS v) TO :'keys' (FORMAT csv);
CREATE SCHEMA rl;
CREATE TABLE rl.plain (id int, t text);
CREATE TABLE rl.several (id int, t text, u text DEFAULT 'u');
CREATE INDEX ON rl.plain (t);
CREATE INDEX ON rl.several (id, u, t);
CREATE TABLE rl.expression (id int, t text);
CREATE INDEX ON rl.expression (md5(t), (100 / (id - 3)));
CREATE TABLE rl.partial (id int, t text);
CREATE INDEX ON rl.partial (id) WHERE 100 / (id - 3) > 0;
CREATE TABLE rl.bound (id int, t varchar(20));
CREATE INDEX ON rl.bound (t, id);
CREATE TABLE rl.words (id int, t text[]);
CREATE INDEX ON rl.words USING gin (t);
CREATE TABLE rl.range (id int, t text);
CREATE INDEX ON rl.range USING brin (t);
CREATE TABLE rl.hashed (id int, t text);
CREATE INDEX ON rl.hashed USING hash (t);
CREATE TABLE rl.triggered (id int, t text);
CREATE INDEX ON rl.triggered (t);
CREATE FUNCTION rl.shorten() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.t := left(NEW.t, 10); RETURN NEW; END';
CREATE TRIGGER shorten BEFORE INSERT ON rl.triggered FOR EACH ROW EXECUTE FUNCTION rl.shorten();
COPY (SELECT id, ARRAY[t] AS t FROM (VALUES (1, 'a'), (2, :'noise'), (3, 'b')) AS v (id, t)) TO :'words' (FORMAT csv, HEADER);
SELECT etl.define_stream('rl.' || t, 'rl_files', jsonb_build_object('path', CASE t WHEN 'words' THEN 'words.csv' ELSE 'keys.csv' END, 'adopt', true))
FROM unnest('{plain,several,expression,partial,bound,words,range,hashed,triggered}'::text[]) AS t;
-- its index is built with the first load, and kept by the ones after
SELECT etl.define_stream('rl.merged', 'rl_files', '{"path": "keys.csv"}', key => '{t}', mode => 'merge', columns => 'id int, t text');
SELECT etl.define_stream('rl.unique', 'rl_files', '{"path": "keys.csv"}', columns => 'id int, t text UNIQUE');
CALL etl.run('rl.*');
SELECT etl.reload('rl.merged');
CALL etl.run('rl.merged');
SELECT target, rows_read, rows_loaded, rows_unchanged, rows_rejected FROM etl.loads WHERE target LIKE 'rl.%' ORDER BY target, load_id;
SELECT * FROM public.rl_rejects;
SELECT string_agg(id::text, ' ' ORDER BY id) AS plain FROM rl.plain;
-- a replay brings what the index holds
SELECT * FROM etl.replay('rl.plain', patch => '{"t": "short"}');

-- a row: what is left of it when its long values are moved out must fit into a page
SELECT string_agg('c' || i, ',' ORDER BY i) AS names, string_agg(i::text, ',' ORDER BY i) AS numbers, string_agg(CASE WHEN i % 2 = 0 THEN i::text ELSE '' END, ',' ORDER BY i) AS sparse,
	string_agg(CASE WHEN i % 5 = 0 THEN repeat('long ', 20) ELSE '' END, ',' ORDER BY i) AS texts, string_agg('c' || i || ' text', ',') AS columns,
	string_agg(format('"f%s":%s', i, i), ',') AS fields FROM generate_series(1, 1500) AS i \gset
COPY (SELECT line FROM (VALUES (1, :'names'), (2, :'numbers'), (3, :'sparse'), (4, '1' || repeat(',', 1499))) AS v (n, line) ORDER BY n) TO :'wide' (DELIMITER '|');
SELECT etl.define_stream('rl.numbers', 'rl_files', '{"path": "wide.csv"}'), etl.define_stream('rl.number_keys', 'rl_files', '{"path": "wide.csv"}', key => '{c1}', mode => 'merge', columns => 'c1 text');
CALL etl.run('rl.numbers rl.number_keys');
SELECT target, rows_loaded FROM etl.loads WHERE target LIKE 'rl.number%' ORDER BY target;
SELECT * FROM public.rl_rejects WHERE target LIKE 'rl.number%';
COPY (SELECT line FROM (VALUES (1, :'names'), (2, repeat('longer than a pointer is,', 1499) || 'x'), (3, :'texts'), (4, repeat('short,', 1499) || 'x'), (5, repeat('abc,', 1499) || 'x')) AS v (n, line) ORDER BY n) TO :'wide' (DELIMITER '|');
SELECT etl.define_stream('rl.texts', 'rl_files', '{"path": "wide.csv"}', columns => :'columns');
CALL etl.run('rl.texts');
SELECT _etl_row, length(c5) FROM rl.texts ORDER BY 1;
SELECT * FROM public.rl_rejects WHERE target = 'rl.texts';

-- more fields than a table has columns: the load says so, and what to do works
COPY (SELECT '{' || :'fields' || '}' UNION ALL SELECT '{' || replace(:'fields', '"f', '"g') || '}') TO :'many' (DELIMITER '|', FORMAT csv, QUOTE E'\x01');
SELECT etl.define_stream('rl.many', 'rl_files', '{"path": "wide.ndjson"}');
\set VERBOSITY sqlstate
CALL etl.run('rl.many');
SELECT what, why, remedy FROM (SELECT what, split_part(why, E'\n', 1) AS why, left(remedy, 130) AS remedy FROM etl.explain_run()) AS e;
SELECT etl.define_stream('rl.many', 'rl_files', '{"path": "wide.ndjson"}', columns => 'f7 int, g8 int', schema_policy => '{"columns": "discard_value"}');
CALL etl.run('rl.many');
SELECT _etl_row, f7, g8 FROM rl.many ORDER BY 1;

DROP VIEW public.rl_rejects;
SELECT etl.drop_source('rl_files', cascade => true, drop_relation => true);
DROP SCHEMA rl CASCADE;
COPY (SELECT) TO PROGRAM :'clean';
