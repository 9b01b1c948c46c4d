from dataclasses import replace
from datetime import UTC, datetime

import pytest

from retail_lakehouse.assets.stream import StreamLook
from retail_lakehouse.checks.arrival_judges import judge_events_arrive, judge_producer_clock
from retail_lakehouse.checks.judges import Verdict
from retail_lakehouse.checks.measures import Silence
from retail_lakehouse.contracts.alerting import NOT_JUDGED
from retail_lakehouse.contracts.events import INVENTORY
from retail_lakehouse.contracts.mark import MarkKind
from retail_lakehouse.contracts.opening_hours import Hours, OpeningCalendar
from retail_lakehouse.contracts.service_levels import SERVICE_LEVELS, Measure, level_of
from retail_lakehouse.tables.marks import MarkedSnapshot
from retail_lakehouse_tests.checks.looks import (
    ALWAYS_CLOSED,
    ALWAYS_OPEN,
    AT,
    batch,
    look,
    steady,
)

ONE_A_MINUTE = level_of("inventory_events", Measure.EVENTS_ARRIVE)
CLOCK = level_of("inventory_events", Measure.PRODUCER_CLOCK)


def judged(stream: StreamLook, calendar: OpeningCalendar = ALWAYS_OPEN) -> Verdict:
    return judge_events_arrive(stream, INVENTORY, calendar, ONE_A_MINUTE, SERVICE_LEVELS)


@pytest.mark.parametrize("ago, passed", [(590, True), (610, False)])
def test_no_data_is_an_alarm_while_stores_are_open(ago: float, passed: bool) -> None:
    verdict = judged(look(*steady(ago, read=100)))
    assert verdict.passed is passed
    assert ("No record of retail.inventory.events came" in verdict.sentence) is not passed


def test_no_data_is_none_while_they_are_closed() -> None:
    assert judged(look(*steady(3_000)), ALWAYS_CLOSED).passed


def test_few_open_stores_may_be_silent_for_longer() -> None:
    # One of fifty is open: one event is due in 50 minutes.
    night = OpeningCalendar((Hours("UTC", 0, 1440, 1), Hours("UTC", 0, 0, 49)), 0)
    assert judged(look(batch(2_900, seconds=1)), night).passed
    assert not judged(look(batch(3_100, seconds=1)), night).passed


ZONES = ("Europe/Berlin", "America/New_York", "Asia/Kolkata")
AUTUMN = (datetime(2026, 10, 20, tzinfo=UTC), datetime(2026, 11, 3, tzinfo=UTC))
SPRING = (datetime(2026, 3, 4, tzinfo=UTC), datetime(2026, 4, 2, tzinfo=UTC))


def _instants(begin: datetime, end: datetime) -> range:
    return range(int(begin.timestamp()) * 1000, int(end.timestamp()) * 1000, 60_000)


@pytest.mark.parametrize("zones", [ZONES, ZONES[:1], ZONES[1:2]], ids="-".join)
@pytest.mark.parametrize("begin, end", [AUTUMN, SPRING], ids=["autumn", "spring"])
def test_opening_closing_and_two_switches_of_summer_time_raise_no_alarm(
    zones: tuple[str, ...], begin: datetime, end: datetime
) -> None:
    hours = tuple(Hours(zone, 9 * 60, 21 * 60, 10) for zone in zones)
    promised, real = OpeningCalendar(hours), OpeningCalendar(hours, grace_seconds=0)
    instants = _instants(begin, end)
    last, alarms = instants[0], []
    for at in instants:
        # Stores connect twenty minutes after they open, and fall silent when they close.
        if real.open_share(at) > 0 and real.open_share(at - 1_200_000) > 0:
            last = at
        told = Silence((at - last) / 1000, promised.events_due(1.0, last, at))
        alarms += [at] * told.is_too_long(SERVICE_LEVELS.silence_seconds)
    assert alarms == []


def test_a_line_that_is_cut_while_stores_are_open_is_told_within_eleven_minutes() -> None:
    stores = OpeningCalendar((Hours("Europe/Berlin", 9 * 60, 21 * 60, 10),))
    cut = int(datetime(2026, 10, 25, 11, tzinfo=UTC).timestamp()) * 1000
    told = next(
        at
        for at in range(cut, cut + 7_200_000, 60_000)
        if Silence((at - cut) / 1000, stores.events_due(1.0, cut, at)).is_too_long(
            SERVICE_LEVELS.silence_seconds
        )
    )
    assert (told - cut) / 60_000 <= 11


def test_a_topic_to_which_nothing_ever_came_is_silent_since_the_jobs_start() -> None:
    assert judged(look(started_ago=500)).passed
    assert not judged(look(started_ago=700)).passed


def test_a_platform_that_slept_over_night_has_not_heard_what_came() -> None:
    assert judged(look(batch(30_000), started_ago=60)).passed


def without_records(seen: MarkedSnapshot, kind: MarkKind) -> MarkedSnapshot:
    """The commit of somebody who moves no offset, in place of a batch."""
    mark = seen.mark
    assert mark is not None
    carried = mark.carried(
        kind, "r", mark.batch_started_ms, engine=mark.engine, contract_version=mark.contract_version
    )
    return replace(seen, mark=carried)


@pytest.mark.parametrize("kind", [MarkKind.ERASURE, MarkKind.REPLAY, MarkKind.BACKFILL])
@pytest.mark.parametrize("ago", [60, 5_000])
def test_a_commit_without_records_makes_no_quiet_night_an_alarm(kind: MarkKind, ago: float) -> None:
    # The look is at 8:00 UTC; stores closed at 6:00, and what they sent until then is not in it.
    closed = OpeningCalendar((Hours("UTC", 0, 360, 1),), 0)
    stream = look(without_records(batch(ago), kind))
    night = judged(stream, closed)
    assert night.passed
    assert night.sentence == "No record came for 3600 s; 0 were due."
    day = judged(stream)
    assert not day.passed
    assert day.figures["silence_seconds"] == 3600.0
    # A run that is younger than that has heard nothing for as long as it runs.
    assert judged(look(without_records(batch(ago), kind), started_ago=500)).passed


def test_records_that_wait_are_events_that_came() -> None:
    verdict = judged(look(batch(5_000), waiting=3))
    assert verdict.passed
    assert "ingest_lag" in verdict.sentence


@pytest.mark.parametrize("read, passed", [(1, False), (2, True)])
def test_fewer_records_than_the_open_stores_owe_are_too_few(read: int, passed: bool) -> None:
    # A batch every 100 s, so 0.6 or 1.2 records a minute.
    verdict = judged(look(*steady(5, every=100.0, read=read)))
    assert verdict.passed is passed
    assert judged(look(*steady(5, every=100.0, read=read)), ALWAYS_CLOSED).passed


def test_a_run_of_a_few_minutes_is_not_yet_a_rate() -> None:
    assert judged(look(*steady(5, every=100.0, read=1), started_ago=500)).passed


def test_records_that_come_with_old_events_only_are_no_fresh_data() -> None:
    held = [batch(5 + 10 * i, held=900) for i in range(300)]
    verdict = judged(look(*held, waiting=20))
    assert not verdict.passed
    assert "900 s old when it reaches the broker" in verdict.sentence
    assert judged(look(*held, waiting=20), ALWAYS_CLOSED).passed
    # Some late events among fresh ones are no news.
    assert judged(look(batch(5), *held[1:], waiting=20)).passed


def test_what_comes_late_after_closing_time_alarms_nobody_all_night() -> None:
    # The look is at 8:00 UTC; the stores closed at 7:30, and a gateway sent its events of 6:00.
    closed = OpeningCalendar((Hours("UTC", 300, 450, 1),), 0)
    still_open = OpeningCalendar((Hours("UTC", 300, 510, 1),), 0)
    late = look(batch(5, held=7_200), waiting=20)
    assert judged(late, closed).passed
    assert not judged(late, still_open).passed
    assert judged(look(batch(3_700, held=900), waiting=20)).passed


def test_what_cannot_be_seen_is_a_failed_check_with_its_sentence() -> None:
    assert judged(look(topic="No Kafka.")).sentence == (
        "Whether events come cannot be known: No Kafka."
    )
    assert judged(look(table="No catalog.")).sentence == "No catalog."
    assert not judge_producer_clock("No catalog.", CLOCK, AT).passed
    for unseen in (
        judged(look(topic="No Kafka.")),
        judged(look(table="No catalog.")),
        judge_producer_clock("No catalog.", CLOCK, AT),
    ):
        assert unseen.figures == NOT_JUDGED


@pytest.mark.parametrize("ahead, passed", [(29, True), (31, False)])
def test_a_producers_clock_that_is_ahead_is_a_warning(ahead: float, passed: bool) -> None:
    verdict = judge_producer_clock(look(batch(5, ahead=ahead)).tables["inventory"], CLOCK, AT)
    assert verdict.passed is passed
    assert verdict.warn_only is not passed
    assert verdict.figures["clock_ahead_seconds"] == ahead


def test_a_broker_whose_clock_is_ahead_of_ours_is_a_warning_too() -> None:
    table = look(batch(-120, seconds=1)).tables["inventory"]
    assert judge_producer_clock(table, CLOCK, AT).figures["clock_ahead_seconds"] == 119.0


def test_before_the_first_batch_no_clock_is_blamed() -> None:
    assert judge_producer_clock(look().tables["inventory"], CLOCK, AT).passed


def test_a_job_that_is_restarted_starts_a_silence_anew() -> None:
    quiet = look(*steady(1_200))
    run = replace(quiet.jobs["inventory"], started_at_ms=AT - 300_000)
    assert not judged(quiet).passed
    assert judged(replace(quiet, jobs={"inventory": run})).passed


@pytest.mark.parametrize("held, passed", [(600, True), (601, False)])
def test_events_are_late_that_are_older_than_any_silence_may_be(held: float, passed: bool) -> None:
    late = [batch(5 + 10 * i, held=held) for i in range(300)]
    assert judged(look(*late, waiting=20)).passed is passed
