-- The business date is the store's local date; a store that dim_store does not know counts in UTC.
CREATE OR REPLACE VIEW {mart}.sales_by_store_category AS
WITH dated AS (
    SELECT
        CAST(
            DATEADD(
                minute,
                sales.event_hour * 60 + sales.quarter_minute
                + COALESCE(dim_store.utc_offset_minutes, 0),
                CAST(sales.event_date AS TIMESTAMP)
            ) AS DATE
        ) AS business_date,
        sales.store_id,
        dim_store.region,
        dim_store.country,
        COALESCE(dim_product.category, '(unknown)') AS category,
        sales.channel,
        sales.currency,
        sales.lines,
        sales.sold_quantity,
        sales.returned_quantity,
        sales.gross_amount,
        sales.discount_amount,
        sales.max_event_ts
    FROM {mart}.mv_sales_quarter_hour AS sales
    LEFT JOIN {external}.dim_store AS dim_store ON dim_store.store_id = sales.store_id
    LEFT JOIN {external}.dim_product AS dim_product ON dim_product.sku = sales.sku
)
SELECT
    business_date,
    store_id,
    region,
    country,
    category,
    channel,
    currency,
    CAST(SUM(lines) AS BIGINT) AS lines,
    CAST(SUM(sold_quantity) AS BIGINT) AS units_sold,
    CAST(-SUM(returned_quantity) AS BIGINT) AS units_returned,
    CAST(SUM(gross_amount) AS DECIMAL(38, 4)) AS gross_amount,
    CAST(SUM(discount_amount) AS DECIMAL(38, 4)) AS discount_amount,
    CAST(SUM(gross_amount - discount_amount) AS DECIMAL(38, 4)) AS net_amount,
    MAX(max_event_ts) AS last_updated
FROM dated
GROUP BY business_date, store_id, region, country, category, channel, currency
WITH NO SCHEMA BINDING
