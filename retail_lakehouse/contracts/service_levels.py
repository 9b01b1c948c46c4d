"""What the platform promises, as numbers.

Here: lag, freshness, quarantine share, the rate that must be borne. Not here: how they are measured
or alarmed on.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServiceLevels:
    """The levels of one topic's path; ages and lags in seconds."""

    ingest_lag_seconds: int = 120
    """Age of the oldest record that has not landed."""
    serving_lag_seconds: int = 600
    """How long data that has landed may wait to be seen in a view. The age of what a view shows is
    at most this and `ingest_lag_seconds` together while records come: each half is judged where it
    arises, so that a dead stream is not blamed on a view, nor a quiet night on either."""
    quarantine_share: float = 0.05
    """Quarantined by records read, over the last hour."""
    peak_events_per_second: int = 80_000
    """Of one topic; a job has room for twice as many."""
    stalled_after_triggers: int = 3
    """No batch within so many triggers while offsets grow: the job is stalled."""
    batch_share: float = 0.7
    """A record may wait for the batch under way and then for its own, so two of them must fit into
    the ingest lag: one that takes more than this share of its half is a warning."""

    @property
    def long_batch_seconds(self) -> float:
        """A batch that takes longer endangers the ingest lag."""
        return self.batch_share * self.ingest_lag_seconds / 2


SERVICE_LEVELS = ServiceLevels()
