-- A check of kind regex judges every text as PostgreSQL's ~ does, whether its pattern is a simple one or not.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY terse
SET client_min_messages = error;
CREATE SCHEMA cx;
-- every text of up to five characters of "ab-", and what patterns like to trip over
CREATE TABLE cx.texts (t text);
INSERT INTO cx.texts
WITH RECURSIVE words (w, n) AS (
	SELECT '', 0 UNION ALL SELECT w || c, n + 1 FROM words, unnest('{a,b,-}'::text[]) AS c WHERE n < 5)
SELECT w FROM words;
INSERT INTO cx.texts VALUES (NULL), ('a' || chr(10)), (chr(10) || 'a'), ('é'), ('aé'), ('éa'), ('A'), ('_'), ('note 00ff'), ('note 00fg'),
	('2026-01-31'), ('2026-1-31'), ('AB-1234'), ('AB1234'), ('x@y.de'), ('xy.de'), ('a.b'), ('axb'), ('+49 30 123'), (repeat('a', 70)),
	(repeat('a', 62)), (repeat('ab', 31)), (']'), ('['), ('^a'), ('a$'), ('a{2}'), ('\a'), ('/'), ('.'), (' a '), (repeat('b', 5000) || 'a');
CREATE TABLE cx.patterns (n int GENERATED ALWAYS AS IDENTITY, p text);
INSERT INTO cx.patterns (p) VALUES
	(''), ('^'), ('$'), ('^$'), ('a'), ('^a'), ('a$'), ('^a$'), ('^ab'), ('ab$'), ('^a?$'), ('^a*$'), ('^a+$'), ('^a?b?$'), ('^a?b?-?$'),
	('^a?a?a?b$'), ('^a*b*$'), ('^a*b*a*$'), ('a*'), ('a+b'), ('b+a?$'), ('^[ab]$'), ('^[ab]+$'), ('^[ab]{2}$'), ('^[ab]{2,3}$'), ('^[ab]{2,}$'),
	('^[ab]{0,2}-$'), ('^a{1,3}b{1,3}$'), ('^a{0,}b$'), ('a{2}'), ('a{2,3}b'), ('^[a-]+$'), ('^[-a]+$'), ('^[a-b-]+$'), ('^-'), ('--'), ('-?-?a'),
	('^[a-b]?[b-]?a*-+$'), ('a?b?-?a?b?$'), ('^(a|b)+$'), ('^a.b$'), ('^[^a]+$'), ('^\d{4}-\d{2}-\d{2}$'), ('^[0-9]{4}-[0-9]{2}-[0-9]{2}$'),
	('^[A-Z]{2}-?[0-9]{4}$'), ('^note [0-9a-f]{4}$'), ('^[a-z]+@[a-z]+\.de$'), ('a\.b'), ('^\+[0-9 ]+$'), ('^a{62}$'), ('^a{63}$'), ('^a{64}$'),
	('^a{70}$'), ('^[a-z]{1,63}$'), ('^[ab]{0,60}a$'), ('(?i)^A$'), ('^é$'), ('^a|b$'), ('^a*?b'), ('^\]$'), ('^[]a]$'), ('\^a'), ('a\$'),
	('^[[:alpha:]]+$'), ('^[a\]]+$'), ('***=a.b'), ('a$b'), ('^ a $'), ('^[!-~]+$'), ('^[ -~]*$'), ('a}'), ('^\_$'), ('^/$'), ('a{2}b{2}$'),
	('^a{2}{2}$'), ('[+--]'), ('a{,2}'), ('a{b'), ('(');
-- what PostgreSQL accepts; the others must be refused by both
CREATE FUNCTION cx.expected(p text) RETURNS text LANGUAGE plpgsql AS
$$BEGIN RETURN (SELECT count(*) FILTER (WHERE NOT t ~ p)::text FROM cx.texts); EXCEPTION WHEN invalid_regular_expression THEN RETURN 'refused'; END$$;
CREATE FUNCTION cx.define(n int, p text) RETURNS text LANGUAGE plpgsql AS
$$BEGIN RETURN etl.define_check('cx.texts', 'regex', '{t}', jsonb_build_object('pattern', p), 'warn', name => 'p' || n);
EXCEPTION WHEN OTHERS THEN RETURN 'refused'; END$$;
SELECT p FROM cx.patterns WHERE (cx.define(n, p) = 'refused') <> (cx.expected(p) = 'refused');
SELECT p, cx.expected(p) AS expected, c.failed, c.status FROM cx.patterns LEFT JOIN etl.check('cx.texts') AS c ON c.check_name = 'p' || n
WHERE cx.expected(p) IS DISTINCT FROM coalesce(c.failed::text, 'refused');
SELECT count(*) FILTER (WHERE cx.expected(p) <> 'refused') > 70 AS most_are_judged FROM cx.patterns;

-- a thousand random patterns of what is simple
SELECT setseed(0.42);
CREATE TABLE cx.random AS
SELECT i AS n, CASE WHEN random() < 0.6 THEN '^' ELSE '' END || string_agg((ARRAY['a', 'b', '-', '[ab]', '[a-]', '[b-]', '\-'])[1 + floor(random() * 7)]
	|| (ARRAY['', '', '?', '*', '+', '{2}', '{1,2}', '{0,2}', '{1,}', '{0,}'])[1 + floor(random() * 10)], '')
	|| CASE WHEN random() < 0.6 THEN '$' ELSE '' END AS p
FROM generate_series(1, 1000) AS i, generate_series(1, 1 + i % 4) GROUP BY i;
SELECT count(etl.define_check('cx.texts', 'regex', '{t}', jsonb_build_object('pattern', p), 'warn', name => 'r' || n)) FROM cx.random;
SELECT p, cx.expected(p) AS expected, c.failed FROM cx.random LEFT JOIN etl.check('cx.texts') AS c ON c.check_name = 'r' || n
WHERE cx.expected(p) IS DISTINCT FROM c.failed::text;
SELECT count(etl.drop_check(target, name)) > 1000 AS gone FROM etl.checks WHERE target = 'cx.texts';
DROP SCHEMA cx CASCADE;
