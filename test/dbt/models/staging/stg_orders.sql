select id as order_id, customer_id, status, ordered_at, ordered_at::date as day
from {{ source('raw', 'orders') }}
