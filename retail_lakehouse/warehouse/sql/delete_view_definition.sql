DELETE FROM {mart}.view_definitions WHERE name = %s
