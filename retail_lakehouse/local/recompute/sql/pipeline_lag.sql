WITH arrivals AS (
    {for_each_event}
    SELECT kafka_topic, kafka_timestamp, ingested_at, event_timestamp FROM mv_{event}_arrivals
    {union_all}
),
lags AS (
    SELECT
        kafka_topic,
        date_trunc('minute', kafka_timestamp) AS broker_minute,
        epoch_ms(ingested_at) - epoch_ms(date_trunc('second', kafka_timestamp)) AS lag_ms,
        epoch_ms(ingested_at) - event_timestamp AS event_lag_ms
    FROM arrivals
    WHERE date_trunc('second', kafka_timestamp) >= $now::TIMESTAMP - INTERVAL 24 HOURS
)
SELECT
    kafka_topic,
    broker_minute,
    count(*),
    sum(lag_ms)::DOUBLE / (count(*) * 1000)::DOUBLE,
    max(lag_ms)::DOUBLE / 1000::DOUBLE,
    sum(event_lag_ms)::DOUBLE / (count(*) * 1000)::DOUBLE
FROM lags
GROUP BY kafka_topic, broker_minute
