-- report.sql prints what the pipeline holds and how it went.  It reads only.
\set ON_ERROR_STOP on
\set QUIET on
SET timezone = 'UTC';
\pset border 1
\pset footer off
\pset null ''
\pset linestyle unicode

\echo
\echo '── Rows per zone ───────────────────────────────────────────────────────────'
SELECT zone, target AS relation, rows,
	(SELECT count(*) FROM etl.rejects j WHERE j.target = counted.target AND j.status = 'open') AS rejects,
	pg_size_pretty(pg_total_relation_size(target::regclass)) AS size
FROM (
	SELECT 1 AS place, 'raw' AS zone, 'raw.transactions' AS target, (SELECT count(*) FROM raw.transactions) AS rows
	UNION ALL SELECT 1, 'raw', 'raw.users', (SELECT count(*) FROM raw.users)
	UNION ALL SELECT 1, 'raw', 'raw.products', (SELECT count(*) FROM raw.products)
	UNION ALL SELECT 1, 'raw', 'raw.exchange_rates', (SELECT count(*) FROM raw.exchange_rates)
	UNION ALL SELECT 2, 'clean', 'clean.users', (SELECT count(*) FROM clean.users)
	UNION ALL SELECT 2, 'clean', 'clean.products', (SELECT count(*) FROM clean.products)
	UNION ALL SELECT 2, 'clean', 'clean.inventory_history', (SELECT count(*) FROM clean.inventory_history)
	UNION ALL SELECT 2, 'clean', 'clean.exchange_rates', (SELECT count(*) FROM clean.exchange_rates)
	UNION ALL SELECT 2, 'clean', 'clean.transactions', (SELECT count(*) FROM clean.transactions)
	UNION ALL SELECT 2, 'clean', 'clean.audit_log', (SELECT count(*) FROM clean.audit_log)
	UNION ALL SELECT 3, 'mart', 'mart.daily_sales_summary', (SELECT count(*) FROM mart.daily_sales_summary)
	UNION ALL SELECT 3, 'mart', 'mart.user_analytics', (SELECT count(*) FROM mart.user_analytics)
	UNION ALL SELECT 3, 'mart', 'mart.product_performance', (SELECT count(*) FROM mart.product_performance)
	UNION ALL SELECT 3, 'mart', 'mart.financial_report', (SELECT count(*) FROM mart.financial_report)
) AS counted
ORDER BY place, relation;

\echo '── What was landed ─────────────────────────────────────────────────────────'
SELECT target AS stream, count(*) AS loads, sum(rows_read) AS read, sum(rows_loaded) AS loaded,
	sum(rows_rejected) AS rejected, pg_size_pretty(sum(bytes_read)) AS bytes
FROM etl.loads
GROUP BY target
ORDER BY target;

\echo '── Rejects by reason ───────────────────────────────────────────────────────'
SELECT j.target AS relation, reason ->> 'check' AS reason, reason ->> 'column' AS "column", count(*) AS records,
	left(min(regexp_replace(reason ->> 'message', '\s+', ' ', 'g')), 60) AS "for example"
FROM etl.rejects j
CROSS JOIN LATERAL jsonb_array_elements(j.reasons) AS reason
WHERE j.status = 'open'
GROUP BY 1, 2, 3
ORDER BY 1, 4 DESC, 2, 3;

\echo '── What cleaning changed ───────────────────────────────────────────────────'
SELECT relation, change, column_name AS "column", count(*) AS rows, min(said) AS "for example, from", min(kept) AS "to"
FROM clean.audit_log
GROUP BY 1, 2, 3
ORDER BY 1, 2, 3;

\echo '── Quality: score and the checks that found something ──────────────────────'
SELECT target AS relation, dimension, score, checks, failed
FROM (VALUES ('raw.transactions'), ('raw.users'), ('clean.users'), ('clean.products'), ('clean.transactions'),
	('mart.daily_sales_summary'), ('mart.user_analytics'), ('mart.product_performance'),
	('mart.financial_report')) AS scored (target)
CROSS JOIN LATERAL etl.quality_score(target) AS score
WHERE dimension = 'overall'
ORDER BY relation;

SELECT target AS relation, check_name AS "check", status, on_fail, failed, evaluated,
	round(100.0 * failed / nullif(evaluated, 0), 2) AS "%", threshold
FROM (
	SELECT DISTINCT ON (target, check_name) *
	FROM etl.check_results
	WHERE evaluated > 0
	ORDER BY target, check_name, checked_at DESC
) AS newest
WHERE failed > 0
ORDER BY target, check_name;

\echo '── Slowest nodes ───────────────────────────────────────────────────────────'
SELECT run_id AS run, node, action, round(extract(epoch FROM finished_at - started_at), 2) AS seconds,
	rows_inserted AS inserted, rows_updated AS updated, rows_deleted AS deleted, rows_rejected AS rejected
FROM etl.tasks
WHERE status = 'succeeded'
ORDER BY finished_at - started_at DESC
LIMIT 8;

\echo '── Runs ────────────────────────────────────────────────────────────────────'
SELECT run_id AS run, status, nodes_succeeded || '/' || nodes_total AS nodes, rows_written, rows_rejected,
	round(extract(epoch FROM finished_at - started_at), 2) AS seconds
FROM etl.runs
ORDER BY run_id;

\echo '── mart.daily_sales_summary ────────────────────────────────────────────────'
SELECT sale_date, transactions, completed, gross_usd, net_usd, average_ticket_usd, buyers, payment_known_pct
FROM mart.daily_sales_summary
ORDER BY sale_date;

\echo '── mart.user_analytics ─────────────────────────────────────────────────────'
SELECT user_id, country, customer_tier, completed, net_usd, average_ticket_usd, last_sale_at, segment, profile_complete_pct
FROM mart.user_analytics
ORDER BY net_usd DESC, user_id
LIMIT 5;

\echo '── mart.product_performance ────────────────────────────────────────────────'
SELECT product_id, name, category, price, units_sold, refund_pct, net_usd, category_rank AS rank, record_complete_pct
FROM mart.product_performance
ORDER BY net_usd DESC, product_id
LIMIT 5;

\echo '── mart.financial_report ───────────────────────────────────────────────────'
SELECT month, currency, transactions, net, net_usd, refunds_usd, share_pct, rate_known_pct
FROM mart.financial_report
ORDER BY month, net_usd DESC;
