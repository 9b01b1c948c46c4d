-- One customer's rows: by the field, and by what unknown fields say.
DELETE FROM {table}
WHERE customer_id = :customer OR extra RLIKE :mentioned
