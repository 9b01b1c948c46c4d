-- Each raw row with the number of the first captured digest that shows it.
CREATE OR REPLACE TEMP VIEW arrived AS
SELECT nr, raw.*
FROM {raw} AS raw
ASOF JOIN bounds
    ON raw.kafka_partition = bounds.kafka_partition AND raw.kafka_offset < bounds.until
