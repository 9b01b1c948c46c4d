WITH sold AS (
    SELECT
        nr,
        time_bucket(INTERVAL 15 MINUTES, event_ts) AS quarter,
        store_id,
        sku,
        channel,
        currency,
        count(*) AS counted,
        coalesce(sum(quantity) FILTER (quantity > 0), 0) AS given,
        coalesce(sum(quantity) FILTER (quantity < 0), 0) AS taken_back,
        sum(quantity * unit_price::DECIMAL(28, 4)) AS gross,
        sum(sign(quantity)::INTEGER * discount) AS rebate,
        max(event_ts) AS newest,
        max(ingested_at) AS landed,
        max(least(event_ts, coalesce(kafka_timestamp, event_ts))) AS seen
    FROM arrived
    GROUP BY ALL
)
SELECT
    nr,
    lead(nr) OVER so_far AS next_nr,
    quarter::DATE AS event_date,
    date_part('hour', quarter) AS event_hour,
    date_part('minute', quarter) AS quarter_minute,
    store_id,
    sku,
    channel,
    currency,
    sum(counted) OVER so_far AS lines,
    sum(given) OVER so_far AS sold_quantity,
    sum(taken_back) OVER so_far AS returned_quantity,
    sum(gross) OVER so_far AS gross_amount,
    sum(rebate) OVER so_far AS discount_amount,
    max(newest) OVER so_far AS max_event_ts,
    max(landed) OVER so_far AS max_ingested_at,
    max(seen) OVER so_far AS newest_ts
FROM sold
WINDOW so_far AS (
    PARTITION BY quarter, store_id, sku, channel, currency ORDER BY nr ROWS UNBOUNDED PRECEDING
)
