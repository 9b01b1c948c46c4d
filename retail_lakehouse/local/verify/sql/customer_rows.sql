-- One customer's rows of {source} by one topic id: $customer by the field, $mentioned by what
-- unknown fields say. Backfilled rows have no topic id, which an empty $topic_id stands for.
CREATE OR REPLACE TEMP TABLE customer_rows AS
SELECT *
FROM {source}
WHERE coalesce(kafka_topic_id, '') = $topic_id
    AND (customer_id = $customer OR regexp_matches(extra, $mentioned))
