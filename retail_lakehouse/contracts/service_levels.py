"""What the platform promises: of each topic, job, table and view how much, how badly, whose.

Here: the limits, and for each thing that is watched its severity, owner and runbook. Not here: how
a figure is measured or judged (`retail_lakehouse.checks`), when events are expected at all
(`opening_hours.py`). Checks, sensors, alerts, dashboards and docs read these and have none of
their own; what an alert says beside them stands in `alerting.py`. A plain view is computed when
it is asked: it has the levels of the materialized views under it.
"""

from dataclasses import dataclass
from enum import StrEnum

from retail_lakehouse.contracts.events import EVENTS
from retail_lakehouse.contracts.tables import event_table, quarantine_table
from retail_lakehouse.contracts.views import MATERIALIZED_VIEWS

DATA_PLATFORM = "team:data-platform"
CONTROL_PLANE = "control_plane"
"""The subject of what is promised of the control plane itself."""


@dataclass(frozen=True, slots=True)
class ServiceLevels:
    """The limits of one topic's path; ages and lags in seconds."""

    ingest_lag_seconds: int = 120
    """Age of the oldest record that has not landed."""
    serving_lag_seconds: int = 600
    """How long data that has landed may wait to be seen in a view. The age of what a view shows is
    at most this and `ingest_lag_seconds` together while records come: each half is judged where it
    arises, so that a dead stream is not blamed on a view, nor a quiet night on either."""
    quarantine_share: float = 0.05
    """Quarantined by records read, over the last hour."""
    minimum_events_per_minute: float = 1.0
    """Of one topic while every store is open, and by the open share otherwise. Far below any real
    day: it tells a path that is cut from one that is slack, which is the volume check's to say."""
    silence_seconds: int = 600
    """No newest event is called old before it is so old, whatever was due."""
    clock_ahead_seconds: int = 30
    """How far a clock may be ahead of the one that it is compared with."""
    warehouse_latency_seconds: float = 5.0
    """First statement of a refresh's session; a warehouse that has to wake up takes 25 to 40."""
    missed_refreshes: int = 3
    """So many intervals without a refresh while data waits: the refresh is paused."""
    peak_events_per_second: int = 80_000
    """Of one topic; a job has room for twice as many."""
    stalled_after_triggers: int = 3
    """No batch within so many triggers while offsets grow: the job is stalled."""
    job_start_seconds: int = 900
    """How long a run may be on its way on Glue: since it was asked for, or since the one before it
    expired. Nobody is woken each week by a maintenance window, but by a lag that it leaves."""
    batch_share: float = 0.7
    """A record may wait for the batch under way and then for its own, so two of them must fit into
    the ingest lag: one that takes more than this share of its half is a warning."""
    volume_share: float = 0.5
    """Records of an hour by those of the same hour in former weeks: neither less than this nor
    more than its inverse."""
    unlooked_seconds: int = 3_900
    """A check whose latest verdict is older is not looked at: two heartbeats and some ticks."""
    daemon_silent_seconds: int = 90
    """Dagster's daemon sends a heartbeat every 30 s: three are missing."""
    daemon_thread_silent_seconds: int = 330
    """Of one of its threads, which sends none while it works; also how long errors in its
    heartbeats may go on: Dagster repeats one for 300 s."""
    code_server_silent_seconds: int = 60
    """Longer than a killed one takes to be started again and to load the code."""
    code_server_loading_seconds: int = 180
    """The same of one that was started since it last answered: with many times more to do than it
    has cores, a machine takes over a minute to load the code."""
    sensor_silent_seconds: int = 330
    """Without a tick that ended well: one may take 300 s before it is given up."""
    sensor_silent_intervals: int = 4
    """The same in its own intervals, whichever is longer."""
    sensor_failed_ticks: int = 3
    """So many in a row are no accident."""
    schedule_silent_seconds: int = 9000
    """Dagster notes every hour, give or take 10 minutes, that it has looked at a schedule."""
    heartbeat_missing_minutes: int = 5
    """On AWS, by CloudWatch's minutes: longer than a new version of Dagster takes to come up."""
    disk_warning_free_mb: int = 4096
    """Free space of the state folder's file system; there is time to make room."""
    disk_critical_free_mb: int = 1024
    """Commits and Dagster's history fail soon."""

    @property
    def long_batch_seconds(self) -> float:
        """A batch that takes longer endangers the ingest lag."""
        return self.batch_share * self.ingest_lag_seconds / 2


SERVICE_LEVELS = ServiceLevels()


class Severity(StrEnum):
    """How much it matters when a level is not kept, the least first."""

    INFO = "info"
    """Nobody has to do anything: a test of the way to the people."""
    WARNING = "warning"
    """Nothing is wrong yet in what is shown: the next working day will do."""
    CRITICAL = "critical"
    """The planners see too little or too old data: somebody is woken."""

    @property
    def rank(self) -> int:
        """0 is the least."""
        return tuple(Severity).index(self)


class Measure(StrEnum):
    """What is promised; also the name of the check that judges it."""

    TOPIC_AVAILABLE = "topic_available"
    STREAMING_JOB_HEALTHY = "streaming_job_healthy"
    INGEST_LAG = "ingest_lag"
    EVENTS_ARRIVE = "events_arrive"
    PRODUCER_CLOCK = "producer_clock"
    QUARANTINE_SHARE = "quarantine_share"
    VOLUME = "volume"
    OFFSETS_CONTIGUOUS = "offsets_contiguous"
    UNIQUE_BY_KEY = "unique_by_key"
    CONFORMS_TO_CONTRACT = "conforms_to_contract"
    SERVING_LAG = "serving_lag"
    REFRESHED_INCREMENTALLY = "refreshed_incrementally"
    SNAPSHOTS_OUTLAST_REFRESH = "snapshots_outlast_refresh"
    CHECKS_LOOKED_AT = "checks_looked_at"
    """Our own verdict on all others: somebody still evaluates them."""
    DAEMON_TICKS = "daemon_ticks"
    CODE_SERVER_ANSWERS = "code_server_answers"
    SENSOR_TICKS = "sensor_ticks"
    """Of every sensor and schedule that is not switched off."""
    DISK_SPACE = "disk_space"
    DISK_NEARLY_FULL = "disk_nearly_full"


WATCHDOG_MEASURES = (
    Measure.DAEMON_TICKS,
    Measure.CODE_SERVER_ANSWERS,
    Measure.SENSOR_TICKS,
    Measure.DISK_SPACE,
    Measure.DISK_NEARLY_FULL,
)
"""What is judged outside Dagster, by the watchdog: no check of Dagster's could tell of it."""


HOLDING: tuple[Measure, ...] = (
    Measure.OFFSETS_CONTIGUOUS,
    Measure.UNIQUE_BY_KEY,
    Measure.CONFORMS_TO_CONTRACT,
)
"""What of a table, when it is broken, holds the refresh of the views over it: wrong rows, which a
view would fold for good. What is late, little or much never does: it is right as far as it goes."""


@dataclass(frozen=True, slots=True)
class ServiceLevel:
    """One promise on one topic, job, table or view, by its name in the contracts.

    `limit` is in `unit`, and None where the promise has no number.
    """

    subject: str
    measure: Measure
    limit: float | None
    unit: str
    severity: Severity
    owner: str = DATA_PLATFORM

    @property
    def runbook(self) -> str:
        """Path of the runbook in the repository."""
        return runbook_of(self.measure)

    @property
    def number(self) -> float:
        """The limit of a promise that has one.

        Raises:
            ServiceLevelError: it has none.
        """
        if self.limit is None:
            raise ServiceLevelError(f"{self.measure} of {self.subject} has no limit in numbers.")
        return self.limit


class ServiceLevelError(LookupError):
    """A service level, or a limit, that the contract does not have."""


def runbook_of(check: str) -> str:
    """Path of a check's runbook in the repository: what to do is the same whatever the table."""
    return f"docs/runbooks/{check.replace('_', '-')}.md"


def _levels() -> tuple[ServiceLevel, ...]:
    limits, critical, warning = SERVICE_LEVELS, Severity.CRITICAL, Severity.WARNING
    found = []
    for event in EVENTS:
        table, quarantine = event_table(event).name, quarantine_table(event).name
        of_event: tuple[tuple[str, Measure, float | None, str, Severity], ...] = (
            (event.topic, Measure.TOPIC_AVAILABLE, None, "", critical),
            (
                event.name,
                Measure.STREAMING_JOB_HEALTHY,
                limits.stalled_after_triggers,
                "triggers",
                critical,
            ),
            (table, Measure.INGEST_LAG, limits.ingest_lag_seconds, "s", critical),
            (
                table,
                Measure.EVENTS_ARRIVE,
                limits.minimum_events_per_minute,
                "events a minute with every store open",
                critical,
            ),
            (table, Measure.PRODUCER_CLOCK, limits.clock_ahead_seconds, "s", warning),
            (
                quarantine,
                Measure.QUARANTINE_SHARE,
                limits.quarantine_share,
                "of the records read",
                warning,
            ),
            (
                table,
                Measure.VOLUME,
                limits.volume_share,
                "of the records of the same hour in former weeks, or its inverse",
                warning,
            ),
            *((table, measure, None, "", critical) for measure in HOLDING),
            (quarantine, Measure.OFFSETS_CONTIGUOUS, None, "", critical),
        )
        found += [ServiceLevel(*each) for each in of_event]
    for view in MATERIALIZED_VIEWS:
        found += [
            ServiceLevel(view.name, Measure.SERVING_LAG, limits.serving_lag_seconds, "s", critical),
            ServiceLevel(view.name, Measure.REFRESHED_INCREMENTALLY, None, "", warning),
            ServiceLevel(view.name, Measure.SNAPSHOTS_OUTLAST_REFRESH, None, "", warning),
        ]
    of_control_plane: tuple[tuple[Measure, float, str, Severity], ...] = (
        (Measure.CHECKS_LOOKED_AT, limits.unlooked_seconds, "s", critical),
        (Measure.DAEMON_TICKS, limits.daemon_silent_seconds, "s", critical),
        (Measure.CODE_SERVER_ANSWERS, limits.code_server_silent_seconds, "s", critical),
        (Measure.SENSOR_TICKS, limits.sensor_silent_seconds, "s", critical),
        (Measure.DISK_SPACE, limits.disk_warning_free_mb, "MiB free", warning),
        (Measure.DISK_NEARLY_FULL, limits.disk_critical_free_mb, "MiB free", critical),
    )
    found += [ServiceLevel(CONTROL_PLANE, *each) for each in of_control_plane]
    return tuple(found)


LEVELS: tuple[ServiceLevel, ...] = _levels()
_BY_NAME: dict[tuple[str, str], ServiceLevel] = {
    (level.subject, level.measure): level for level in LEVELS
}


def level_of(subject: str, measure: Measure) -> ServiceLevel:
    """The level of a topic, job (by its event's name), table or view.

    Raises:
        ServiceLevelError: nothing of the sort is promised of it.
    """
    level = find_level(subject, measure)
    if level is None:
        raise ServiceLevelError(
            f"The contract promises no {measure} of {subject!r}: see contracts/service_levels.py."
        )
    return level


def find_level(subject: str, measure: str) -> ServiceLevel | None:
    """The level of `level_of`; None where nothing of the sort is promised."""
    return _BY_NAME.get((subject, measure))
