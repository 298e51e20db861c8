-- In an environment everything acts beside production: it reads what did not change from there, and only a promotion changes it.
\set VERBOSITY terse
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SET client_min_messages = warning;
CREATE SCHEMA en;
-- production
SELECT etl.define_source('en_push', 'push');
SELECT etl.define_stream('en.orders', 'en_push', columns => 'id int, place text, amount numeric');
SELECT etl.define_model('en.clean', 'SELECT id, place, amount FROM en.orders WHERE amount > 0', 'incremental', key => '{id}');
SELECT etl.define_model('en.other', 'SELECT count(*) AS n FROM en.orders', 'table');
SELECT etl.define_model('en.by_place', 'SELECT place, sum(clean.amount) AS amount FROM en.clean GROUP BY place', 'table', key => '{place}');
SELECT etl.define_model('en.shown', 'SELECT * FROM en.by_place');
SELECT etl.define_check('en.by_place', 'range', '{amount}', '{"min": 0}');
SELECT etl.ingest('en.orders', '[{"id": 1, "place": "a", "amount": 5}, {"id": 2, "place": "b", "amount": -1}, {"id": 3, "place": "b", "amount": 7}]') > 0;
CALL etl.run('en.*');

-- the same script in an environment changes nothing and has nothing to do
SET etl.environment = 'pr_42';
SELECT etl.define_source('en_push', 'push');
SELECT etl.define_stream('en.orders', 'en_push', columns => 'id int, place text, amount numeric');
SELECT etl.define_model('en.other', 'SELECT count(*) AS n FROM en.orders', 'table');
SELECT node FROM etl.plan();
SELECT count(*) FROM etl.environments;
-- one model is another one, and what reads it follows
SELECT etl.define_model('en.clean', 'SELECT id, upper(place) AS place, amount, 1 AS one FROM en.orders WHERE amount > -10', 'incremental', key => '{id}');
SELECT etl.define_model('en.by_place', 'SELECT place, sum(clean.amount) AS amount FROM en.clean GROUP BY place', 'table', key => '{place}');
SELECT etl.define_check('en.by_place', 'range', '{amount}', '{"min": 0}');
SELECT step, node, action, depends_on FROM etl.plan();
CALL etl.run('en.clean+', workers => 2);
SELECT target, part, node, direct, base_version FROM etl.environments ORDER BY kind, target;
SELECT * FROM pr_42__en.clean ORDER BY id;
SELECT * FROM pr_42__en.by_place ORDER BY place;
SELECT * FROM pr_42__en.shown ORDER BY place;
SELECT target, query FROM etl.models WHERE target LIKE 'pr_42%' ORDER BY target;
SELECT target, check_name, status FROM etl.check_results WHERE target LIKE 'pr_42%';
-- production is as it was: rows, definitions, storage, what it records
SELECT * FROM en.clean ORDER BY id;
SELECT * FROM en.shown ORDER BY place;
SELECT target, version FROM etl.models WHERE target LIKE 'en.%' ORDER BY target;
SELECT count(*) FROM pg_trigger WHERE tgrelid IN ('en.orders'::regclass, 'en.clean'::regclass);
SELECT etl.compile('en.shown') LIKE '%pr_42%' AS of_environment;
SELECT * FROM etl.compare();
-- nothing of production can be changed from here
SELECT etl.drop_model('en.other');
SELECT etl.drop_stream('en.orders');
SELECT etl.define_check('en.other', 'range', '{n}', '{"min": 1}');
SELECT etl.rename('en.other', 'en.another');
SELECT etl.rollback('en.other');
SELECT etl.submit('*');
SELECT etl.ingest('en.orders', '{"id": 1}');
SELECT etl.reload('en.orders');
SELECT etl.define_schedule('en_s', '*', cron => '0 0 * * *');
SELECT etl.define_pool('en_p');
SELECT count(*) FROM etl.schedules WHERE name = 'en_s';
RESET etl.environment;

-- a run of production does not know the environment
SELECT node FROM etl.plan() WHERE node LIKE '%en.%';
-- somebody without rights on production cannot promote
CREATE ROLE en_dev;
GRANT etl_developer TO en_dev;
DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO en_dev', current_database()); END $$;
GRANT USAGE ON SCHEMA en TO en_dev;
GRANT SELECT ON ALL TABLES IN SCHEMA en TO en_dev;
SET ROLE en_dev;
SELECT etl.promote('pr_42');
SELECT etl.drop_environment('pr_42');
SET etl.environment = 'dev_1';
SELECT etl.define_model('en.clean', 'SELECT id, place, amount FROM en.orders WHERE amount > 5', 'incremental', key => '{id}');
CALL etl.run();
SELECT * FROM etl.compare();
SELECT etl.promote();
-- nor take over what is another's
SET etl.environment = 'pr_42';
SELECT etl.define_model('en.clean', 'SELECT 1 AS id');
SELECT etl.drop_environment('dev_1');
RESET etl.environment;
RESET ROLE;
SELECT nspname FROM pg_namespace WHERE nspname LIKE '%\_\_en';
SELECT * FROM en.clean ORDER BY id;

-- the promotion, in one transaction
BEGIN;
SELECT * FROM etl.promote('pr_42');
SELECT * FROM en.clean ORDER BY id;
ROLLBACK;
SELECT * FROM en.clean ORDER BY id;
SELECT * FROM etl.promote('pr_42');
SELECT * FROM en.clean ORDER BY id;
SELECT * FROM en.by_place ORDER BY place;
SELECT * FROM en.shown ORDER BY place;
SELECT target, version, served_version, query FROM etl.models WHERE target LIKE 'en.%' ORDER BY target;
SELECT DISTINCT target, source FROM etl.column_lineage WHERE target LIKE 'en.%' ORDER BY 1, 2;
-- it was built already: nothing to do, and what comes is an increment
SELECT node, action, reason FROM etl.plan('en.*');
SELECT etl.ingest('en.orders', '[{"id": 4, "place": "c", "amount": 1}]') > 0;
SELECT node, action FROM etl.plan('en.clean');
CALL etl.run('en.*');
SELECT * FROM en.by_place ORDER BY place;
SELECT * FROM etl.compare('pr_42');

-- production went on: then the models are built anew, and nothing is lost
SET etl.environment = 'pr_42';
SELECT etl.define_model('en.clean', 'SELECT id, upper(place) AS place, amount FROM en.orders WHERE amount > 0', 'incremental', key => '{id}');
CALL etl.run();
RESET etl.environment;
SELECT etl.ingest('en.orders', '[{"id": 5, "place": "d", "amount": 2}]') > 0;
SELECT * FROM etl.promote('pr_42');
SELECT * FROM en.by_place ORDER BY place;

-- a check of the environment refuses the promotion, whole
SET etl.environment = 'pr_42';
SELECT etl.define_model('en.clean', 'SELECT id, place, -amount AS amount FROM en.orders WHERE amount > 0', 'incremental', key => '{id}');
SELECT etl.promote();
RESET etl.environment;
SELECT target, version = served_version AS served FROM etl.models WHERE target = 'en.clean';
-- and so does a change of production since
SELECT etl.define_model('en.clean', 'SELECT id, place, amount FROM en.orders', 'incremental', key => '{id}');
SELECT etl.promote('pr_42');

-- a view of the environment on a production table does not stop what happens to that
SELECT etl.drop_environment('pr_42');
SET etl.environment = 'pr_42';
SELECT etl.define_model('en.shown', 'SELECT amount, place FROM en.by_place');
CALL etl.run();
RESET etl.environment;
SELECT etl.define_model('en.by_place', 'SELECT place AS site, sum(clean.amount) AS amount FROM en.clean GROUP BY place', 'table', key => '{site}');
SELECT etl.define_model('en.shown', 'SELECT site FROM en.by_place');
CALL etl.run('en.*');
SELECT count(*) FROM en.by_place WHERE site IS NOT NULL;
SELECT to_regclass('pr_42__en.shown');

-- a stream that changes is fetched by itself, and its readers read it
SET etl.environment = 'pr_43';
SELECT etl.define_stream('en.orders', 'en_push', columns => 'id int, place text, amount numeric, note text');
SELECT etl.define_model('en.later', 'SELECT * FROM en.unknown', 'table');
SELECT etl.ingest('en.orders', '[{"id": 9, "place": "z", "amount": 9, "note": "n"}]') > 0;
CALL etl.run('en.clean en.other');
SELECT * FROM pr_43__en.clean;
RESET etl.environment;
SELECT * FROM etl.promote('pr_43');
SELECT columns FROM etl.streams WHERE target = 'en.orders';

-- names
SET etl.environment = 'No Such';
SELECT etl.define_model('en.x', 'SELECT 1 AS a');
SET etl.environment = 'a__b';
SELECT etl.define_model('en.x', 'SELECT 1 AS a');
RESET etl.environment;
SELECT etl.compare('nowhere');
SELECT etl.drop_environment('nowhere');
SELECT etl.drop_environment('pr_42'), etl.drop_environment('pr_43');
SELECT count(*) FROM pg_namespace WHERE nspname LIKE '%\_\_en';
SELECT count(*) FROM etl.models WHERE target LIKE 'pr\_4%';
SET client_min_messages = error;
SELECT etl.drop_source('en_push', cascade => true, drop_relation => true);
DO $$ BEGIN PERFORM etl.drop_model(target, cascade => true, drop_relation => true) FROM etl.models WHERE target LIKE 'en.%'; END $$;
DROP OWNED BY en_dev;
DROP ROLE en_dev;
DROP SCHEMA en CASCADE;
