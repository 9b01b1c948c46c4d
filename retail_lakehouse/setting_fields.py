"""Every setting by itself: its name, unit, range and default.

Here: the fields, and what is wrong with a value whatever the others are. Not here: what the profile
makes of them, and which contradict one another (`settings.py`).
"""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from retail_lakehouse.burst import Burst
from retail_lakehouse.planning.keep_warm import BASE_RPUS
from retail_lakehouse.wake_times import QuietWindow, WakeTimes, checked_zone

_SPELLED: dict[str, Callable[[str], object]] = {
    "simulator_burst": Burst.from_text,
    "keep_warm_cron": WakeTimes.from_cron,
    "keep_warm_time_zone": checked_zone,
    "keep_warm_quiet": QuietWindow.from_text,
}
"""Texts that spell something, and what reads them or raises ValueError."""


class Profile(StrEnum):
    """Where the system runs."""

    LOCAL = "local"
    AWS = "aws"


class SettingFields(BaseSettings):
    """The fields of the settings. Seconds, minutes, hours and megabytes as the names say."""

    model_config = SettingsConfigDict(frozen=True, use_attribute_docstrings=True)

    profile: Profile = Profile.LOCAL
    """`local` on one machine, or `aws`."""
    state_dir: Path = Path(".lakehouse")
    """The state folder: everything that one machine keeps."""
    cache_dir: Path | None = None
    """Downloaded jars; `<state_dir>/cache` when not given. Survives `reset`."""

    broker_port: int = Field(19092, ge=1024, le=65535)
    controller_port: int = Field(19093, ge=1024, le=65535)
    warehouse_port: int = Field(15439, ge=1024, le=65535)
    dagster_port: int = Field(3000, ge=1024, le=65535)
    web_allowed_hosts: str = ""
    """Names beside localhost under which Dagster's pages may be asked, `host` or `host:port`,
    separated by commas: those of a proxy or of a forwarded port."""
    bootstrap_servers: str = ""
    """Kafka; on the local profile the broker's own port when not given."""

    trigger_seconds: float | None = Field(None, gt=0)
    """Micro-batch interval; 4 locally, 60 on AWS."""
    max_offsets_per_trigger: int = Field(0, ge=0)
    """0: 60,000 locally; on AWS twice the topic's peak rate (`contracts/service_levels.py`)."""
    dedupe_horizon_hours: int = Field(24, ge=1, le=168)
    """How far back of a record's broker time an event with its id is looked for."""
    accept_loss: str = Field("", pattern=r"^([0-9a-f]{12}(,[0-9a-f]{12})*)?$")
    """The code that a streaming job printed when it stopped because records are gone: it goes on
    without them. Several with commas. A code stands for one loss and no other."""
    snapshot_retention_minutes: int = Field(0, ge=0)
    """0: 15 locally, 24 hours on AWS. Also the grace of files that maintenance replaced: longer
    than the longest query, and on AWS than two view refreshes."""
    statement_timeout_seconds: int = Field(600, ge=1)
    """After which the warehouse stops a query of ours: no query lasts longer."""
    refresh_interval_seconds: int = Field(0, ge=0)
    """0: 15 locally, 300 on AWS."""
    sensor_interval_seconds: int = Field(0, ge=0)
    """0: 15 locally, 30 on AWS."""
    report_interval_seconds: int = Field(900, ge=0, le=3600)
    """How often news of a table, a view or a topic is reported to Dagster's event log. 0: at every
    tick, which is some 300 MB a day locally. What fails or recovers is reported at once."""
    history_retention_days: int = Field(14, ge=1)
    """How long Dagster's history is kept: events, check results and runs, the latest of each for
    ever."""
    local_partitions: int = Field(3, ge=1, le=64)
    """Partitions of each topic on one machine; the contract holds those of MSK."""

    broker_heap_mb: int = Field(384, ge=128)
    """Java heap of the local broker."""
    spark_heap_mb: int = Field(640, ge=384)
    """Java heap of each local streaming job."""
    spark_cores: int = Field(1, ge=1)
    """Cores of each local streaming job."""
    warehouse_memory_mb: int = Field(512, ge=64)
    """Memory that the stand-in warehouse takes before it spills to disk."""
    cold_start_seconds: float = Field(0.0, ge=0)
    """How long the stand-in warehouse takes to wake up, to rehearse Serverless' cold start."""

    simulator_events_per_second: float = Field(300.0, gt=0, allow_inf_nan=False)
    simulator_burst: str = ""
    """FACTOR/EVERY/FOR: 5/600/60 is 5 times the rate for 60 s in every 600 s; empty: no burst."""
    simulator_seed: int = Field(20_261_123, ge=0)
    """The same seed makes the same events."""
    malformed_share: float = Field(0.01, ge=0, lt=1)
    late_share: float = Field(0.03, ge=0, lt=1)
    duplicate_share: float = Field(0.02, ge=0, lt=1)
    """Shares of the simulator's events; the three together are below 1."""

    alert_routes_file: Path | None = None
    """TOML file that says who is told of what, and where (`alerts/routes.py`); it names secrets and
    holds none. Without it alerts go to the log."""
    dagster_url: str = Field("", pattern=r"^(https?://[^\s/]+.*)?$")
    """Where people open Dagster's pages, for the links in alerts; the loopback when not given."""
    runbooks_url: str = Field("", pattern=r"^(https?://[^\s/]+.*)?$")
    """Where the runbooks are on the web; alerts name the path in the repository when not given."""
    disk_warning_mb: int = Field(0, ge=0)
    disk_critical_mb: int = Field(0, ge=0)
    """The watchdog alarms when less is free where the state folder lies; 0: the service level's."""
    watchdog_seconds: float = Field(10.0, gt=0, le=30)
    """Seconds between two looks of the watchdog; a pause of 60 it takes for its own."""

    keep_warm_cron: str = ""
    """When a trivial query wakes the warehouse, as cron; empty: never. Each waking bills at least a
    minute of the whole workgroup and keeps nothing warm for hours: docs/keep-warm.md."""
    keep_warm_time_zone: str = "UTC"
    """Time zone of that cron line and of the quiet window, such as Asia/Kolkata."""
    keep_warm_quiet: str = "00:00-06:00"
    """HH:MM-HH:MM, in which the warehouse is not woken; empty: it is woken at any hour."""
    warehouse_base_rpu: int = 32
    """Base capacity of the Serverless workgroup; what waking it costs is computed with it."""

    warehouse_host: str = ""
    """Redshift Serverless endpoint; the stand-in's own when not given."""
    warehouse_database: str = "dev"
    warehouse_user: str = "lakehouse"
    aws_region: str = ""
    warehouse_location: str = ""
    """Root of the Iceberg tables: `<state_dir>/warehouse/iceberg` locally, s3://… on AWS."""
    checkpoint_location: str = ""
    """Root of the checkpoints: `<state_dir>/checkpoints` locally, s3://… on AWS."""

    @field_validator(*_SPELLED)
    @classmethod
    def _check_text(cls, text: str, info: ValidationInfo) -> str:
        _SPELLED[info.field_name or ""](text)
        return text

    @field_validator("warehouse_base_rpu")
    @classmethod
    def _check_rpu(cls, rpu: int) -> int:
        if rpu not in BASE_RPUS:
            raise ValueError(
                "a workgroup has 4 RPU, 8 to 512 in steps of 8, or up to 1024 in steps of 32"
            )
        return rpu
