{{ config(materialized='ephemeral') }}
select order_id, sum(cents) / 100.0 as amount from {{ source('raw', 'payments') }} group by order_id
