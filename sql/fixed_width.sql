-- Lines of fixed width and COPY's text format land like CSV; what they cannot hold is a reject, which can be replayed.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY terse
SELECT current_setting('data_directory') || '/etl_regress_fw' AS dir \gset
SELECT 'cat > /dev/null; rm -rf ' || :'dir' || '; mkdir ' || :'dir' AS prepare, 'cat > /dev/null; rm -rf ' || :'dir' AS clean,
	'cat > /dev/null; printf ' AS printf, ' > ' || :'dir' || '/' AS into \gset
COPY (SELECT) TO PROGRAM :'prepare';
SELECT set_config('etl.allowed_directories', :'dir', false) <> '' AS allowed;
SELECT etl.define_source('fw_files', 'file', jsonb_build_object('root', :'dir'));

-- widths, in characters; padding is no value; short and long lines are rejects, empty ones nothing
SELECT :'printf' || $$'   1Müller    12.502024-01-02\n\n   2         100.00          \r\n  3xSmith      1.00\n   4Jones    2.00  2024-01-05   \n   xJones      2.002024-01-05\n   5Jones      2.002024-01-05x\n   6\377          2.002024-01-05\n'$$ || :'into' || 'w.dat' AS a \gset
COPY (SELECT) TO PROGRAM :'a';
SELECT etl.define_stream('fw.widths', 'fw_files', '{"path": "w.dat", "widths": [4, 8, 7, 10], "header": ["id", "name", "amount", "day"]}', 'fixed', 'id bigint, name text, amount numeric, day date');
CALL etl.run('fw.widths');
SELECT _etl_row, id, name, amount, day FROM fw.widths ORDER BY _etl_row;
SELECT position, record, reasons FROM etl.rejects WHERE target = 'fw.widths' ORDER BY position;
SELECT * FROM etl.replay('fw.widths', 'position = 6', '{"id": "9"}');
SELECT _etl_row, id, name, amount, day FROM fw.widths WHERE id = 9;
-- lines that end early, positions with gaps and overlaps, bytes, inferred types
SELECT etl.define_stream('fw.ragged', 'fw_files', '{"path": "w.dat", "positions": ["1-4", "5-12", "13-19", "20-29", "5-5"], "header": ["id", "name", "amount", "day", "initial"], "ragged": true, "invalid_bytes": "replace"}', 'fixed');
CALL etl.run('fw.ragged');
SELECT id, name, amount, day, initial FROM fw.ragged ORDER BY _etl_row;
SELECT position, reasons FROM etl.rejects WHERE target = 'fw.ragged' ORDER BY position;
SELECT etl.define_stream('fw.bytes', 'fw_files', '{"path": "w.dat", "positions": ["5-7"], "unit": "bytes"}', 'fixed');
CALL etl.run('fw.bytes');
SELECT column1 FROM fw.bytes ORDER BY _etl_row;
-- the header stands in the file; another encoding
SELECT :'printf' || $$'exported\nno  who \n1   Jos\351\n2   x   \n'$$ || :'into' || 'h.dat' AS b \gset
COPY (SELECT) TO PROGRAM :'b';
SELECT etl.define_stream('fw.headed', 'fw_files', '{"path": "h.dat", "widths": [4, 4], "header": true, "skip_lines": 1, "encoding": "LATIN1", "trim": true}', 'fixed', 'no int, who text NOT NULL');
CALL etl.run('fw.headed');
SELECT _etl_row, no, who FROM fw.headed ORDER BY no;
-- what makes no sense
SELECT etl.define_stream('fw.bad', 'fw_files', '{"path": "w.dat"}', 'fixed');
SELECT etl.define_stream('fw.bad', 'fw_files', '{"path": "w.dat", "widths": [4], "positions": ["1-2"]}', 'fixed');
SELECT etl.define_stream('fw.bad', 'fw_files', '{"path": "w.dat", "widths": [4, 0]}', 'fixed');
SELECT etl.define_stream('fw.bad', 'fw_files', '{"path": "w.dat", "widths": "a"}', 'fixed');
SELECT etl.define_stream('fw.bad', 'fw_files', '{"path": "w.dat", "positions": ["9-2"]}', 'fixed');
SELECT etl.define_stream('fw.bad', 'fw_files', '{"path": "w.dat", "widths": [4], "header": ["a", "b"]}', 'fixed');
SELECT etl.define_stream('fw.bad', 'fw_files', '{"path": "w.dat", "widths": [4], "quote": "x"}', 'fixed');
SELECT etl.define_stream('fw.bad', 'fw_files', '{"path": "w.dat"}', 'binary');

-- what COPY writes as text is read as it was, byte for byte
CREATE TABLE public.fw_texts (id int, t text);
INSERT INTO public.fw_texts VALUES (1, 'plain'), (2, NULL), (3, ''), (4, E'tab\there'), (5, E'line\nbreak\r\nand\rreturn'), (6, '\'), (7, '\N'), (8, E'\b\f\v'), (9, 'ü|;,"'''), (10, '\.'), (11, E'end\\');
SELECT :'dir' || '/t.txt' AS t, :'dir' || '/p.txt' AS p, :'dir' || '/c.csv' AS c, :'dir' || '/h.txt' AS h \gset
COPY public.fw_texts TO :'t';
COPY public.fw_texts TO :'p' (DELIMITER '|', NULL 'nil', HEADER);
SELECT etl.define_stream('fw.text', 'fw_files', '{"path": "t.txt", "header": ["id", "t"]}', 'text', 'id int, t text');
SELECT etl.define_stream('fw.piped', 'fw_files', '{"path": "p.txt", "delimiter": "|", "null": "nil", "header": true}', 'text', 'id int, t text');
CALL etl.run('fw.text fw.piped');
SELECT count(*) FROM public.fw_texts a FULL JOIN fw.text b ON a.id = b.id AND a.t IS NOT DISTINCT FROM b.t WHERE a.id IS NULL OR b.id IS NULL;
SELECT count(*) FROM public.fw_texts a FULL JOIN fw.piped b ON a.id = b.id AND a.t IS NOT DISTINCT FROM b.t WHERE a.id IS NULL OR b.id IS NULL;
SELECT array_agg(_etl_row ORDER BY _etl_row) FROM fw.text;
-- escapes by number, lines that are none, the end mark, replays
SELECT :'printf' || $$'1\t\\101\\x42\\q\n2\n3\ta\tb\n4\t\\xff\n5\t\377\nx\tz\n6\tcut\\'$$ || :'into' || 'e.txt' AS e, :'printf' || $$'1\ta\n\\.\n2\tb\n'$$ || :'into' || 'm.txt' AS m \gset
COPY (SELECT) TO PROGRAM :'e';
COPY (SELECT) TO PROGRAM :'m';
SELECT etl.define_stream('fw.escapes', 'fw_files', '{"path": "e.txt", "header": ["id", "t"]}', 'text', 'id int, t text');
SELECT etl.define_stream('fw.marked', 'fw_files', '{"path": "m.txt"}', 'text');
CALL etl.run('fw.escapes fw.marked');
SELECT _etl_row, id, t FROM fw.escapes ORDER BY _etl_row;
SELECT position, record, reasons->0->>'check' AS "check", reasons->0->>'message' AS message FROM etl.rejects WHERE target = 'fw.escapes' ORDER BY position;
SELECT * FROM etl.replay('fw.escapes', 'record LIKE ''x%''', '{"id": 7}');
SELECT column1, column2 FROM fw.marked;
SELECT etl.define_stream('fw.bad', 'fw_files', '{"path": "t.txt", "delimiter": "n"}', 'text');

-- each option of COPY has a counterpart that gives the same rows: the file as COPY FROM reads it, and as etl does
CREATE TABLE public.fw_copied (a text, b text);
CREATE TABLE public.fw_table (n int, copy_options text, format text, options jsonb, content text);
INSERT INTO public.fw_table VALUES
	(1, 'FORMAT csv', 'csv', '{"header": false}', E'1,x\n"",\n'),
	(2, 'FORMAT csv, HEADER', 'csv', '{}', E'a,b\n1,x\n'),
	(3, 'FORMAT csv, HEADER match', 'csv', '{"header": "match"}', E'a,b\n1,x\n'),
	(4, 'FORMAT csv, DELIMITER '';''', 'csv', '{"header": false, "delimiter": ";"}', E'1;x,y\n'),
	(5, 'FORMAT csv, NULL ''NA''', 'csv', '{"header": false, "null": "NA", "empty": "text"}', E'NA,"NA"\n,""\n'),
	(6, 'FORMAT csv, QUOTE ''$''', 'csv', '{"header": false, "quote": "$"}', E'$1$,$x,$$y$\n'),
	(7, 'FORMAT csv, ESCAPE ''\''', 'csv', '{"header": false, "escape": "\\"}', E'1,"x\\"y\\\\z"\n'),
	(8, 'FORMAT csv, FORCE_NULL (b)', 'csv', '{"header": ["a", "b"], "force_null": ["b"]}', E'"",""\n1,"x"\n'),
	(9, 'FORMAT csv, FORCE_NOT_NULL (b)', 'csv', '{"header": ["a", "b"], "force_not_null": ["b"]}', E',\n1,x\n'),
	(10, 'FORMAT csv, NULL ''NA'', FORCE_NULL (a), FORCE_NOT_NULL (b)', 'csv', '{"header": ["a", "b"], "null": "NA", "empty": "text", "force_null": "a", "force_not_null": "b"}', E'"NA",NA\nNA,"NA"\n'),
	(11, 'FORMAT csv, ENCODING ''LATIN1''', 'csv', '{"header": false, "encoding": "LATIN1"}', E'1,abc\n'),
	(12, 'FORMAT text', 'text', '{"header": false}', E'1\tx\\ty\n\\N\t\n'),
	(13, 'FORMAT text, DELIMITER ''|''', 'text', '{"delimiter": "|"}', E'1|x\\|y\n'),
	(14, 'FORMAT text, NULL ''''', 'text', '{"null": ""}', E'1\t\n\\\\N\tx\n'),
	(15, 'FORMAT text, HEADER', 'text', '{"header": true}', E'a\tb\n1\tx\n'),
	(16, 'FORMAT text, HEADER match', 'text', '{"header": "match"}', E'a\tb\n1\tx\n'),
	(17, 'FORMAT csv', 'csv', '{"header": false}', E'1,"two\nlines"\r\n2,x'),
	(18, 'FORMAT text', 'text', '{"header": false}', E'1\tx\\\ny\n2\t\\x41\\102\\q\n');
CREATE FUNCTION public.fw_compare(n int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	case_row public.fw_table;
	file text := format('%s/etl_regress_fw/copy%s.dat', current_setting('data_directory'), n);
	copied text; landed text;
BEGIN
	SELECT * INTO case_row FROM public.fw_table t WHERE t.n = fw_compare.n;
	EXECUTE format('COPY (SELECT) TO PROGRAM %L', 'cat > /dev/null; echo ' || encode(convert_to(case_row.content, 'UTF8'), 'base64') || ' | base64 -d > ' || file);
	TRUNCATE public.fw_copied;
	EXECUTE format('COPY public.fw_copied FROM %L (%s)', file, case_row.copy_options);
	PERFORM etl.define_stream('fw.copy' || n, 'fw_files', case_row.options || jsonb_build_object('path', format('copy%s.dat', n)), case_row.format, 'a text, b text');
	CALL etl.run('fw.copy' || n);
	SELECT string_agg(quote_nullable(a) || ' ' || quote_nullable(b), '; ' ORDER BY a, b) INTO copied FROM public.fw_copied;
	EXECUTE format('SELECT string_agg(quote_nullable(a) || '' '' || quote_nullable(b), ''; '' ORDER BY a, b) FROM fw.copy%s', n) INTO landed;
	RETURN CASE WHEN copied = landed THEN 'same: ' || copied ELSE format('COPY: %s, etl: %s', copied, landed) END;
END
$$;
SELECT n, copy_options, options, replace(public.fw_compare(n), E'\r', '\r') AS rows FROM public.fw_table ORDER BY n;

-- a header that does not match, as COPY refuses it
SELECT :'printf' || $$'b,a\n1,x\n'$$ || :'into' || 'swapped.csv' AS s, :'printf' || $$'a\n1\n'$$ || :'into' || 'less.csv' AS l, :'printf' || $$'a,b,c\n1,2,3\n'$$ || :'into' || 'more.csv' AS m \gset
COPY (SELECT) TO PROGRAM :'s';
COPY (SELECT) TO PROGRAM :'l';
COPY (SELECT) TO PROGRAM :'m';
SELECT etl.define_stream('fw.' || w, 'fw_files', jsonb_build_object('path', w || '.csv', 'header', 'match'), columns => 'a text, b text', schema_policy => 'discard_value') FROM unnest('{swapped,less,more}'::text[]) AS w;
\set VERBOSITY sqlstate
CALL etl.run('fw.swapped fw.less fw.more');
SELECT node, replace(error, :'dir', 'DIR') AS error, detail FROM etl.tasks WHERE node IN ('fw.swapped', 'fw.less', 'fw.more') ORDER BY node;

SELECT etl.drop_source('fw_files', cascade => true, drop_relation => true);
DROP FUNCTION public.fw_compare;
DROP TABLE public.fw_texts, public.fw_copied, public.fw_table;
COPY (SELECT) TO PROGRAM :'clean';
