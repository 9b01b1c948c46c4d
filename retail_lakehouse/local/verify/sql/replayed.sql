-- Where records lie that a replay of the quarantine has landed.
CREATE OR REPLACE TEMP TABLE replayed_coordinates AS
SELECT DISTINCT kafka_partition, kafka_offset
FROM {source}
WHERE outcome = 'landed'
