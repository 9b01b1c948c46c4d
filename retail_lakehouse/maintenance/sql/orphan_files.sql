-- Files under the table's location that no snapshot and no metadata names and that are older than so.
CALL {catalog}.system.remove_orphan_files(
    table => '{table}',
    older_than => TIMESTAMP '{older_than}',
    dry_run => true
)
