-- Where one customer's rows lay in Kafka; NULL of a backfilled one. The session's zone is UTC.
SELECT
    kafka_topic_id,
    kafka_partition,
    kafka_offset,
    unix_millis(CAST(kafka_timestamp AS TIMESTAMP)) AS broker_ms
FROM {table}
WHERE customer_id = :customer OR extra RLIKE :mentioned
