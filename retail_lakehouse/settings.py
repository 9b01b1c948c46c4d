"""Typed settings for the two profiles, `local` and `aws`; read once, passed on.

Here: every setting with its unit and default. Not here: facts of the domain (`contracts/`).
Settings are read by the command line and `definitions.py` and handed down; nothing else reads the
environment, whose variables start with `RETAIL_LAKEHOUSE_`. Glue scripts know no settings: they are
told arguments (`job_settings.py`).
"""

import os
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from retail_lakehouse.burst import Burst
from retail_lakehouse.contracts.service_levels import SERVICE_LEVELS
from retail_lakehouse.contracts.topics import TOPICS, TopicContract
from retail_lakehouse.loopback import LOOPBACK
from retail_lakehouse.planning.keep_warm import BASE_RPUS
from retail_lakehouse.setting_faults import fault_sentences, unknown_variables
from retail_lakehouse.wake_times import QuietWindow, WakeTimes, checked_zone
from retail_lakehouse.web.hosts import Authority, HostNameError, parse_hosts

ENV_PREFIX = "RETAIL_LAKEHOUSE_"


# In a list of jars or a class path, in a pattern of file names, in an address.
_BREAKS_A_PATH = frozenset(',:;*?[]{}#%"\\\n')
_SPELLED: dict[str, Callable[[str], object]] = {
    "simulator_burst": Burst.from_text,
    "keep_warm_cron": WakeTimes.from_cron,
    "keep_warm_time_zone": checked_zone,
    "keep_warm_quiet": QuietWindow.from_text,
}
"""Texts that spell something, and what reads them or raises ValueError."""


class SettingsError(ValueError):
    """A setting that stops the program: one sentence a fault, with what to do."""


class Profile(StrEnum):
    """Where the system runs."""

    LOCAL = "local"
    AWS = "aws"


class Settings(BaseSettings):
    """Every setting of the platform. Seconds, minutes, hours and megabytes as the names say."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, extra="forbid", frozen=True, use_attribute_docstrings=True
    )

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
    report_interval_seconds: int = Field(300, ge=0, le=400)
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
    watchdog_seconds: float = Field(10.0, gt=0, le=60)
    """Seconds between two looks of the watchdog."""

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

    @classmethod
    def load(cls, overrides: Mapping[str, object] | None = None) -> Self:
        """Settings from the environment and `overrides` (field names to values).

        Raises:
            SettingsError: a value is out of range, unknown or contradicts another; one sentence
                a fault, naming the variable to change.
        """
        unknown = unknown_variables(os.environ, cls.model_fields, ENV_PREFIX)
        if unknown:
            raise SettingsError("\n".join(unknown))
        try:
            return cls(**dict(overrides or {}))  # type: ignore[arg-type]
        except ValidationError as error:
            raise SettingsError(fault_sentences(error, ENV_PREFIX)) from None

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

    @model_validator(mode="after")
    def _check(self) -> Self:
        ports = (self.broker_port, self.controller_port, self.warehouse_port, self.dagster_port)
        if len(set(ports)) != len(ports):
            raise ValueError(
                "two of broker_port, controller_port, warehouse_port and dagster_port are the "
                "same; give each its own"
            )
        if self.profile is Profile.AWS:
            missing = [
                name
                for name in (
                    "bootstrap_servers",
                    "warehouse_host",
                    "aws_region",
                    "warehouse_location",
                    "checkpoint_location",
                )
                if not getattr(self, name)
            ]
            if missing:
                names = ", ".join(ENV_PREFIX + name.upper() for name in missing)
                raise ValueError(f"the aws profile needs {names}; set them")
        self._check_folders()
        self._check_retention()
        self._check_freshness()
        try:
            parse_hosts(self.web_allowed_hosts)
        except HostNameError as error:
            raise ValueError(f"web_allowed_hosts: {error}; correct it") from None
        if self.disk_critical_free_mb > self.disk_warning_free_mb:
            raise ValueError(
                f"disk_critical_mb is {self.disk_critical_free_mb} and disk_warning_mb "
                f"{self.disk_warning_free_mb}; the warning is to come first"
            )
        self._check_keep_warm()
        if self.malformed_share + self.late_share + self.duplicate_share >= 1:
            raise ValueError(
                "malformed_share, late_share and duplicate_share add up to 1 or more; lower one"
            )
        return self

    def _check_folders(self) -> None:
        for name, folder in (("state_dir", self.root), ("cache_dir", self.cache)):
            wrong = sorted(_BREAKS_A_PATH & set(str(folder)))
            if self.is_local and wrong:
                raise ValueError(
                    f"{name} is {folder}, and {' '.join(wrong)} in a path means something else to "
                    "Java, Spark or DuckDB; name a folder without it"
                )

    def _check_retention(self) -> None:
        kept_seconds = self.retention_minutes * 60
        if kept_seconds <= self.statement_timeout_seconds:
            raise ValueError(
                f"snapshot_retention_minutes keeps a file for {kept_seconds} s, but a query may "
                f"read it for statement_timeout_seconds, {self.statement_timeout_seconds}; keep it "
                "for longer than that"
            )
        if not self.is_local and kept_seconds <= 2 * self.refresh_seconds:
            raise ValueError(
                f"snapshot_retention_minutes keeps a snapshot for {kept_seconds} s, but on aws the "
                f"views are refreshed every {self.refresh_seconds} s (refresh_interval_seconds) "
                "and must find their last one; keep it for more than two refreshes"
            )

    def _check_freshness(self) -> None:
        """Dagster wants a freshness policy's warning before its failure."""
        room = SERVICE_LEVELS.serving_lag_seconds - SERVICE_LEVELS.ingest_lag_seconds - 1
        beside = (room - self.report_interval_seconds) // 2
        for name, seconds, most in (
            ("refresh_interval_seconds", self.refresh_seconds, room),
            ("sensor_interval_seconds", self.sensor_seconds, beside),
        ):
            if seconds > most:
                raise ValueError(
                    f"{name} is too long for a serving lag of "
                    f"{SERVICE_LEVELS.serving_lag_seconds} s, of which landing may take "
                    f"{SERVICE_LEVELS.ingest_lag_seconds} s; give it at most {most} s"
                )

    def _check_keep_warm(self) -> None:
        if self.wake_times is not None and self.wake_times.a_week(self.quiet_window) == 0:
            raise ValueError(
                f"keep_warm_cron ({self.keep_warm_cron}) is due in the quiet window only "
                f"(keep_warm_quiet, {self.keep_warm_quiet}): the warehouse would never be woken; "
                "change one of them, or leave the cron empty"
            )

    @property
    def is_local(self) -> bool:
        """True on one machine."""
        return self.profile is Profile.LOCAL

    @property
    def root(self) -> Path:
        """The state folder as an absolute path."""
        return self.state_dir.absolute()

    @property
    def cache(self) -> Path:
        """Where downloads are kept."""
        return (self.cache_dir or self.root / "cache").absolute()

    @property
    def alerts_dir(self) -> Path:
        """Folder of the alerts: the outbox and the silences."""
        return self.root / "alerts"

    @property
    def routes_file(self) -> Path | None:
        """The file of the alerts' routes, as an absolute path."""
        return self.alert_routes_file.absolute() if self.alert_routes_file else None

    @property
    def dagster_address(self) -> str:
        """Address of Dagster's pages, without a slash at its end."""
        return self.dagster_url.rstrip("/") or f"http://{LOOPBACK}:{self.dagster_port}"

    @property
    def kafka_bootstrap(self) -> str:
        """Bootstrap servers of the profile's Kafka."""
        return self.bootstrap_servers or f"{LOOPBACK}:{self.broker_port}"

    @property
    def web_hosts(self) -> tuple[Authority, ...]:
        """Names beside those of loopback under which Dagster's pages may be asked."""
        return parse_hosts(self.web_allowed_hosts)

    @property
    def trigger(self) -> float:
        """Seconds between micro-batches."""
        return self.trigger_seconds or (4.0 if self.is_local else 60.0)

    @property
    def offsets_per_trigger(self) -> int:
        """Most records that one micro-batch reads."""
        return self.max_offsets_per_trigger or (
            60_000
            if self.is_local
            else int(2 * SERVICE_LEVELS.peak_events_per_second * self.trigger)
        )

    @property
    def retention_minutes(self) -> int:
        """Minutes for which a snapshot, and a file it needs, is kept.

        Each commit reads and writes the table's metadata with the marks of all kept snapshots: at
        one a minute a day of them is 3 MB, a week 20 MB (`benchmarks/marked_commits.py`).
        """
        return self.snapshot_retention_minutes or (15 if self.is_local else 24 * 60)

    @property
    def refresh_seconds(self) -> int:
        """Seconds between view refreshes."""
        return self.refresh_interval_seconds or (15 if self.is_local else 300)

    @property
    def sensor_seconds(self) -> int:
        """Seconds between ticks of the sensors that watch topics, jobs and tables."""
        return self.sensor_interval_seconds or (15 if self.is_local else 30)

    @property
    def disk_warning_free_mb(self) -> int:
        """Free MiB below which the disk fills up."""
        return self.disk_warning_mb or SERVICE_LEVELS.disk_warning_free_mb

    @property
    def disk_critical_free_mb(self) -> int:
        """Free MiB below which the disk is nearly full."""
        return self.disk_critical_mb or SERVICE_LEVELS.disk_critical_free_mb

    @property
    def wake_times(self) -> WakeTimes | None:
        """When the warehouse is woken; None: never."""
        return WakeTimes.from_cron(self.keep_warm_cron)

    @property
    def quiet_window(self) -> QuietWindow | None:
        """When it is not woken all the same, or None."""
        return QuietWindow.from_text(self.keep_warm_quiet)

    @property
    def burst(self) -> Burst | None:
        """The simulator's burst, or None."""
        return Burst.from_text(self.simulator_burst)

    @property
    def catalog_name(self) -> str:
        """Name under which Spark and pyiceberg share the catalog."""
        return "lakehouse" if self.is_local else "glue_catalog"

    @property
    def catalog_db(self) -> Path:
        """SQLite file of the local catalog."""
        return self.root / "catalog" / "catalog.db"

    @property
    def warehouse_uri(self) -> str:
        """Root location of the Iceberg tables."""
        # No URI, in which a space would be %20: Iceberg's readers take the address as it stands.
        return self.warehouse_location or f"file://{self.root / 'warehouse' / 'iceberg'}"

    @property
    def checkpoints(self) -> str:
        """Root location of the streaming checkpoints."""
        return self.checkpoint_location or str(self.root / "checkpoints")

    @property
    def password_file(self) -> Path:
        """File with the local warehouse's password."""
        return self.root / "secrets" / "warehouse-password"

    @property
    def lock_dir(self) -> Path:
        """Folder of this machine's locks."""
        return self.root / "locks"

    @property
    def topic_locks(self) -> Path | None:
        """Folder of the topic locks; None on AWS, where no file holds a job on Glue back."""
        return self.lock_dir if self.is_local else None

    def partitions(self, topic: TopicContract) -> int:
        """Partitions that the profile gives the topic."""
        return self.local_partitions if self.is_local else topic.partitions

    def replication_factor(self, topic: TopicContract) -> int:
        """Replicas that the profile gives the topic."""
        return 1 if self.is_local else topic.replication_factor

    @property
    def topics(self) -> tuple[TopicContract, ...]:
        """The topics of the platform."""
        return TOPICS
