-- Text arrives in any encoding that PostgreSQL converts, and in UTF-16; bytes that are no text are rejected, replaced or taken out, as told.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY terse
SELECT current_setting('data_directory') || '/etl_regress_en' AS dir \gset
SELECT 'cat > /dev/null; rm -rf ' || :'dir' || '; mkdir ' || :'dir' AS prepare, 'cat > /dev/null; rm -rf ' || :'dir' AS clean,
	'cat > /dev/null; printf ' AS printf, ' > ' || :'dir' || '/' AS into \gset
COPY (SELECT) TO PROGRAM :'prepare';
SELECT set_config('etl.allowed_directories', :'dir', false) <> '' AS allowed;
SELECT etl.define_source('en_files', 'file', jsonb_build_object('root', :'dir'));

-- the encodings of PostgreSQL, those too whose second bytes look like marks
CREATE TABLE public.en_written (encoding text, t text);
INSERT INTO public.en_written VALUES ('LATIN1', 'José'), ('WIN1252', '€5'), ('WIN1251', 'Привет'), ('ISO_8859_5', 'Привет'), ('EUC_JP', 'ソース|x'), ('SJIS', 'ソース表'), ('GB18030', '中文 €'), ('BIG5', '功能'), ('UHC', '똠방'), ('EUC_KR', '한글');
\set ECHO none
SELECT format('COPY (SELECT 1 AS id, t FROM public.en_written WHERE encoding = %L) TO %L (FORMAT csv, HEADER, DELIMITER %L, ENCODING %L)', encoding, :'dir' || '/' || lower(encoding) || '.csv', CASE encoding WHEN 'EUC_JP' THEN ';' ELSE '|' END, encoding) FROM public.en_written \gexec
\set ECHO all
SELECT etl.define_stream('en.' || lower(encoding), 'en_files', jsonb_build_object('path', lower(encoding) || '.csv', 'encoding', encoding, 'delimiter', CASE encoding WHEN 'EUC_JP' THEN ';' ELSE '|' END))
FROM public.en_written;
CALL etl.run('en.*');
SELECT encoding, query_to_xml(format('SELECT t FROM en.%I', lower(encoding)), false, false, '')::text LIKE '%<t>' || t || '</t>%' AS same FROM public.en_written ORDER BY encoding;
SELECT etl.define_stream('en.bad', 'en_files', '{"path": "x.csv", "encoding": "KLINGON"}');
SELECT etl.define_stream('en.bad', 'en_files', '{"path": "x.csv", "invalid_bytes": "ignore"}');

-- UTF-16 by its mark or by the option; a lone surrogate is the fault of its record alone, and is replayed like any other
SELECT :'printf' || $$'\377\376i\0d\0,\0t\0\n\0001\0,\0\351\0\n\0002\0,\0\0\330\n\0003\0,\0=\330\0\336\n\0'$$ || :'into' || 'u16.csv' AS make \gset
COPY (SELECT) TO PROGRAM :'make';
SELECT :'printf' || $$'\0[\0{\0"\0i\0"\0:\0001\0,\0"\0t\0"\0:\0"\0\351\0"\0}\0]'$$ || :'into' || 'u16.json' AS make \gset
COPY (SELECT) TO PROGRAM :'make';
SELECT etl.define_stream('en.u16', 'en_files', '{"path": "u16.csv"}'), etl.define_stream('en.u16j', 'en_files', '{"path": "u16.json", "encoding": "UTF16BE"}');
CALL etl.run('en.u16 en.u16j');
SELECT id, t FROM en.u16 ORDER BY id;
SELECT i, t FROM en.u16j;
SELECT position, reasons->0->>'check' AS "check", record FROM etl.rejects WHERE target = 'en.u16';
SELECT etl.define_stream('en.u16', 'en_files', '{"path": "u16.csv", "invalid_bytes": "replace"}');
SELECT * FROM etl.replay('en.u16');
SELECT t FROM en.u16 WHERE id = 2;

-- invalid bytes: quarantined, replaced, taken out; an escape for what text cannot hold is always a reject
SELECT :'printf' || $$'id,t\n1,a\377b\n2,c\0d\n3,ok\n'$$ || :'into' || 'bytes.csv' AS make \gset
COPY (SELECT) TO PROGRAM :'make';
SELECT :'printf' || $$'{"id":1,"t":"a\377b"}\n{"id":2,"t":"\\u0000"}\n{"id":3,"t":"\\ud800"}\n'$$ || :'into' || 'bytes.ndjson' AS make \gset
COPY (SELECT) TO PROGRAM :'make';
SELECT etl.define_stream(format('en.%s_%s', p, f), 'en_files', jsonb_build_object('path', 'bytes.' || f, 'invalid_bytes', p), columns => 'id int, t text')
FROM unnest('{quarantine,replace,strip}'::text[]) AS p, unnest('{csv,ndjson}'::text[]) AS f;
CALL etl.run('en.*_csv en.*_ndjson');
SELECT 'quarantine' AS policy, id, t FROM en.quarantine_csv UNION ALL SELECT 'replace', id, t FROM en.replace_csv UNION ALL SELECT 'strip', id, t FROM en.strip_csv ORDER BY 1, 2;
SELECT 'replace' AS policy, id, t FROM en.replace_ndjson UNION ALL SELECT 'strip', id, t FROM en.strip_ndjson ORDER BY 1, 2;
SELECT target, position, reasons->0->>'message' AS message FROM etl.rejects WHERE target LIKE 'en.%\_%' ORDER BY target, position;

-- a malformed element of an array is a reject where its end is certain, else the document is refused
SELECT :'printf' || $$'[{"a":1},{"a":tru},{"a":3}]'$$ || :'into' || 'sure.json' AS make \gset
COPY (SELECT) TO PROGRAM :'make';
SELECT :'printf' || $$'[{"a":1},{"a":"x},{"a":"y"},{"a":3}]'$$ || :'into' || 'unsure.json' AS make \gset
COPY (SELECT) TO PROGRAM :'make';
SELECT etl.define_stream('en.sure', 'en_files', '{"path": "sure.json"}'), etl.define_stream('en.unsure', 'en_files', '{"path": "unsure.json"}');
CALL etl.run('en.sure');
SELECT a FROM en.sure ORDER BY a;
SELECT position, reasons->0->>'message' AS message, record FROM etl.rejects WHERE target = 'en.sure';
\set VERBOSITY sqlstate
CALL etl.run('en.unsure');
\set VERBOSITY terse

DROP TABLE public.en_written;
SELECT etl.drop_source('en_files', cascade => true, drop_relation => true) IS NOT NULL AS dropped;
DROP SCHEMA en CASCADE;
COPY (SELECT) TO PROGRAM :'clean';
