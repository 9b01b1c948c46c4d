SELECT
    100 AS user_id,
    session_id,
    transaction_id,
    {database} AS database_name,
    schema_name,
    mv_id,
    mv_name,
    'Manual' AS refresh_type,
    status,
    start_time,
    end_time,
    duration,
    NULL::VARCHAR AS consumer_account,
    NULL::VARCHAR AS consumer_region,
    NULL::VARCHAR AS consumer_namespace
FROM bookkeeping.refresh_history
