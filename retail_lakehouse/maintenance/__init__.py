"""Keeping the tables small and fast beside their writers: compaction, expiry, orphans, erasure.

Here: what Spark does, on Glue and on one machine alike. Not here: when (`schedules.py`), the assets
(`assets/maintenance.py`), the command around an erasure (`commands/erase.py`).

No topic lock is taken for a compaction. The lock keeps two writers of marks apart; a `replace`
commit carries no mark and adds no row, so a writer's `until` stays true whichever of the two comes
first. Carrying the last mark over would be wrong without the lock: repeated behind an append it
would set `until` back. Iceberg holds the rest: an append never conflicts with a rewrite, and a
rewrite fails by itself where a file it replaces is gone or has a new delete.
"""
