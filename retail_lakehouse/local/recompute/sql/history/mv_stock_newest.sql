-- The newest event of a pair is spelt out only when all that came before is known.
WITH latest AS (
    SELECT
        nr,
        store_id,
        sku,
        max({
            'at': event_ts,
            'part': kafka_partition,
            'place': kafka_offset,
            'net': quantity_on_hand::BIGINT - quantity_reserved
        }) AS event,
        count(*) AS counted,
        max(ingested_at) AS landed,
        max(least(event_ts, coalesce(kafka_timestamp, event_ts))) AS seen
    FROM arrived
    GROUP BY ALL
),
known AS (
    SELECT
        nr,
        lead(nr) OVER so_far AS next_nr,
        store_id,
        sku,
        max(event) OVER so_far AS event,
        sum(counted) OVER so_far AS counted,
        max(landed) OVER so_far AS landed,
        max(seen) OVER so_far AS seen
    FROM latest
    WINDOW so_far AS (PARTITION BY store_id, sku ORDER BY nr ROWS UNBOUNDED PRECEDING)
)
SELECT
    nr,
    next_nr,
    store_id,
    sku,
    printf(
        '%013d%06d%019d%010d',
        epoch_ms(event['at']),
        event['part'] + 1,
        event['place'] + 1,
        event['net'] + 4294967296
    ) AS newest_packed,
    counted AS events,
    event['at'] AS max_event_ts,
    landed AS max_ingested_at,
    seen AS newest_ts
FROM known
