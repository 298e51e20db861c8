-- Pushed records land like any others, once for each idempotency key, in the transaction that pushes them.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY terse
SELECT etl.define_source('in_push', 'push');
SELECT etl.define_stream('ing.events', 'in_push', columns => 'id int, kind text');
SELECT etl.define_stream('ing.state', 'in_push', columns => 'id int, v text', key => '{id}', mode => 'merge');
SELECT etl.define_check('ing.events', 'accepted_values', '{kind}', '{"values": ["click", "view"]}', on_fail => 'quarantine');

SELECT etl.ingest('ing.events', '[{"id": 1, "kind": "click"}, {"id": 2, "kind": "view"}]', 'batch 1') AS first \gset
SELECT etl.ingest('ing.events', '[{"kind": "click", "id": 1}, {"id": 2, "kind": "view"}]', 'batch 1') = :first AS same;
SELECT etl.ingest('ing.events', '[{"id": 3, "kind": "click"}]', 'batch 1');
SELECT etl.ingest('ing.state', '{"id": 1, "v": "a"}', 'batch 1') > :first AS another_stream;
SELECT id, kind, _etl_load_id = :first AS loaded_by, _etl_row FROM ing.events ORDER BY id;

-- without a key every call lands; a bad record is a reject, a new field a column
SET client_min_messages = notice;
\set VERBOSITY terse
SELECT etl.ingest('ing.events', '[{"id": "x"}, {"id": 4, "kind": "buy"}, {"id": 5, "kind": "view", "price": 1.5}, 7]') > 0 AS loaded;
SET client_min_messages = warning;
SELECT id, kind, price FROM ing.events WHERE id > 2;
SELECT position, record, reasons->0->>'check' AS "check" FROM etl.rejects WHERE target = 'ing.events' ORDER BY position;
SELECT * FROM etl.replay('ing.events', 'position = 2', '{"kind": "click"}');
SELECT rows_read, rows_loaded, rows_rejected, origin FROM etl.loads WHERE target = 'ing.events' ORDER BY load_id;

-- merge; nothing at all; the transaction of the caller
SELECT etl.ingest('ing.state', '[{"id": 1, "v": "b"}, {"id": 2, "v": "c"}]') > 0 AS loaded;
SELECT etl.ingest('ing.state', '[]', 'empty') = etl.ingest('ing.state', '[]', 'empty') AS same;
BEGIN;
SELECT etl.ingest('ing.state', '{"id": 9, "v": "never"}', 'undone') > 0 AS loaded;
ROLLBACK;
SELECT etl.ingest('ing.state', '{"id": 3, "v": "d"}', 'undone') > 0 AS loaded;
SELECT id, v FROM ing.state ORDER BY id;
SELECT rows_read, rows_loaded, rows_updated FROM etl.loads WHERE target = 'ing.state' ORDER BY load_id;

-- models follow; a run of the stream itself has nothing to fetch
SELECT etl.define_model('ing.kinds', 'SELECT kind, count(*) AS n FROM ing.events GROUP BY kind', materialized => 'incremental', key => '{kind}', strategy => 'merge');
CALL etl.run('ing.*');
SELECT reason FROM etl.tasks WHERE run_id = etl.last_run_id() AND node = 'ing.events';
SELECT etl.ingest('ing.events', '{"id": 6, "kind": "view"}') > 0 AS loaded;
CALL etl.run('ing.kinds');
SELECT kind, n FROM ing.kinds ORDER BY kind;

-- what cannot be: no records, no stream, an empty key, other people's streams
SELECT etl.ingest('ing.events', '7');
SELECT etl.ingest('ing.events', NULL);
SELECT etl.ingest('ing.event', '[]');
SELECT etl.ingest('ing.events', '[]', '');
CREATE ROLE in_other;
GRANT etl_developer TO in_other;
SET ROLE in_other;
SELECT etl.ingest('ing.events', '[]');
RESET ROLE;
SELECT etl.define_stream('ing.wrong', 'in_push', '{"path": "x"}');

SELECT etl.drop_source('in_push', cascade => true, drop_relation => true) IS NOT NULL AS dropped;
DROP SCHEMA ing CASCADE;
DROP ROLE in_other;
