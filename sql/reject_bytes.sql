-- A reject is stored as PostgreSQL itself would store it: reasons in canonical jsonb, messages as the input functions have them, ids that are unique.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY sqlstate
SELECT current_setting('data_directory') || '/etl_regress_rb' AS dir \gset
SELECT 'cat > /dev/null; rm -rf ' || :'dir' || '; mkdir ' || :'dir' AS prepare, 'cat > /dev/null; rm -rf ' || :'dir' AS clean,
	:'dir' || '/wide.csv' AS wide, :'dir' || '/numbers.csv' AS numbers, :'dir' || '/many.csv' AS many \gset
COPY (SELECT) TO PROGRAM :'prepare';
SELECT set_config('etl.allowed_directories', :'dir', false) <> '' AS allowed;
SELECT etl.define_source('rb_files', 'file', jsonb_build_object('root', :'dir'));

-- from 1 to 70 reasons a record, with values, messages and names of every length up to beyond what is shown, of one byte and of three
SELECT string_agg(format('%I int', 'c' || repeat('x', i % 9) || i), ', ' ORDER BY i) AS columns,
	string_agg('c' || repeat('x', i % 9) || i, ',' ORDER BY i) AS header FROM generate_series(1, 70) AS i \gset
COPY (SELECT :'header' UNION ALL
	SELECT string_agg(CASE WHEN c > r THEN '1' WHEN c = 1 THEN repeat('€', r * 10) ELSE repeat('v', c % 7 + 1) END, ',' ORDER BY c)
	FROM generate_series(1, 70) AS r, generate_series(1, 70) AS c GROUP BY r) TO :'wide' (DELIMITER E'\x01');
SELECT etl.define_stream('rb.wide', 'rb_files', '{"path": "wide.csv"}', columns => :'columns');
CALL etl.run('rb.wide');
SELECT count(*), min(jsonb_array_length(reasons)), max(jsonb_array_length(reasons)), max(octet_length(reasons->0->>'value')),
	bool_and(record_image_eq(ROW(reasons), ROW(reasons::text::jsonb))) AS canonical,
	bool_and(reasons->(jsonb_array_length(reasons) - 1)->>'column' ~ (jsonb_array_length(reasons) || '$')) AS last_found
FROM etl.rejects WHERE target = 'rb.wide';

-- what is no number is refused with the words of the input function, and what is one is not
CREATE FUNCTION pg_temp.verdict(value text, type regtype) RETURNS text LANGUAGE plpgsql AS
$$BEGIN EXECUTE format('SELECT %L::%s', value, type); RETURN NULL; EXCEPTION WHEN data_exception THEN RETURN SQLERRM; END$$;
CREATE TEMP TABLE texts AS SELECT row_number() OVER () AS id, v FROM unnest(ARRAY['n/a', 'na', 'nan', ' NaN', '+nan', '-NaN', 'nanx', 'inf', '-inf', 'Infinity', '+infinity',
	'infinit', 'i', '+', '-', '--1', '.', '.5', '-.5', ' 1', '1 ', E'\t7', 'e5', '1e', '1e5', '0x1F', 'x', ' x ', '€', '١', '$5', '1_000', '(1)', repeat('z', 300)]) AS v;
COPY (SELECT id, v AS n, v AS f, v AS r FROM texts) TO :'numbers' (FORMAT csv, HEADER, FORCE_QUOTE *);
SELECT etl.define_stream('rb.numbers', 'rb_files', '{"path": "numbers.csv"}', columns => 'id int, n numeric, f float8, r float4');
CALL etl.run('rb.numbers');
WITH told AS (
	SELECT position, r->>'column' AS name, r->>'message' AS message FROM etl.rejects, jsonb_array_elements(reasons) AS r WHERE target = 'rb.numbers'),
wanted AS (
	SELECT id, name, pg_temp.verdict(v, type) AS message FROM texts, (VALUES ('n', 'numeric'::regtype), ('f', 'float8'), ('r', 'float4')) AS c (name, type))
SELECT id, w.name, w.message AS wanted, t.message AS told FROM wanted w LEFT JOIN told t ON t.position = w.id + 1 AND t.name = w.name
WHERE w.message IS DISTINCT FROM t.message AND (t.message IS NULL OR w.message NOT LIKE replace(t.message, '...', '%')) ORDER BY id, w.name;
SELECT count(*) AS rejects FROM etl.rejects WHERE target = 'rb.numbers' AND record !~ '0x1F|1_000';

-- more than fit one batch, by count and by bytes: each with its bytes, in the order of the file
COPY (SELECT i || ',' || CASE WHEN i % 3 = 0 THEN repeat('w', CASE WHEN i % 100 = 0 THEN 60000 ELSE i % 50 END) ELSE '1' END
	FROM generate_series(1, 6000) AS i) TO :'many' (DELIMITER E'\x01');
SELECT etl.define_stream('rb.many', 'rb_files', '{"path": "many.csv", "header": false}', columns => 'id int, v int NOT NULL');
CALL etl.run('rb.many');
SELECT count(*), count(DISTINCT reject_id) AS ids, bool_and(convert_from(raw, 'UTF8') = position || ',' || repeat('w', (CASE WHEN position % 100 = 0 THEN 60000 ELSE position % 50 END)::int)) AS whole,
	bool_and(ordered) AS ordered
FROM (SELECT *, position > lag(position, 1, 0::bigint) OVER (ORDER BY reject_id) AS ordered FROM etl.rejects WHERE target = 'rb.many') r;

SELECT etl.drop_source('rb_files', cascade => true, drop_relation => true);
DROP SCHEMA rb CASCADE;
COPY (SELECT) TO PROGRAM :'clean';
