SELECT name, kind, sql_sha256 FROM {mart}.view_definitions
