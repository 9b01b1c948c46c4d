CREATE TABLE IF NOT EXISTS {mart}.view_definitions (
    name VARCHAR(127) NOT NULL,
    kind VARCHAR(16) NOT NULL,
    sql_sha256 VARCHAR(64) NOT NULL,
    created_at TIMESTAMP NOT NULL
)
