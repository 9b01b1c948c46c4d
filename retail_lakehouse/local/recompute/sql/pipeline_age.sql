WITH arrivals AS (
    {for_each_event}
    SELECT kafka_topic, kafka_timestamp, ingested_at, event_ts FROM mv_{event}_arrivals
    {union_all}
)
SELECT
    kafka_topic,
    max(least(event_ts, kafka_timestamp)),
    max(kafka_timestamp),
    max(ingested_at),
    epoch(date_trunc('second', $now::TIMESTAMP))::BIGINT
        - epoch(date_trunc('second', max(least(event_ts, kafka_timestamp))))::BIGINT
FROM arrivals
WHERE kafka_timestamp IS NOT NULL
GROUP BY kafka_topic
