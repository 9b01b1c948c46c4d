-- Counts and hash sums of an event table: rows from the stream, and backfilled ones.
-- {source} is the table, {canonical} its canonical form; replayed_coordinates is a relation.
WITH hashed AS (
    SELECT
        kafka_topic_id, kafka_partition, kafka_offset, kafka_timestamp, md5({canonical}) AS digest
    FROM {source}
),
halves AS (
    SELECT hashed.*, hash_high(digest) AS high, hash_low(digest) AS low
    FROM hashed
)
SELECT
    CASE
        WHEN halves.kafka_offset IS NULL THEN 'backfill'
        WHEN replayed_coordinates.kafka_offset IS NULL THEN 'stream'
        ELSE 'replay'
    END AS origin,
    count(*) AS row_count,
    sum(high) AS high,
    sum(low) AS low,
    sum(placed(low, halves.kafka_partition, halves.kafka_offset)) AS placed
FROM halves
LEFT JOIN replayed_coordinates
    ON replayed_coordinates.kafka_topic_id = halves.kafka_topic_id
    AND replayed_coordinates.kafka_partition = halves.kafka_partition
    AND replayed_coordinates.kafka_offset = halves.kafka_offset
    AND replayed_coordinates.kafka_timestamp = halves.kafka_timestamp
GROUP BY origin
