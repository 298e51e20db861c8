-- dedupe keeps exactly one row per key, the same one wherever rows lie; duplicates tells which keys have several.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS etl;
CREATE SCHEMA qq;
CREATE TABLE qq.raw (_etl_load_id bigint, _etl_row bigint, gone int, user_id int, email text, updated_at date, doc json);
INSERT INTO qq.raw VALUES
	(2, 1, 0, 1, 'b', '2024-01-03', '{}'), (1, 1, 0, 1, 'a', '2024-01-02', '{}'), (1, 2, 0, 2, 'c', NULL, '{}'),
	(1, 3, 0, NULL, 'd', '2024-01-01', '[]'), (2, 2, 0, NULL, 'e', '2024-01-05', '[1]'), (2, 3, 0, 1, 'f', '2024-01-03', '{}');
ALTER TABLE qq.raw DROP COLUMN gone;

-- the first that was landed; NULLs are one key
SELECT * FROM etl.dedupe(NULL::qq.raw, '{user_id}');
-- the newest; on ties the first that was landed
SELECT * FROM etl.dedupe(NULL::qq.raw, '{user_id}', 'updated_at DESC NULLS LAST -- newest');
SELECT user_id, email FROM etl.dedupe(NULL::qq.raw, '{user_id,updated_at}', 'upper(email) DESC');
SELECT (etl.dedupe(NULL::qq.raw, '{user_id}')).email;
SELECT * FROM etl.duplicates('qq.raw', '{user_id}');
SELECT * FROM etl.duplicates('qq.raw', '{user_id,updated_at}');
SELECT * FROM etl.duplicates('qq.raw', '{email}');

-- without the columns of a landing: the smallest values, wherever the rows lie
CREATE TABLE qq.plain (k numeric, v text, doc json);
INSERT INTO qq.plain VALUES (1.0, 'b', '2'), (1, 'a', '3'), (1.00, 'a', '1'), (2, NULL, NULL), (2, 'z', '1');
CREATE TABLE qq.plain2 AS SELECT * FROM qq.plain ORDER BY doc::text DESC, v DESC;
SELECT * FROM etl.dedupe(NULL::qq.plain, '{k}');
SELECT * FROM etl.dedupe(NULL::qq.plain2, '{k}');
-- the same as written by hand, on many rows
CREATE TABLE qq.many AS SELECT g % 1000 AS k, (g * 7919) % 100003 AS v FROM generate_series(1, 20000) g;
SELECT count(*), count(DISTINCT k) FROM etl.dedupe(NULL::qq.many, '{k}', 'v DESC');
SELECT count(*) FROM (SELECT k, v FROM etl.dedupe(NULL::qq.many, '{k}', 'v DESC')
	EXCEPT SELECT k, max(v) FROM qq.many GROUP BY k) AS d;
SELECT count(*), min(copies), max(copies) FROM etl.duplicates('qq.many', '{k}');

-- views, empty relations, hostile names
CREATE VIEW qq.v AS SELECT k, v FROM qq.plain;
SELECT * FROM etl.dedupe(NULL::qq.v, '{k}', 'v NULLS FIRST');
CREATE TABLE qq.empty (a int);
SELECT * FROM etl.dedupe(NULL::qq.empty, '{a}');
SELECT * FROM etl.duplicates('qq.empty', '{a}');
CREATE TABLE qq."we""ird" ("select" int, "t" int, "a ""b" text);
INSERT INTO qq."we""ird" VALUES (1, 1, 'x'), (1, 2, 'y');
SELECT * FROM etl.dedupe(NULL::qq."we""ird", '{select}', '"a ""b" DESC');
SELECT * FROM etl.duplicates('qq."we""ird"', '{select}');

-- in a model, found as its dependency before the relation exists
SELECT etl.define_model('qq.clean', 'SELECT k, v FROM etl.dedupe(NULL::qq.later, ''{k}'', ''v'')', 'table');
SELECT depends_on FROM etl.dependency WHERE node = 'qq.clean';
CREATE TABLE qq.later AS SELECT 1 AS k, v FROM generate_series(1, 3) v;
CALL etl.run('qq.clean');
SELECT * FROM qq.clean;

-- what is refused
SELECT * FROM etl.dedupe(1, '{a}');
SELECT * FROM etl.dedupe(NULL::qq.plain, '{}');
SELECT * FROM etl.dedupe(NULL::qq.plain, NULL);
SELECT * FROM etl.dedupe(NULL::qq.plain, '{nope}');
SELECT * FROM etl.dedupe(NULL::qq.plain, '{k}', 'v; DROP TABLE qq.plain');
SELECT * FROM etl.dedupe(NULL::qq.plain, '{k}', 'v LIMIT 1');
SELECT * FROM etl.duplicates('qq.nothing', '{k}');
SELECT * FROM etl.duplicates('qq.plain', '{nope}');

SELECT etl.drop_model('qq.clean', drop_relation => true);
DROP SCHEMA qq CASCADE;
