SELECT kafka_partition, kafka_offset
FROM {table}
WHERE decode(raw, 'ISO-8859-1') RLIKE :mentioned_bytes
    OR decode(kafka_key, 'ISO-8859-1') RLIKE :mentioned_bytes
    OR detail RLIKE :mentioned
