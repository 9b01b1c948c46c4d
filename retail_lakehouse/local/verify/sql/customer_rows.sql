-- One customer's rows of {source}: $customer by the field, $mentioned by what unknown fields say.
CREATE OR REPLACE TEMP TABLE customer_rows AS
SELECT *
FROM {source}
WHERE customer_id = $customer OR regexp_matches(extra, $mentioned)
