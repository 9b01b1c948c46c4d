-- From which captured digest to before which one (NULL: to the end) how many groups stood as they
-- did, and the sum of their hashes.
CREATE OR REPLACE TEMP TABLE spans AS
SELECT nr, next_nr, count(*) AS groups, sum(hash({row})) AS digest
FROM (
{versions}
)
GROUP BY ALL
