-- A visit belongs to the UTC hour in which it began; a step counts once a visit, in any order.
CREATE OR REPLACE VIEW {mart}.web_funnel AS
SELECT
    DATE_TRUNC('hour', min_event_ts) AS started_hour,
    COUNT(*) AS sessions,
    CAST(SUM(viewed) AS BIGINT) AS sessions_viewed,
    CAST(SUM(carted) AS BIGINT) AS sessions_carted,
    CAST(SUM(checked_out) AS BIGINT) AS sessions_checked_out,
    CAST(SUM(ordered) AS BIGINT) AS sessions_ordered,
    CAST(SUM(events) AS BIGINT) AS events,
    MAX(max_event_ts) AS last_updated
FROM {mart}.mv_web_sessions
GROUP BY DATE_TRUNC('hour', min_event_ts)
WITH NO SCHEMA BINDING
