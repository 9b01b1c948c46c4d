SELECT
    (event_ts + to_minutes(coalesce(utc_offset_minutes, 0)))::DATE AS business_date,
    store_id,
    region,
    country,
    coalesce(category, '(unknown)') AS category,
    channel,
    sales.currency AS currency,
    count(*),
    coalesce(sum(quantity) FILTER (quantity > 0), 0)::BIGINT,
    coalesce(-sum(quantity) FILTER (quantity < 0), 0)::BIGINT,
    sum(quantity * unit_price::DECIMAL(28, 4)),
    sum(sign(quantity)::INTEGER * discount),
    sum(quantity * unit_price::DECIMAL(28, 4) - sign(quantity)::INTEGER * discount),
    max(event_ts)
FROM mv_sales_quarter_hour AS sales
LEFT JOIN dim_store USING (store_id)
LEFT JOIN dim_product USING (sku)
GROUP BY 1, 2, 3, 4, 5, 6, 7
