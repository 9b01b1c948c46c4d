-- Every live file of the table {table}: data files (content 0) and delete files (content 1).
SELECT
    content,
    file_path,
    partition.{day} AS day,
    {hour} AS hour,
    {first_hour} AS first_hour,
    {last_hour} AS last_hour,
    file_size_in_bytes,
    record_count
FROM {table}.files
