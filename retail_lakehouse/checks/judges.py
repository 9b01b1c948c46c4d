"""Verdicts on the stream: topics, jobs, tables.

Here: pure functions from a look to a verdict with a sentence. Not here: Dagster's checks
(`stream.py`), the look (`assets/stream.py`), thresholds (`contracts/service_levels.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from retail_lakehouse.assets.stream import StreamLook, TableLook
from retail_lakehouse.assets.topic_look import TopicLook
from retail_lakehouse.checks import measures
from retail_lakehouse.contracts.alerting import NOT_JUDGED
from retail_lakehouse.contracts.events import EventContract
from retail_lakehouse.contracts.job_states import Phase
from retail_lakehouse.contracts.service_levels import ServiceLevel, ServiceLevels
from retail_lakehouse.contracts.topics import TopicContract
from retail_lakehouse.resources.job_runs import JobState
from retail_lakehouse.settings import Settings

Figure = int | float | str

REASONS_SHOWN = 3

YIELDED = (
    "It stands aside while a replay, a backfill or a change of schema writes its tables, and goes "
    "on by itself when that has ended."
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a check passed, in one sentence, with its figures. `warn_only`: no outage."""

    passed: bool
    sentence: str
    figures: Mapping[str, Figure] = field(default_factory=dict)
    warn_only: bool = False


def unknown(
    why: str, figures: Mapping[str, Figure] | None = None, *, warn_only: bool = False
) -> Verdict:
    """Fails, since nobody could look: an outage is never a pass, nor is it what the check tells."""
    return Verdict(False, why, {**(figures or {}), **NOT_JUDGED}, warn_only)


def judge_topic(seen: TopicLook | str, topic: TopicContract, settings: Settings) -> Verdict:
    """The topic can be reached and has the partitions that its contract wants."""
    if isinstance(seen, str):
        return Verdict(False, seen)
    wanted, present = settings.partitions(topic), len(seen.end)
    figures = {"partitions": present, "records_written": seen.end_total}
    if present < wanted:
        return Verdict(
            False,
            f"{topic.name} has {present} partitions and {wanted} are wanted: the platform adds "
            "the missing ones when it starts. Start it again.",
            figures,
        )
    return Verdict(True, f"{topic.name} answers with {present} partitions.", figures)


def judge_job(
    stream: StreamLook,
    event: str,
    settings: Settings,
    levels: ServiceLevels,
    drained_at_ms: Mapping[int, int],
) -> Verdict:
    """The job runs and commits while there is something to commit.

    Stalled: records wait, and the job is quiet for longer than it may (`measures.quiet`). A batch
    that takes so long that the next could break the ingest lag is a warning. A run that is on its
    way has its time for that: what it leaves waiting meanwhile is the lag's to tell.
    """
    run, topic, table = stream.jobs[event], stream.topics[event], stream.tables[event]
    is_aside = measures.stands_aside(run, stream.at_ms)
    state = Phase.STANDING_ASIDE.value if is_aside else run.state.value
    figures: dict[str, Figure] = {"state": state}
    if run.state is not JobState.RUNNING:
        is_coming_up = measures.is_coming_up(run, levels, stream.at_ms)
        return Verdict(is_coming_up, run.sentence, figures)
    if isinstance(topic, str):
        return Verdict(
            False, f"The {event} job runs, but its topic cannot be read: {topic}", figures
        )
    if isinstance(table, str):
        return Verdict(
            False, f"The {event} job runs, but its table cannot be read: {table}", figures
        )
    figures["backlog_records"] = topic.backlog
    if table.committed_at_ms is not None:
        figures["last_commit_age_seconds"] = measures.seconds(table.committed_at_ms, stream.at_ms)
    quiet = measures.quiet(run, topic, table, drained_at_ms, settings.trigger, levels, stream.at_ms)
    if quiet is None or topic.backlog == 0:
        words = f"The {event} job runs; {topic.backlog} records wait."
        return Verdict(True, f"{words} {YIELDED}" if is_aside else words, figures)
    figures["quiet_seconds"] = quiet.seconds
    figures["stalled_after_seconds"] = round(quiet.patience_seconds, 1)
    if quiet.is_too_long:
        return Verdict(
            False,
            f"The {event} job is stalled: {topic.backlog} records wait and nothing was committed "
            f"for {quiet.seconds:.0f} s, more than the {quiet.patience_seconds:.0f} s that it may "
            "take. Read the job's log; restart it: it goes on where its tables' marks end.",
            figures,
        )
    if quiet.has_yielded:
        words = f"The {event} job runs; {topic.backlog} records wait. {YIELDED}"
        return Verdict(True, words, figures)
    if quiet.is_warming_up:
        words = (
            f"The {event} job runs for {quiet.seconds:.0f} s and has yet to commit its first batch."
        )
        return Verdict(True, words, figures)
    batch = figures["batch_seconds"] = measures.batch_seconds(table)
    if batch > levels.long_batch_seconds:
        return Verdict(
            False,
            f"The {event} job may soon fall behind: its last batch took {batch:.0f} s, over "
            f"the {levels.long_batch_seconds:.0f} s that leave room below the ingest lag of "
            f"{levels.ingest_lag_seconds} s; {topic.backlog} wait. Give it more workers, or look "
            "at the batch's figures on the table's page.",
            figures,
            warn_only=True,
        )
    return Verdict(True, f"The {event} job runs and commits; {topic.backlog} wait.", figures)


def judge_ingest_lag(
    stream: StreamLook,
    event: EventContract,
    level: ServiceLevel,
    drained_at_ms: Mapping[int, int],
) -> Verdict:
    """How long the oldest record waits that has not landed: data time, not report time.

    By the broker time of the first record past the marks, in the partition where that is oldest.
    Where Kafka did not tell it, it is bounded by the marks; `drained_at_ms` is then, by partition,
    when nothing waited for the last time: after a quiet night the first record is not a night old.
    """
    topic, table = stream.topics[event.name], stream.tables[event.name]
    if isinstance(table, str):
        return unknown(table)
    if isinstance(topic, str):
        return unknown(f"What has not landed cannot be known: {topic}")
    figures: dict[str, Figure] = {"backlog_records": topic.backlog}
    if topic.backlog == 0:
        return Verdict(True, "Every record has landed.", figures | {"ingest_lag_seconds": 0.0})
    oldest = measures.oldest_waiting(topic, table, drained_at_ms)
    if oldest is None:
        return Verdict(
            False,
            f"{topic.backlog} records wait and none has ever landed: is the {event.name} job "
            "running? See its own check.",
            figures,
        )
    # Below nothing where the broker's clock is ahead of ours: its own check says so.
    lag = max(0.0, measures.seconds(oldest.since_ms, stream.at_ms))
    figures |= {"oldest_in_partition": oldest.partition}
    figures |= {"ingest_lag_seconds": lag, "service_level_seconds": level.number}
    at_most = " at most" if oldest.is_bound else ""
    words = f"{topic.backlog} records wait, the oldest for {lag:.0f} s{at_most}"
    if lag > level.number:
        return Verdict(
            False,
            f"{words}: over the {level.number:.0f} s that are promised. See the check of "
            f"the {event.name} job.",
            figures,
        )
    return Verdict(True, f"{words}.", figures)


def judge_quarantine_share(
    table: TableLook | str,
    level: ServiceLevel,
    unreadable: str | None = None,
    reasons: Mapping[str, int] | None = None,
) -> Verdict:
    """Quarantined by records read over the last hour, or what of it is retained.

    An hour in which nothing was read has no share: the last batch before it may have been small.
    `reasons` are those of the hour's records as far as they were counted, most first. `unreadable`
    is why the quarantine itself cannot be loaded: the share is known all the same, by the event
    table's marks, but nobody could look at what it counts.
    """
    if unreadable is not None:
        return unknown(unreadable)
    if isinstance(table, str):
        return unknown(table)
    first = table.first.mark if table.first else None
    last = table.mark
    if first is None or last is None or table.first is None or table.last is None:
        return Verdict(True, f"Nothing was read {'yet' if last is None else 'in the last hour'}.")
    # The oldest mark's own batch belongs to the window; its totals include it.
    read = last.total.read - first.total.read + first.batch.read
    bad = last.total.quarantined - first.total.quarantined + first.batch.quarantined
    share = bad / read if read else 0.0
    minutes = (table.last.timestamp_ms - first.batch_started_ms) / 60_000
    figures: dict[str, Figure] = {
        "quarantine_share": round(share, 5),
        "quarantined": bad,
        "read": read,
        "window_minutes": round(minutes, 1),
        "service_level_share": level.number,
    }
    words = f"{bad} of {read} records ({share:.2%}) of {minutes:.0f} minutes are quarantined"
    top = list((reasons or {}).items())[:REASONS_SHOWN] if bad else []
    figures |= {f"reason_{reason}": count for reason, count in top}
    if top:
        words += f", most for {', '.join(f'{reason} ({count})' for reason, count in top)}"
    if share > level.number:
        return Verdict(
            False,
            f"{words}: over {level.number:.0%}. The table's `reason` and `detail` say "
            "what producers send; mend it there, or widen the contract and replay.",
            figures,
        )
    return Verdict(True, f"{words}.", figures)
