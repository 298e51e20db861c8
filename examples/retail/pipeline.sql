-- pipeline.sql defines the retail pipeline.  It is idempotent: run it again after every change.
--
--   psql -v inbox=/srv/retail/inbox -v server_url=http://127.0.0.1:8080 -v token_file=/etc/retail/token -f pipeline.sql
--
-- inbox        where files are delivered: transactions/DATE/*.ndjson, users/*.csv, rates/*.csv
-- server_url   the product server
-- token_file   a file with the bearer token of that server
--
-- Three zones: raw (as delivered, never changed), clean (typed, standardised,
-- without duplicates, with keys), mart (what people read).
\set ON_ERROR_STOP on
\set QUIET on
SET client_min_messages = warning;
SET timezone = 'UTC';

CREATE SCHEMA IF NOT EXISTS raw;
CREATE SCHEMA IF NOT EXISTS clean;
CREATE SCHEMA IF NOT EXISTS mart;

\pset tuples_only on
\pset format unaligned
\o /dev/null

-- ---------------------------------------------------------------------------
-- Sources
-- ---------------------------------------------------------------------------

SELECT etl.define_secret('product_token', file => :'token_file',
	description => 'Bearer token of the product server');

SELECT etl.define_source('shop_files', 'file',
	jsonb_build_object('root', :'inbox'),
	'What shops and the user system deliver as files');

SELECT etl.define_source('product_server', 'http',
	jsonb_build_object(
		'url', :'server_url',
		'auth', '{"type": "bearer", "token": {"secret": "product_token"}}'::jsonb,
		'timeout', '{"connect": "5 s", "idle": "10 s"}'::jsonb,
		'retry', '{"attempts": 8, "base": "50 ms", "cap": "2 s"}'::jsonb),
	'Products: 100 a page, rate limited, not always well');

-- ---------------------------------------------------------------------------
-- raw: landing
-- ---------------------------------------------------------------------------

SELECT etl.define_stream('raw.transactions', 'shop_files',
	'{"path": "transactions/**/*.ndjson"}', 'ndjson',
	columns => 'transaction_id text, user_id bigint, product_id text, amount numeric(14,2), currency text,
		"timestamp" timestamptz, payment_method text, status text',
	event_time => 'timestamp',
	contract => '{"delivery": "batch", "watermark": "3 days", "privacy_level": "internal"}',
	tags => '{retail}', description => 'Every sale as the shops sent it');

SELECT etl.define_stream('raw.users', 'shop_files',
	'{"path": "users/*.csv"}', 'csv',
	columns => 'user_id bigint, email text, registration_date text, country text, age_group text, customer_tier text',
	contract => '{"delivery": "batch", "privacy_level": "restricted"}',
	tags => '{retail}', description => 'User exports: everybody at first, then new and changed users');

-- No columns here: date, text and numeric are found in the file.
SELECT etl.define_stream('raw.exchange_rates', 'shop_files',
	'{"path": "rates/*.csv"}', 'csv',
	tags => '{retail}', description => 'What one unit of a currency was worth in USD, per day');

-- discount_percent is not declared: it appears on later pages and becomes a column.
SELECT etl.define_stream('raw.products', 'product_server',
	'{"path": "/products", "records": "$.products",
	  "paginate": {"type": "page", "param": "page", "start": 1, "size_param": "per_page", "size": 100},
	  "incremental": {"field": "updated_at", "param": "updated_since"}}', 'json',
	columns => 'product_id text, name text, category text, price numeric(12,2), inventory_count int,
		supplier_id text, updated_at timestamptz',
	event_time => 'updated_at',
	tags => '{retail}', description => 'Each state of a product that the server told');

SELECT etl.define_check('raw.transactions', 'not_null', '{transaction_id}', on_fail => 'quarantine');
SELECT etl.define_check('raw.users', 'not_null', '{user_id}', on_fail => 'quarantine');

-- ---------------------------------------------------------------------------
-- clean: the tables are made here, with their keys and constraints; the
-- models take them over (adopt) and fill them, parents before children.
-- load_id and load_row say which landed row a row comes from.
-- ---------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS clean.users (
	user_id bigint PRIMARY KEY,
	email text,
	registration_date date CHECK (registration_date >= '2000-01-01'),
	country text CHECK (country ~ '^[A-Z]{2}$'),
	age_group text,
	customer_tier text NOT NULL CHECK (customer_tier IN ('bronze', 'silver', 'gold', 'platinum')),
	load_id bigint NOT NULL,
	load_row bigint NOT NULL
);
CREATE INDEX IF NOT EXISTS users_country_idx ON clean.users (country);

CREATE TABLE IF NOT EXISTS clean.products (
	product_id text PRIMARY KEY,
	name text NOT NULL,
	category text NOT NULL,
	price numeric(12,2) NOT NULL CHECK (price > 0),
	discount_percent int CHECK (discount_percent BETWEEN 0 AND 100),
	inventory_count int NOT NULL CHECK (inventory_count >= 0),
	supplier_id text,
	updated_at timestamptz NOT NULL,
	load_id bigint NOT NULL,
	load_row bigint NOT NULL
);
CREATE INDEX IF NOT EXISTS products_category_idx ON clean.products (category);

CREATE TABLE IF NOT EXISTS clean.inventory_history (
	product_id text NOT NULL REFERENCES clean.products,
	recorded_at timestamptz NOT NULL,
	replaced_at timestamptz CHECK (replaced_at > recorded_at),
	inventory_count int NOT NULL CHECK (inventory_count >= 0),
	change int,
	PRIMARY KEY (product_id, recorded_at)
);

CREATE TABLE IF NOT EXISTS clean.exchange_rates (
	rate_date date NOT NULL,
	currency text NOT NULL,
	rate_to_usd numeric(12,6) NOT NULL CHECK (rate_to_usd > 0),
	PRIMARY KEY (rate_date, currency)
);

CREATE TABLE IF NOT EXISTS clean.transactions (
	transaction_id text PRIMARY KEY,
	user_id bigint NOT NULL REFERENCES clean.users,
	product_id text NOT NULL REFERENCES clean.products,
	amount numeric(14,2) NOT NULL CHECK (amount > 0),
	currency text NOT NULL,
	occurred_at timestamptz NOT NULL,
	sale_date date NOT NULL,
	payment_method text,
	status text NOT NULL CHECK (status IN ('completed', 'pending', 'refunded', 'failed')),
	load_id bigint NOT NULL,
	load_row bigint NOT NULL
);
CREATE INDEX IF NOT EXISTS transactions_sale_date_idx ON clean.transactions (sale_date);
CREATE INDEX IF NOT EXISTS transactions_user_idx ON clean.transactions (user_id);
CREATE INDEX IF NOT EXISTS transactions_product_idx ON clean.transactions (product_id);

SELECT etl.define_model('clean.users', $$
	WITH newest AS (
		SELECT DISTINCT ON (user_id) *
		FROM raw.users
		ORDER BY user_id, _etl_load_id DESC, _etl_row DESC
	), country_names (name, code) AS (
		VALUES ('de', 'DE'), ('deu', 'DE'), ('germany', 'DE'), ('deutschland', 'DE'),
			('fr', 'FR'), ('fra', 'FR'), ('france', 'FR'),
			('gb', 'GB'), ('gbr', 'GB'), ('uk', 'GB'), ('united kingdom', 'GB'), ('great britain', 'GB'),
			('us', 'US'), ('usa', 'US'), ('u.s.a.', 'US'), ('united states', 'US'),
			('es', 'ES'), ('esp', 'ES'), ('spain', 'ES'), ('españa', 'ES'),
			('it', 'IT'), ('ita', 'IT'), ('italy', 'IT'), ('italia', 'IT'),
			('nl', 'NL'), ('nld', 'NL'), ('netherlands', 'NL'), ('holland', 'NL'),
			('pl', 'PL'), ('pol', 'PL'), ('poland', 'PL'), ('polska', 'PL'),
			('jp', 'JP'), ('jpn', 'JP'), ('japan', 'JP'),
			('kr', 'KR'), ('kor', 'KR'), ('south korea', 'KR'), ('korea, republic of', 'KR'),
			('br', 'BR'), ('bra', 'BR'), ('brazil', 'BR'), ('brasil', 'BR'),
			('ca', 'CA'), ('can', 'CA'), ('canada', 'CA')
	)
	SELECT
		u.user_id,
		lower(btrim(u.email)) AS email,
		CASE
			WHEN u.registration_date ~ '^\d{4}-\d\d-\d\d$' THEN to_date(u.registration_date, 'YYYY-MM-DD')
			WHEN u.registration_date ~ '^\d\d/\d\d/\d{4}$' THEN to_date(u.registration_date, 'DD/MM/YYYY')
			WHEN u.registration_date ~ '^[A-Z][a-z]{2} \d\d, \d{4}$' THEN to_date(u.registration_date, 'Mon DD, YYYY')
		END AS registration_date,
		c.code AS country,
		replace(u.age_group, ' ', '') AS age_group,
		coalesce(lower(u.customer_tier), 'bronze') AS customer_tier,
		u._etl_load_id AS load_id,
		u._etl_row AS load_row
	FROM newest u
	LEFT JOIN country_names c ON c.name = lower(btrim(u.country))
$$, 'incremental', key => '{user_id}', options => '{"adopt": true, "publish": "together"}',
	tags => '{retail}', description => 'One row a user: its newest export, standardised');

SELECT etl.define_model('clean.products', $$
	SELECT DISTINCT ON (product_id)
		product_id,
		btrim(name) AS name,
		lower(btrim(category)) AS category,
		price,
		discount_percent::int AS discount_percent,
		greatest(inventory_count, 0) AS inventory_count,
		supplier_id,
		updated_at,
		_etl_load_id AS load_id,
		_etl_row AS load_row
	FROM raw.products
	ORDER BY product_id, raw.products.updated_at DESC, _etl_load_id DESC, _etl_row DESC
$$, 'incremental', key => '{product_id}', options => '{"adopt": true, "publish": "together"}',
	tags => '{retail}', description => 'One row a product: its newest state');

SELECT etl.define_model('clean.inventory_history', $$
	WITH told AS (
		SELECT DISTINCT product_id, updated_at, greatest(inventory_count, 0) AS inventory_count
		FROM raw.products
	)
	SELECT
		product_id,
		told.updated_at AS recorded_at,
		lead(told.updated_at) OVER product AS replaced_at,
		told.inventory_count,
		told.inventory_count - lag(told.inventory_count) OVER product AS change
	FROM told
	JOIN clean.products USING (product_id)
	WINDOW product AS (PARTITION BY product_id ORDER BY told.updated_at)
$$, 'table', key => '{product_id, recorded_at}', options => '{"adopt": true, "publish": "together"}',
	tags => '{retail}', description => 'The stock of each product over time');

SELECT etl.define_model('clean.exchange_rates', $$
	SELECT DISTINCT ON (rate_date, currency) rate_date, currency, rate_to_usd::numeric(12,6) AS rate_to_usd
	FROM raw.exchange_rates
	ORDER BY rate_date, currency, _etl_load_id DESC, _etl_row DESC
$$, 'incremental', key => '{rate_date, currency}', options => '{"adopt": true, "publish": "together"}',
	tags => '{retail}', description => 'The rate table');

-- A sale of an unknown user or product has NULL in that column here, and the
-- checks below put it into etl.rejects; when the user arrives a day later the
-- sale comes out of there by itself.
SELECT etl.define_model('clean.transactions', $$
	WITH newest AS (
		SELECT DISTINCT ON (transaction_id) *
		FROM raw.transactions
		ORDER BY transaction_id, _etl_load_id DESC, _etl_row DESC
	)
	SELECT
		t.transaction_id,
		u.user_id,
		p.product_id,
		t.amount,
		nullif(upper(btrim(t.currency)), '') AS currency,
		t."timestamp" AS occurred_at,
		(t."timestamp" AT TIME ZONE 'UTC')::date AS sale_date,
		nullif(translate(lower(btrim(t.payment_method)), ' -', '__'), '') AS payment_method,
		lower(t.status) AS status,
		t._etl_load_id AS load_id,
		t._etl_row AS load_row
	FROM newest t
	LEFT JOIN clean.users u ON u.user_id = t.user_id
	LEFT JOIN clean.products p ON p.product_id = t.product_id
$$, 'incremental', key => '{transaction_id}', options => '{"adopt": true, "publish": "together"}',
	tags => '{retail}', description => 'One row a sale, as delivered last');

SELECT etl.define_model('clean.audit_log', $$
	SELECT 'clean.users' AS relation, u.user_id::text AS row_key, c.column_name,
		CASE WHEN c.kept IS NULL THEN 'emptied' WHEN c.said IS NULL THEN 'filled' ELSE 'standardised' END AS change,
		c.said, c.kept, r._etl_load_id AS load_id, r._etl_row AS load_row
	FROM raw.users r
	JOIN clean.users u ON u.user_id = r.user_id AND u.load_id = r._etl_load_id AND u.load_row = r._etl_row
	CROSS JOIN LATERAL (VALUES
		('email', r.email, u.email),
		('registration_date', r.registration_date, u.registration_date::text),
		('country', r.country, u.country),
		('age_group', r.age_group, u.age_group),
		('customer_tier', r.customer_tier, u.customer_tier)) AS c (column_name, said, kept)
	WHERE c.said IS DISTINCT FROM c.kept
	UNION ALL
	SELECT 'clean.products', p.product_id, c.column_name,
		CASE WHEN c.kept IS NULL THEN 'emptied' WHEN c.said IS NULL THEN 'filled' ELSE 'standardised' END,
		c.said, c.kept, r._etl_load_id, r._etl_row
	FROM raw.products r
	JOIN clean.products p ON p.product_id = r.product_id AND p.load_id = r._etl_load_id AND p.load_row = r._etl_row
	CROSS JOIN LATERAL (VALUES
		('name', r.name, p.name),
		('category', r.category, p.category),
		('inventory_count', r.inventory_count::text, p.inventory_count::text)) AS c (column_name, said, kept)
	WHERE c.said IS DISTINCT FROM c.kept
	UNION ALL
	SELECT 'clean.transactions', t.transaction_id, c.column_name,
		CASE WHEN c.kept IS NULL THEN 'emptied' WHEN c.said IS NULL THEN 'filled' ELSE 'standardised' END,
		c.said, c.kept, r._etl_load_id, r._etl_row
	FROM raw.transactions r
	JOIN clean.transactions t
		ON t.transaction_id = r.transaction_id AND t.load_id = r._etl_load_id AND t.load_row = r._etl_row
	CROSS JOIN LATERAL (VALUES
		('currency', r.currency, t.currency),
		('payment_method', r.payment_method, t.payment_method),
		('status', r.status, t.status)) AS c (column_name, said, kept)
	WHERE c.said IS DISTINCT FROM c.kept
	UNION ALL
	SELECT 'clean.users', u.user_id::text, '-', 'superseded', NULL, NULL, r._etl_load_id, r._etl_row
	FROM raw.users r
	JOIN clean.users u ON u.user_id = r.user_id AND (u.load_id, u.load_row) <> (r._etl_load_id, r._etl_row)
	UNION ALL
	SELECT 'clean.products', p.product_id, '-', 'superseded', NULL, NULL, r._etl_load_id, r._etl_row
	FROM raw.products r
	JOIN clean.products p ON p.product_id = r.product_id AND (p.load_id, p.load_row) <> (r._etl_load_id, r._etl_row)
	UNION ALL
	SELECT 'clean.transactions', t.transaction_id, '-', 'superseded', NULL, NULL, r._etl_load_id, r._etl_row
	FROM raw.transactions r
	JOIN clean.transactions t
		ON t.transaction_id = r.transaction_id AND (t.load_id, t.load_row) <> (r._etl_load_id, r._etl_row)
$$, 'table', options => '{"publish": "together", "indexes": [["relation", "row_key"]]}',
	tags => '{retail}', description => 'What changed where: each value that differs from the landed one, each row given up for a newer one');

-- Completeness above 95 % on critical fields, less than 1 % of errors on amounts.
SELECT etl.define_check('clean.users', 'unique', '{user_id}');
SELECT etl.define_check('clean.users', 'not_null', '{email}', '{"max_failed": "5%"}');
SELECT etl.define_check('clean.users', 'not_null', '{registration_date}', '{"max_failed": "5%"}');
SELECT etl.define_check('clean.users', 'not_null', '{country}', '{"max_failed": "5%"}');
SELECT etl.define_check('clean.users', 'regex', '{email}', '{"pattern": "^[^@ ]+@[^@ ]+\\.[a-z]+$"}', on_fail => 'warn');
SELECT etl.define_check('clean.users', 'accepted_values', '{age_group}',
	'{"values": ["18-24", "25-34", "35-44", "45-54", "55-64", "65+"]}');

SELECT etl.define_check('clean.products', 'unique', '{product_id}');
SELECT etl.define_check('clean.products', 'not_null', '{price}', '{"max_failed": "5%"}', on_fail => 'quarantine');
SELECT etl.define_check('clean.products', 'range', '{price}', '{"min": 0.01, "max_failed": "5%"}', on_fail => 'quarantine');
SELECT etl.define_check('clean.products', 'accepted_values', '{category}',
	'{"values": ["electronics", "books", "toys", "garden", "clothing", "sports", "food", "furniture"]}');
SELECT etl.define_check('clean.products', 'not_null', '{supplier_id}', '{"max_failed": "5%"}');

SELECT etl.define_check('clean.inventory_history', 'relationship', '{product_id}',
	'{"to": "clean.products", "columns": ["product_id"]}');

SELECT etl.define_check('clean.exchange_rates', 'row_count', '{}', '{"min": 6}');

SELECT etl.define_check('clean.transactions', 'unique', '{transaction_id}');
SELECT etl.define_check('clean.transactions', 'not_null', '{amount}', '{"max_failed": "1%"}', on_fail => 'quarantine');
SELECT etl.define_check('clean.transactions', 'range', '{amount}',
	'{"min": 0.01, "max": 100000, "max_failed": "1%"}', on_fail => 'quarantine');
SELECT etl.define_check('clean.transactions', 'not_null', '{currency}', '{"max_failed": "5%"}', on_fail => 'quarantine');
SELECT etl.define_check('clean.transactions', 'accepted_values', '{currency}',
	'{"values": ["USD", "EUR", "GBP", "JPY", "CHF", "CAD"], "max_failed": "5%"}', on_fail => 'quarantine');
SELECT etl.define_check('clean.transactions', 'not_null', '{user_id}', '{"max_failed": "5%"}', on_fail => 'quarantine',
	description => 'The user is known');
SELECT etl.define_check('clean.transactions', 'not_null', '{product_id}', '{"max_failed": "5%"}', on_fail => 'quarantine',
	description => 'The product is known');
SELECT etl.define_check('clean.transactions', 'not_null', '{payment_method}', '{"max_failed": "5%"}');
SELECT etl.define_check('clean.transactions', 'relationship', '{user_id}', '{"to": "clean.users", "columns": ["user_id"]}');

-- ---------------------------------------------------------------------------
-- mart: amounts in one currency, USD, at the rate of the day of the sale
-- ---------------------------------------------------------------------------

SELECT etl.define_model('mart.sales', $$
	SELECT t.transaction_id, t.user_id, t.product_id, t.sale_date, t.occurred_at, t.status, t.payment_method,
		t.currency, t.amount, round(t.amount * r.rate_to_usd, 2) AS amount_usd
	FROM clean.transactions t
	LEFT JOIN clean.exchange_rates r ON r.rate_date = t.sale_date AND r.currency = t.currency
$$, 'view', tags => '{retail}', description => 'Sales in USD');

SELECT etl.define_model('mart.daily_sales_summary', $$
	SELECT
		sale_date,
		count(*) AS transactions,
		count(*) FILTER (WHERE status = 'completed') AS completed,
		count(*) FILTER (WHERE status = 'refunded') AS refunded,
		coalesce(sum(amount_usd) FILTER (WHERE status IN ('completed', 'refunded')), 0) AS gross_usd,
		coalesce(sum(amount_usd) FILTER (WHERE status = 'completed'), 0) AS net_usd,
		round(avg(amount_usd) FILTER (WHERE status = 'completed'), 2) AS average_ticket_usd,
		count(DISTINCT user_id) FILTER (WHERE status = 'completed') AS buyers,
		round(100.0 * count(payment_method) / count(*), 2) AS payment_known_pct,
		round(100.0 * count(amount_usd) / count(*), 2) AS rate_known_pct
	FROM mart.sales
	GROUP BY sale_date
$$, 'incremental', key => '{sale_date}', tags => '{retail}',
	description => 'Sales per UTC day; a late sale counts on the day it happened');

SELECT etl.define_model('mart.user_analytics', $$
	WITH sold AS (
		SELECT user_id,
			count(*) AS transactions,
			count(*) FILTER (WHERE status = 'completed') AS completed,
			coalesce(sum(amount_usd) FILTER (WHERE status = 'completed'), 0) AS net_usd,
			min(occurred_at) AS first_sale_at,
			max(occurred_at) AS last_sale_at
		FROM mart.sales
		GROUP BY user_id
	)
	SELECT
		u.user_id, u.country, u.age_group, u.customer_tier, u.registration_date,
		coalesce(s.transactions, 0) AS transactions,
		coalesce(s.completed, 0) AS completed,
		coalesce(s.net_usd, 0) AS net_usd,
		round(s.net_usd / nullif(s.completed, 0), 2) AS average_ticket_usd,
		s.first_sale_at, s.last_sale_at,
		CASE WHEN s.net_usd >= 2000 THEN 'vip' WHEN s.net_usd >= 500 THEN 'regular'
			WHEN s.net_usd > 0 THEN 'occasional' ELSE 'inactive' END AS segment,
		25 * num_nonnulls(u.email, u.registration_date, u.country, u.age_group) AS profile_complete_pct
	FROM clean.users u
	LEFT JOIN sold s ON s.user_id = u.user_id
$$, 'table', key => '{user_id}', options => '{"indexes": [["user_id"], ["segment"]]}', tags => '{retail}',
	description => 'One row a user, also those who never bought');

SELECT etl.define_model('mart.product_performance', $$
	WITH sold AS (
		SELECT product_id,
			count(*) FILTER (WHERE status = 'completed') AS units_sold,
			count(*) FILTER (WHERE status = 'refunded') AS refunds,
			coalesce(sum(amount_usd) FILTER (WHERE status = 'completed'), 0) AS net_usd,
			count(DISTINCT user_id) FILTER (WHERE status = 'completed') AS buyers
		FROM mart.sales
		GROUP BY product_id
	)
	SELECT
		p.product_id, p.name, p.category, p.price, p.inventory_count,
		coalesce(s.units_sold, 0) AS units_sold,
		coalesce(s.refunds, 0) AS refunds,
		round(100.0 * s.refunds / nullif(s.units_sold + s.refunds, 0), 2) AS refund_pct,
		coalesce(s.net_usd, 0) AS net_usd,
		coalesce(s.buyers, 0) AS buyers,
		rank() OVER (PARTITION BY p.category ORDER BY coalesce(s.net_usd, 0) DESC, p.product_id) AS category_rank,
		round(100.0 * num_nonnulls(p.supplier_id, p.discount_percent) / 2, 2) AS record_complete_pct
	FROM clean.products p
	LEFT JOIN sold s ON s.product_id = p.product_id
$$, 'table', key => '{product_id}', options => '{"indexes": [["product_id"], ["category", "category_rank"]]}',
	tags => '{retail}', description => 'One row a product, best seller of its category first in rank');

SELECT etl.define_model('mart.financial_report', $$
	WITH booked AS (
		SELECT to_char(sale_date, 'YYYY-MM') AS month, currency,
			count(*) AS transactions,
			coalesce(sum(amount) FILTER (WHERE status = 'completed'), 0) AS net,
			coalesce(sum(amount_usd) FILTER (WHERE status = 'completed'), 0) AS net_usd,
			coalesce(sum(amount_usd) FILTER (WHERE status = 'refunded'), 0) AS refunds_usd,
			coalesce(sum(amount_usd) FILTER (WHERE status = 'pending'), 0) AS outstanding_usd,
			round(100.0 * count(amount_usd) / count(*), 2) AS rate_known_pct
		FROM mart.sales
		GROUP BY 1, 2
	)
	SELECT month, currency, transactions, net, net_usd, refunds_usd, outstanding_usd,
		round(100 * net_usd / nullif(sum(net_usd) OVER (PARTITION BY month), 0), 2) AS share_pct,
		rate_known_pct
	FROM booked
$$, 'table', key => '{month, currency}', tags => '{retail}',
	description => 'Per month and currency, in that currency and in USD');

SELECT etl.define_check('mart.daily_sales_summary', 'unique', '{sale_date}');
SELECT etl.define_check('mart.daily_sales_summary', 'expression', '{}', '{"expression": "net_usd <= gross_usd"}', name => 'net_within_gross');
SELECT etl.define_check('mart.daily_sales_summary', 'range', '{payment_known_pct}', '{"min": 95}', on_fail => 'warn');
SELECT etl.define_check('mart.daily_sales_summary', 'range', '{rate_known_pct}', '{"min": 100}');
SELECT etl.define_check('mart.user_analytics', 'unique', '{user_id}');
SELECT etl.define_check('mart.user_analytics', 'range', '{profile_complete_pct}', '{"min": 50, "max_failed": "5%"}', on_fail => 'warn');
SELECT etl.define_check('mart.user_analytics', 'range', '{net_usd}', '{"min": 0}');
SELECT etl.define_check('mart.product_performance', 'unique', '{product_id}');
SELECT etl.define_check('mart.product_performance', 'range', '{refund_pct}', '{"min": 0, "max": 100}');
SELECT etl.define_check('mart.product_performance', 'not_null', '{net_usd}');
SELECT etl.define_check('mart.financial_report', 'unique', '{month, currency}');
SELECT etl.define_check('mart.financial_report', 'range', '{rate_known_pct}', '{"min": 100}');
SELECT etl.define_check('mart.financial_report', 'row_count', '{}', '{"min": 1}');

\o
