-- What is wrong with a model is said when it is defined, names the option, and says the way out; what goes wrong later says where.
\set VERBOSITY default
\set SHOW_CONTEXT never
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SET client_min_messages = notice;
SET timezone = 'Asia/Kathmandu';
CREATE SCHEMA "wo rds";
SET search_path = "wo rds";
CREATE TABLE src (id int, k text, day date);
INSERT INTO src VALUES (1, 'a', '2026-01-01'), (1, NULL, NULL), (2, 'b', '2026-02-01');

-- values of options
CREATE FUNCTION try(options jsonb, kind text DEFAULT 'table') RETURNS text LANGUAGE sql AS
	$$SELECT etl.define_model('"wo rds".m', 'SELECT id, k, day FROM src', kind, options => options)$$;
SELECT try('{"keep_versions": -1}');
SELECT try('{"grants": {"postgres": ["SELEKT"]}}');
SELECT try('{"grants": {"postgres": "SELECT, delete"}}');
-- who is not there is told at definition, and not by the run
SELECT try('{"grants": {"etl_no \"such; role": ["SELECT"]}}');
SELECT try('{"grants": {"PUBLIC": ["SELECT"]}}');
SELECT try('{"settings": {"work_mm": "1MB"}}');
SELECT try('{"settings": {"work_mem": "1XB"}}');
SELECT try('{"with": {"fillfactr": "70"}}');
SELECT try('{"with": {"fillfactor": "7"}}');
SELECT try('{"constraints": ["CHEK (id > 0)"]}');
SELECT try('{"pre_hook": ["DELET FROM src"]}');
SELECT try('{"post_hook": ["SELECT 1; COMMIT"]}');
SELECT try('{"run_if": "SELEC 1"}');
SELECT try('{"run_if": "SELECT 1; DROP TABLE src"}');
SELECT try('{"run_if": "EXISTS (SELECT FROM src) -- when there is something"}');
SELECT try('{"deprecated_on": "yesteryear"}');
SELECT try('{"contract": {"colums": {"id": "int"}}}');
SELECT try('{"contract": {"columns": {"id": "intt"}}}');
SELECT try('{"partition_by": {"range": "days", "interval": "1 month"}}');
SELECT try('{"partition_by": {"range": "day", "interval": "3 bananas"}}');
SELECT try('{"partition_by": {"range": "day", "interval": "1 month 1 day"}}');
SELECT try('{"partition_by": {"range": "day", "interval": "-1 day"}}');
SELECT try('{"partition_by": {"range": "k", "interval": "1 month"}}');
SELECT try('{"partition_by": {"range": "id", "interval": "1 month"}}');
SELECT try('{"partition_by": {"range": "id", "interval": "100"}}');
-- the same before what it reads is there
SELECT etl.define_model('later', 'SELECT * FROM nowhere', 'table', options => '{"contract": {"colums": {}}}');
SELECT etl.define_model('later', 'SELECT * FROM nowhere', 'table', options => '{"partition_by": {"range": "day", "interval": "soon"}}');

-- names: cut off aloud, and never of what only one session has
SELECT etl.define_model('"wo rds".' || repeat('n', 70), 'SELECT 1 AS a');
CREATE TEMP TABLE mine (id int);
SELECT etl.define_model('of_mine', 'SELECT * FROM mine', 'table');

-- unit tests: of what it reads there may be nothing like what is given
SELECT etl.define_model('m', 'SELECT id, k, day FROM src', 'table');
SELECT etl.define_unit_test('m', 't', '{"completely.different": []}', '[]');

SELECT etl.define_unit_test('m', 't', '{}', '[]', '{"now": "one of these days"}');
-- times of options
SELECT etl.define_model('by_day', 'SELECT * FROM src', 'incremental', event_time => 'day', batch_size => '1 day', options => '{"begin": "at dawn"}');

-- what is of production is called what it is
SELECT etl.define_unit_test('m', 't', '{}', '[]');
SET etl.environment = 'words';
SELECT etl.drop_model('m');
RESET etl.environment;

-- intervals the wrong way round
CALL etl.run('m', since => '2026-02-01', until => '2026-01-01');
SELECT etl.submit('m', since => '2026-02-01', until => '2026-02-01');

-- a hook that fails is told from the query
SELECT etl.define_model('m', 'SELECT id, k, day FROM src', 'table', options => '{"post_hook": ["SELECT 1", "SELECT 1 / 0"]}');
SET client_min_messages = error;
\set VERBOSITY sqlstate
CALL etl.run('m');
SELECT sqlstate, error, detail FROM etl.tasks WHERE run_id = etl.last_run_id();
SELECT regexp_replace(why, '.*(Likely cause: [^\n]*).*', '\1') AS why, regexp_replace(remedy, '\d+', 'n') AS remedy FROM etl.explain_run();
-- a key twice: the remedy is that of the error
SELECT etl.define_model('m', 'SELECT id, k, day FROM src', 'snapshot', '{id}');
CALL etl.run('m');
SELECT regexp_replace(why, '.*(Likely cause: [^\n]*).*', '\1') AS why, regexp_replace(remedy, '\d+', 'n') AS remedy FROM etl.explain_run();

SELECT count(etl.drop_model(target, true)) FROM etl.models WHERE target LIKE '"wo rds"%';
DROP SCHEMA "wo rds" CASCADE;
