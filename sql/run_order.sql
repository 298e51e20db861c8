-- A name without a schema that meant nothing when its model was defined orders the first run by what it means by then.
\set VERBOSITY terse
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SET search_path = ro_in, ro_z, public;
SELECT etl.define_model('ro_a.reader', 'SELECT x FROM base', 'table');
SELECT etl.define_model('ro_a.above', 'SELECT x FROM ro_a.reader, lost', 'table');
SELECT etl.define_model('ro_z.base', 'SELECT 1 AS x', 'table');
RESET search_path;
CREATE SCHEMA ro_a;
CREATE SCHEMA ro_z;
SELECT step, node, action, reason, depends_on FROM etl.plan('ro_*') ORDER BY step, node COLLATE "C";
SELECT node FROM etl.plan('ro_z.base+') ORDER BY node COLLATE "C";
\set VERBOSITY sqlstate
CALL etl.run('ro_z.base+');
\set VERBOSITY terse
SELECT node, status FROM etl.tasks WHERE run_id = etl.last_run_id() ORDER BY node COLLATE "C";
SELECT depends_on FROM etl.dependencies WHERE node = 'ro_a.reader';
-- a name that comes to close a circle is left to the attempt, which says so
SET search_path = ro_in, ro_z, public;
SELECT etl.define_model('ro_z.lost', 'SELECT x FROM ro_a.above', 'table');
RESET search_path;
SELECT step, node, action, depends_on FROM etl.plan('ro_*') ORDER BY step, node COLLATE "C";
SELECT count(etl.drop_model(target, drop_relation => true, cascade => true)) FROM etl.models WHERE target = 'ro_z.base';
SELECT etl.drop_model('ro_a.above', cascade => true);
DROP SCHEMA ro_a, ro_z CASCADE;
