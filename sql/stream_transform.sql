-- What is dropped or hashed at landing is stored nowhere; casts and derived columns are there before anything lands.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY terse
SELECT current_setting('data_directory') || '/etl_regress_tr' AS dir \gset
SELECT 'cat > /dev/null; rm -rf ' || :'dir' || '; mkdir -p ' || :'dir' AS prepare, 'cat > /dev/null; rm -rf ' || :'dir' AS clean,
	:'dir' || '/a.csv' AS a, :'dir' || '/p.csv' AS p \gset
COPY (SELECT) TO PROGRAM :'prepare';
SELECT set_config('etl.allowed_directories', :'dir', false) <> '' AS allowed;
SELECT etl.define_source('tr_files', 'file', jsonb_build_object('root', :'dir'));
SELECT etl.define_secret('tr_pepper', env => 'PATH');

-- nonsense is refused where it is defined
\set VERBOSITY default
SELECT etl.define_stream('tr.x', 'tr_files', '{"path": "a.csv", "transform": "drop"}');
SELECT etl.define_stream('tr.x', 'tr_files', '{"path": "a.csv", "transform": {"a": "hide"}}');
SELECT etl.define_stream('tr.x', 'tr_files', '{"path": "a.csv", "transform": {"a": {"hash": true}}}');
SELECT etl.define_stream('tr.x', 'tr_files', '{"path": "a.csv", "transform": {"a": {"hash": {"secret": "s"}, "cast": "int"}}}');
\set VERBOSITY terse
SELECT etl.define_stream('tr.x', 'tr_files', '{"path": "a.csv", "transform": {"a": {"cast": "no_type"}}}');
SELECT etl.define_stream('tr.x', 'tr_files', '{"path": "a.csv", "transform": {"a": {"derive": "b +"}}}');
SELECT etl.define_stream('tr.x', 'tr_files', '{"path": "a.csv", "transform": {"a": {"derive": "(SELECT 1)"}}}');
SELECT etl.define_stream('tr.x', 'tr_files', '{"path": "a.csv", "transform": {"a": {"derive": "count(*)"}}}');
SELECT etl.define_stream('tr.x', 'tr_files', '{"path": "a.csv", "transform": {"a": {"derive": "b + 1"}}}');
SELECT etl.define_stream('tr.x', 'tr_files', '{"path": "a.csv", "transform": {"a": {"drive": "b"}}}');

-- a file with what nobody may keep
COPY (SELECT line FROM (VALUES ('Id,E-Mail,SSN,Amount,Day'), ('1,ann@example.org,111-11-1111,10.50,03.04.2026'),
	('2,bob@example.org,222-22-2222,twelve,04.04.2026'), ('3,cy@example.org,333-33-3333,12,31.02.2026'), ('4,,444-44-4444,,'),
	('5,dee@example.org,555-55-5555'), ('6,bob@example.org,,1,05.04.2026')) AS t(line)) TO :'a';
SELECT etl.define_stream('tr.people', 'tr_files', $${"path": "a.csv", "transform": {
	"e_mail": {"hash": {"secret": "tr_pepper"}},
	"SSN": "drop",
	"amount": {"cast": "numeric(12,2)"},
	"day": {"derive": "to_date(day, 'DD.MM.YYYY')"},
	"domain": {"derive": "split_part(e_mail, '@', 2)", "cast": "varchar(20)"}}}$$);
SELECT count(*) FROM etl.preview('tr_files', $${"path": "a.csv", "transform": {"SSN": "drop", "e_mail": {"hash": {"secret": "tr_pepper"}}}}$$) AS r WHERE r::text ~ 'SSN|[0-9]{3}-|@';
CALL etl.run('tr.people');
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'tr.people'::regclass AND attnum > 2 ORDER BY attnum;
SELECT id, length(e_mail) AS hashed, amount, day, domain FROM tr.people ORDER BY id;
SELECT e_mail = encode(sha256('ann@example.org'), 'hex') AS without_key FROM tr.people WHERE id = '1';
SELECT position, record <> '' AS kept, record ~ '[0-9]{3}-[0-9]{2}-[0-9]{4}|@' AS leaks, jsonb_path_query_array(reasons, '$[*].check') AS checks,
	reasons->0->>'message' AS message FROM etl.rejects WHERE target = 'tr.people' ORDER BY position;
SELECT count(*) FROM etl.reject WHERE target = 'tr.people' AND (encode(raw, 'escape') ~ '[0-9]{3}-[0-9]{2}-[0-9]{4}|@' OR reasons::text ~ '[0-9]{3}-[0-9]{2}-[0-9]{4}|@');
SELECT count(*) FROM etl.logs WHERE node = 'tr.people' AND (message ~ '[0-9]{3}-[0-9]{2}' OR detail ~ '[0-9]{3}-[0-9]{2}');

-- a replay transforms no second time
SELECT * FROM etl.replay('tr.people', 'position = 3', '{"amount": 12}');
SELECT id, amount, day, domain FROM tr.people WHERE id = '2';
SELECT a.e_mail = b.e_mail AS hashed_once FROM tr.people AS a, tr.people AS b WHERE a.id = '2' AND b.id = '6';

-- derived only: the bytes of a reject are the record's, and a replay derives anew
SELECT etl.define_stream('tr.plain', 'tr_files', $${"path": "p.csv", "transform": {"Twice": {"derive": "2 * n::int"}}}$$, columns => 'n text');
COPY (VALUES ('n'), ('1'), ('x'), ('3')) TO :'p';
CALL etl.run('tr.plain');
SELECT n, twice FROM tr.plain ORDER BY n;
SELECT record, reasons->0->>'check' AS "check", reasons->0->>'column' AS "column", reasons->0->>'message' AS message FROM etl.rejects WHERE target = 'tr.plain';
SELECT etl.define_stream('tr.plain', 'tr_files', $${"path": "p.csv", "transform": {"Twice": {"derive": "CASE WHEN n ~ '^\\d+$' THEN 2 * n::int END"}}}$$, columns => 'n text');
SELECT * FROM etl.replay('tr.plain');
SELECT n, twice FROM tr.plain ORDER BY n;

-- pushed records, and rows that a check moves after they landed
SELECT etl.define_source('tr_push', 'push');
SELECT etl.define_stream('tr.pushed', 'tr_push', $${"transform": {"name": {"hash": {"secret": "tr_pepper"}}, "born": "drop", "big": {"derive": "n::numeric > 10"}}}$$,
	columns => 'n int');
SELECT etl.define_check('tr.pushed', 'unique', '{n}', on_fail => 'quarantine');
SELECT etl.define_check('tr.pushed', 'range', '{n}', '{"max": 100}', on_fail => 'quarantine');
SELECT etl.ingest('tr.pushed', '[{"n": 1, "name": "Ann", "born": 1969}, {"n": 1, "name": "Bob"}, {"n": 11, "name": "Cy"}, {"n": 101, "name": "Dee"}]') > 0 AS loaded;
SELECT n, length(name) AS hashed, big FROM tr.pushed ORDER BY n;
SELECT position, record ~ 'Ann|Bob|Cy|Dee|1969' AS leaks, reasons->0->>'check' AS "check" FROM etl.rejects WHERE target = 'tr.pushed' ORDER BY position;
SELECT * FROM etl.replay('tr.pushed', NULL, '{"n": 5}');
SELECT n, length(name) AS hashed, big FROM tr.pushed ORDER BY n;

-- what is to be dropped and does not come, under that name, is told: it may be stored under another
SELECT :'dir' || '/n.ndjson' AS n \gset
COPY (VALUES ('{"id": 1, "who": {"name": "Ann"}}'), ('{"id": 2}')) TO :'n';
SELECT etl.define_stream('tr.unmet', 'tr_files', '{"path": "n.ndjson", "transform": {"who.name": "drop", "emial": {"hash": {"secret": "tr_pepper"}}, "id": {"cast": "int"}, "x": {"derive": "id"}}}');
CALL etl.run('tr.unmet');
SELECT level, message, detail FROM etl.logs WHERE node = 'tr.unmet';
SELECT etl.define_stream('tr.met', 'tr_files', '{"path": "n.ndjson", "nested": "flatten", "transform": {"who__name": "drop"}}');
CALL etl.run('tr.met');
SELECT count(*) FILTER (WHERE to_jsonb(m)::text LIKE '%Ann%') AS clear, count(*) FROM tr.met AS m;
CALL etl.run('tr.unmet tr.met');

-- an expression means what it meant where it was defined
CREATE SCHEMA tr_mine;
CREATE FUNCTION tr_mine.twice(n int) RETURNS int LANGUAGE sql AS 'SELECT 2 * n';
SET search_path = tr_mine;
SELECT etl.define_stream('tr.mine', 'tr_files', '{"path": "p.csv", "transform": {"d": {"derive": "twice(length(n))"}}}');
RESET search_path;
CALL etl.run('tr.mine');
SELECT n, d FROM tr.mine ORDER BY n;
DROP SCHEMA tr_mine CASCADE;

SELECT etl.drop_source('tr_files', cascade => true, drop_relation => true), etl.drop_source('tr_push', cascade => true, drop_relation => true), etl.drop_secret('tr_pepper');
COPY (SELECT) TO PROGRAM :'clean';
DROP SCHEMA tr CASCADE;
