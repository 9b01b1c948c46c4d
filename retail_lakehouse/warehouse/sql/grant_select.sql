GRANT SELECT ON TABLE {mart}.{view} TO ROLE {role}
