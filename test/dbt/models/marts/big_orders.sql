{{ config(materialized='materialized_view', alias='Big Orders', schema='reports') }}
select o.order_id, c.name from {{ ref('stg_orders') }} o join {{ ref('customers') }} c using (customer_id)
where c.orders > 10
