SELECT schema_name, name, is_stale, state, autorefresh
FROM svv_mv_info
WHERE schema_name = %s
