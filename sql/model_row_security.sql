-- Where row security hides rows of a model's table from the model's owner, nothing is published beside them: the run says so before any work.
\set VERBOSITY default
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
CREATE SCHEMA rs;
CREATE ROLE etl_rs_owner;
GRANT ALL ON SCHEMA rs TO etl_rs_owner;
GRANT etl_developer TO etl_rs_owner;
CREATE TABLE rs.i AS SELECT i AS id, i AS v FROM generate_series(1, 5) AS i;
GRANT SELECT ON rs.i TO etl_rs_owner;
SELECT etl.watch('rs.i');
SET ROLE etl_rs_owner;
SELECT etl.define_model('rs.m', 'SELECT id, v FROM rs.i', 'incremental', key => '{id}');
SELECT etl.define_model('rs.history', 'SELECT id, v FROM rs.i', 'snapshot', key => '{id}', strategy => 'check', options => '{"hard_deletes": "invalidate"}');
SELECT etl.define_model('rs.swapped', 'SELECT id, v FROM rs.i', 'table', key => '{id}');
RESET ROLE;
CALL etl.run('rs.*');
-- security that holds for others is in nobody's way
ALTER TABLE rs.m ENABLE ROW LEVEL SECURITY;
CREATE POLICY big ON rs.m USING (id > 3);
DELETE FROM rs.i WHERE id = 1;
CALL etl.run('rs.*');
SELECT array_agg(id ORDER BY id) FROM rs.m;
-- the owner, too: the row that goes is one that it does not see
ALTER TABLE rs.m FORCE ROW LEVEL SECURITY;
ALTER TABLE rs.history ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE rs.swapped ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
DELETE FROM rs.i WHERE id = 2;
DO $$ BEGIN CALL etl.run('rs.*'); EXCEPTION WHEN OTHERS THEN NULL; END $$;
SELECT array_agg(id ORDER BY id) FROM rs.m;
\set VERBOSITY sqlstate
CALL etl.run('rs.m');
SELECT error, detail, hint FROM etl.tasks WHERE run_id = etl.last_run_id();
-- a swap brings other rows as a whole: nothing hidden is left over
CALL etl.run('rs.swapped', full_refresh => true);
SELECT array_agg(id ORDER BY id) FROM rs.swapped;
-- the way that the hint names
ALTER TABLE rs.m NO FORCE ROW LEVEL SECURITY;
ALTER TABLE rs.history NO FORCE ROW LEVEL SECURITY;
CALL etl.run('rs.*');
SELECT array_agg(id ORDER BY id) FROM rs.m;
SELECT array_agg(id ORDER BY id) FROM rs.history WHERE is_current;

SELECT count(etl.drop_model(target, drop_relation => true)) FROM etl.models WHERE target LIKE 'rs.%';
SELECT etl.unwatch('rs.i');
DROP SCHEMA rs CASCADE;
DROP OWNED BY etl_rs_owner;
DROP ROLE etl_rs_owner;
