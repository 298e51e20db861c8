-- The score is what anybody computes by hand from check_results.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS etl;
CREATE SCHEMA qs;
CREATE TABLE qs.t (a int, b int, c text, d date, _etl_load_id bigint, _etl_row bigint);
INSERT INTO qs.t SELECT g, CASE WHEN g % 4 = 0 THEN NULL ELSE g END, 'c' || g % 3, '2024-01-01' FROM generate_series(1, 12) g;

-- nothing is checked: NULL, never 100
SELECT * FROM etl.quality_score('qs.t');
SELECT etl.define_check('qs.t', 'not_null', '{a}', on_fail => 'fail');
SELECT * FROM etl.quality_score('qs.t') WHERE dimension IN ('completeness', 'overall');

-- completeness: a passes (5), b fails 3 of 12 (quarantine 3, tolerated): 100 * (5 + 3 * 0.75) / 8 = 90.625
-- uniqueness: unique(a) passes, unique(c) fails (1 each): 50
-- validity: range(b) 8 of 9 ... the option weight says 10, accepted_values(c) 4 of 12 fail (1): 100 * (10 * 11/12 + 8/12) / 11 = 89.39…
-- overall (90.625 + 50 + 89.393939…) / 3 = 76.6729…
SELECT etl.define_check('qs.t', 'not_null', '{b}', on_fail => 'quarantine');
SELECT etl.define_check('qs.t', 'unique', '{a}', on_fail => 'warn');
SELECT etl.define_check('qs.t', 'unique', '{c}', on_fail => 'warn');
SELECT etl.define_check('qs.t', 'range', '{b}', '{"max": 10, "weight": 10}', on_fail => 'warn');
SELECT etl.define_check('qs.t', 'accepted_values', '{c}', '{"values": ["c0", "c1"]}', on_fail => 'warn');
SELECT check_name, status, evaluated, failed FROM etl.check('qs.t') ORDER BY check_name COLLATE "C";
SELECT * FROM etl.quality_score('qs.t');
WITH terms AS (
	SELECT dimension,
		CASE check_name WHEN 'range_b' THEN 10 ELSE CASE on_fail WHEN 'warn' THEN 1 WHEN 'quarantine' THEN 3 ELSE 5 END END AS w,
		CASE WHEN kind IN ('unique', 'row_count', 'freshness') THEN (failed = 0)::int ELSE 1 - failed::numeric / evaluated END AS p
	FROM etl.check_results WHERE target = 'qs.t'
), by_dimension AS (SELECT dimension, 100 * sum(w * p) / sum(w) AS s FROM terms GROUP BY dimension)
SELECT dimension, round(s, 2) AS score FROM by_dimension
UNION ALL SELECT 'overall', round(avg(s), 2) FROM by_dimension ORDER BY 1;

-- at most 79 while a check fails or is an error, however small its weight
SELECT etl.drop_check('qs.t', 'unique_c'), etl.drop_check('qs.t', 'accepted_values_c'), etl.drop_check('qs.t', 'range_b');
SELECT etl.define_check('qs.t', 'row_count', '{}', '{"min": 13, "weight": 0.01}', 'warn', name => 'rows');
SELECT check_name, status FROM etl.check('qs.t') WHERE check_name = 'rows';
SELECT dimension, score, checks, failed FROM etl.quality_score('qs.t') WHERE checks > 0;
SELECT etl.define_check('qs.t', 'row_count', '{}', '{"min": 13, "weight": 0.01}', 'fail', name => 'rows');
SELECT check_name, status FROM etl.check('qs.t') WHERE check_name = 'rows';
SELECT dimension, score, checks, failed FROM etl.quality_score('qs.t') WHERE checks > 0;
SELECT etl.define_check('qs.t', 'expression', '{}', '{"expression": "nope > 0", "weight": 0.001}', 'warn', 'uniqueness', name => 'rows');
SELECT check_name, status FROM etl.check('qs.t') WHERE check_name = 'rows';
SELECT dimension, score, checks, failed FROM etl.quality_score('qs.t') WHERE checks > 0;
SELECT etl.drop_check('qs.t', 'rows');

-- a result that judged nothing leaves the previous one standing
TRUNCATE qs.t;
SELECT check_name, status, evaluated FROM etl.check('qs.t') ORDER BY check_name COLLATE "C";
SELECT dimension, score, checks FROM etl.quality_score('qs.t') WHERE checks > 0;
SELECT target, dimension, score, coverage FROM etl.quality_scores WHERE target = 'qs.t' AND score IS NOT NULL;
SELECT * FROM etl.quality_score('qs.nothing');

SELECT etl.drop_check('qs.t', name) FROM etl.checks WHERE target = 'qs.t' \g /dev/null
DROP SCHEMA qs CASCADE;
