-- etl.status() answers whether or not the library is preloaded, and settings of the server cannot be set in a session.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS etl;
SELECT process, state IN ('not preloaded', 'running') AS known, detail IS NOT NULL AS detailed
FROM etl.status() WHERE process = 'launcher';
SELECT pg_typeof(process), pg_typeof(pid), pg_typeof(since), pg_typeof(state), pg_typeof(detail)
FROM etl.status() LIMIT 1;

-- Who may look at it.
CREATE ROLE worker_looks;
SET ROLE worker_looks;
SELECT count(*) > 0 FROM etl.status();
RESET ROLE;
GRANT etl_viewer TO worker_looks;
SET ROLE worker_looks;
SELECT count(*) > 0 FROM etl.status();
RESET ROLE;
DROP ROLE worker_looks;

SHOW etl.max_workers;
SET etl.max_workers = 8;
SELECT context, min_val, max_val FROM pg_settings WHERE name = 'etl.max_workers';

-- A database that is unknown, or of others, is the server's business, not ours.
DROP DATABASE IF EXISTS etl_no_such_database;
DROP DATABASE etl_no_such_database;
ALTER DATABASE etl_no_such_database RENAME TO etl_another;
CREATE DATABASE etl_another TEMPLATE etl_no_such_database;
BEGIN;
DROP DATABASE etl_no_such_database;
ROLLBACK;
