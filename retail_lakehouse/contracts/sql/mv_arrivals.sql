-- Arrivals of one topic per second of broker time and batch. All rows of a batch share ingested_at,
-- so as a grouping column it gives exact lags from plain sums; DATEDIFF in here would count as
-- mutable. Backfilled rows never passed the broker and stay out.
CREATE MATERIALIZED VIEW {mart}.{view}
DISTSTYLE EVEN SORTKEY (broker_second)
AUTO REFRESH NO AS
SELECT
    kafka_topic,
    DATE_TRUNC('second', kafka_timestamp) AS broker_second,
    ingested_at,
    COUNT(*) AS events,
    SUM(event_timestamp) AS event_timestamp_sum,
    MAX(kafka_timestamp) AS max_kafka_timestamp,
    MAX(CASE WHEN kafka_timestamp < event_ts THEN kafka_timestamp ELSE event_ts END) AS newest_ts
FROM {external}.{source}
WHERE kafka_timestamp IS NOT NULL
GROUP BY 1, 2, 3
