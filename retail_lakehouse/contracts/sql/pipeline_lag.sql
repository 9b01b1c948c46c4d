-- Two lags, because they have different owners. From broker time to landing is the pipeline's own;
-- broker time is cut to the second, so it is at most 1 s too high and never too low. From event
-- time to landing also holds late producers and wrong clocks.
CREATE OR REPLACE VIEW {mart}.pipeline_lag AS
WITH arrivals AS (
    {for_each_event}
    SELECT kafka_topic, broker_second, ingested_at, events, event_timestamp_sum
    FROM {mart}.mv_{event}_arrivals
    {union_all}
)
SELECT
    kafka_topic AS topic,
    DATE_TRUNC('minute', broker_second) AS broker_minute,
    CAST(SUM(events) AS BIGINT) AS events,
    CAST(SUM(DATEDIFF(ms, broker_second, ingested_at) * events) AS DOUBLE PRECISION)
        / CAST(SUM(events) * 1000 AS DOUBLE PRECISION) AS avg_lag_seconds,
    CAST(MAX(DATEDIFF(ms, broker_second, ingested_at)) AS DOUBLE PRECISION)
        / CAST(1000 AS DOUBLE PRECISION) AS max_lag_seconds,
    CAST(
        SUM(
            DATEDIFF(ms, CAST('1970-01-01 00:00:00' AS TIMESTAMP), ingested_at) * events
            - event_timestamp_sum
        ) AS DOUBLE PRECISION
    ) / CAST(SUM(events) * 1000 AS DOUBLE PRECISION) AS avg_event_lag_seconds
FROM arrivals
WHERE broker_second >= DATEADD(hour, -24, GETDATE())
GROUP BY kafka_topic, DATE_TRUNC('minute', broker_second)
WITH NO SCHEMA BINDING
