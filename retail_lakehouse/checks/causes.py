"""What a lag is made of, and which stage is guilty of it.

Here: pure functions from a look to the parts of the lag and the causes that hold. Not here: whether
the lag is too much (`judges.py`, `view_judges.py`), the figures' definitions (`measures.py`).

Several causes may hold at once; the first in the order of `Cause` is the guilty one, the others are
named beside it. The order is: what blinds us, then what holds records up, from the table back to
the producer, then what falsifies figures, then the same for the views.

- Broker down: nothing of the job or the producer can be known, so neither is named beside it.
  One topic that alone cannot be read is no broker that is down: its own sentence says what it is.
- A job is stalled when it does not run or is quiet for too long, and slow when it commits and what
  waits is too old all the same: never both. Nothing is said against a job for which nothing waits.
  One that stands aside for another writer, or whose next run is on its way, is slow, and its
  sentence says for whom it waits.
- A producer has stopped only when everything has landed: while records wait, what is missing may
  be among them, and the job is the one to mend first.
- A clock that is ahead delays nothing: it is the guilty one only when no other is.
- A warehouse is called cold by a refresh's own session: by one that waits for its first answer, or
  by what the last one had to wait; so not while no refresh comes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from retail_lakehouse.assets.stream import StreamLook, TableLook
from retail_lakehouse.assets.topic_look import TopicLook
from retail_lakehouse.checks import measures
from retail_lakehouse.checks.judges import YIELDED, Figure, Verdict
from retail_lakehouse.contracts.events import EventContract
from retail_lakehouse.contracts.opening_hours import OpeningCalendar
from retail_lakehouse.contracts.service_levels import Measure, ServiceLevels, level_of
from retail_lakehouse.contracts.tables import event_table
from retail_lakehouse.contracts.views import materialized_over
from retail_lakehouse.resources.job_runs import JobRun, JobState
from retail_lakehouse.settings import Settings
from retail_lakehouse.warehouse.refresh_record import ViewRecord
from retail_lakehouse.warehouse.session_marks import SessionUnderWay

NOT_DRAINING = "not draining"


class Cause(StrEnum):
    """The guilty stages, the one that counts most first."""

    BROKER_DOWN = "broker down"
    STALLED_JOB = "stalled job"
    SLOW_JOB = "slow job"
    STOPPED_PRODUCER = "stopped producer"
    CLOCK_AHEAD = "clock ahead"
    PAUSED_REFRESH = "paused refresh"
    COLD_WAREHOUSE = "cold warehouse"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The causes that hold, each with a sentence, guilty one first; and the parts of the lag.

    Ages, delays and latencies are in seconds; a part that cannot be known is missing.
    """

    causes: Mapping[Cause, str] = field(default_factory=dict)
    parts: Mapping[str, Figure] = field(default_factory=dict)

    @property
    def guilty(self) -> Cause | None:
        """The stage to mend first; None when all is well."""
        return next(iter(self.causes), None)

    def among(self, *causes: Cause) -> "Diagnosis":
        """What of it a check tells that judges one end of the path: these causes, and no part."""
        return Diagnosis({cause: told for cause, told in self.causes.items() if cause in causes})

    def beside(self, parts: Mapping[str, Figure]) -> "Diagnosis":
        """The same causes, and these parts beside its own."""
        return replace(self, parts={**self.parts, **parts})

    def named_in(self, verdict: Verdict) -> Verdict:
        """The verdict with the parts among its figures and the guilty stage in its sentence.

        A verdict that passes has no guilty stage, whatever else holds: another check says that. The
        cause's sentence is left out where the verdict's own says it already.
        """
        figures = {**self.parts, **verdict.figures}
        if verdict.passed or self.guilty is None:
            return replace(verdict, figures=figures)
        first, *others = self.causes
        told = [verdict.sentence, f"Cause: {first}."]
        if self.causes[first] not in verdict.sentence:
            told.append(self.causes[first])
        if others:
            told.append(f"Beside it: {', '.join(others)}.")
        return replace(verdict, sentence=" ".join(told), figures={**figures, "cause": first.value})


def diagnose_ingest(
    stream: StreamLook,
    event: EventContract,
    settings: Settings,
    levels: ServiceLevels,
    drained_at_ms: Mapping[int, int],
    calendar: OpeningCalendar,
) -> Diagnosis:
    """Why records of an event land late, or none land: from the producer to the table."""
    topic, table, run = (
        stream.topics[event.name],
        stream.tables[event.name],
        stream.jobs[event.name],
    )
    if isinstance(topic, str):
        told = {Cause.BROKER_DOWN: topic} if _no_topic_answers(stream) else {}
        return Diagnosis(told, {} if isinstance(table, str) else _parts_of_marks(table, stream))
    if isinstance(table, str):
        return Diagnosis()
    quiet = measures.quiet(run, topic, table, drained_at_ms, settings.trigger, levels, stream.at_ms)
    oldest = measures.oldest_waiting(topic, table, drained_at_ms)
    age = None if oldest is None else max(0.0, measures.seconds(oldest.since_ms, stream.at_ms))
    limit = level_of(event_table(event).name, Measure.INGEST_LAG).number
    causes: dict[Cause, str] = {}
    if topic.backlog:
        is_coming_up = measures.is_coming_up(run, levels, stream.at_ms)
        stalled = None if is_coming_up else _stalled(run, quiet, topic.backlog)
        if stalled is not None:
            causes[Cause.STALLED_JOB] = stalled
        elif age is not None and age > limit:
            causes[Cause.SLOW_JOB] = _slow(run, quiet, table)
    else:
        silence = measures.silence(run, table, calendar, _minimum_per_minute(event), stream.at_ms)
        if silence.is_too_long(levels.silence_seconds):
            causes[Cause.STOPPED_PRODUCER] = silence.sentence(event.topic)
    ahead = measures.clock_ahead_seconds(table, stream.at_ms)
    if ahead is not None and ahead > levels.clock_ahead_seconds:
        causes[Cause.CLOCK_AHEAD] = measures.ahead_sentence(ahead)
    stands_still = Cause.STALLED_JOB in causes
    return Diagnosis(
        causes, _parts_of_marks(table, stream) | _drain(topic, table, age, stands_still, stream)
    )


def refresh_parts(table: str, records: Mapping[str, ViewRecord], at_ms: int) -> dict[str, Figure]:
    """What the views over a table add to its lag, so that one check shows the whole path.

    The oldest of their last refreshes and the longest wait for the warehouse, from what refreshes
    left: nothing is asked.
    """
    over = [records[view.name] for view in materialized_over(table) if view.name in records]
    parts: dict[str, Figure] = {}
    if over:
        oldest = min(each.refreshed_at_ms for each in over)
        parts["refresh_age_seconds"] = max(0.0, measures.seconds(oldest, at_ms))
    latencies = [each.latency_seconds for each in over if each.latency_seconds is not None]
    if latencies:
        parts["warehouse_latency_seconds"] = max(latencies)
    return parts


def diagnose_serving(
    record: ViewRecord | None,
    waiting_since_ms: int | None,
    at_ms: int,
    settings: Settings,
    levels: ServiceLevels,
    session: SessionUnderWay | None = None,
) -> Diagnosis:
    """Why data that has landed is not shown yet: from the table to the view.

    `waiting_since_ms` is when the first data landed that the view does not show; None without any.
    `session` is the refresh that is under way, if one is.
    """
    parts: dict[str, Figure] = {}
    if record is not None:
        parts["refresh_age_seconds"] = max(0.0, measures.seconds(record.refreshed_at_ms, at_ms))
        parts["refresh_seconds"] = record.duration_seconds
        if record.latency_seconds is not None:
            parts["warehouse_latency_seconds"] = record.latency_seconds
    if waiting_since_ms is None:
        return Diagnosis(parts=parts)
    patience = min(levels.missed_refreshes * settings.refresh_seconds, levels.serving_lag_seconds)
    unrefreshed_ms = max(waiting_since_ms, record.refreshed_at_ms if record else 0)
    unrefreshed = measures.seconds(unrefreshed_ms, at_ms)
    if session is not None and session.answered_ms is None:
        unanswered = measures.seconds(session.began_ms, at_ms)
        parts["warehouse_unanswered_seconds"] = unanswered
        if unanswered > levels.warehouse_latency_seconds:
            told = (
                f"The refresh under way has waited {unanswered:.0f} s for the warehouse's first "
                "answer: it is waking up. It heals itself once it has."
            )
            return Diagnosis({Cause.COLD_WAREHOUSE: told}, parts)
    if unrefreshed > patience:
        return Diagnosis(
            {
                Cause.PAUSED_REFRESH: (
                    f"Data waits and no refresh has ended for {unrefreshed:.0f} s; one is due "
                    f"every {settings.refresh_seconds} s. See whether the sensor "
                    "refresh_due_views is on and what its ticks say."
                )
            },
            parts,
        )
    latency = record.latency_seconds if record else None
    if latency is not None and latency > levels.warehouse_latency_seconds:
        told = (
            f"The last refresh waited {latency:.0f} s for the warehouse's first answer: it had to "
            "wake up. It heals itself while refreshes go on."
        )
        return Diagnosis({Cause.COLD_WAREHOUSE: told}, parts)
    return Diagnosis(parts=parts)


def _no_topic_answers(stream: StreamLook) -> bool:
    return all(isinstance(topic, str) for topic in stream.topics.values())


def _minimum_per_minute(event: EventContract) -> float:
    return level_of(event_table(event).name, Measure.EVENTS_ARRIVE).number


def _stalled(run: JobRun, quiet: measures.Quiet | None, backlog: int) -> str | None:
    if run.state in (JobState.STOPPING, JobState.STOPPED, JobState.FAILED):
        return f"{backlog} records wait and no job reads them. {run.sentence}"
    if quiet is None or not quiet.is_too_long:
        return None
    return (
        f"{backlog} records wait and nothing was committed for {quiet.seconds:.0f} s, more than "
        f"the {quiet.patience_seconds:.0f} s that it may take. Read the job's log and restart it."
    )


def _slow(run: JobRun, quiet: measures.Quiet | None, table: TableLook) -> str:
    if run.state is JobState.STARTING:
        return run.sentence
    if quiet is not None and quiet.has_yielded:
        return YIELDED
    if quiet is not None and quiet.is_warming_up:
        return f"It runs for {quiet.seconds:.0f} s and has yet to commit its first batch."
    return (
        f"It commits, its last batch took {measures.batch_seconds(table):.1f} s, and what waits is "
        "older than is promised. See the drain forecast; where it is not draining, give the job "
        "more cores or larger batches."
    )


def _parts_of_marks(table: TableLook, stream: StreamLook) -> dict[str, Figure]:
    parts: dict[str, Figure] = {}
    delay = measures.producer_delay_seconds(table)
    if delay is not None:
        # A clock that is ahead is told by its own cause: a delay is never below nothing.
        parts["producer_delay_seconds"] = max(0.0, delay)
    if table.committed_at_ms is not None:
        since = measures.seconds(table.committed_at_ms, stream.at_ms)
        parts["last_batch_age_seconds"] = max(0.0, since)
        parts["batch_seconds"] = measures.batch_seconds(table)
    if table.mark is not None and table.mark.previous_commit_ms is not None:
        parts["commit_seconds"] = table.mark.previous_commit_ms / 1000
    return parts


def _drain(
    topic: TopicLook, table: TableLook, age: float | None, stands_still: bool, stream: StreamLook
) -> dict[str, Figure]:
    """The backlog and when it will be gone, at the speed of the last minutes.

    What waits arrived within its age, so that is the rate at which more comes; the job must read
    faster than that.
    """
    parts: dict[str, Figure] = {"backlog_records": topic.backlog}
    if not topic.backlog:
        return parts
    if age is not None:
        parts["backlog_age_seconds"] = age
    reads = 0.0 if stands_still else measures.records_per_second(table, stream.at_ms)
    arrive = topic.backlog / age if age else 0.0
    drains = reads - arrive
    parts["drain_records_per_second"] = round(drains, 1)
    is_draining = reads > 0 and drains > 0
    parts["drain_forecast"] = f"{topic.backlog / drains:.0f} s" if is_draining else NOT_DRAINING
    return parts
