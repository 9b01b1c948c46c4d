INSERT INTO asset_event_tags (event_id, asset_key, key, value, event_timestamp)
SELECT
  event_id + :ids, asset_key, key, value,
  strftime('%Y-%m-%d %H:%M:%f', event_timestamp, :later) || '000'
FROM asset_event_tags
WHERE event_id > :first AND event_id <= :last
ORDER BY id
