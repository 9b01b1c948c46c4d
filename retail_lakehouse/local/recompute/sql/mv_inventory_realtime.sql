WITH stock AS (
    SELECT
        store_id,
        sku,
        arg_max(
            quantity_on_hand::BIGINT - quantity_reserved,
            {
                'at': event_ts,
                'in': coalesce(kafka_partition, -1),
                'nr': coalesce(kafka_offset, -1),
                'net': quantity_on_hand::BIGINT - quantity_reserved
            }
        ) AS net_available,
        max(event_ts) AS last_updated,
        max(least(event_ts, coalesce(kafka_timestamp, event_ts))) AS newest_ts
    FROM mv_stock_newest
    GROUP BY ALL
),
moved AS (
    SELECT
        store_id,
        sku,
        sum(quantity_delta) FILTER (event_type = 'RECEIVE') AS units_received,
        -sum(quantity_delta) FILTER (event_type = 'SALE') AS units_sold
    FROM mv_inventory_hourly
    WHERE event_ts >= date_trunc('hour', $now::TIMESTAMP) - INTERVAL 168 HOURS
        AND event_ts < date_trunc('hour', $now::TIMESTAMP) + INTERVAL 1 HOUR
    GROUP BY ALL
)
SELECT
    store_id,
    sku,
    coalesce(units_received, 0)::BIGINT,
    coalesce(units_sold, 0)::BIGINT,
    net_available,
    last_updated,
    epoch(date_trunc('second', $now::TIMESTAMP))::BIGINT - epoch(date_trunc('second', newest_ts))::BIGINT,
    region,
    country,
    category
FROM stock
LEFT JOIN moved USING (store_id, sku)
LEFT JOIN dim_store USING (store_id)
LEFT JOIN dim_product USING (sku)
