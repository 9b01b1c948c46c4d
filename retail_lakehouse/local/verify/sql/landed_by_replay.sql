-- What replays of the quarantine {quarantine} say they landed, against the rows of {source}.
WITH landed AS (
    SELECT kafka_topic_id, kafka_partition, kafka_offset, kafka_timestamp, count(*) AS times
    FROM {quarantine}
    WHERE outcome = 'landed'
    GROUP BY kafka_topic_id, kafka_partition, kafka_offset, kafka_timestamp
),
originals AS (
    SELECT DISTINCT
        kafka_topic_id, kafka_partition, kafka_offset, kafka_timestamp, true AS is_original
    FROM {quarantine}
    WHERE replay_id IS NULL
),
found AS (
    SELECT kafka_topic_id, kafka_partition, kafka_offset, kafka_timestamp, count(*) AS times
    FROM {source}
    SEMI JOIN landed USING (kafka_topic_id, kafka_partition, kafka_offset, kafka_timestamp)
    GROUP BY kafka_topic_id, kafka_partition, kafka_offset, kafka_timestamp
)
SELECT
    count(*) AS coordinates,
    coalesce(sum(landed.times), 0) AS outcomes,
    coalesce(sum(found.times), 0) AS row_count,
    count(*) FILTER (WHERE found.times IS NULL) AS without_row,
    count(*) FILTER (WHERE originals.is_original IS NULL) AS without_original
FROM landed
LEFT JOIN found USING (kafka_topic_id, kafka_partition, kafka_offset, kafka_timestamp)
LEFT JOIN originals USING (kafka_topic_id, kafka_partition, kafka_offset, kafka_timestamp)
