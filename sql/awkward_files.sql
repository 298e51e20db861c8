-- A file that is not what its options say is refused before anything of it lands, and the hint of the error is the way to read it.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY sqlstate
SELECT current_setting('data_directory') || '/etl_regress_aw' AS dir \gset
SELECT 'cat > /dev/null; rm -rf ' || :'dir' || '; mkdir ' || :'dir' AS prepare, 'cat > /dev/null; rm -rf ' || :'dir' AS clean \gset
COPY (SELECT) TO PROGRAM :'prepare';
SELECT set_config('etl.allowed_directories', :'dir', false) <> '' AS allowed;
SELECT etl.define_source('aw_files', 'file', jsonb_build_object('root', :'dir'));

CREATE TABLE public.aw_files (n int, name text, content bytea, way_out jsonb, format text);
INSERT INTO public.aw_files VALUES
	(1, 'Excel, semicolons and a byte order mark', '\xefbbbf' || convert_to(E'Kunde;Straße;Betrag €\r\n"Müller; Sohn";"Hauptstr. ""5""";1.234,50\r\nMeier;;7,25\r\n', 'UTF8'), '{"delimiter": ";", "decimal": ",", "thousands": "."}', 'csv'),
	(2, 'Excel, nobody knows', '\xefbbbf' || convert_to(E'Kunde;Straße;Betrag €\r\n"Müller; Sohn";"Hauptstr. ""5""";1.234,50\r\nMeier;;7,25\r\n', 'UTF8'), '{"dialect": "auto"}', 'csv'),
	(3, 'a line that only Excel reads', convert_to(E'sep=;\r\nid;name\r\n1;a\r\n', 'UTF8'), '{"delimiter": ";", "skip_lines": 1}', 'csv'),
	(4, 'tabs', convert_to(E'id\tname\n1\ta\n', 'UTF8'), '{"delimiter": "\t"}', 'csv'),
	(5, 'one column indeed', convert_to(E'Temperature [C|F]\n20|68\n', 'UTF8'), '{"delimiter": ","}', 'csv'),
	(6, 'Windows-1252', convert_to(E'Größe,Preis €\n1,2\n', 'WIN1252'), '{"encoding": "WIN1252"}', 'csv'),
	(7, 'UTF-16 without a mark', '\x690064002c006e000a0031002c00e9000a00'::bytea, '{"encoding": "UTF16LE"}', 'csv'),
	(8, 'a name twice', convert_to(E'id,name,name\n1,a,b\n', 'UTF8'), '{"header": ["id", "name", "second name"], "skip_lines": 1}', 'csv'),
	(9, 'JSON', convert_to(E'{"id":1,"t":"x"}\n{"id":2,"t":"y"}\n', 'UTF8'), '{}', 'ndjson'),
	(10, 'a page that tells of an error', convert_to(E'<html><a href="/x"y>503</a></html>\n', 'UTF8'), NULL, 'csv'),
	(11, 'lines above the header', convert_to(E'"Report" of today\nid,t\n1,a\n', 'UTF8'), '{"skip_lines": 1}', 'csv'),
	(12, 'no lines at all', convert_to(repeat('x', 1100000) || E'\n1\n', 'UTF8'), '{"skip_lines": 1, "header": false}', 'csv'),
	(13, 'the same page for JSON', convert_to(E' <!DOCTYPE html><html></html>', 'UTF8'), NULL, 'json'),
	(14, 'cut off', convert_to(E'[{"id":1},{"id":2},{"id"', 'UTF8'), NULL, 'json'),
	(15, 'commas forgotten', convert_to(E'[{"id":1} {"id":2}]', 'UTF8'), NULL, 'json'),
	(16, 'JSON of one key', convert_to(E'{"error": "no such page"}\n', 'UTF8'), NULL, 'csv'),
	(17, 'a list without records', convert_to(E'[]\n', 'UTF8'), NULL, 'csv'),
	(18, 'names like JSON', convert_to(E'["a"],[b]\n1,2\n', 'UTF8'), '{"header": ["a", "b"], "skip_lines": 1}', 'csv');
\set ECHO none
SELECT format('COPY (SELECT translate(encode(content, ''base64''), E''\n'', '''') FROM public.aw_files WHERE n = %s) TO PROGRAM %L', n, 'base64 -d > ' || :'dir' || '/' || n || '.dat') FROM public.aw_files ORDER BY n \gexec
\set ECHO all
SET etl.max_record_size = '1MB';

-- as they are: nothing lands, and this is what is told
SELECT count(etl.define_stream('aw.f' || lpad(n::text, 2, '0'), 'aw_files', jsonb_build_object('path', n || '.dat'), CASE WHEN n BETWEEN 13 AND 15 THEN 'json' ELSE 'csv' END)) FROM public.aw_files;
CALL etl.run('aw.*');
SELECT n, name, replace(error, :'dir' || '/', '') AS error, detail, hint
FROM etl.tasks JOIN public.aw_files ON node = 'aw.f' || lpad(n::text, 2, '0') WHERE run_id = etl.last_run_id() ORDER BY n;
SELECT count(*) AS tables, (SELECT count(*) FROM etl.loads WHERE target LIKE 'aw.%') AS loads FROM pg_class WHERE relnamespace = to_regnamespace('aw') AND relkind = 'r';

-- told how to read them, etl does
SELECT count(etl.define_stream('aw.f' || lpad(n::text, 2, '0'), 'aw_files', way_out || jsonb_build_object('path', n || '.dat'), format)) FROM public.aw_files WHERE way_out IS NOT NULL;
SELECT count(etl.drop_stream('aw.f' || lpad(n::text, 2, '0'))) FROM public.aw_files WHERE way_out IS NULL;
CALL etl.run('aw.*');
SELECT status, count(*) FROM etl.tasks WHERE run_id = etl.last_run_id() GROUP BY status;
CREATE FUNCTION public.aw_rows(relation text) RETURNS SETOF jsonb LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXECUTE format('SELECT to_jsonb(r) - ''_etl_load_id'' FROM %s r ORDER BY _etl_row', relation);
END $$;
SELECT n, r FROM public.aw_files, public.aw_rows('aw.f' || lpad(n::text, 2, '0')) AS r WHERE way_out IS NOT NULL ORDER BY n, r->'_etl_row';
SELECT count(*) AS rejects FROM etl.rejects WHERE target LIKE 'aw.%';

SELECT etl.drop_source('aw_files', cascade => true, drop_relation => true);
DROP FUNCTION public.aw_rows;
DROP TABLE public.aw_files;
DROP SCHEMA aw;
COPY (SELECT) TO PROGRAM :'clean';
