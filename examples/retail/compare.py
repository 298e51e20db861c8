#!/usr/bin/env python3
"""compare.py reads the pipeline's tables with psql and compares them with the truth.

    compare.py TRUTH.json [--day N] [--quiet]

Every figure of the truth after day N (default: the last) has a query here.
One line a figure is printed, got and want; the last line counts them.  The
exit status is 1 when a figure differs, is missing or was not expected.
"""
import argparse
import csv
import decimal
import io
import json
import subprocess
import sys

# (relation, figure, query).  A query returns one value, or rows of (key,
# value): those are the figures "figure key"; '%' in a figure stands for the key.
OPEN = "SELECT count(*) FROM etl.rejects WHERE status = 'open' AND target = "
REASON = ("SELECT count(*) FROM etl.rejects WHERE status = 'open' AND target = '{0}'"
          " AND EXISTS (SELECT FROM jsonb_array_elements(reasons) AS reason WHERE reason ->> '{1}' = '{2}')")

QUERIES = [
    ('raw.users', 'rows', 'SELECT count(*) FROM raw.users'),
    ('raw.users', 'rows read', "SELECT sum(rows_read) FROM etl.loads WHERE target = 'raw.users'"),
    ('raw.users', 'rejects', OPEN + "'raw.users'"),
    ('raw.users', 'rejects of user_id', REASON.format('raw.users', 'column', 'user_id')),
    ('raw.products', 'rows', 'SELECT count(*) FROM raw.products'),
    ('raw.products', 'rows read', "SELECT sum(rows_read) FROM etl.loads WHERE target = 'raw.products'"),
    ('raw.products', 'with discount_percent', 'SELECT count(discount_percent) FROM raw.products'),
    ('raw.exchange_rates', 'rows', 'SELECT count(*) FROM raw.exchange_rates'),
    ('raw.transactions', 'rows', 'SELECT count(*) FROM raw.transactions'),
    ('raw.transactions', 'rows read', "SELECT sum(rows_read) FROM etl.loads WHERE target = 'raw.transactions'"),
    ('raw.transactions', 'rejects', OPEN + "'raw.transactions'"),
    *(('raw.transactions', f'rejects of {column}', REASON.format('raw.transactions', 'column', column))
      for column in ('amount', 'timestamp', 'user_id', 'transaction_id')),

    ('clean.users', 'rows', 'SELECT count(*) FROM clean.users'),
    *(('clean.users', f'without {column}', f'SELECT count(*) FROM clean.users WHERE {column} IS NULL')
      for column in ('email', 'registration_date', 'country', 'age_group')),
    ('clean.users', 'malformed email', "SELECT count(*) FROM clean.users WHERE strpos(email, '@') = 0"),
    ('clean.users', 'first registration', 'SELECT min(registration_date) FROM clean.users'),
    ('clean.users', 'last registration', 'SELECT max(registration_date) FROM clean.users'),
    ('clean.users', 'registered in %', """SELECT extract(year FROM registration_date), count(*) FROM clean.users
        WHERE registration_date IS NOT NULL GROUP BY 1"""),
    ('clean.users', 'country %', 'SELECT country, count(*) FROM clean.users GROUP BY 1'),
    ('clean.users', 'age group %', 'SELECT age_group, count(*) FROM clean.users GROUP BY 1'),
    ('clean.users', 'tier %', 'SELECT customer_tier, count(*) FROM clean.users GROUP BY 1'),

    ('clean.products', 'rows', 'SELECT count(*) FROM clean.products'),
    ('clean.products', 'rejects', OPEN + "'clean.products'"),
    *(('clean.products', f'rejects {check}', REASON.format('clean.products', 'check', check))
      for check in ('not_null_price', 'range_price')),
    ('clean.products', 'sum of price', 'SELECT sum(price) FROM clean.products'),
    ('clean.products', 'sum of inventory', 'SELECT sum(inventory_count) FROM clean.products'),
    ('clean.products', 'without supplier', 'SELECT count(*) FROM clean.products WHERE supplier_id IS NULL'),
    ('clean.products', 'without discount', 'SELECT count(*) FROM clean.products WHERE discount_percent IS NULL'),
    ('clean.products', 'sum of discount', 'SELECT sum(discount_percent) FROM clean.products'),
    ('clean.products', 'category %', 'SELECT category, count(*) FROM clean.products GROUP BY 1'),
    ('clean.inventory_history', 'rows', 'SELECT count(*) FROM clean.inventory_history'),
    ('clean.inventory_history', 'with a predecessor', 'SELECT count(change) FROM clean.inventory_history'),
    ('clean.inventory_history', 'sum of changes', 'SELECT coalesce(sum(change), 0) FROM clean.inventory_history'),
    ('clean.inventory_history', 'current inventory',
     'SELECT sum(inventory_count) FROM clean.inventory_history WHERE replaced_at IS NULL'),

    ('clean.transactions', 'rows', 'SELECT count(*) FROM clean.transactions'),
    ('clean.transactions', 'rejects', OPEN + "'clean.transactions'"),
    *(('clean.transactions', f'rejects {check}', REASON.format('clean.transactions', 'check', check))
      for check in ('not_null_amount', 'range_amount', 'not_null_currency', 'accepted_values_currency',
                    'not_null_user_id', 'not_null_product_id')),
    ('clean.transactions', 'amount in %', 'SELECT currency, sum(amount) FROM clean.transactions GROUP BY 1'),
    ('clean.transactions', 'currency %', 'SELECT currency, count(*) FROM clean.transactions GROUP BY 1'),
    ('clean.transactions', 'payment method %', 'SELECT payment_method, count(*) FROM clean.transactions GROUP BY 1'),
    ('clean.transactions', 'status %', 'SELECT status, count(*) FROM clean.transactions GROUP BY 1'),
    ('clean.audit_log', 'rows', 'SELECT count(*) FROM clean.audit_log'),
    ('clean.audit_log', '%', """SELECT concat_ws(' ', relation, column_name, change), count(*)
        FROM clean.audit_log GROUP BY 1"""),

    ('mart.sales', 'rows', 'SELECT count(*) FROM mart.sales'),
    ('mart.sales', 'sum of amount_usd', 'SELECT sum(amount_usd) FROM mart.sales'),
    ('mart.daily_sales_summary', 'rows', 'SELECT count(*) FROM mart.daily_sales_summary'),
    *(('mart.daily_sales_summary', f'% {column}', f'SELECT sale_date, {column} FROM mart.daily_sales_summary')
      for column in ('transactions', 'completed', 'net_usd', 'average_ticket_usd', 'buyers', 'payment_known_pct')),

    ('mart.user_analytics', 'rows', 'SELECT count(*) FROM mart.user_analytics'),
    ('mart.user_analytics', 'with a sale', 'SELECT count(*) FROM mart.user_analytics WHERE completed > 0'),
    ('mart.user_analytics', 'transactions', 'SELECT sum(transactions) FROM mart.user_analytics'),
    ('mart.user_analytics', 'net_usd', 'SELECT sum(net_usd) FROM mart.user_analytics'),
    ('mart.user_analytics', 'most spent', 'SELECT max(net_usd) FROM mart.user_analytics'),
    ('mart.user_analytics', 'best user',
     'SELECT user_id FROM mart.user_analytics ORDER BY net_usd DESC, user_id LIMIT 1'),
    ('mart.user_analytics', 'best user last sale', """SELECT extract(epoch FROM last_sale_at)::bigint
        FROM mart.user_analytics ORDER BY net_usd DESC, user_id LIMIT 1"""),
    ('mart.user_analytics', 'segment %', 'SELECT segment, count(*) FROM mart.user_analytics GROUP BY 1'),
    ('mart.user_analytics', 'profile completeness',
     'SELECT round(avg(profile_complete_pct), 2) FROM mart.user_analytics'),
    ('mart.user_analytics', 'net_usd of %',
     'SELECT country, sum(net_usd) FROM mart.user_analytics WHERE completed > 0 GROUP BY 1'),

    ('mart.product_performance', 'rows', 'SELECT count(*) FROM mart.product_performance'),
    *(('mart.product_performance', column, f'SELECT sum({column}) FROM mart.product_performance')
      for column in ('units_sold', 'refunds', 'net_usd', 'buyers')),
    ('mart.product_performance', 'never sold',
     'SELECT count(*) FROM mart.product_performance WHERE units_sold = 0'),
    ('mart.product_performance', 'sum of refund_pct', 'SELECT sum(refund_pct) FROM mart.product_performance'),
    ('mart.product_performance', 'net_usd of %',
     'SELECT category, sum(net_usd) FROM mart.product_performance GROUP BY 1'),
    ('mart.product_performance', 'leader of %',
     'SELECT category, product_id FROM mart.product_performance WHERE category_rank = 1'),

    ('mart.financial_report', 'rows', 'SELECT count(*) FROM mart.financial_report'),
    *(('mart.financial_report', f'% {column}',
       f"SELECT month || ' ' || currency, {column} FROM mart.financial_report")
      for column in ('net', 'net_usd', 'refunds_usd', 'share_pct')),
]


def read():
    """Runs every query in one psql session; returns figures by name, values as text or None."""
    script = ['\\set ON_ERROR_STOP on', '\\pset format csv', '\\pset tuples_only on', '\\pset null (null)',
              "SET timezone = 'UTC';", "SET datestyle = 'ISO';"]
    for number, (_, _, query) in enumerate(QUERIES):
        script += [f'\\echo query,{number}', ' '.join(query.split()) + ';']
    run = subprocess.run(['psql', '-X', '-q', '-f', '-'], input='\n'.join(script), capture_output=True,
                         text=True, encoding='utf-8', check=False)
    if run.returncode != 0:
        sys.exit(f'compare.py: {run.stderr.strip()}')
    got, name = {}, None
    for row in csv.reader(io.StringIO(run.stdout)):
        if row[0] == 'query':
            relation, figure, _ = QUERIES[int(row[1])]
            name = f'{relation}: {figure}'
        elif len(row) == 1:
            got[name] = None if row[0] == '(null)' else row[0]
        else:
            key = '(none)' if row[0] == '(null)' else row[0]
            got[name.replace('%', key)] = None if row[1] == '(null)' else row[1]
    return got


def same(got, want):
    """Numbers are compared as numbers: 1.50 is 1.5, and nothing is close enough."""
    if got == want:
        return True
    try:
        return decimal.Decimal(got) == decimal.Decimal(want)
    except (decimal.InvalidOperation, TypeError):
        return False


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('truth')
    parser.add_argument('--day', type=int, help='after which day (default: the last)')
    parser.add_argument('--quiet', action='store_true', help='print only what differs, and the count')
    arguments = parser.parse_args()
    with open(arguments.truth, encoding='utf-8') as file:
        truth = json.load(file)
    want = truth['after'][str(arguments.day or truth['days'])]
    got = read()

    differ = 0
    for name in sorted(want.keys() | got.keys()):
        # A group that has no rows is a group that counts 0.
        wanted = want.get(name, 'nothing')
        found = got.get(name, 'nothing')
        equal = same(found, wanted) or (found == 'nothing' and wanted == '0')
        differ += not equal
        if not equal or not arguments.quiet:
            print(f'{"ok    " if equal else "DIFFER"}  {name:<62} got {found!s:<14} want {wanted}')
    print(f'{len(want.keys() | got.keys())} compared, {differ} differ')
    sys.exit(1 if differ else 0)


if __name__ == '__main__':
    main()
