WITH lines AS (
    SELECT
        (event_ts + to_minutes(coalesce(utc_offset_minutes, 0)))::DATE AS business_date,
        store_id,
        region,
        country,
        coalesce(category, '(unknown)') AS category,
        channel,
        sales.currency AS currency,
        quantity,
        quantity * unit_price::DECIMAL(28, 4) - sign(quantity)::INTEGER * discount AS net,
        event_ts
    FROM mv_sales_quarter_hour AS sales
    LEFT JOIN dim_store USING (store_id)
    LEFT JOIN dim_product USING (sku)
),
sums AS (
    SELECT business_date, store_id, region, country, category, channel, currency,
        count(*) AS lines,
        coalesce(sum(quantity) FILTER (quantity > 0), 0) AS sold,
        coalesce(sum(quantity) FILTER (quantity < 0), 0) AS returned,
        sum(net)::DECIMAL(38, 4) AS net,
        max(event_ts) AS last_updated
    FROM lines
    GROUP BY ALL
)
SELECT
    business_date,
    store_id,
    region,
    country,
    category,
    sum(lines)::BIGINT,
    sum(sold)::BIGINT,
    -sum(returned)::BIGINT,
    sum(round(net * rate::DECIMAL(12, 8), 4)),
    coalesce(sum(lines) FILTER (rate IS NULL), 0)::BIGINT,
    max(last_updated)
FROM sums
LEFT JOIN dim_currency_rate
    ON dim_currency_rate.currency = sums.currency AND business_date BETWEEN valid_from AND valid_to
GROUP BY 1, 2, 3, 4, 5
