SELECT kafka_partition, kafka_offset
FROM {table}
WHERE customer_id = :customer OR extra RLIKE :mentioned
