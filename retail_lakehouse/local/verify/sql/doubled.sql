-- Keys (event id, event hour) that more than one row has. Grouped by a 64-bit hash of the id first,
-- which needs a third of the memory; only keys whose hash is doubled are then compared in full.
WITH suspects AS (
    SELECT hash(event_id) AS id_hash, event_timestamp // 3600000 AS hour
    FROM {source}
    GROUP BY id_hash, hour
    HAVING count(*) > 1
)
SELECT count(*) AS doubled_keys
FROM (
    SELECT event_id, event_timestamp // 3600000 AS hour
    FROM {source}
    WHERE hash(event_id) IN (SELECT id_hash FROM suspects)
    GROUP BY event_id, hour
    HAVING count(*) > 1
)
