WITH visited AS (
    SELECT
        nr,
        session_id,
        count(*) AS counted,
        count(*) FILTER (action = 'VIEW') AS views,
        count(*) FILTER (action = 'CART') AS carts,
        count(*) FILTER (action = 'CHECKOUT') AS checkouts,
        count(*) FILTER (action = 'ORDER') AS orders,
        min(event_ts) AS oldest,
        max(event_ts) AS newest,
        max(ingested_at) AS landed,
        max(least(event_ts, coalesce(kafka_timestamp, event_ts))) AS seen
    FROM arrived
    GROUP BY ALL
)
SELECT
    nr,
    lead(nr) OVER so_far AS next_nr,
    session_id,
    min(oldest) OVER so_far AS min_event_ts,
    max(newest) OVER so_far AS max_event_ts,
    sum(views) OVER so_far > 0 AS viewed,
    sum(carts) OVER so_far > 0 AS carted,
    sum(checkouts) OVER so_far > 0 AS checked_out,
    sum(orders) OVER so_far > 0 AS ordered,
    sum(counted) OVER so_far AS events,
    max(landed) OVER so_far AS max_ingested_at,
    max(seen) OVER so_far AS newest_ts
FROM visited
WINDOW so_far AS (PARTITION BY session_id ORDER BY nr ROWS UNBOUNDED PRECEDING)
