"""The simulator's settings.

Here: rate, shares, seed, limits, and how to reach Kafka. Not here: what they do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from retail_lakehouse.burst import Burst
from retail_lakehouse.local.simulator.job_processes import JobProcesses, jobs_of, no_jobs
from retail_lakehouse.settings import Settings

LEDGER_FOLDER = "ledger"


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares of all records: `malformed` (a part of them conflicts), `late`, `duplicate`."""

    malformed: float = 0.01
    late: float = 0.03
    duplicate: float = 0.02
    conflict_of_malformed: float = 0.05


NO_FAULTS = Shares(malformed=0.0, late=0.0, duplicate=0.0)


@dataclass(frozen=True, slots=True)
class SimulatorOptions:
    """Everything a run needs. `duration_seconds` and `max_events` end it by themselves."""

    ledger_folder: Path
    kafka: Mapping[str, Any]
    """librdkafka's client settings: `bootstrap.servers` and what signing in takes."""
    events_per_second: float = 300.0
    """Of all records over the three topics, duplicates included."""
    shares: Shares = field(default_factory=Shares)
    burst: Burst | None = None
    seed: int = 1
    dedupe_horizon_hours: int = 24
    look_at_jobs: JobProcesses = no_jobs
    """Tells when a streaming job has been restarted, for the copies that are to come after it."""
    duration_seconds: float | None = None
    max_events: int | None = None

    @classmethod
    def from_settings(cls, settings: Settings, **changes: Any) -> Self:
        """The options that the settings give, with `changes` by name."""
        return replace(
            cls(
                ledger_folder=settings.root / LEDGER_FOLDER,
                kafka={"bootstrap.servers": settings.kafka_bootstrap},
                events_per_second=settings.simulator_events_per_second,
                shares=Shares(
                    malformed=settings.malformed_share,
                    late=settings.late_share,
                    duplicate=settings.duplicate_share,
                ),
                burst=settings.burst,
                seed=settings.simulator_seed,
                dedupe_horizon_hours=settings.dedupe_horizon_hours,
                look_at_jobs=jobs_of(settings.root),
            ),
            **changes,
        )
