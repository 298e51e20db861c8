-- Events later than the contract's watermark are counted, and accepted, rejected or dropped as it says; schema changes name what they affect.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY terse
SELECT etl.define_source('wm_push', 'push');
SELECT etl.define_stream('wm.x', 'wm_push', contract => '{"watermark": "2 days", "late": "drop"}');
SELECT etl.define_stream('wm.x', 'wm_push', event_time => 'at', contract => '{"late": "drop"}');
SELECT etl.define_stream('wm.x', 'wm_push', event_time => 'at', contract => '{"watermark": "soon"}');
SELECT etl.define_stream('wm.x', 'wm_push', event_time => 'at', contract => '{"watermark": "1 day", "late": "ignore"}');

SELECT etl.define_stream('wm.accept', 'wm_push', columns => 'id int, at timestamptz', event_time => 'at', contract => '{"watermark": "2 days"}'),
	etl.define_stream('wm.reject', 'wm_push', columns => 'id int, at timestamp', event_time => 'at', contract => '{"watermark": "2 days", "late": "quarantine"}', options => '{"timezone": "Asia/Tokyo"}'),
	etl.define_stream('wm.drop', 'wm_push', columns => 'id int, at date', event_time => 'at', contract => '{"watermark": "2 days", "late": "drop"}'),
	etl.define_stream('wm.merge', 'wm_push', columns => 'id int, at timestamptz', key => '{id}', mode => 'merge', event_time => 'at', contract => '{"watermark": "48 hours", "late": "drop"}');
SELECT etl.define_check(t, 'not_null', '{id}', on_fail => 'warn') FROM unnest('{wm.drop}'::text[]) AS t;
-- within the first load nothing is late, whatever its order
SELECT count(etl.ingest(t, '[{"id": 1, "at": "2026-03-10"}, {"id": 2, "at": "2026-01-01"}]')) FROM unnest('{wm.accept,wm.reject,wm.drop,wm.merge}'::text[]) AS t;
-- on the border, behind it, without a time, far ahead
SELECT count(etl.ingest(t, '[{"id": 3, "at": "2026-03-08"}, {"id": 4, "at": "2026-03-07"}, {"id": 5}, {"id": 6, "at": "2026-03-20"}]')) FROM unnest('{wm.accept,wm.reject,wm.drop,wm.merge}'::text[]) AS t;
SELECT count(etl.ingest(t, '[{"id": 7, "at": "2026-03-17"}, {"id": 8, "at": "2026-03-18T00:00:00"}]')) FROM unnest('{wm.accept,wm.reject,wm.drop,wm.merge}'::text[]) AS t;
SELECT 'accept' AS stream, array_agg(id ORDER BY id) FROM wm.accept UNION ALL SELECT 'reject', array_agg(id ORDER BY id) FROM wm.reject
UNION ALL SELECT 'drop', array_agg(id ORDER BY id) FROM wm.drop UNION ALL SELECT 'merge', array_agg(id ORDER BY id) FROM wm.merge;
SELECT target, array_agg(rows_late ORDER BY load_id) AS late, sum(rows_loaded) AS loaded, sum(rows_discarded) AS discarded, sum(rows_rejected) AS rejected
FROM etl.loads WHERE target ~ '^wm' GROUP BY 1 ORDER BY 1;
SELECT record, reasons FROM etl.rejects WHERE target = 'wm.reject' ORDER BY reject_id;
SELECT level, regexp_replace(message, ' of [a-z]* were', ' were') AS message FROM etl.logs WHERE node ~ '^wm' AND message LIKE '%watermark' ORDER BY node, logged_at;
SELECT evaluated FROM etl.check_results WHERE target = 'wm.drop' ORDER BY checked_at;
-- a replay is somebody's decision
SELECT * FROM etl.replay('wm.reject');

-- what a change of schema affects, through views and models, by column
SELECT etl.define_stream('wm.orders', 'wm_push', columns => 'id int');
SELECT etl.ingest('wm.orders', '[{"id": 1, "amount": 5, "note": "x"}]') > 0 AS loaded;
SELECT etl.define_model('wm.big', 'SELECT id, 2 * amount AS twice FROM wm.orders'), etl.define_model('wm.total', 'SELECT sum(twice) AS "All" FROM wm.big', materialized => 'table');
CALL etl.run('wm.big wm.total');
SELECT etl.ingest('wm.orders', '[{"id": 2, "amount": 7.5, "more": true}]') > 0 AS loaded;
SELECT change, column_name, old_type, new_type, affected_models, affected_columns FROM etl.schema_changes WHERE target = 'wm.orders' ORDER BY event_id;

SELECT etl.drop_source('wm_push', cascade => true, drop_relation => true);
DROP SCHEMA wm CASCADE;
