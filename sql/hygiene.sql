-- What the install script makes is documented, closed to PUBLIC, and safe to call with any search_path.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS etl;
CREATE TEMP VIEW own_functions AS
SELECT p.* FROM pg_proc p
JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'etl';
CREATE TEMP VIEW own_relations AS
SELECT c.* FROM pg_class c
JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'etl'
WHERE c.relkind IN ('r', 'v', 'S');
-- something to look at
SELECT count(*) > 10 AS functions FROM own_functions;
SELECT count(*) > 10 AS relations FROM own_relations;
-- every function and view has a comment, and each comment an example
SELECT oid::regprocedure AS without_comment FROM own_functions WHERE obj_description(oid, 'pg_proc') IS NULL;
SELECT oid::regprocedure AS without_example FROM own_functions
WHERE prorettype <> 'internal'::regtype AND proname !~ '^_' AND obj_description(oid, 'pg_proc') !~ 'Example';
SELECT relname AS without_comment FROM own_relations WHERE relkind = 'v' AND obj_description(oid, 'pg_class') IS NULL;
-- PUBLIC gets nothing
SELECT f.oid::regprocedure AS open_to_public
FROM own_functions f, aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) a
WHERE a.grantee = 0;
SELECT r.relname AS open_to_public
FROM own_relations r, aclexplode(coalesce(r.relacl, acldefault('r', r.relowner))) a
WHERE a.grantee = 0;
SELECT n.nspname AS open_to_public
FROM pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
WHERE n.nspname = 'etl' AND a.grantee = 0;
-- functions in SQL or PL/pgSQL fix their search_path; nothing runs with its owner's rights by accident
SELECT oid::regprocedure AS without_search_path FROM own_functions
WHERE prolang <> (SELECT oid FROM pg_language WHERE lanname = 'c') AND prosqlbody IS NULL
  AND NOT coalesce(proconfig::text LIKE '%search_path%', false);
-- only views and the registry of connectors are for users; tables of the catalogue are granted to nobody
SELECT DISTINCT r.relname AS granted_table
FROM own_relations r, aclexplode(r.relacl) a
WHERE r.relkind = 'r' AND r.relname <> 'connectors' AND a.grantee <> r.relowner;
-- the roles cannot log in
SELECT rolname, rolcanlogin, rolsuper FROM pg_roles WHERE rolname LIKE 'etl\_%' ORDER BY rolname COLLATE "C";
-- every table with state is dumped
SELECT r.relname AS not_dumped
FROM own_relations r, pg_extension e
WHERE e.extname = 'etl' AND r.relkind IN ('r', 'S') AND r.relname <> 'connectors' AND r.oid <> ALL (e.extconfig);
