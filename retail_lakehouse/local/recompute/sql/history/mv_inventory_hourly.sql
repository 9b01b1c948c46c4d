WITH moved AS (
    SELECT
        nr,
        date_trunc('hour', event_ts) AS utc_hour,
        store_id,
        sku,
        coalesce(sum(quantity_delta) FILTER (event_type = 'RECEIVE'), 0) AS received,
        coalesce(sum(quantity_delta) FILTER (event_type = 'SALE'), 0) AS sold,
        count(*) AS counted,
        max(event_ts) AS newest,
        max(ingested_at) AS landed,
        max(least(event_ts, coalesce(kafka_timestamp, event_ts))) AS seen
    FROM arrived
    GROUP BY ALL
)
SELECT
    nr,
    lead(nr) OVER so_far AS next_nr,
    utc_hour::DATE AS event_date,
    date_part('hour', utc_hour) AS event_hour,
    store_id,
    sku,
    sum(received) OVER so_far AS received_delta,
    sum(sold) OVER so_far AS sold_delta,
    sum(counted) OVER so_far AS events,
    max(newest) OVER so_far AS max_event_ts,
    max(landed) OVER so_far AS max_ingested_at,
    max(seen) OVER so_far AS newest_ts
FROM moved
WINDOW so_far AS (
    PARTITION BY utc_hour, store_id, sku ORDER BY nr ROWS UNBOUNDED PRECEDING
)
