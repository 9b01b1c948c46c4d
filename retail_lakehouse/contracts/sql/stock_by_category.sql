CREATE OR REPLACE VIEW {mart}.stock_by_category AS
SELECT
    COALESCE(dim_product.category, '(unknown)') AS category,
    CAST(SUM(stock.net_available) AS BIGINT) AS net_available,
    COUNT(*) AS store_skus,
    CAST(SUM(CASE WHEN stock.net_available <= 0 THEN 1 ELSE 0 END) AS BIGINT) AS store_skus_out,
    MAX(stock.last_updated) AS last_updated,
    DATEDIFF(second, MAX(stock.newest_ts), GETDATE()) AS lag_seconds
FROM {mart}.stock_now AS stock
LEFT JOIN {external}.dim_product AS dim_product ON dim_product.sku = stock.sku
GROUP BY COALESCE(dim_product.category, '(unknown)')
WITH NO SCHEMA BINDING
