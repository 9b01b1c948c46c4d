-- Rows whose key (event id, event hour) another row has already. Grouped by a 64-bit hash of the id
-- first, which needs a third of the memory; only keys of such hashes are then compared in full.
WITH suspects AS (
    SELECT hash(event_id) AS id_hash, event_timestamp // 3600000 AS hour
    FROM {source}
    GROUP BY id_hash, hour
    HAVING count(*) > 1
),
doubled AS (
    SELECT event_id, event_timestamp // 3600000 AS hour, count(*) AS row_count
    FROM {source}
    WHERE hash(event_id) IN (SELECT id_hash FROM suspects)
    GROUP BY event_id, hour
    HAVING count(*) > 1
)
SELECT coalesce(sum(row_count - 1), 0) AS rows_after_first
FROM doubled
