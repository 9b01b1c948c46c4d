SELECT mv_name, refresh_type, status, start_time, end_time, duration
FROM sys_mv_refresh_history
WHERE schema_name = %s
ORDER BY start_time DESC
LIMIT {limit}
