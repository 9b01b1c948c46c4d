SELECT {view_id}, {columns}, count(*), coalesce(sum(hash({row})), 0)::HUGEINT::VARCHAR FROM {view}
