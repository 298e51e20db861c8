{{ config(materialized='incremental', incremental_strategy='microbatch', unique_key='order_id', event_time='ordered_at',
    batch_size='month', begin='2026-09-01', lookback=2) }}
select order_id, ordered_at, status from {{ ref('stg_orders') }}
