{{ config(materialized='table', tags=['daily', 'crm'], indexes=[{'columns': ['customer_id'], 'unique': true}, {'columns': ['country', 'name']}]) }}
with orders as (
    select o.customer_id, count(*) as orders, min(o.day) as first_day, sum(p.amount) as amount
    from {{ ref('stg_orders') }} o left join {{ ref('stg_payments') }} p using (order_id)
    group by 1
)
select c.customer_id, c.name, l.country, coalesce(o.orders, 0) as orders, o.first_day,
    round(o.amount * (1 + {{ var('tax') }}), 2) as amount
from {{ ref('stg_customers') }} c
left join orders o using (customer_id)
left join {{ ref('countries') }} l on l.code = c.country
