"""How the tables are kept small and fast: when an hour is closed, how often, how old is old.

Here: the facts of maintenance. Not here: doing it (`retail_lakehouse.maintenance`), how long a
snapshot is kept (`settings.py`: the profiles differ).
"""

from enum import StrEnum

HOUR_CLOSES_AFTER_MINUTES = 10
"""A partition is closed so long after its last moment: by then its punctual rows have landed."""
WHOLE_EVERY_HOURS = 6
"""Between two runs that maintain everything: also hours that late rows reopened (three days of
hours get some all the time, and each run writes such an hour anew), quarantines, whose partitions
are days, and snapshots. The runs of the other hours take the hour that was closed last."""
ORPHAN_AGE_DAYS = 3
"""A file that no snapshot names is removed after so long: until then it may be a commit's to be."""
SMALL_FILE_SHARE = 0.75
"""A file below this share of the target size is small: two of them in one partition are merged."""

COMPACTION_CRON = "15 * * * *"
"""Each hour, once it is closed."""
ORPHANS_CRON = "45 3 * * *"


class MaintenanceTask(StrEnum):
    """What maintenance does to a table."""

    COMPACTION = "compaction"
    EXPIRY = "expiry"
    ORPHANS = "orphans"
    ERASURE = "erasure"
