-- The records that a replay of the quarantine has landed. The broker time is part of what names
-- them: a broker that lost records gives their offsets to new ones.
CREATE OR REPLACE TEMP TABLE replayed_coordinates AS
SELECT DISTINCT kafka_topic_id, kafka_partition, kafka_offset, kafka_timestamp
FROM {source}
WHERE outcome = 'landed'
