{{ config(materialized='incremental', unique_key='day', incremental_strategy='delete+insert', on_schema_change='sync_all_columns') }}
select day, count(*) as orders, count(*) filter (where status = 'returned') as returned
from {{ ref('stg_orders') }}
{% if is_incremental() %}
where day >= (select max(day) from {{ this }})
{% endif %}
group by day
