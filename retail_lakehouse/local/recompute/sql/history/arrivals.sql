WITH landed AS (
    SELECT
        nr,
        kafka_topic,
        date_trunc('second', kafka_timestamp) AS broker_second,
        ingested_at,
        count(*) AS counted,
        sum(epoch_ms(event_ts)) AS event_ms,
        max(kafka_timestamp) AS last_arrival,
        max(least(event_ts, kafka_timestamp)) AS seen
    FROM arrived
    GROUP BY ALL
)
SELECT
    nr,
    lead(nr) OVER so_far AS next_nr,
    kafka_topic,
    broker_second,
    ingested_at,
    sum(counted) OVER so_far AS events,
    sum(event_ms) OVER so_far AS event_timestamp_sum,
    max(last_arrival) OVER so_far AS max_kafka_timestamp,
    max(seen) OVER so_far AS newest_ts
FROM landed
WINDOW so_far AS (
    PARTITION BY kafka_topic, broker_second, ingested_at ORDER BY nr ROWS UNBOUNDED PRECEDING
)
