SELECT
    coalesce(sum(spans.groups), 0)::BIGINT,
    coalesce(sum(spans.digest), 0)::HUGEINT::VARCHAR
FROM captured
LEFT JOIN spans
    ON spans.nr <= captured.nr AND (spans.next_nr IS NULL OR captured.nr < spans.next_nr)
GROUP BY captured.nr
ORDER BY captured.nr
