WITH ranked AS (
    SELECT *, row_number() OVER (
        PARTITION BY store_id, sku
        ORDER BY event_ts DESC, kafka_partition DESC NULLS LAST, kafka_offset DESC NULLS LAST,
            quantity_on_hand::BIGINT - quantity_reserved DESC
    ) AS place
    FROM mv_stock_newest
),
ages AS (
    SELECT sku, max(event_ts) AS last_updated,
        max(least(event_ts, coalesce(kafka_timestamp, event_ts))) AS newest_ts
    FROM mv_stock_newest
    GROUP BY sku
)
SELECT
    coalesce(category, '(unknown)') AS category,
    sum(quantity_on_hand::BIGINT - quantity_reserved)::BIGINT,
    count(*),
    count(*) FILTER (quantity_on_hand::BIGINT - quantity_reserved <= 0),
    max(ages.last_updated),
    epoch(date_trunc('second', $now::TIMESTAMP))::BIGINT
        - epoch(date_trunc('second', max(ages.newest_ts)))::BIGINT
FROM ranked
JOIN ages USING (sku)
LEFT JOIN dim_product USING (sku)
WHERE place = 1
GROUP BY 1
