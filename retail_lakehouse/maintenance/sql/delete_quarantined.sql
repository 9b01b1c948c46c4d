-- One customer's records, whatever became of them. Latin-1 reads any bytes, one character each.
DELETE FROM {table}
WHERE decode(raw, 'ISO-8859-1') RLIKE :mentioned_bytes
    OR decode(kafka_key, 'ISO-8859-1') RLIKE :mentioned_bytes
    OR detail RLIKE :mentioned
