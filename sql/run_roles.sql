-- PUBLIC gets nothing; a role sees and runs what its membership says; the work is done with the owner's rights.
\set VERBOSITY terse
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SET client_min_messages = warning;
CREATE ROLE etlt_nobody;
CREATE ROLE etlt_reader;
CREATE ROLE etlt_dev;
CREATE ROLE etlt_other;
CREATE ROLE etlt_op;
CREATE ROLE etlt_auditor;
GRANT etl_viewer TO etlt_reader;
GRANT etl_developer TO etlt_dev, etlt_other;
GRANT etl_operator TO etlt_op;
GRANT etl_auditor TO etlt_auditor;
CREATE SCHEMA rr;
GRANT ALL ON SCHEMA rr TO etlt_dev, etlt_other;

-- nothing in etl is PUBLIC's
SELECT count(*) FROM pg_proc AS p, aclexplode(coalesce(proacl, acldefault('f', proowner))) AS a
WHERE pronamespace = 'etl'::regnamespace AND a.grantee = 0;
SELECT count(*) FROM pg_class AS c, aclexplode(relacl) AS a WHERE relnamespace = 'etl'::regnamespace AND a.grantee = 0;
SELECT has_schema_privilege('etlt_nobody', 'etl', 'USAGE') AS nobody, has_schema_privilege('etlt_reader', 'etl', 'USAGE') AS reader;
-- no role can log in, and tables are nobody's
SELECT rolname, rolcanlogin FROM pg_roles WHERE rolname IN ('etl_viewer', 'etl_operator', 'etl_developer', 'etl_admin', 'etl_steward', 'etl_auditor') ORDER BY 1;
SELECT count(*) FROM pg_class AS c, aclexplode(relacl) AS a
WHERE relnamespace = 'etl'::regnamespace AND relkind = 'r' AND a.grantee <> c.relowner;
SELECT r AS role, has_function_privilege(r, 'etl.plan(text,text,boolean)', 'EXECUTE') AS plan,
	has_function_privilege(r, 'etl.define_model(text,text,text,text[],text,text,interval,interval,jsonb,text[],text)', 'EXECUTE') AS define_model,
	has_function_privilege(r, 'etl.define_secret(text,text,text,text,text[],text)', 'EXECUTE') AS define_secret
FROM unnest(ARRAY['etl_viewer', 'etl_operator', 'etl_developer', 'etl_admin', 'etlt_nobody']) AS r;

SET ROLE etlt_nobody;
\set VERBOSITY sqlstate
CALL etl.run();
SELECT * FROM etl.runs;
\set VERBOSITY terse
RESET ROLE;

SET ROLE etlt_dev;
CREATE TABLE rr.seed AS SELECT 1 AS id;
SELECT etl.define_model('rr.mine', 'SELECT id, current_user::text AS who FROM rr.seed', 'table');
CALL etl.run('rr.mine');
SELECT * FROM rr.mine;
RESET ROLE;

-- another developer may neither redefine nor run it, and sees nothing of it
SET ROLE etlt_other;
SELECT etl.define_model('rr.mine', 'SELECT 2 AS id');
CALL etl.run('rr.mine');
SELECT count(*) FROM etl.tasks WHERE node = 'rr.mine';
RESET ROLE;
SET ROLE etlt_reader;
CALL etl.run('rr.mine');
SELECT count(*) FROM etl.tasks WHERE node = 'rr.mine';
\set VERBOSITY sqlstate
SELECT count(*) FROM etl.task;
\set VERBOSITY terse
RESET ROLE;
GRANT USAGE ON SCHEMA rr TO etlt_reader;
GRANT SELECT ON rr.mine TO etlt_reader;
SET ROLE etlt_reader;
SELECT count(*) FROM etl.tasks WHERE node = 'rr.mine';
RESET ROLE;

-- an operator runs it, and the owner's rights do the work
SET ROLE etlt_op;
CALL etl.run('rr.mine', full_refresh => true);
SELECT status, rows_inserted FROM etl.tasks WHERE run_id = etl.last_run_id();
SELECT * FROM rr.mine;
RESET ROLE;
SELECT * FROM rr.mine;

-- an auditor reads the history, and runs nothing
SET ROLE etlt_auditor;
SELECT status, rows_inserted FROM etl.tasks WHERE node = 'rr.mine' ORDER BY task_id;
SELECT selector, status, requested_by FROM etl.runs WHERE selector = 'rr.mine' ORDER BY run_id;
\set VERBOSITY sqlstate
CALL etl.run('rr.mine');
SELECT count(*) FROM etl.rejects;
\set VERBOSITY terse
RESET ROLE;

SELECT etl.drop_model('rr.mine', true, true);
DROP SCHEMA rr CASCADE;
DROP OWNED BY etlt_nobody, etlt_reader, etlt_dev, etlt_other, etlt_op, etlt_auditor;
DROP ROLE etlt_nobody, etlt_reader, etlt_dev, etlt_other, etlt_op, etlt_auditor;
