SELECT
    store_id,
    sku,
    last(
        quantity_on_hand::BIGINT - quantity_reserved
        ORDER BY event_ts, coalesce(kafka_partition, -1), coalesce(kafka_offset, -1),
            quantity_on_hand::BIGINT - quantity_reserved
    ),
    max(event_ts),
    max(least(event_ts, coalesce(kafka_timestamp, event_ts))),
    count(*)
FROM mv_stock_newest
GROUP BY store_id, sku
