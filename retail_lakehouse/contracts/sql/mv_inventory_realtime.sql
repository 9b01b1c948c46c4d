-- The window is the running hour and the 168 before it, UTC. Its predicate on event_date alone is
-- redundant and lets Redshift skip blocks of the sort key.
CREATE OR REPLACE VIEW {mart}.mv_inventory_realtime AS
WITH movements AS (
    SELECT
        store_id,
        sku,
        CAST(SUM(received_delta) AS BIGINT) AS units_received,
        CAST(-SUM(sold_delta) AS BIGINT) AS units_sold
    FROM {mart}.mv_inventory_hourly
    WHERE event_date >= CAST(DATEADD(hour, -168, DATE_TRUNC('hour', GETDATE())) AS DATE)
        AND DATEADD(hour, event_hour, CAST(event_date AS TIMESTAMP))
            >= DATEADD(hour, -168, DATE_TRUNC('hour', GETDATE()))
        AND DATEADD(hour, event_hour, CAST(event_date AS TIMESTAMP))
            <= DATE_TRUNC('hour', GETDATE())
    GROUP BY store_id, sku
)
SELECT
    stock.store_id,
    stock.sku,
    COALESCE(movements.units_received, 0) AS units_received,
    COALESCE(movements.units_sold, 0) AS units_sold,
    stock.net_available,
    stock.last_updated,
    DATEDIFF(second, stock.newest_ts, GETDATE()) AS lag_seconds,
    dim_store.region,
    dim_store.country,
    dim_product.category
FROM {mart}.stock_now AS stock
LEFT JOIN movements
    ON movements.store_id = stock.store_id AND movements.sku = stock.sku
LEFT JOIN {external}.dim_store AS dim_store ON dim_store.store_id = stock.store_id
LEFT JOIN {external}.dim_product AS dim_product ON dim_product.sku = stock.sku
WITH NO SCHEMA BINDING
