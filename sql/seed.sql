-- A seed holds the rows of its definition; what a definition gives a relation beside rows is there, and goes with the definition.
\set VERBOSITY terse
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SET timezone = 'UTC';
CREATE SCHEMA seed;
CREATE FUNCTION seed.last() RETURNS TABLE (action text, reason text, ins bigint, upd bigint, del bigint) LANGUAGE sql AS
	$$SELECT t.action, t.reason, t.rows_inserted, t.rows_updated, t.rows_deleted FROM etl.tasks t WHERE t.run_id = etl.last_run_id()$$;

-- rows in the definition, with names and types
SELECT etl.define_model('seed.country', $$SELECT * FROM (VALUES ('DE', 'Germany', DATE '1990-10-03'), ('FR', 'a"b; drop', NULL)) AS t (code, name, since)$$,
	'seed', '{code}');
CALL etl.run('seed.*');
SELECT * FROM seed.last();
CALL etl.run('seed.*');
SELECT * FROM seed.last();
SELECT etl.define_model('seed.country', $$SELECT * FROM (VALUES ('DE', 'Germany', DATE '1990-10-03'), ('FR', 'a"b; drop', NULL)) AS t (code, name, since)$$,
	'seed', '{code}');
TABLE seed.country ORDER BY code;
SELECT 'seed.country'::regclass::oid AS oid \gset
SELECT etl.define_model('seed.country', $$SELECT * FROM (VALUES ('DE', 'Germany', DATE '1990-10-03'), ('PL', 'Poland', NULL)) AS t (code, name, since)$$,
	'seed', '{code}');
CALL etl.run('seed.*');
SELECT ins FROM seed.last();
SELECT code, 'seed.country'::regclass::oid = :oid AS same FROM seed.country ORDER BY code;
-- bare VALUES
SELECT etl.define_model('seed.bare', 'VALUES (1, NULL), (2, ''x'')', 'seed');
CALL etl.run('seed.bare');
TABLE seed.bare ORDER BY 1;
SELECT etl.define_model('seed.no', 'SELECT * FROM seed.bare', 'seed');

-- constraints: made, kept, changed, dropped; those of others stay
SELECT etl.define_model('seed.orders', $$SELECT g AS id, 'DE' AS code, g * 10 AS "amo""unt" FROM generate_series(1, 3) g$$, 'table', '{id}', options =>
	'{"constraints": ["PRIMARY KEY (id)", "FOREIGN KEY (code) REFERENCES seed.country (code)", "CHECK (\"amo\"\"unt\" > 0)"], "not_null": ["amo\"unt"], "depends_on": ["seed.country"]}');
CALL etl.run('seed.orders');
SELECT contype, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'seed.orders'::regclass ORDER BY 1, 2;
SELECT attname FROM pg_attribute WHERE attrelid = 'seed.orders'::regclass AND attnotnull AND attnum > 0 ORDER BY 1;
SELECT count(*) AS indexes FROM pg_index WHERE indrelid = 'seed.orders'::regclass;
ALTER TABLE seed.orders ADD CONSTRAINT of_others CHECK (id < 1000);
SELECT etl.define_model('seed.orders', $$SELECT g AS id, 'DE' AS code, g * 10 AS "amo""unt" FROM generate_series(1, 4) g$$, 'table', '{id}', options =>
	'{"constraints": ["PRIMARY KEY (id)", "CHECK (\"amo\"\"unt\" > 1)", "UNIQUE (\"amo\"\"unt\")"]}');
CALL etl.run('seed.orders');
SELECT * FROM seed.last();
SELECT contype, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'seed.orders'::regclass ORDER BY 1, 2;
-- rows that break one leave what was there
SELECT etl.define_model('seed.orders', $$SELECT g AS id, 'DE' AS code, 1 - g AS "amo""unt" FROM generate_series(1, 4) g$$, 'table', '{id}', options =>
	'{"constraints": ["PRIMARY KEY (id)", "CHECK (\"amo\"\"unt\" > 1)", "UNIQUE (\"amo\"\"unt\")"]}');
\set VERBOSITY sqlstate
CALL etl.run('seed.orders');
\set VERBOSITY terse
SELECT sqlstate FROM etl.tasks WHERE run_id = etl.last_run_id();
SELECT sum("amo""unt") FROM seed.orders;
-- on an incremental model and a snapshot, too
SELECT etl.define_model('seed.inc', 'SELECT code, count(*) AS n FROM seed.orders GROUP BY code', 'incremental', '{code}', options => '{"constraints": ["CHECK (n < 100)"]}');
SELECT etl.define_model('seed.snap', 'SELECT code, count(*) AS n FROM seed.orders GROUP BY code', 'snapshot', '{code}', options => '{"constraints": ["CHECK (n < 100)"], "not_null": ["n"]}');
CALL etl.run('seed.inc seed.snap');
SELECT conrelid::regclass, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid IN ('seed.inc'::regclass, 'seed.snap'::regclass) AND conname ~ '_etl_c' ORDER BY 1;

-- comments, privileges and storage
CREATE ROLE "etl seed; reader";
CREATE ROLE etl_seed_other;
SELECT etl.define_model('seed.given', 'SELECT 1 AS a, 2 AS "b""; drop"', 'table', options =>
	'{"comments": {"a": "it''s a", "b\"; drop": "b"}, "grants": {"etl seed; reader": ["SELECT", "references"], "public": "select"}, "with": {"fillfactor": "70"}}', description => 'one');
SELECT etl.define_model('seed.given_view', 'SELECT a FROM seed.given', options => '{"comments": {"a": "of a view"}, "grants": {"etl_seed_other": "SELECT"}}');
CALL etl.run('seed.given seed.given_view');
SELECT col_description('seed.given'::regclass, 1), col_description('seed.given'::regclass, 2), obj_description('seed.given'::regclass), col_description('seed.given_view'::regclass, 1);
SELECT grantee, string_agg(privilege_type, ', ' ORDER BY privilege_type) FROM information_schema.role_table_grants
	WHERE table_schema = 'seed' AND table_name = 'given' AND grantee <> current_user GROUP BY 1 ORDER BY 1;
SELECT grantee, privilege_type FROM information_schema.role_table_grants WHERE table_schema = 'seed' AND table_name = 'given_view' AND grantee <> current_user;
SELECT etl.define_model('seed.given', 'SELECT 1 AS a, 2 AS "b""; drop"', 'table', options =>
	'{"comments": {"a": null}, "grants": {"etl_seed_other": "SELECT"}, "with": {"fillfactor": "71"}}', description => 'two');
CALL etl.run('seed.given');
SELECT col_description('seed.given'::regclass, 1), obj_description('seed.given'::regclass), reloptions FROM pg_class WHERE oid = 'seed.given'::regclass;
SELECT grantee, privilege_type FROM information_schema.role_table_grants WHERE table_schema = 'seed' AND table_name = 'given' AND grantee <> current_user;

-- settings, of this node alone
SELECT etl.define_model('seed.set', $$SELECT current_setting('work_mem') AS work_mem, current_setting('enable_seqscan') AS seqscan, current_setting('TimeZone') AS zone$$, 'table',
	options => '{"settings": {"work_mem": "77MB", "enable_seqscan": "off", "TimeZone": "Asia/Tokyo"}}');
CALL etl.run('seed.set');
SELECT *, current_setting('TimeZone') AS here FROM seed.set;
SELECT etl.define_model('seed.x', 'SELECT 1 AS a', 'table', options => '{"settings": {"work_men": "1MB"}}');
SELECT etl.define_model('seed.x', 'SELECT 1 AS a', 'table', options => '{"settings": {"work_mem": "much"}}');
SELECT etl.define_model('seed.x', 'SELECT 1 AS a', 'table', options => '{"settings": {"statement_timeout": "1s"}}');
SELECT etl.define_model('seed.x', 'SELECT 1 AS a', 'table', options => '{"settings": {"role": "postgres"}}');
SELECT etl.define_model('seed.x', 'SELECT 1 AS a', 'table', options => '{"settings": {"etl.test_now": "2020-01-01"}}');
SELECT etl.define_model('seed.x', 'SELECT 1 AS a', 'table', options => '{"settings": {"etl_x.y": "1"}, "statement_timeout": "1 min"}');

-- what makes no sense is refused at definition
SELECT etl.define_model('seed.x', 'SELECT 1 AS a', 'table', options => '{"constraints": ["CHECK (a > 0); DROP TABLE seed.orders"]}');
SELECT etl.define_model('seed.x', 'SELECT 1 AS a', 'table', options => '{"constraints": ["COLUMN b int"]}');
SELECT etl.define_model('seed.x', 'SELECT 1 AS a', 'table', options => '{"constraints": ["CONSTRAINT mine CHECK (a > 0)"]}');
SELECT etl.define_model('seed.x', 'SELECT 1 AS a', 'view', options => '{"constraints": ["CHECK (a > 0)"]}');
SELECT etl.define_model('seed.x', 'SELECT 1 AS a', 'table', options => '{"not_null": ["b"]}');
SELECT etl.define_model('seed.x', 'SELECT 1 AS a', 'table', options => '{"comments": {"aa": "x"}}');
SELECT etl.define_model('seed.x', 'SELECT 1 AS a', 'table', options => '{"grants": {"public": "SELECT; DROP"}}');

-- a function in a language as a model, with declared dependencies
CREATE FUNCTION seed.totals(minimum int) RETURNS TABLE (code text, total bigint) LANGUAGE plpgsql STABLE AS $$
BEGIN
	FOR code, total IN SELECT o.code, sum(o."amo""unt") FROM seed.orders o GROUP BY o.code
	LOOP
		IF total >= minimum THEN RETURN NEXT; END IF;
	END LOOP;
END $$;
SELECT etl.define_model('seed.totals_of', 'SELECT * FROM seed.totals(5)', 'table', '{code}', options => '{"depends_on": ["seed.orders"]}');
SELECT node, action, depends_on FROM etl.plan('seed.totals_of');
CALL etl.run('+seed.totals_of', exclude => 'seed.orders seed.country');
TABLE seed.totals_of;
CALL etl.run('seed.totals_of');
SELECT action, reason FROM seed.last();
SELECT etl.define_model('seed.orders', $$SELECT g AS id, 'DE' AS code, g AS "amo""unt" FROM generate_series(2, 4) g$$, 'table', '{id}');
CALL etl.run('seed.orders seed.totals_of');
TABLE seed.totals_of;
SELECT action, reason FROM etl.tasks WHERE run_id = etl.last_run_id() ORDER BY task_id;

SELECT count(etl.drop_model(target, true)) > 0 FROM etl.models WHERE target LIKE 'seed.%';
DROP SCHEMA seed CASCADE;
DROP ROLE "etl seed; reader", etl_seed_other;
