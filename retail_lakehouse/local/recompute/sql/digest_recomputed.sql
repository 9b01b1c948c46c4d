WITH recomputed ({columns}) AS (
{query}
)
SELECT
    count(*),
    sum(translate(substr(md5({text}), 1, 17), 'abcdef', '012345')::BIGINT::DECIMAL(38, 0))
FROM recomputed
