INSERT INTO event_logs
  (id, run_id, event, dagster_event_type, timestamp, step_key, asset_key, partition)
SELECT
  id + :ids, run_id, event, dagster_event_type,
  strftime('%Y-%m-%d %H:%M:%f', timestamp, :later) || '000',
  step_key, asset_key, partition
FROM event_logs
WHERE id > :first AND id <= :last
ORDER BY id
