WITH stock AS (
    SELECT store_id, sku,
        last(
            quantity_on_hand::BIGINT - quantity_reserved
            ORDER BY event_ts, coalesce(kafka_partition, -1), coalesce(kafka_offset, -1),
                quantity_on_hand::BIGINT - quantity_reserved
        ) AS net,
        max(event_ts) AS last_updated,
        max(least(event_ts, coalesce(kafka_timestamp, event_ts))) AS newest_ts
    FROM mv_stock_newest
    GROUP BY store_id, sku
)
SELECT
    store_id,
    any_value(store_name),
    any_value(region),
    any_value(country),
    any_value(city),
    any_value(latitude),
    any_value(longitude),
    sum(net)::BIGINT,
    nullif(count(sku), 0),
    CASE WHEN count(sku) > 0 THEN count(sku) FILTER (net <= 0) END,
    max(last_updated),
    epoch(date_trunc('second', $now::TIMESTAMP))::BIGINT
        - epoch(date_trunc('second', max(newest_ts)))::BIGINT
FROM dim_store
LEFT JOIN stock USING (store_id)
WHERE NOT is_virtual
GROUP BY store_id
