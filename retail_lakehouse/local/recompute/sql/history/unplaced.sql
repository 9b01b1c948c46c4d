SELECT
    count(*) FILTER (kafka_partition IS NULL OR kafka_offset IS NULL),
    count(*) FILTER (kafka_topic_id <> $topic_id)
FROM {raw}
