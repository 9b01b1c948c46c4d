-- One row a record: what its latest judgement says. A replay adds a row with its outcome beside the
-- original; both carry the record's coordinates. Of these the broker time is one: a broker that lost
-- records gives their offsets to new ones. The raw bytes stay in the tables.
CREATE OR REPLACE VIEW {mart}.quarantine AS
WITH judged AS (
    {for_each_event}
    SELECT kafka_topic, kafka_topic_id, kafka_partition, kafka_offset, kafka_timestamp, reason,
        detail, event_id, contract_version, quarantine_date, judged_at, outcome, replay_id
    FROM {external}.{event}_events_quarantine
    {union_all}
),
ranked AS (
    SELECT
        judged.*,
        ROW_NUMBER() OVER (
            PARTITION BY kafka_topic_id, kafka_partition, kafka_offset, kafka_timestamp
            ORDER BY
                judged_at DESC,
                CASE WHEN replay_id IS NULL THEN 0 ELSE 1 END DESC,
                replay_id DESC
        ) AS newest_first,
        COUNT(*) OVER (
            PARTITION BY kafka_topic_id, kafka_partition, kafka_offset, kafka_timestamp
        ) AS times_judged
    FROM judged
)
SELECT
    kafka_topic AS topic,
    kafka_topic_id AS topic_id,
    kafka_partition,
    kafka_offset,
    kafka_timestamp,
    quarantine_date,
    reason,
    detail,
    event_id,
    contract_version,
    outcome,
    judged_at,
    replay_id,
    times_judged
FROM ranked
WHERE newest_first = 1
WITH NO SCHEMA BINDING
