-- One customer's records, whatever became of them. Latin-1 reads any bytes, one character each. JSON
-- may spell the id in escapes.
DELETE FROM {table}
WHERE decode(raw, 'ISO-8859-1') RLIKE :mentioned_bytes
    OR get_json_object(decode(raw, 'UTF-8'), '$.customer_id') = :customer
    OR decode(kafka_key, 'ISO-8859-1') RLIKE :mentioned_bytes
    OR detail RLIKE :mentioned
