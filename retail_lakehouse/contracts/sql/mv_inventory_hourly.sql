-- Units moved per UTC hour, store and SKU. TRANSFER and ADJUST are neither sold nor received.
-- Deltas keep the event's sign: negating an INT here could overflow and stop every refresh.
CREATE MATERIALIZED VIEW {mart}.mv_inventory_hourly
DISTSTYLE KEY DISTKEY (sku) SORTKEY (event_date, event_hour)
AUTO REFRESH NO AS
SELECT
    event_date,
    event_hour,
    store_id,
    sku,
    SUM(CASE WHEN event_type = 'RECEIVE' THEN quantity_delta ELSE 0 END) AS received_delta,
    SUM(CASE WHEN event_type = 'SALE' THEN quantity_delta ELSE 0 END) AS sold_delta,
    COUNT(*) AS events,
    MAX(event_ts) AS max_event_ts,
    MAX(ingested_at) AS max_ingested_at,
    MAX(CASE WHEN kafka_timestamp < event_ts THEN kafka_timestamp ELSE event_ts END) AS newest_ts
FROM {external}.inventory_events
GROUP BY 1, 2, 3, 4
