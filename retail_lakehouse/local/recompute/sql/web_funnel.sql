WITH begun AS (
    SELECT *, date_trunc('hour', min(event_ts) OVER (PARTITION BY session_id)) AS started_hour
    FROM mv_web_sessions
)
SELECT
    started_hour,
    count(DISTINCT session_id),
    count(DISTINCT session_id) FILTER (action = 'VIEW'),
    count(DISTINCT session_id) FILTER (action = 'CART'),
    count(DISTINCT session_id) FILTER (action = 'CHECKOUT'),
    count(DISTINCT session_id) FILTER (action = 'ORDER'),
    count(*),
    max(event_ts)
FROM begun
GROUP BY started_hour
