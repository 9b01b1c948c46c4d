SELECT COUNT(*) AS view_rows, MAX({newest}) AS newest_ts, GETDATE() AS read_at
FROM {mart}.{view}
