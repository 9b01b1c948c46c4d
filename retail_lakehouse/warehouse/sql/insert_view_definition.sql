INSERT INTO {mart}.view_definitions (name, kind, sql_sha256, created_at)
VALUES (%s, %s, %s, GETDATE())
