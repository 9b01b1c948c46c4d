"""Verdicts on what producers send: whether events come when they are due, and by which clock.

Here: pure functions from a look, the calendar and its instant to a verdict with a sentence. Not
here: what the job makes of the records (`judges.py`), the calendar (`contracts/opening_hours.py`).
"""

from dataclasses import replace
from datetime import UTC, datetime
from statistics import median

from retail_lakehouse.assets.stream import HOUR_MS, StreamLook, TableLook
from retail_lakehouse.checks import measures
from retail_lakehouse.checks.judges import Figure, Verdict, unknown
from retail_lakehouse.contracts.events import EventContract
from retail_lakehouse.contracts.opening_hours import OpeningCalendar
from retail_lakehouse.contracts.service_levels import ServiceLevel, ServiceLevels
from retail_lakehouse.tables.hourly_volume import Hours

LEAST_COMPARED = 60
"""Records in an hour: one a minute is the least that is promised at all."""


def judge_events_arrive(
    stream: StreamLook,
    event: EventContract,
    calendar: OpeningCalendar,
    level: ServiceLevel,
    levels: ServiceLevels,
) -> Verdict:
    """Events come when the stores' opening hours say that they must: no data is an alarm then.

    Three ways to fail: no record for too long, too few records over the marks of the last hour, or
    records that come with events that are old already. While records wait, what is missing may be
    among them: that is the lag's check.
    """
    topic, table = stream.topics[event.name], stream.tables[event.name]
    if isinstance(table, str):
        return unknown(table)
    if isinstance(topic, str):
        return unknown(f"Whether events come cannot be known: {topic}")
    at = stream.at_ms
    figures: dict[str, Figure] = {
        "open_share": round(calendar.open_share(at), 3),
        "minimum_events_per_minute": level.number,
    }
    seen = measures.newest(table)
    if seen.event_ms is not None:
        figures["newest_event_age_seconds"] = max(0.0, measures.seconds(seen.event_ms, at))
    if topic.backlog:
        words = f"{topic.backlog} records wait to land: events come. See the table's ingest_lag."
        fault = None
    else:
        silence = measures.silence(stream.jobs[event.name], table, calendar, level.number, at)
        figures["silence_seconds"] = silence.seconds
        figures["records_due"] = round(silence.due, 1)
        words = f"The last record came {silence.seconds:.0f} s ago; {silence.due:.0f} were due."
        if silence.is_bound:
            words = f"No record came for {silence.seconds:.0f} s; {silence.due:.0f} were due."
        fault = (
            silence.sentence(event.topic)
            if silence.is_too_long(levels.silence_seconds)
            else _too_few(stream, event, calendar, level, levels)
        )
    fault = fault or _late(seen, event, calendar, level, levels, at)
    return Verdict(fault is None, fault or words, figures)


def judge_producer_clock(table: TableLook | str, level: ServiceLevel, at_ms: int) -> Verdict:
    """No clock on the path is ahead of the next: ages would look shorter than they are."""
    if isinstance(table, str):
        return unknown(table, warn_only=True)
    ahead = measures.clock_ahead_seconds(table, at_ms)
    if ahead is None:
        return Verdict(True, "No batch has told a time yet.")
    figures: dict[str, Figure] = {
        "clock_ahead_seconds": ahead,
        "service_level_seconds": level.number,
    }
    if ahead > level.number:
        return Verdict(False, measures.ahead_sentence(ahead), figures, warn_only=True)
    return Verdict(True, "No clock is ahead by more than is allowed.", figures)


def judge_volume(
    table: TableLook | str,
    event: EventContract,
    hours: Hours | None,
    calendar: OpeningCalendar,
    level: ServiceLevel,
) -> Verdict:
    """The last hour that is over has about as many records as the same hour of former weeks.

    Each former hour is scaled by the share of stores open then and now, so that a switch of summer
    time moves nothing; the middle one of them counts. A store sends from its first minute on: what
    it owes only after a grace is another matter. It is a warning, and holds no view: what was sent
    is shown.
    """
    if isinstance(table, str):
        return unknown(table, warn_only=True)
    if hours is None or not hours.records:
        return Verdict(True, "No whole hour was seen yet.")
    hour = max(hours.records)
    records, open_now = hours.records[hour], _open_share(calendar, hour)
    scaled = [
        count * open_now / share
        for former, count in hours.former_weeks(hour).items()
        if (share := _open_share(calendar, former)) > 0
    ]
    when = datetime.fromtimestamp(hour * HOUR_MS / 1000, UTC).strftime("%Y-%m-%d %H:00 UTC")
    figures: dict[str, Figure] = {"records": records, "hour": when, "weeks_known": len(scaled)}
    words = f"{records} records of {event.topic} came in the hour from {when}"
    if not scaled:
        return Verdict(True, f"{words}; of former weeks that hour is not known.", figures)
    due = median(scaled)
    figures["records_due"] = round(due)
    if due < LEAST_COMPARED:
        return Verdict(True, f"{words}; so few were due that they do not compare.", figures)
    share = records / due
    figures |= {"volume_share": round(share, 3), "service_level_share": level.number}
    words += f", {share:.0%} of what the same hour of {len(scaled)} former weeks had"
    if level.number <= share <= 1 / level.number:
        return Verdict(True, f"{words}.", figures)
    fault = "too few: are stores missing?" if share < 1 else "too many: is something sent twice?"
    return Verdict(False, f"{words}: {fault} Look at what sends them.", figures, warn_only=True)


def _open_share(calendar: OpeningCalendar, hour: int) -> float:
    without_grace = replace(calendar, grace_seconds=0)
    # The end is another hour's first slot.
    return without_grace.mean_open_share(hour * HOUR_MS, (hour + 1) * HOUR_MS - 1)


def _too_few(
    stream: StreamLook,
    event: EventContract,
    calendar: OpeningCalendar,
    level: ServiceLevel,
    levels: ServiceLevels,
) -> str | None:
    """The sentence where the marks of the last hour read fewer records than were due meanwhile.

    Only of this run: what came while the platform slept is no rate of anything.
    """
    table, at_ms = stream.tables[event.name], stream.at_ms
    started_ms = stream.jobs[event.name].started_at_ms or 0
    marks = [] if isinstance(table, str) else measures.marks_of(table)
    marks = [each for each in marks if each.batch_started_ms >= max(started_ms, at_ms - HOUR_MS)]
    if not marks or measures.seconds(marks[-1].batch_started_ms, at_ms) < levels.silence_seconds:
        return None
    since = marks[-1].batch_started_ms
    read = sum(mark.batch.read for mark in marks)
    due = calendar.events_due(level.number, since, at_ms)
    if read >= due:
        return None
    return (
        f"{read} records of {event.topic} came in {measures.seconds(since, at_ms) / 60:.0f} "
        f"minutes, and at least {due:.0f} were due by the stores' opening hours. Look at what "
        "sends them."
    )


def _late(
    seen: measures.Newest,
    event: EventContract,
    calendar: OpeningCalendar,
    level: ServiceLevel,
    levels: ServiceLevels,
    at_ms: int,
) -> str | None:
    """The sentence where records come and even the newest event among them is old.

    What comes late after closing time is no fault of the night, nor is what came hours ago.
    """
    if seen.event_ms is None or seen.record_ms is None:
        return None
    if at_ms - seen.record_ms > HOUR_MS or not calendar.open_share(at_ms):
        return None
    delay = measures.seconds(seen.event_ms, seen.record_ms)
    is_due = calendar.events_due(level.number, seen.event_ms, at_ms) >= 1
    if delay <= levels.silence_seconds or not is_due:
        return None
    return (
        f"Records of {event.topic} come, and the newest event among them is {delay:.0f} s old when "
        "it reaches the broker: producers hold events back. Look at the stores' gateways."
    )
