-- Age runs on while nothing arrives: GETDATE() is read when the view is queried, never at a refresh.
CREATE OR REPLACE VIEW {mart}.pipeline_age AS
WITH arrivals AS (
    {for_each_event}
    SELECT kafka_topic, newest_ts, ingested_at, max_kafka_timestamp
    FROM {mart}.mv_{event}_arrivals
    {union_all}
)
SELECT
    kafka_topic AS topic,
    MAX(newest_ts) AS newest_ts,
    MAX(max_kafka_timestamp) AS last_arrival,
    MAX(ingested_at) AS last_landed,
    DATEDIFF(second, MAX(newest_ts), GETDATE()) AS age_seconds
FROM arrivals
GROUP BY kafka_topic
WITH NO SCHEMA BINDING
