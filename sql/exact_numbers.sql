-- A number lands as the number that stood in the file, to its last digit, or not at all.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY sqlstate
SET timezone = 'UTC';
SET extra_float_digits = 1;
SELECT current_setting('data_directory') || '/etl_regress_xn' AS dir \gset
-- cat takes the line that COPY writes: a program that ends first would make it fail
SELECT 'cat > /dev/null; rm -rf ' || :'dir' || '; mkdir ' || :'dir' AS prepare, 'cat > /dev/null; rm -rf ' || :'dir' AS clean,
	'cat > /dev/null; printf %s ' AS printf, ' > ' || :'dir' || '/' AS into \gset
COPY (SELECT) TO PROGRAM :'prepare';
SELECT set_config('etl.allowed_directories', :'dir', false) <> '' AS allowed;
SELECT etl.define_source('xn_files', 'file', jsonb_build_object('root', :'dir'));
CREATE VIEW public.xn_rejects AS
	SELECT target, position, r->>'column' AS "column", left(r->>'message', 110) AS message
	FROM etl.rejects, jsonb_array_elements(reasons) AS r WHERE target LIKE 'xn.%' ORDER BY target, position, r->>'column';

-- each line one number: b as bigint, n as numeric, f as double precision, t as text; a type that cannot hold it rejects its line
SELECT :'printf' || $$'{"what":"2^63 - 1","b":9223372036854775807,"n":9223372036854775807,"f":9223372036854775807,"t":9223372036854775807}
{"what":"-2^63","b":-9223372036854775808,"n":-9223372036854775808,"f":-9223372036854775808,"t":-9223372036854775808}
{"what":"2^63 into bigint","b":9223372036854775808}
{"what":"-2^63 - 1 into bigint","b":-9223372036854775809}
{"what":"2^63 elsewhere","n":9223372036854775808,"f":9223372036854775808,"t":9223372036854775808}
{"what":"1e400 into bigint","b":1e400}
{"what":"1e400 into double precision","f":1e400}
{"what":"1e-400 into double precision","f":1e-400}
{"what":"1e400 elsewhere","n":1e400,"t":1e400}
{"what":"-0","b":-0,"n":-0,"f":-0,"t":-0}
{"what":"-0.0","b":-0.0,"n":-0.0,"f":-0.0,"t":-0.0}
{"what":"0e999999999999","b":0e999999999999,"t":0e999999999999}
{"what":"60 digits","n":12345678901234567890123456789012345678901234567890.1234567890,"t":12345678901234567890123456789012345678901234567890.1234567890}
{"what":"60 digits behind the point","n":0.123456789012345678901234567890123456789012345678901234567891}
{"what":"whole numbers that are not written as such","b":12.000,"n":12.000,"t":12.000}
{"what":"with an exponent","b":1.25e2,"n":1.25e2,"f":1.25e2,"t":1.25e2}
{"what":"which takes zeros away","b":1200e-2,"n":1200e-2}
{"what":"with forty zeros","b":7.0000000000000000000000000000000000000000,"n":7.0000000000000000000000000000000000000000}
{"what":"2^63 - 1 with an exponent","b":922337203685477580.7e1}
{"what":"2^63 with an exponent","b":9223372036854775.808e3}
{"what":"no whole number","b":1.5}
{"what":"a tenth","n":0.1,"f":0.1}
{"what":"the least double","f":5e-324}
{"what":"the greatest double","f":1.7976931348623157e308}
{"what":"half of a unit","f":9007199254740993}
{"what":"NaN","n":NaN}
{"what":"Infinity","n":Infinity}
{"what":"-Infinity","f":-Infinity}
{"what":"+1","n":+1}
{"what":"01","n":01}'$$ || :'into' || 'declared.ndjson' AS make \gset
COPY (SELECT) TO PROGRAM :'make';
SELECT etl.define_stream('xn.declared', 'xn_files', '{"path": "declared.ndjson"}', columns => 'what text, b bigint, n numeric, f double precision, t text');
CALL etl.run('xn.declared');
SELECT _etl_row, what, b, CASE WHEN length(n::text) > 100 THEN left(n::text, 10) || '… ' || length(n::text) || ' digits' ELSE n::text END AS n, f, t FROM xn.declared ORDER BY 1;
SELECT n = power(10::numeric, 400) AS exact FROM xn.declared WHERE what = '1e400 elsewhere';
SELECT position, "column", message FROM public.xn_rejects WHERE target = 'xn.declared';

-- without a type given: bigint or numeric by value, whatever the digits look like
SELECT :'printf' || $$'{"whole":1.0,"point":1.0,"power":1e3,"big":1.0,"huge":1,"tiny":1,"zero":0,"beyond":1,"nested":{"n":1.10,"m":1e400}}
{"whole":-20.00,"point":2.5,"power":12.5e1,"big":9223372036854775808,"huge":1e400,"tiny":1e-400,"zero":-0,"beyond":1e200000,"nested":{"n":-0,"m":123456789012345678901234567890.123456789012345678901234567890}}'$$ || :'into' || 'inferred.ndjson' AS make \gset
COPY (SELECT) TO PROGRAM :'make';
SELECT etl.define_stream('xn.inferred', 'xn_files', '{"path": "inferred.ndjson"}');
CALL etl.run('xn.inferred');
SELECT attname, format_type(atttypid, atttypmod) AS type FROM pg_attribute WHERE attrelid = 'xn.inferred'::regclass AND attnum > 2 ORDER BY attnum;
SELECT whole, point, power, big, length(huge::text) AS huge, scale(tiny) AS tiny, zero, beyond, nested->'n' AS n, length(nested->>'m') AS m FROM xn.inferred ORDER BY _etl_row;

-- a JSON number in jsonb that no numeric holds is a reject, not an error
SELECT :'printf' || $$'{"j":{"n":1e100000}}
{"j":{"n":1e200000}}
{"j":[1e-200000]}'$$ || :'into' || 'jsonb.ndjson' AS make \gset
COPY (SELECT) TO PROGRAM :'make';
SELECT etl.define_stream('xn.jsonb', 'xn_files', '{"path": "jsonb.ndjson"}', columns => 'j jsonb');
CALL etl.run('xn.jsonb');
SELECT _etl_row, length(j->>'n') FROM xn.jsonb;
SELECT position, "column", message FROM public.xn_rejects WHERE target = 'xn.jsonb';

-- in CSV a column is a number only where every digit comes back: all are text but the last two
SELECT :'printf' || $$'plus,zeros,power,minus,point,nan,hex,group,bigint,decimal
+1,007,1e5,-0,1.,NaN,0x10,1 000,9223372036854775807,0.10
2,1,1,1,1,1,1,1,-9223372036854775808,12345678901234567890123456789012345678901234567890.1234567890'$$ || :'into' || 'text.csv' AS make \gset
COPY (SELECT) TO PROGRAM :'make';
SELECT etl.define_stream('xn.text', 'xn_files', '{"path": "text.csv"}');
CALL etl.run('xn.text');
SELECT attname, format_type(atttypid, atttypmod) AS type FROM pg_attribute WHERE attrelid = 'xn.text'::regclass AND attnum > 2 ORDER BY attnum;
SELECT _etl_row, plus, zeros, power, minus, point, nan, hex, "group", "bigint", "decimal" FROM xn.text ORDER BY 1;

-- numeric(p, s) rounds half away from zero and rejects what does not fit, on the short way and on the long one
SELECT :'printf' || $$'a,b
1.005,1.005
-1.005,-1.005
999.994,99999999999999999999.994
999.995,1
1,99999999999999999999.995
0.000000000000000000000000000000000005,0.00000000000000000000000000005
1e2,1e2
1e3,1
 7 , 7 '$$ || :'into' || 'rounded.csv' AS make \gset
COPY (SELECT) TO PROGRAM :'make';
SELECT etl.define_stream('xn.rounded', 'xn_files', '{"path": "rounded.csv"}', columns => 'a numeric(5,2), b numeric(22,2)');
CALL etl.run('xn.rounded');
SELECT _etl_row, a, b FROM xn.rounded ORDER BY 1;
SELECT position, "column", message FROM public.xn_rejects WHERE target = 'xn.rounded';

-- a number that is too large for its column: the limit is told, whatever its length
SELECT :'printf' || $$'a
123456789.5
999999999999999999999999999999999999999999999999999999999999
1e400'$$ || :'into' || 'limit.csv' AS make \gset
COPY (SELECT) TO PROGRAM :'make';
SELECT etl.define_stream('xn.bounds', 'xn_files', '{"path": "limit.csv"}', columns => 'a numeric(10,2)');
CALL etl.run('xn.bounds');
SELECT position, message FROM public.xn_rejects WHERE target = 'xn.bounds' ORDER BY position;

DROP VIEW public.xn_rejects;
SELECT etl.drop_source('xn_files', cascade => true, drop_relation => true);
DROP SCHEMA xn CASCADE;
COPY (SELECT) TO PROGRAM :'clean';
