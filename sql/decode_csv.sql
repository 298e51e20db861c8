-- Whatever the dialect and the types, a value lands as PostgreSQL itself would read it, or its record is a reject with the reason.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY sqlstate
SET timezone = 'Asia/Tokyo';
SET datestyle = "ISO, YMD";
SET intervalstyle = postgres;
SELECT current_setting('data_directory') || '/etl_regress_dc' AS dir \gset
-- cat takes the line that COPY writes: a program that ends first would make it fail
SELECT 'cat > /dev/null; rm -rf ' || :'dir' || '; mkdir ' || :'dir' AS prepare, 'cat > /dev/null; rm -rf ' || :'dir' AS clean,
	'cat > /dev/null; printf ' AS printf, ' > ' || :'dir' || '/' AS into \gset
COPY (SELECT) TO PROGRAM :'prepare';
SELECT set_config('etl.allowed_directories', :'dir', false) <> '' AS allowed;
SELECT etl.define_source('dc_files', 'file', jsonb_build_object('root', :'dir'));
CREATE VIEW public.dc_rejects AS
	SELECT target, position, record, r->>'check' AS "check", r->>'column' AS "column", r->>'message' AS message
	FROM etl.rejects, jsonb_array_elements(reasons) AS r WHERE target LIKE 'dc.%' ORDER BY target, position, reject_id;
CREATE VIEW public.dc_columns AS
	SELECT attrelid::regclass AS relation, attname, format_type(atttypid, atttypmod) AS type, col_description(attrelid, attnum) AS comment
	FROM pg_attribute WHERE attrelid::regclass::text LIKE 'dc.%' AND attnum > 0 AND attname NOT LIKE '\_etl%' ORDER BY attrelid, attnum;

-- inference: a number is one only when it survives digit by digit; names become identifiers
SELECT :'printf' || $$'id,userId,Zip Code,big,price,is-ok,day,at,uuid,phone,exp,mixed,none\n1,10,00123,9223372036854775808,1.50,true,2024-01-02,2024-01-02T10:00:00,a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11,+4912,1e5,1,\n-2,0,01,1,-0.10,false,2024-02-29,2024-01-02 10:00:00.5+02,A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A12,5,2,x,\n'$$ || :'into' || 'infer.csv' AS make \gset
COPY (SELECT) TO PROGRAM :'make';
SELECT etl.define_stream('dc.infer', 'dc_files', '{"path": "infer.csv"}');
CALL etl.run('dc.infer');
SELECT attname, type, comment FROM public.dc_columns WHERE relation = 'dc.infer'::regclass;
SELECT _etl_row, id, user_id, zip_code, big, price, is_ok, day, at, uuid, phone, exp, mixed, "none" FROM dc.infer ORDER BY _etl_row;

-- every soft type: good forms and bad ones, one reject a record and no error
SELECT :'printf' || $$'t,v\nint2,7\nint2,32768\nint4, 5 \nint4,5.0\nint8,9223372036854775808\nnumeric,999.995\nnumeric,99999\nfloat,1e3\nfloat,x\nbool,yes\nbool,maybe\ndate,31/12/2023\ndate,12/31/2023\ndate,today\nts,2024-03-31 02:30:00\ntstz,2024-07-01 12:00\ntstz,2024-07-01 12:00Z\nuuid,zz\nvarchar,abcdef\nvarchar,abc  \njsonb,"{""a"": 1}"\njsonb,{a}\ninterval,90 min\n'$$ || :'into' || 'types.csv' AS make \gset
COPY (SELECT) TO PROGRAM :'make';
SELECT etl.define_stream('dc.t_' || t, 'dc_files', '{"path": "types.csv", "timezone": "Europe/Berlin", "date_order": "DMY"}', columns => 't text, v ' || type)
FROM (VALUES ('int2', 'int2'), ('int4', 'int4'), ('int8', 'int8'), ('numeric', 'numeric(5,2)'), ('float', 'float8'), ('bool', 'bool'), ('date', 'date'),
	('ts', 'timestamp'), ('tstz', 'timestamptz'), ('uuid', 'uuid'), ('varchar', 'varchar(3)'), ('jsonb', 'jsonb'), ('interval', 'interval')) AS v (t, type);
CALL etl.run('source:dc_files');
SET timezone = 'UTC';
SELECT t AS type, v FROM (
	SELECT t, v::text FROM dc.t_int2 WHERE t = 'int2' UNION ALL SELECT t, v::text FROM dc.t_int4 WHERE t = 'int4' UNION ALL SELECT t, v::text FROM dc.t_int8 WHERE t = 'int8'
	UNION ALL SELECT t, v::text FROM dc.t_numeric WHERE t = 'numeric' UNION ALL SELECT t, v::text FROM dc.t_float WHERE t = 'float'
	UNION ALL SELECT t, v::text FROM dc.t_bool WHERE t = 'bool' UNION ALL SELECT t, to_char(v, 'YYYY-MM-DD') FROM dc.t_date WHERE t = 'date'
	UNION ALL SELECT t, v::text FROM dc.t_ts WHERE t = 'ts' UNION ALL SELECT t, v::text FROM dc.t_tstz WHERE t = 'tstz'
	UNION ALL SELECT t, v::text FROM dc.t_uuid WHERE t = 'uuid' UNION ALL SELECT t, v || '|' FROM dc.t_varchar WHERE t = 'varchar'
	UNION ALL SELECT t, v::text FROM dc.t_jsonb WHERE t = 'jsonb' UNION ALL SELECT t, v::text FROM dc.t_interval WHERE t = 'interval') AS v ORDER BY t, v;
SELECT target, position, "column", message FROM public.dc_rejects WHERE record LIKE substr(target, 6) || ',%';

-- a dialect: marks, NULL texts, comments, blanks, another encoding
SELECT :'printf' || $$'# export\nName;Betrag;Note\n# first\nJos\351;1.234,50; - \n"a ""b"";";12,3;""\nx;1.2345,6;y\n'$$ || :'into' || 'dialect.csv' AS make \gset
COPY (SELECT) TO PROGRAM :'make';
SELECT etl.define_stream('dc.dialect', 'dc_files', '{"path": "dialect.csv", "delimiter": ";", "comment": "#", "null": ["-", "n/a"], "trim": true, "encoding": "LATIN1", "decimal": ",", "thousands": "."}',
	columns => 'name text, betrag numeric, note text');
CALL etl.run('dc.dialect');
SELECT _etl_row, name, betrag, note FROM dc.dialect ORDER BY _etl_row;
SELECT position, "check", "column", message FROM public.dc_rejects WHERE target = 'dc.dialect';

-- lines that are no records: each a reject, and the lines behind them land
SELECT :'printf' || $$'a,b\n1,"open\n2,good\n3,"x"y\n4\n5,6,7\n8,\377\n9,"two\nlines"\n10,ok\n'$$ || :'into' || 'broken.csv' AS make \gset
COPY (SELECT) TO PROGRAM :'make';
SELECT etl.define_stream('dc.broken', 'dc_files', '{"path": "broken.csv"}', columns => 'a int, b text');
CALL etl.run('dc.broken');
SELECT _etl_row, a, b FROM dc.broken ORDER BY _etl_row;
SELECT position, record, "check", message FROM public.dc_rejects WHERE target = 'dc.broken';

-- one header name twice is refused, by name
SELECT :'printf' || $$'a,b,a\n1,2,3\n'$$ || :'into' || 'twice.csv' AS make \gset
COPY (SELECT) TO PROGRAM :'make';
SELECT etl.define_stream('dc.twice', 'dc_files', '{"path": "twice.csv"}');
CALL etl.run('dc.twice');
SELECT sqlstate, error LIKE '%has the column "a" twice' AS named FROM etl.tasks WHERE run_id = etl.last_run_id();

DROP VIEW public.dc_rejects, public.dc_columns;
SELECT etl.drop_source('dc_files', cascade => true, drop_relation => true);
DROP SCHEMA dc CASCADE;
COPY (SELECT) TO PROGRAM :'clean';
