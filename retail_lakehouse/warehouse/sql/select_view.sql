SELECT * FROM {mart}.{view}
