-- How many of the places in erased_places (kafka_partition, kafka_offset) {source} has still.
SELECT count(*) AS present
FROM (SELECT DISTINCT kafka_partition, kafka_offset FROM {source})
SEMI JOIN erased_places USING (kafka_partition, kafka_offset)
