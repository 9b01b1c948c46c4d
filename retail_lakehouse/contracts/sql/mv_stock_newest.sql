-- The newest event of each store and SKU, however old: a pair stays listed without a recent event.
-- "Latest row per key" needs a window, which Redshift never refreshes incrementally. MAX over one
-- fixed-width value does the same: event time in ms (13 digits), partition + 1 (6), offset + 1 (19),
-- net available + 4294967296 (10). NULL coordinates of a backfilled row become 0 and sort lowest;
-- of two backfilled rows of one instant the greater net wins, so that order never matters.
CREATE MATERIALIZED VIEW {mart}.mv_stock_newest
DISTSTYLE KEY DISTKEY (sku)
AUTO REFRESH NO AS
SELECT
    store_id,
    sku,
    MAX(
        LPAD(CAST(event_timestamp AS VARCHAR(20)), 13, '0')
        || LPAD(CAST(COALESCE(kafka_partition, -1) + 1 AS VARCHAR(20)), 6, '0')
        || LPAD(CAST(COALESCE(kafka_offset, -1) + 1 AS VARCHAR(20)), 19, '0')
        || LPAD(
            CAST(
                CAST(quantity_on_hand AS BIGINT) - CAST(quantity_reserved AS BIGINT) + 4294967296
                AS VARCHAR(20)
            ),
            10,
            '0'
        )
    ) AS newest_packed,
    COUNT(*) AS events,
    MAX(event_ts) AS max_event_ts,
    MAX(ingested_at) AS max_ingested_at,
    MAX(CASE WHEN kafka_timestamp < event_ts THEN kafka_timestamp ELSE event_ts END) AS newest_ts
FROM {external}.inventory_events
GROUP BY 1, 2
