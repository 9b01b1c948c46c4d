"""Typed settings for the two profiles, `local` and `aws`; read once, passed on.

Here: what the settings come to under a profile, and which contradict one another. Not here: the
single setting (`setting_fields.py`), facts of the domain (`contracts/`).
Settings are read by the command line and `definitions.py` and handed down; nothing else reads the
environment, whose variables start with `RETAIL_LAKEHOUSE_`. Glue scripts know no settings: they are
told arguments (`job_settings.py`).
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import ValidationError, model_validator
from pydantic_settings import SettingsConfigDict

from retail_lakehouse.burst import Burst
from retail_lakehouse.contracts.service_levels import SERVICE_LEVELS
from retail_lakehouse.contracts.topics import TOPICS, TopicContract
from retail_lakehouse.loopback import LOOPBACK
from retail_lakehouse.setting_faults import fault_sentences, unknown_variables
from retail_lakehouse.setting_fields import Profile, SettingFields
from retail_lakehouse.wake_times import QuietWindow, WakeTimes
from retail_lakehouse.web.hosts import Authority, HostNameError, parse_hosts

ENV_PREFIX = "RETAIL_LAKEHOUSE_"

# In a list of jars or a class path, in a pattern of file names, in an address.
_BREAKS_A_PATH = frozenset(',:;*?[]{}#%"\\\n')


class SettingsError(ValueError):
    """A setting that stops the program: one sentence a fault, with what to do."""


class Settings(SettingFields):
    """The settings of the platform as everybody is handed them."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="forbid")

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
        for name, seconds, most in (
            ("refresh_interval_seconds", self.refresh_seconds, room),
            ("sensor_interval_seconds", self.sensor_seconds, room // 2),
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
    def unreported_seconds(self) -> int:
        """Seconds without a report after which Dagster's badge of a table or a view turns red.

        A report may be as old as the interval, and what it told as old as the service level.
        """
        return SERVICE_LEVELS.serving_lag_seconds + self.report_interval_seconds

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
