-- Where one customer's records lay in Kafka. The session's zone is UTC.
SELECT
    kafka_topic_id,
    kafka_partition,
    kafka_offset,
    unix_millis(CAST(kafka_timestamp AS TIMESTAMP)) AS broker_ms
FROM {table}
WHERE decode(raw, 'ISO-8859-1') RLIKE :mentioned_bytes
    OR get_json_object(decode(raw, 'UTF-8'), '$.customer_id') = :customer
    OR decode(kafka_key, 'ISO-8859-1') RLIKE :mentioned_bytes
    OR detail RLIKE :mentioned
