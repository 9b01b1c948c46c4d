-- The same place is told by every digest until it moves: the first one counts.
CREATE OR REPLACE TEMP TABLE bounds AS
SELECT kafka_partition, until, min(nr) AS nr
FROM (
    SELECT unnest(
        $places::STRUCT(nr BIGINT, kafka_partition INTEGER, until BIGINT)[], recursive := true
    )
)
GROUP BY ALL
