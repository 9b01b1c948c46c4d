SELECT COUNT(*) AS row_count FROM {mart}.{view}
