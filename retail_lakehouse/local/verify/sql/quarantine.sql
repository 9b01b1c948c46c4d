-- The quarantine against the ledger: expected_coordinates (kafka_partition, kafka_offset, reason).
WITH originals AS (
    SELECT kafka_partition, kafka_offset, any_value(reason) AS reason, count(*) AS times
    FROM {source}
    WHERE replay_id IS NULL
    GROUP BY kafka_partition, kafka_offset
)
SELECT
    count(originals.times) AS coordinates,
    coalesce(sum(originals.times), 0) AS records,
    count(*) FILTER (WHERE originals.times IS NULL) AS only_in_ledger,
    count(*) FILTER (WHERE expected_coordinates.reason IS NULL) AS only_in_quarantine,
    count(*) FILTER (WHERE originals.reason <> expected_coordinates.reason) AS other_reason
FROM originals
FULL OUTER JOIN expected_coordinates USING (kafka_partition, kafka_offset)
