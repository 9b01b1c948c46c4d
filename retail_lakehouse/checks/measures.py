"""What of a look is a number: how long records wait, how long a job is quiet, how fast it reads.

Here: pure functions from a look to figures that more than one verdict, or a verdict and its cause,
need. Not here: verdicts (`judges.py`, `arrival_judges.py`), causes (`causes.py`), what a backlog is
(`tables/landing.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from retail_lakehouse.assets.stream import HOUR_MS, StreamLook, TableLook
from retail_lakehouse.assets.topic_look import TopicLook
from retail_lakehouse.contracts.mark import Mark
from retail_lakehouse.contracts.opening_hours import OpeningCalendar
from retail_lakehouse.contracts.service_levels import ServiceLevels
from retail_lakehouse.resources.job_runs import JobRun, JobState
from retail_lakehouse.tables.landing import newest_landed_ms

ASIDE_SECONDS = 10
"""A job that stands aside says so every second; one that has not for so long has stopped to."""
RATE_WINDOW_SECONDS = 300
"""How far back a job's speed is looked for: longer than a slow batch, shorter than an outage."""


@dataclass(frozen=True, slots=True)
class Quiet:
    """How long a job has committed nothing, and how long it may, in seconds."""

    seconds: float
    patience_seconds: float
    is_warming_up: bool
    """The run has not committed yet."""
    has_yielded: bool = False
    """The last that it did was to stand aside for another writer."""

    @property
    def is_too_long(self) -> bool:
        """Quiet for longer than it may, if records wait."""
        return self.seconds > self.patience_seconds


def quiet(
    run: JobRun,
    topic: TopicLook,
    table: TableLook,
    drained_at_ms: Mapping[int, int],
    trigger_seconds: float,
    levels: ServiceLevels,
    at_ms: int,
) -> Quiet | None:
    """How long the job has been quiet; None when neither a commit nor its start is known.

    Since the last commit, the run's start, the moment when nothing waited for the last time, when
    the oldest record that waits arrived, or when it last stood aside for another writer, whichever
    is latest: the first record of a morning does not find a job that slept all night, nor the end
    of a long replay one that hangs. It may be `stalled_after_triggers` intervals, of the trigger or
    of the last batch where that took longer; a run that has not committed yet, or not since it
    stood aside, has as long as a record may take to land.
    """
    committed, started = table.committed_at_ms, run.started_at_ms
    if committed is None and started is None:
        return None
    drained = _drained_ms(topic, drained_at_ms)
    yielded = run.yielded_at_ms
    # What the job did last, or had nothing to do for; when the work came is no deed of its.
    at_work = max(ms for ms in (committed, started, drained, yielded) if ms is not None)
    arrived = _oldest_arrival(topic)
    since = at_work if arrived is None else max(at_work, arrived[0])
    patience = levels.stalled_after_triggers * max(trigger_seconds, batch_seconds(table))
    is_warming_up = started is not None and (committed is None or committed < started)
    has_yielded = at_work == yielded
    if is_warming_up or has_yielded:
        patience = max(patience, levels.ingest_lag_seconds)
    return Quiet(seconds(since, at_ms), patience, is_warming_up, has_yielded)


def quiet_beyond_seconds(
    stream: StreamLook,
    event: str,
    drained_at_ms: Mapping[int, int],
    trigger_seconds: float,
    levels: ServiceLevels,
) -> float | None:
    """For how long a job is quiet beyond what it may; below 0: not yet.

    None where nothing waits, or topic or table cannot be read: then nothing is said against it.
    """
    topic, table = stream.topics[event], stream.tables[event]
    if isinstance(topic, str) or isinstance(table, str) or not topic.backlog:
        return None
    told = quiet(
        stream.jobs[event], topic, table, drained_at_ms, trigger_seconds, levels, stream.at_ms
    )
    return None if told is None else round(told.seconds - told.patience_seconds, 1)


def stands_aside(run: JobRun, at_ms: int) -> bool:
    """Whether the run waits for somebody's lease on its tables at this moment, by its own word."""
    yielded, started = run.yielded_at_ms, run.started_at_ms
    if run.state is not JobState.RUNNING or yielded is None:
        return False
    is_of_this_run = started is None or yielded >= started
    return is_of_this_run and seconds(yielded, at_ms) <= ASIDE_SECONDS


def is_coming_up(run: JobRun, levels: ServiceLevels, at_ms: int) -> bool:
    """Whether a run is on its way for no longer than that may take: started, or handed over to."""
    since = run.awaited_since_ms
    if run.state is not JobState.STARTING or since is None:
        return False
    return seconds(since, at_ms) <= levels.job_start_seconds


def batch_seconds(table: TableLook) -> float:
    """How long the last batch took, from its start to its commit."""
    if table.last is None or table.last.mark is None:
        return 0.0
    return seconds(table.last.mark.batch_started_ms, table.last.timestamp_ms)


@dataclass(frozen=True, slots=True)
class OldestWaiting:
    """The record that has waited longest: its partition, and since when (epoch ms) it waits."""

    partition: int
    since_ms: int
    is_bound: bool
    """It cannot be older, and may be younger: nobody could tell its time."""


def oldest_waiting(
    topic: TopicLook, table: TableLook, drained_at_ms: Mapping[int, int]
) -> OldestWaiting | None:
    """The record that has waited longest; None when nothing waits, or nothing is known of it.

    By the broker's times of the records themselves. Where Kafka did not tell them, by what is known
    of the marks: what waits came after the last batch that advanced its partition had begun to be
    written, or after the partition was seen drained.
    """
    arrived = _oldest_arrival(topic)
    if arrived is not None:
        since, worst = arrived
        return OldestWaiting(worst, since, is_bound=False)
    bound = _oldest_by_marks(topic, table, drained_at_ms)
    return None if bound is None else OldestWaiting(*bound, is_bound=True)


def _oldest_arrival(topic: TopicLook) -> tuple[int, int] | None:
    """Broker time (epoch ms) and partition of the oldest record that waits; None if not told."""
    waiting = [partition for partition, records in topic.waiting.items() if records]
    if not all(partition in topic.oldest_waiting_ms for partition in waiting):
        return None
    return min(((topic.oldest_waiting_ms[each], each) for each in waiting), default=None)


def _oldest_by_marks(
    topic: TopicLook, table: TableLook, drained_at_ms: Mapping[int, int]
) -> tuple[int, int] | None:
    """A partition that no retained mark advanced has waited for as long as there are marks.

    Unless it was seen drained since.
    """
    read_since = table.read_since_ms if topic.landed_until is not None else {}
    always = min(read_since.values(), default=None)
    bounds: list[tuple[int, int]] = []
    for partition, records in topic.waiting.items():
        drained, read = drained_at_ms.get(partition), read_since.get(partition)
        if read is None and drained is None:
            read = always
        known = [ms for ms in (drained, read) if ms is not None]
        if records and not known:
            return None
        if records:
            bounds.append((max(known), partition))
    if not bounds:
        return None
    since, worst = min(bounds)
    return worst, since


def records_per_second(table: TableLook, at_ms: int) -> float:
    """Records that the job read a second, over the last `RATE_WINDOW_SECONDS` or since the first.

    The time that has passed since its last commit counts too: a job that stands still slows down.
    """
    begins = at_ms - RATE_WINDOW_SECONDS * 1000
    recent = [each for each in table.batches if each.timestamp_ms >= begins and each.mark]
    if not recent:
        return 0.0
    read = sum(each.mark.batch.read for each in recent if each.mark is not None)
    oldest = recent[-1].mark
    since = begins if oldest is None else max(begins, oldest.batch_started_ms)
    return read / max(1.0, (at_ms - since) / 1000)


def _drained_ms(topic: TopicLook, drained_at_ms: Mapping[int, int]) -> int | None:
    """When nothing waited for the last time, as far as that was seen of what waits now."""
    waiting = [partition for partition, records in topic.waiting.items() if records]
    if not all(partition in drained_at_ms for partition in waiting):
        return None
    return min((drained_at_ms[partition] for partition in waiting), default=None)


@dataclass(frozen=True, slots=True)
class Silence:
    """For how long no record came, and how many were due at least in that time."""

    seconds: float
    due: float
    is_bound: bool = False
    """It cannot be shorter, and may be longer: no mark of the look tells of a record."""

    def is_too_long(self, patience_seconds: float) -> bool:
        """No data where the calendar expects some: longer than patience, and at least one due."""
        return self.seconds > patience_seconds and self.due >= 1

    def sentence(self, topic: str) -> str:
        """What is said of one that is too long."""
        return (
            f"No record of {topic} came for {self.seconds:.0f} s, while at least {self.due:.0f} "
            "were due by the stores' opening hours, and everything before has landed. Look at what "
            "sends them."
        )


def silence(
    run: JobRun, table: TableLook, calendar: OpeningCalendar, per_minute: float, at_ms: int
) -> Silence:
    """For how long nothing came, if everything has landed: then the newest mark has the last.

    The start of the run counts as a record: a platform that slept over night has not heard what
    came, and where nothing ever came there is nothing else to count from. A mark of an erasure, a
    replay or a backfill tells of no record, and the look goes back for an hour only: where it has
    no other, nothing came for that hour, and what was due before it may well have come.
    """
    record_ms = newest(table).record_ms
    is_bound = record_ms is None and bool(table.batches)
    if is_bound:
        record_ms = at_ms - HOUR_MS
    since = max(
        (ms for ms in (record_ms, run.started_at_ms) if ms is not None),
        default=at_ms,
    )
    due = calendar.events_due(per_minute, since, at_ms)
    return Silence(max(0.0, seconds(since, at_ms)), due, is_bound)


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest that the look's marks landed; epoch ms, None where nothing of the sort landed."""

    record_ms: int | None
    """Broker time of the newest record read."""
    event_ms: int | None
    """Newest least(event time, broker time) of a row."""


def newest(table: TableLook) -> Newest:
    """The newest record and event of the batches in the look."""
    marks = marks_of(table)
    records = [ms for mark in marks if (ms := mark.broker_time.newest_ms) is not None]
    events = [ms for mark in marks if (ms := newest_landed_ms(mark)) is not None]
    return Newest(max(records, default=None), max(events, default=None))


def marks_of(table: TableLook) -> list[Mark]:
    """The marks in the look, newest first."""
    return [each.mark for each in table.batches if each.mark is not None]


def clock_ahead_seconds(table: TableLook, at_ms: int) -> float | None:
    """How far a clock is ahead of the next one down the path, by the last batch that tells.

    A producer's of the broker's, or the broker's of ours, whichever is more; below 0 where neither
    is. None before there is such a batch.
    """
    for mark in marks_of(table):
        event, record = mark.event_time.newest_ms, mark.broker_time.newest_ms
        if event is not None and record is not None:
            return round(max(event - record, record - at_ms) / 1000, 1)
    return None


def ahead_sentence(ahead_seconds: float) -> str:
    """What is said of a clock that is ahead by too much."""
    return (
        f"By the last batch a clock is {ahead_seconds:.0f} s ahead: a producer's is ahead of the "
        "broker's, or the broker's is ahead of this machine's. Set it right: ages look shorter "
        "than they are."
    )


def producer_delay_seconds(table: TableLook) -> float | None:
    """How long after it happened the newest event reached the broker; below 0: a clock is ahead."""
    for mark in marks_of(table):
        event, record = mark.event_time.newest_ms, mark.broker_time.newest_ms
        if event is not None and record is not None:
            return seconds(event, record)
    return None


def seconds(earlier_ms: int, later_ms: int) -> float:
    """Seconds from one instant to another, to a tenth."""
    return round((later_ms - earlier_ms) / 1000, 1)
