-- The world in which the examples of docs/reference.md are run, each in its own copy of this database:
-- a shop whose orders and users arrive as files, and whose products would come from an API.
SET client_min_messages = warning;
CREATE EXTENSION etl;
CREATE SCHEMA raw;
CREATE SCHEMA clean;
CREATE SCHEMA mart;

\set shop :workdir '/shop'
SELECT format('COPY (VALUES (%L), (%L), (%L), (%L), (%L)) TO PROGRAM %L',
	'order_id,user_id,amount,currency,ordered_at', '1,1,10.50,EUR,2024-01-02T09:00:00Z', '2,2,7.00,USD,2024-01-02T10:00:00Z',
	'3,1,oops,EUR,2024-01-02T11:00:00Z', '4,2,20.00,,2024-01-03T08:00:00Z',
	'mkdir -p ' || :'shop' || '/orders ' || :'shop' || '/users; cat > ' || :'shop' || '/orders/2024-01-02.csv') \gexec
SELECT format('COPY (VALUES (%L), (%L), (%L)) TO PROGRAM %L',
	'user_id,email,updated_at', '1,ann@example.com,2024-01-01T00:00:00Z', '2,bob@example.com,2024-01-01T00:00:00Z',
	'cat > ' || :'shop' || '/users/users.csv') \gexec

SELECT etl.define_source('shop_files', 'file', jsonb_build_object('root', :'shop'));
SELECT etl.define_source('shop_api', 'http', '{"url": "http://127.0.0.1:1"}');
SELECT etl.define_stream('raw.orders', 'shop_files', '{"path": "orders/*.csv"}', format => 'csv',
	columns => 'order_id bigint, user_id bigint, amount numeric(12,2), currency text, ordered_at timestamptz');
SELECT etl.define_stream('raw.users', 'shop_files', '{"path": "users/*.csv"}', format => 'csv',
	columns => 'user_id bigint, email text, updated_at timestamptz', key => '{user_id}', mode => 'merge');
SELECT etl.define_stream('raw.products', 'shop_api', '{"path": "/products"}', format => 'json', columns => 'product_id text, price numeric');
SELECT etl.define_model('clean.orders', $$
	SELECT order_id, user_id, (ordered_at AT TIME ZONE 'UTC')::date AS day, amount FROM raw.orders WHERE amount > 0 $$, materialized => 'table');
SELECT etl.define_model('mart.daily_sales', 'SELECT day, count(*) AS orders, sum(amount) AS amount FROM clean.orders GROUP BY day',
	materialized => 'table');
SELECT etl.define_check('raw.orders', 'not_null', '{order_id}', on_fail => 'quarantine');
SELECT etl.define_check('mart.daily_sales', 'range', '{amount}', '{"min": 0}');
SELECT etl.define_check('clean.orders', 'not_null', '{user_id}', on_fail => 'warn');
CALL etl.run('*', exclude => 'raw.products');

-- What the examples of operation speak of: a pool, a schedule, a channel, a failed run 42, an alert 42, pushed records, pg_cron.
SELECT etl.define_pool('erp', 2);
SELECT etl.define_schedule('nightly', 'mart.*', cron => '30 2 * * *');
SELECT etl.define_channel('ops_mail', 'notify', '{"channel": "ops"}');
SELECT etl.define_source('pushed', 'push');
SELECT etl.define_stream('raw.events', 'pushed', format => 'json', columns => 'id bigint');
SELECT setval('etl.run_id_seq', 41), setval('etl.alert_id_seq', 41);
SELECT etl.define_alert('reference', '{run_failed}', '{}');
\set ON_ERROR_STOP off
CALL etl.run('raw.orders raw.products');
\set ON_ERROR_STOP on
SELECT etl.define_model('mart.hourly_sales', 'SELECT order_id, ordered_at, amount FROM raw.orders', materialized => 'incremental',
	key => '{order_id}', event_time => 'ordered_at', batch_size => '1 day');

-- What the examples of changing things speak of: a model with two versions, a snapshot, a table that etl does not feed, an environment.
SELECT etl.define_model('mart.daily_sales', 'SELECT day, count(*) AS orders, sum(amount) AS amount, max(amount) AS largest FROM clean.orders GROUP BY day',
	materialized => 'table', options => '{"keep_versions": 1}');
CALL etl.run('mart.daily_sales');
CREATE TABLE public.customers AS SELECT 1 AS customer_id, 'Oslo' AS city;
CREATE TABLE public.countries AS SELECT 'NO' AS code, 'Norway' AS name;
SELECT etl.watch('public.customers');
SELECT etl.define_model('mart.customers_history', 'SELECT customer_id, city FROM public.customers', materialized => 'snapshot', key => '{customer_id}');
CALL etl.run('mart.customers_history');
SET etl.environment = 'pr_42';
SELECT etl.define_model('mart.daily_sales', 'SELECT day, count(*) AS orders, sum(amount) AS amount FROM clean.orders WHERE amount > 1 GROUP BY day',
	materialized => 'table');
CALL etl.run('mart.daily_sales');
RESET etl.environment;
-- A dbt project, compiled.
\! mkdir -p target && cp "$ETL_TREE/test/dbt/manifest.json" target/
CREATE SCHEMA cron;
CREATE FUNCTION cron.schedule(text, text, text) RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint';
