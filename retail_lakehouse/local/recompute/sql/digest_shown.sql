SELECT
    GETDATE() AS read_at,
    COUNT(*) AS rows_shown,
    SUM(
        CAST(
            CAST(TRANSLATE(SUBSTRING(MD5({text}), 1, 17), 'abcdef', '012345') AS BIGINT)
            AS DECIMAL(38, 0)
        )
    ) AS digest
FROM {view} AS shown
