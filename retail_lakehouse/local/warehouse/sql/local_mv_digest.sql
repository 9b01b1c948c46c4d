-- Of the refreshes that brought something: one that found the view up to date says otherwise.
WITH digests (view_id, columns, row_count, digest) AS (
{digests}
)
SELECT
    schema_name,
    name,
    base,
    (
        SELECT count(*)
        FROM bookkeeping.refresh_history
        WHERE mv_id = digests.view_id AND status LIKE 'Refresh successfully%'
    ),
    columns,
    row_count,
    digest
FROM bookkeeping.materialized_views
JOIN digests USING (view_id)
ORDER BY schema_name, name
