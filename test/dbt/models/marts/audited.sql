{{ config(materialized='table', pre_hook="select 1", post_hook=["comment on table {{ this }} is 'audited'"]) }}
select * from {{ ref('days') }} where orders > 1
