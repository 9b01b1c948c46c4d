-- Sales per quarter of a UTC hour, store, SKU, channel and currency. Every time zone's offset is a
-- multiple of 15 minutes, so the view on top can give each quarter its store's business date
-- without a dimension in here: a join would be recomputed in full whenever a dimension changes,
-- and DATEADD counts as mutable. A return gives back its share of the discount.
-- The greatest quantity times the greatest price has 28 digits: the product must not be narrower.
CREATE MATERIALIZED VIEW {mart}.mv_sales_quarter_hour
DISTSTYLE KEY DISTKEY (sku) SORTKEY (event_date, event_hour)
AUTO REFRESH NO AS
SELECT
    event_date,
    event_hour,
    CASE
        WHEN MOD(event_timestamp, 3600000) < 900000 THEN 0
        WHEN MOD(event_timestamp, 3600000) < 1800000 THEN 15
        WHEN MOD(event_timestamp, 3600000) < 2700000 THEN 30
        ELSE 45
    END AS quarter_minute,
    store_id,
    sku,
    channel,
    currency,
    COUNT(*) AS lines,
    SUM(CASE WHEN quantity > 0 THEN quantity ELSE 0 END) AS sold_quantity,
    SUM(CASE WHEN quantity < 0 THEN quantity ELSE 0 END) AS returned_quantity,
    SUM(quantity * CAST(unit_price AS DECIMAL(28, 4))) AS gross_amount,
    SUM(CASE WHEN quantity > 0 THEN discount ELSE -discount END) AS discount_amount,
    MAX(event_ts) AS max_event_ts,
    MAX(ingested_at) AS max_ingested_at,
    MAX(CASE WHEN kafka_timestamp < event_ts THEN kafka_timestamp ELSE event_ts END) AS newest_ts
FROM {external}.transactions_events
GROUP BY 1, 2, 3, 4, 5, 6, 7
