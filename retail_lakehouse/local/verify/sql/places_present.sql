-- How many of the places in erased_places {source} has still: kafka_topic_id, kafka_partition,
-- kafka_offset and broker_ms, since a topic that was made again, and a broker that lost records,
-- give the same offsets to others.
WITH records AS (
    SELECT kafka_topic_id, kafka_partition, kafka_offset, epoch_ms(kafka_timestamp) AS broker_ms
    FROM {source}
),
present AS (
    SELECT DISTINCT kafka_topic_id, kafka_partition, kafka_offset, broker_ms
    FROM records
    SEMI JOIN erased_places USING (kafka_topic_id, kafka_partition, kafka_offset, broker_ms)
)
SELECT count(*) AS places
FROM present
