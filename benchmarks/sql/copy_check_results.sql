INSERT INTO asset_check_executions
  (asset_key, check_name, partition, run_id, execution_status, evaluation_event,
   evaluation_event_timestamp, evaluation_event_storage_id, materialization_event_storage_id)
SELECT
  asset_key, check_name, partition, run_id, execution_status, evaluation_event,
  strftime('%Y-%m-%d %H:%M:%f', evaluation_event_timestamp, :later) || '000',
  evaluation_event_storage_id + :ids, materialization_event_storage_id
FROM asset_check_executions
WHERE evaluation_event_storage_id > :first AND evaluation_event_storage_id <= :last
ORDER BY id
