INSERT INTO job_ticks (job_origin_id, selector_id, status, type, timestamp, tick_body)
SELECT
  job_origin_id, selector_id, status, type,
  strftime('%Y-%m-%d %H:%M:%f', timestamp, :later) || '000', tick_body
FROM job_ticks
WHERE id > :first AND id <= :last
ORDER BY id
