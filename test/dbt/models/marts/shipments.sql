{{ config(materialized='incremental') }}
select order_id, ordered_at from {{ ref('stg_orders') }} where status = 'shipped'
{% if is_incremental() %}
and ordered_at > (select max(ordered_at) from {{ this }})
{% endif %}
