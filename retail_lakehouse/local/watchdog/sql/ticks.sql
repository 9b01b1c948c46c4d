-- The index (selector_id, timestamp) answers it; the body is large and read of failed ticks alone.
SELECT
    id,
    status,
    timestamp,
    CASE status WHEN 'FAILURE' THEN tick_body END AS failed_body
FROM job_ticks
WHERE selector_id = ?
ORDER BY timestamp DESC, id DESC
LIMIT ?
