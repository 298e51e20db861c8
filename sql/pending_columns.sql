-- A script that adds columns, and reads them, is defined as a whole; a wrong column is an error at once all the same.
\set VERBOSITY terse
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SET client_min_messages = warning;
CREATE SCHEMA pc;
CREATE SCHEMA "pc ""2";
SELECT etl.define_source('pc_push', 'push');
SELECT etl.define_stream('pc.s', 'pc_push', columns => 'id int, k text');
SELECT etl.ingest('pc.s', '[{"id": 1, "k": "a"}, {"id": 2, "k": "b"}]') > 0;
SELECT etl.define_model('pc.t', 'SELECT id, k FROM pc.s', 'table');
SELECT etl.define_model('"pc ""2"."v;"', 'SELECT * FROM pc.t');
SELECT etl.define_model('pc.i', 'SELECT k, count(*) AS n FROM pc.t GROUP BY k', 'incremental', '{k}');
SELECT etl.define_model('pc.h', 'SELECT id, k FROM pc.t', 'snapshot', '{id}');
CALL etl.run('pc.* "pc ""2".*');

-- the same script with a column more, from the stream to the last view; '*' brings it by itself
SELECT etl.define_stream('pc.s', 'pc_push', columns => 'id int, k text, w numeric(8,2)');
SELECT etl.define_model('pc.t', 'SELECT s.id, pc.s.k, w, w * 2 AS "Twice ""it"" " FROM pc.s', 'table');
SELECT etl.define_model('pc.i', 'WITH t AS (SELECT * FROM pc.t) SELECT k, count(*) AS n, sum(t.w) AS w FROM t GROUP BY k', 'incremental', '{k}', options => '{"indexes": ["w"], "contract": {"columns": {"k": "text", "n": "bigint", "w": "numeric"}}}');
SELECT etl.define_model('pc.h', 'SELECT id, k, w FROM pc.t', 'snapshot', '{id}');
SELECT etl.define_model('pc.top', 'SELECT v."Twice ""it"" ", h.w, h.valid_from, i.w AS iw FROM "pc ""2"."v;" v JOIN pc.h USING (id) JOIN (SELECT w, k FROM pc.i) i ON i.k = h.k');
SELECT node, action, reason FROM etl.plan('pc.* "pc ""2".*');

-- what no definition brings is an error now, and so is another type, a key and a contract that do not fit
SELECT etl.define_model('pc.x', 'SELECT id, ww FROM pc.t');
SELECT etl.define_model('pc.x', 'SELECT id, w || k::int AS b FROM pc.t');
SELECT etl.define_model('pc.x', 'SELECT id, nothing FROM "pc ""2"."v;"');
SELECT etl.define_model('pc.x', 'SELECT id, w FROM pc.t', 'table', options => '{"contract": {"columns": {"id": "int", "w": "text"}}}');
SELECT etl.define_model('pc.x', 'SELECT w FROM pc.t', 'incremental', '{id}');
SELECT etl.define_model('pc.x', 'SELECT valid_frm, w FROM pc.h');
-- a model that only passes on what its input will have
SELECT etl.define_model('pc.x', 'SELECT * FROM pc.t', 'incremental', '{w}');
SELECT etl.drop_model('pc.x');

-- the relation of the stream gets the column without a record that holds it, and everything is built in one run
CALL etl.run('pc.* "pc ""2".*');
SELECT node, action, status FROM etl.tasks WHERE run_id = etl.last_run_id() ORDER BY task_id;
SELECT "Twice ""it"" ", w, iw FROM pc.top;
SELECT etl.ingest('pc.s', '[{"id": 3, "k": "c", "w": 2.5}]') > 0;
CALL etl.run('pc.* "pc ""2".*');
SELECT "Twice ""it"" ", w, iw FROM pc.top WHERE w > 0;
SELECT column_name, source, source_column, transformation FROM etl.lineage('pc.top', 'w', depth => 2) WHERE depth = 2 AND source_column = 'w';
SELECT node, action FROM etl.plan('pc.* "pc ""2".*', 'pc.s');

-- a column gets another name, and what reads it follows, in any order of definition
SELECT etl.define_model('pc.top', 'SELECT v."Twice ""it"" " FROM "pc ""2"."v;" v');
CALL etl.run('pc.top');
SELECT etl.define_model('pc.t', 'SELECT id, k, w AS weight, w AS "Twice ""it"" " FROM pc.s', 'table');
SELECT etl.define_model('pc.top', 'SELECT v."Twice ""it"" ", v.weight FROM "pc ""2"."v;" v');
SELECT etl.define_model('pc.i', 'SELECT k, sum(weight) AS weight FROM pc.t GROUP BY k', 'incremental', '{k}');
SELECT etl.define_model('pc.h', 'SELECT id, k, weight FROM pc.t', 'snapshot', '{id}');
CALL etl.run('pc.* "pc ""2".*');
SELECT node, action, status FROM etl.tasks WHERE run_id = etl.last_run_id() ORDER BY task_id;
SELECT t.weight, i.weight, h.weight FROM pc.top t JOIN pc.i USING (weight) JOIN pc.h USING (weight);
-- a view that has to be made again before all it will read is there
SELECT etl.define_model('pc.t', 'SELECT id, k, w AS kilos FROM pc.s', 'table');
SELECT etl.define_model('pc.i', 'SELECT k, sum(kilos) AS kilos FROM pc.t GROUP BY k', 'incremental', '{k}');
SELECT etl.define_model('pc.top', 'SELECT v.kilos, i.kilos AS ik FROM "pc ""2"."v;" v JOIN pc.i USING (k)');
SELECT etl.define_model('pc.top', 'SELECT v.kilos, i.kilo AS ik FROM "pc ""2"."v;" v JOIN pc.i USING (k)');
SELECT etl.define_model('pc.h', 'SELECT id, k, kilos FROM pc.t', 'snapshot', '{id}');
\set VERBOSITY sqlstate
SET client_min_messages = error;
CALL etl.run('pc.* "pc ""2".*');
SET client_min_messages = warning;
\set VERBOSITY terse
SELECT node, error, detail, hint FROM etl.tasks WHERE run_id = etl.last_run_id() AND status = 'failed';
SELECT count(*) FROM pc.top;
SELECT etl.define_model('pc.t', 'SELECT id, k, w AS kilos, w AS weight, w AS "Twice ""it"" " FROM pc.s', 'table');
CALL etl.run('pc.* "pc ""2".*');
SELECT kilos, ik FROM pc.top WHERE kilos > 0;

-- the same in an environment, and promoted
SET etl.environment = 'pc_env';
SELECT etl.define_model('pc.t', 'SELECT id, k, w AS kilos, w AS weight, w AS "Twice ""it"" " FROM pc.s WHERE id > 0', 'table');
CALL etl.run();
SELECT etl.define_model('pc.t', 'SELECT id, k, w AS kilos, w AS weight, w AS "Twice ""it"" ", id + 1 AS more FROM pc.s', 'table');
SELECT etl.define_model('pc.i', 'SELECT k, sum(kilos) AS kilos, max(more) AS more FROM pc.t GROUP BY k', 'incremental', '{k}');
SELECT etl.define_model('pc.i', 'SELECT k, sum(kilos) AS kilos, max(mare) AS more FROM pc.t GROUP BY k', 'incremental', '{k}');
CALL etl.run();
RESET etl.environment;
SELECT target, action FROM etl.promote('pc_env') WHERE target IN ('pc.t', 'pc.i');
SELECT * FROM pc.i WHERE kilos > 0 ORDER BY k;
SELECT etl.drop_environment('pc_env');

SET client_min_messages = error;
DROP SCHEMA pc, "pc ""2" CASCADE;
SELECT etl.drop_model('pc.t', cascade => true);
SELECT etl.drop_stream('pc.s'), etl.drop_source('pc_push');
