-- What the server remembers. No primary keys: DuckDB's index conflicts would refuse updates that
-- two sessions make to different rows.
CREATE SCHEMA IF NOT EXISTS bookkeeping;
CREATE SCHEMA IF NOT EXISTS segments;
CREATE SCHEMA IF NOT EXISTS public;

CREATE TABLE IF NOT EXISTS bookkeeping.external_schemas (
    name VARCHAR NOT NULL, database VARCHAR NOT NULL, owner VARCHAR NOT NULL
);

CREATE TABLE IF NOT EXISTS bookkeeping.plain_views (
    schema_name VARCHAR NOT NULL, name VARCHAR NOT NULL, definition VARCHAR NOT NULL,
    late_binding BOOLEAN NOT NULL, owner VARCHAR NOT NULL
);

CREATE SEQUENCE IF NOT EXISTS bookkeeping.view_ids START 100001;

CREATE TABLE IF NOT EXISTS bookkeeping.materialized_views (
    view_id BIGINT NOT NULL,
    schema_name VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    owner VARCHAR NOT NULL,
    definition VARCHAR NOT NULL,   -- Redshift's SQL, names resolved
    layout VARCHAR NOT NULL,       -- fingerprint of the segment table's columns
    state INTEGER NOT NULL,        -- SVV_MV_INFO.state
    mutable BOOLEAN NOT NULL,
    generation BIGINT NOT NULL,    -- which segment table is read
    segment_count BIGINT NOT NULL, -- since the last fold
    segment_rows BIGINT NOT NULL,  -- since the last fold
    base VARCHAR NOT NULL,         -- JSON: per base table its snapshot, until, topic, records, types
    note VARCHAR NOT NULL          -- why the last refresh went the way it went
);

CREATE TABLE IF NOT EXISTS bookkeeping.refresh_history (
    session_id BIGINT NOT NULL, transaction_id BIGINT NOT NULL, schema_name VARCHAR NOT NULL,
    mv_id BIGINT NOT NULL, mv_name VARCHAR NOT NULL, status VARCHAR NOT NULL,
    start_time TIMESTAMP NOT NULL, end_time TIMESTAMP NOT NULL, duration BIGINT NOT NULL,
    note VARCHAR NOT NULL
);

CREATE TABLE IF NOT EXISTS bookkeeping.grants (
    privilege VARCHAR NOT NULL, kind VARCHAR NOT NULL, object VARCHAR NOT NULL,
    grantee VARCHAR NOT NULL
);

-- varchar(n) holds n bytes; a cast cuts the rest off, never inside a character.
CREATE OR REPLACE MACRO cut_to_bytes(value, size) AS
    CASE
        WHEN value IS NULL THEN NULL
        WHEN strlen(value) <= size THEN value
        WHEN strlen(value) = length(value) THEN left(value, size)
        ELSE left(value, list_max(list_filter(range(size + 1), n -> strlen(left(value, n)) <= size)))
    END;
