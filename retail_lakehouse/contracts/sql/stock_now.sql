CREATE OR REPLACE VIEW {mart}.stock_now AS
SELECT
    store_id,
    sku,
    CAST(SUBSTRING(newest_packed, 39, 10) AS BIGINT) - 4294967296 AS net_available,
    max_event_ts AS last_updated,
    newest_ts,
    events
FROM {mart}.mv_stock_newest
WITH NO SCHEMA BINDING
