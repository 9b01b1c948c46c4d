-- Each day's sum of a store, category, channel and currency is converted by the rate that held on
-- its business date and rounded once, half away from zero, to four digits. Sums without a rate are
-- counted, never taken as 0. The product has 12 digits after the point, which leaves 26 before it:
-- room for 400 lines of the greatest price and quantity at a rate of 1.
CREATE OR REPLACE VIEW {mart}.sales_reporting_currency AS
SELECT
    sales.business_date,
    sales.store_id,
    sales.region,
    sales.country,
    sales.category,
    CAST(SUM(sales.lines) AS BIGINT) AS lines,
    CAST(SUM(sales.units_sold) AS BIGINT) AS units_sold,
    CAST(SUM(sales.units_returned) AS BIGINT) AS units_returned,
    SUM(
        CAST(ROUND(sales.net_amount * CAST(rates.rate AS DECIMAL(14, 8)), 4) AS DECIMAL(38, 4))
    ) AS net_amount,
    CAST(SUM(CASE WHEN rates.rate IS NULL THEN sales.lines ELSE 0 END) AS BIGINT) AS lines_without_rate,
    MAX(sales.last_updated) AS last_updated
FROM {mart}.sales_by_store_category AS sales
LEFT JOIN {external}.dim_currency_rate AS rates
    ON rates.currency = sales.currency
    AND sales.business_date >= rates.valid_from
    AND sales.business_date <= rates.valid_to
GROUP BY sales.business_date, sales.store_id, sales.region, sales.country, sales.category
WITH NO SCHEMA BINDING
