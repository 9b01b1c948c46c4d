"""What an alert says beside its verdict: words for the planners, what to do; and the pace.

Here: one entry a check, the level that a check of an asset judges, and how often people are told.
Not here: limits, severity, owner and runbook (`service_levels.py`), verdicts, where alerts are
sent (the routes' file).
"""

from dataclasses import dataclass

from retail_lakehouse.contracts.service_levels import Measure, ServiceLevel, find_level
from retail_lakehouse.contracts.tables import QUARANTINE_TABLES

NOT_JUDGED = {"judged": "no"}
"""Among the figures of a check that fails because nobody could look."""


@dataclass(frozen=True, slots=True)
class AlertContract:
    """What is told when a check fails."""

    check: str
    title: str
    meaning: str
    """For the planners who look at the views."""
    command: str
    """What to run first; `{name}` is the asset's last part."""
    of_quarantine: str = ""
    """The meaning for a quarantine, over which no view is held; the same where it is empty."""

    def meaning_for(self, asset: str) -> str:
        """What it means to the planners that the check of that asset fails."""
        is_quarantine = subject_of(asset) in _QUARANTINES
        return self.of_quarantine if is_quarantine and self.of_quarantine else self.meaning

    @property
    def title_unknown(self) -> str:
        """The title where nobody could look: what it says may be so or not."""
        return f"Not known whether {self.title[0].lower()}{self.title[1:]}"


@dataclass(frozen=True, slots=True)
class AlertPace:
    """How often people are told."""

    reminders_seconds: tuple[int, ...] = (15 * 60, 60 * 60, 4 * 60 * 60)
    """Between one telling of an open incident and the next; the last repeats."""
    storm_opened: int = 5
    """More than so many opened within `window_seconds` become one digest."""
    messages_per_window: int = 10
    """More than so many messages within `window_seconds` become one digest."""
    window_seconds: int = 60
    flapping_opened: int = 3
    """After so many openings within `flapping_window_seconds` a check must stay failed for
    `flapping_hold_seconds` before it is told again; once a window it is told in any case."""
    flapping_window_seconds: int = 60 * 60
    flapping_hold_seconds: int = 15 * 60
    longest_silence_seconds: int = 30 * 24 * 60 * 60


ALERT_PACE = AlertPace()

ALERTS: tuple[AlertContract, ...] = (
    AlertContract(
        Measure.TOPIC_AVAILABLE.value,
        "A topic does not answer as it should",
        "Stores' events cannot be read: every figure built on this topic stands still until it "
        "answers.",
        "retail-lakehouse status",
    ),
    AlertContract(
        Measure.STREAMING_JOB_HEALTHY.value,
        "A streaming job does not commit",
        "New events of this kind do not reach the tables: stock, sales or sessions go stale. "
        "Nothing is lost while the topic keeps the events.",
        "retail-lakehouse jobs status",
    ),
    AlertContract(
        Measure.INGEST_LAG.value,
        "Records wait too long to land",
        "The newest events are missing in the figures: do not reorder on them before this has "
        "recovered.",
        "retail-lakehouse status",
    ),
    AlertContract(
        Measure.EVENTS_ARRIVE.value,
        "Events do not come as they are due",
        "Stores are open and too little of what happens there is sent: sales, stock or sessions "
        "look too low, and nothing waits that could make up for it yet.",
        "retail-lakehouse topics",
    ),
    AlertContract(
        Measure.PRODUCER_CLOCK.value,
        "A clock is ahead",
        "Ages look shorter than they are, and events may stand in a later hour than their own.",
        "retail-lakehouse status",
    ),
    AlertContract(
        Measure.QUARANTINE_SHARE.value,
        "Too many records are in quarantine",
        "Part of the stores' events breaks the contract and is missing in the figures: sales and "
        "stock may look too low.",
        "retail-lakehouse status",
    ),
    AlertContract(
        Measure.VOLUME.value,
        "An hour has too few or too many records",
        "The figures are what was sent, and that is unlike the same hour of former weeks: part of "
        "the stores may be missing, or something is sent twice.",
        "retail-lakehouse topics",
    ),
    AlertContract(
        Measure.OFFSETS_CONTIGUOUS.value,
        "Records are lost or doubled between two commits",
        "Views over this table are held: they show what was right before and nothing newer, until "
        "somebody has looked and lets them go.",
        "retail-lakehouse views list",
        "Every figure is right: only the account of what was refused is wrong.",
    ),
    AlertContract(
        Measure.UNIQUE_BY_KEY.value,
        "Events have landed twice",
        "Views over this table are held, so that they count nothing twice: they show what was "
        "right before and nothing newer, until somebody has looked and lets them go.",
        "retail-lakehouse views list",
    ),
    AlertContract(
        Measure.CONFORMS_TO_CONTRACT.value,
        "Rows break the contract",
        "Views over this table are held: they show what was right before and nothing newer, until "
        "somebody has looked and lets them go.",
        "retail-lakehouse views list",
    ),
    AlertContract(
        Measure.SERVING_LAG.value,
        "A view shows old data",
        "Data has landed and is not shown yet: dashboards over this view are behind.",
        "retail-lakehouse views refresh {name}",
    ),
    AlertContract(
        Measure.REFRESHED_INCREMENTALLY.value,
        "A view is computed in full",
        "The figures are right; refreshing costs more than it should and may become late.",
        "retail-lakehouse views list",
    ),
    AlertContract(
        Measure.SNAPSHOTS_OUTLAST_REFRESH.value,
        "What a view has folded expires before its next refresh",
        "The figures are right; the next refresh may have to compute the view from nothing, which "
        "costs more and takes longer.",
        "retail-lakehouse views refresh {name}",
    ),
    AlertContract(
        Measure.CHECKS_LOOKED_AT.value,
        "Checks are not evaluated any more",
        "Nobody watches part of the platform: a green page may be an old one.",
        "retail-lakehouse jobs status",
    ),
    AlertContract(
        Measure.DAEMON_TICKS.value,
        "Dagster's daemon stands still",
        "Events still land, and the views are not refreshed any more: they show what they showed "
        "when it stopped. No alert on topics, tables or views can come until it is back.",
        "retail-lakehouse jobs restart dagster-daemon",
    ),
    AlertContract(
        Measure.CODE_SERVER_ANSWERS.value,
        "Dagster's code server does not answer",
        "Events still land, and the views are not refreshed any more: they show what they showed "
        "when it stopped. No alert on topics, tables or views can come until it is back.",
        "retail-lakehouse jobs restart dagster-code-server",
    ),
    AlertContract(
        Measure.SENSOR_TICKS.value,
        "A sensor or schedule does not work",
        "What it does is not done: views may not be refreshed, or a fault may not be told. The "
        "others go on.",
        "retail-lakehouse jobs status",
    ),
    AlertContract(
        Measure.DISK_SPACE.value,
        "The disk fills up",
        "Nothing is wrong in the figures yet; on a full disk no event lands any more.",
        "retail-lakehouse status",
    ),
    AlertContract(
        Measure.DISK_NEARLY_FULL.value,
        "The disk is nearly full",
        "Soon no event lands and no view is refreshed: the figures will stand still.",
        "retail-lakehouse status",
    ),
)

_QUARANTINES = frozenset(table.name for table in QUARANTINE_TABLES)
_BY_CHECK = {alert.check: alert for alert in ALERTS}


def alert_for(check: str) -> AlertContract:
    """The contract of a check's alert; one that has none here gets its name as title."""
    return _BY_CHECK.get(check) or AlertContract(
        check,
        f"The check {check.replace('_', ' ')} fails",
        "What it checks stands in its description, on the asset's page.",
        "retail-lakehouse status",
    )


def subject_of(asset: str) -> str:
    """What service levels call the thing of an asset's path: a job goes by its event's name."""
    return asset.rpartition("/")[2].removesuffix("_streaming")


def level_behind(asset: str, check: str) -> ServiceLevel | None:
    """The level that the check of an asset judges; None where the contract promises nothing."""
    return find_level(subject_of(asset), check)
