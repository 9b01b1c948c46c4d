SELECT selector_id, status, instigator_body
FROM instigators
WHERE instigator_type IN ('SENSOR', 'SCHEDULE')
