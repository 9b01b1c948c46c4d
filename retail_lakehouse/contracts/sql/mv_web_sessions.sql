-- One row a visit with a flag for each step: DISTINCT counts are never incremental, MAX is, and the
-- view on top counts the flags.
CREATE MATERIALIZED VIEW {mart}.mv_web_sessions
DISTSTYLE KEY DISTKEY (session_id)
AUTO REFRESH NO AS
SELECT
    session_id,
    MIN(event_ts) AS min_event_ts,
    MAX(event_ts) AS max_event_ts,
    MAX(CASE WHEN action = 'VIEW' THEN 1 ELSE 0 END) AS viewed,
    MAX(CASE WHEN action = 'CART' THEN 1 ELSE 0 END) AS carted,
    MAX(CASE WHEN action = 'CHECKOUT' THEN 1 ELSE 0 END) AS checked_out,
    MAX(CASE WHEN action = 'ORDER' THEN 1 ELSE 0 END) AS ordered,
    COUNT(*) AS events,
    MAX(ingested_at) AS max_ingested_at,
    MAX(CASE WHEN kafka_timestamp < event_ts THEN kafka_timestamp ELSE event_ts END) AS newest_ts
FROM {external}.clickstream_events
GROUP BY 1
