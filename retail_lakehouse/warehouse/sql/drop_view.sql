DROP VIEW IF EXISTS {mart}.{view}
