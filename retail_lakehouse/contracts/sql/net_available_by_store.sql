-- Every store that has a place on the map, also one without any event: its figures are NULL, which
-- is not the same as an empty shelf.
CREATE OR REPLACE VIEW {mart}.net_available_by_store AS
WITH per_store AS (
    SELECT
        store_id,
        CAST(SUM(net_available) AS BIGINT) AS net_available,
        COUNT(*) AS skus,
        CAST(SUM(CASE WHEN net_available <= 0 THEN 1 ELSE 0 END) AS BIGINT) AS skus_out,
        MAX(last_updated) AS last_updated,
        MAX(newest_ts) AS newest_ts
    FROM {mart}.stock_now
    GROUP BY store_id
)
SELECT
    dim_store.store_id,
    dim_store.store_name,
    dim_store.region,
    dim_store.country,
    dim_store.city,
    dim_store.latitude,
    dim_store.longitude,
    per_store.net_available,
    per_store.skus,
    per_store.skus_out,
    per_store.last_updated,
    DATEDIFF(second, per_store.newest_ts, GETDATE()) AS lag_seconds
FROM {external}.dim_store AS dim_store
LEFT JOIN per_store ON per_store.store_id = dim_store.store_id
WHERE dim_store.is_virtual = FALSE
WITH NO SCHEMA BINDING
