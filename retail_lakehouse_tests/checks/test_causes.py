"""Seven causes, seven names, none when all is well; and what is said when several hold."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from retail_lakehouse.assets.keys import table_key
from retail_lakehouse.assets.stream import StreamLook
from retail_lakehouse.assets.topic_look import TopicLook
from retail_lakehouse.checks import stream as stream_checks
from retail_lakehouse.checks.causes import (
    NOT_DRAINING,
    Cause,
    Diagnosis,
    diagnose_ingest,
    diagnose_serving,
    refresh_parts,
)
from retail_lakehouse.checks.judges import Verdict
from retail_lakehouse.checks.stream import CountedBefore
from retail_lakehouse.contracts.events import CLICKSTREAM, INVENTORY
from retail_lakehouse.contracts.opening_hours import OpeningCalendar
from retail_lakehouse.contracts.service_levels import SERVICE_LEVELS
from retail_lakehouse.contracts.tables import event_table
from retail_lakehouse.contracts.views import materialized_over
from retail_lakehouse.resources.job_runs import JobState
from retail_lakehouse.settings import Settings
from retail_lakehouse.warehouse.refresh_record import ViewRecord, write_records
from retail_lakehouse.warehouse.session_marks import SessionUnderWay
from retail_lakehouse_tests.checks.looks import (
    ALWAYS_CLOSED,
    ALWAYS_OPEN,
    AT,
    JOB,
    SETTINGS,
    batch,
    look,
    steady,
)

NO_KAFKA = "Kafka at 127.0.0.1:1 did not answer within 5 seconds."
ON_AWS = Settings.load({"refresh_interval_seconds": 300, "snapshot_retention_minutes": 60})


def ingest(
    stream: StreamLook,
    calendar: OpeningCalendar = ALWAYS_OPEN,
    drained: Mapping[int, int] | None = None,
) -> Diagnosis:
    return diagnose_ingest(stream, INVENTORY, SETTINGS, SERVICE_LEVELS, drained or {}, calendar)


def record(refreshed_ago: float = 10.0, latency: float | None = 0.1) -> ViewRecord:
    return ViewRecord(
        AT - int(refreshed_ago * 1000),
        0.5,
        3,
        AT,
        "done",
        1,
        latency,
        True,
        {"inventory_events": 7},
    )


@dataclass(frozen=True)
class Case:
    name: str
    diagnosis: Diagnosis
    causes: tuple[Cause, ...] = ()
    parts: Mapping[str, object] = field(default_factory=dict)


def serving(
    refreshed: ViewRecord | None,
    waits: float | None,
    settings: Settings = SETTINGS,
    session: SessionUnderWay | None = None,
) -> Diagnosis:
    since = None if waits is None else AT - int(waits * 1000)
    return diagnose_serving(refreshed, since, AT, settings, SERVICE_LEVELS, session)


SLOW = [batch(5 + 25 * i, read=100, seconds=200) for i in range(12)]
QUIET = steady(last_ago=1200)
CATCHING_UP = [batch(10.0 * i, read=400, seconds=10, behind=189) for i in range(30)]
AHEAD = [batch(5, ahead=90), *steady(15)]

CASES = [
    Case("all is well", ingest(look(*steady(), waiting=40)), (), {"backlog_records": 40}),
    Case("all is well and drained", ingest(look(*steady())), (), {"producer_delay_seconds": 1.0}),
    Case("a quiet night", ingest(look(*QUIET), ALWAYS_CLOSED)),
    Case("the view shows everything", serving(record(9_999, 40.0), None)),
    Case("data waits for its turn", serving(record(10), 8), (), {"refresh_age_seconds": 10.0}),
    # Each cause alone
    Case(
        "broker down",
        ingest(look(*steady(60), topic=NO_KAFKA)),
        (Cause.BROKER_DOWN,),
        {"last_batch_age_seconds": 60.0},
    ),
    Case(
        "stalled job",
        ingest(look(*steady(400), waiting=900)),
        (Cause.STALLED_JOB,),
        {"drain_forecast": NOT_DRAINING, "backlog_records": 900, "last_batch_age_seconds": 400.0},
    ),
    Case(
        "a job that does not run is a stalled one",
        ingest(look(*steady(10), waiting=9, state=JobState.STOPPED)),
        (Cause.STALLED_JOB,),
        {"drain_forecast": NOT_DRAINING},
    ),
    Case("slow job", ingest(look(*SLOW, waiting=5_000)), (Cause.SLOW_JOB,)),
    Case("stopped producer", ingest(look(*QUIET)), (Cause.STOPPED_PRODUCER,)),
    Case("clock ahead", ingest(look(*AHEAD, waiting=5)), (Cause.CLOCK_AHEAD,)),
    Case(
        "paused refresh",
        serving(record(700), 650),
        (Cause.PAUSED_REFRESH,),
        {"refresh_age_seconds": 700.0},
    ),
    Case("a view that was never refreshed", serving(None, 650), (Cause.PAUSED_REFRESH,)),
    Case(
        "cold warehouse",
        serving(record(10, latency=41.0), 8),
        (Cause.COLD_WAREHOUSE,),
        {"warehouse_latency_seconds": 41.0},
    ),
    Case(
        "a warehouse that does not answer the refresh under way is cold, and no refresh is paused",
        serving(record(700), 650, session=SessionUnderWay(AT - 640_000, None)),
        (Cause.COLD_WAREHOUSE,),
        {"warehouse_unanswered_seconds": 640.0},
    ),
    Case(
        "one that has been asked just now may still answer",
        serving(record(10), 8, session=SessionUnderWay(AT - 4_000, None)),
    ),
    Case(
        "one that has answered is not cold, however long the refresh takes",
        serving(record(700), 650, session=SessionUnderWay(AT - 640_000, AT - 639_000)),
        (Cause.PAUSED_REFRESH,),
    ),
    # Several at once
    Case(
        "behind a broker that is down nothing is said of job, producer or clock",
        ingest(look(*AHEAD, topic=NO_KAFKA, state=JobState.FAILED)),
        (Cause.BROKER_DOWN,),
    ),
    Case(
        "a stalled job is not slow too, and hides whether the producer goes on",
        ingest(look(*QUIET, waiting=3)),
        (Cause.STALLED_JOB,),
    ),
    Case(
        "a stalled job comes before a clock",
        ingest(look(batch(400, ahead=90), waiting=3)),
        (Cause.STALLED_JOB, Cause.CLOCK_AHEAD),
    ),
    Case(
        "a slow job comes before a clock",
        ingest(look(batch(5, seconds=200, ahead=90), *SLOW, waiting=3)),
        (Cause.SLOW_JOB, Cause.CLOCK_AHEAD),
    ),
    Case(
        "a stopped producer comes before a clock",
        ingest(look(batch(1200, ahead=90))),
        (Cause.STOPPED_PRODUCER, Cause.CLOCK_AHEAD),
    ),
    Case(
        "a paused refresh knows nothing of the warehouse by now",
        serving(record(700, latency=41.0), 650),
        (Cause.PAUSED_REFRESH,),
    ),
    Case(
        "a job that stands aside for a long replay is slow, and neither stalled nor asked to mend",
        ingest(look(*steady(900), waiting=9, yielded_ago=1)),
        (Cause.SLOW_JOB,),
    ),
    Case(
        "a job that does not take up after a lease is stalled",
        ingest(look(*steady(900), waiting=9, yielded_ago=121)),
        (Cause.STALLED_JOB,),
    ),
    Case(
        "a run that Glue is starting is slow, and nobody is told to restart it",
        ingest(look(*steady(400), waiting=9, state=JobState.STARTING, awaited_ago=300)),
        (Cause.SLOW_JOB,),
    ),
    Case(
        "a run that does not come is stalled",
        ingest(look(*steady(1_000), waiting=9, state=JobState.STARTING, awaited_ago=901)),
        (Cause.STALLED_JOB,),
    ),
    # What is no cause
    Case("a job that is down with nothing to do", ingest(look(*steady(), state=JobState.STOPPED))),
    Case("a run that warms up", ingest(look(*steady(60), waiting=9, started_ago=40))),
    Case(
        "the first record after a quiet night",
        ingest(look(*QUIET, waiting=1), drained={0: AT - 15_000}),
    ),
    Case("a table that cannot be read", ingest(look(table="There is no catalog."))),
    Case(
        "a refresh whose interval is long",
        serving(record(550), 500, ON_AWS),
    ),
    Case(
        "and at the service level at the latest it is paused",
        serving(record(650), 601, ON_AWS),
        (Cause.PAUSED_REFRESH,),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_cause_has_its_name_and_no_other(case: Case) -> None:
    assert tuple(case.diagnosis.causes) == case.causes
    assert case.diagnosis.guilty == (case.causes[0] if case.causes else None)
    for name, value in case.parts.items():
        assert case.diagnosis.parts[name] == value


def test_every_cause_is_tried() -> None:
    assert {case.diagnosis.guilty for case in CASES} == {None, *Cause}


def test_several_causes_stand_in_the_order_of_their_precedence() -> None:
    order = list(Cause)
    for case in CASES:
        assert list(case.diagnosis.causes) == sorted(case.diagnosis.causes, key=order.index)


def test_one_topic_that_alone_cannot_be_read_is_no_broker_that_is_down() -> None:
    stream = look(*steady(), topic="The topic does not exist.")
    other = TopicLook(CLICKSTREAM, AT, "t", {0: 0}, {0: 5}, {0: 5})
    assert ingest(replace(stream, topics=stream.topics | {"clickstream": other})).guilty is None


def test_the_drain_forecast_is_the_backlog_by_what_is_read_more_than_comes() -> None:
    # 300 s: reads 40 a second; 6,000 wait for 200 s: 30 a second come; gone in 600 s.
    parts = ingest(look(*CATCHING_UP, waiting=6_000)).parts
    assert parts["drain_records_per_second"] == pytest.approx(10.0, abs=0.1)
    assert parts["drain_forecast"] == "600 s"
    assert parts["backlog_age_seconds"] == 200.0


@pytest.mark.parametrize("waiting", [8_000, 80_000])
def test_a_job_that_reads_no_faster_than_records_come_is_not_draining(waiting: int) -> None:
    parts = ingest(look(*CATCHING_UP, waiting=waiting)).parts
    assert parts["drain_forecast"] == NOT_DRAINING


def test_a_lag_is_never_below_nothing_whatever_the_clocks_say() -> None:
    broker_ahead = [batch(-120), *steady(20)]
    told = ingest(look(*broker_ahead, waiting=3), drained={0: AT + 60_000})
    assert tuple(told.causes) == (Cause.CLOCK_AHEAD,)
    assert all(part >= 0 for part in told.parts.values() if isinstance(part, float))


def test_a_verdict_says_the_cause_and_keeps_its_own_figures() -> None:
    told = ingest(look(*steady(10), waiting=9, state=JobState.STOPPED)).named_in(
        Verdict(False, "9 records wait.", {"backlog_records": 9, "mine": 1})
    )
    assert told.sentence == (
        f"9 records wait. Cause: stalled job. 9 records wait and no job reads them. {JOB}"
    )
    assert told.figures["cause"] == "stalled job"
    assert told.figures["mine"] == 1
    assert "last_batch_age_seconds" in told.figures
    assert not told.passed


def test_what_else_holds_is_named_beside_the_guilty_stage() -> None:
    told = ingest(look(batch(400, ahead=90), waiting=3)).named_in(Verdict(False, "Late."))
    assert told.sentence.endswith("Beside it: clock ahead.")


def test_a_verdict_without_a_cause_only_gains_figures() -> None:
    told = ingest(look(*steady())).named_in(Verdict(True, "Well."))
    assert told.sentence == "Well."
    assert "cause" not in told.figures
    assert told.figures["commit_seconds"] == 0.7


def test_a_verdict_that_passes_names_no_cause_whatever_holds() -> None:
    why = ingest(look(*QUIET))
    assert why.guilty is Cause.STOPPED_PRODUCER
    told = why.named_in(Verdict(True, "Every record has landed."))
    assert told.sentence == "Every record has landed."
    assert "cause" not in told.figures
    assert told.figures["backlog_records"] == 0


@pytest.mark.parametrize(
    "stream, failing, cause",
    [
        (look(*steady(1200, every=60)), "events_arrive", "stopped producer"),
        (look(*AHEAD), "producer_clock", "clock ahead"),
        (look(*steady(400), waiting=900), "ingest_lag", "stalled job"),
    ],
    ids=["stopped producer", "clock ahead", "stalled job"],
)
def test_the_check_that_fails_names_the_cause_once_and_the_others_of_the_table_do_not(
    stream: StreamLook, failing: str, cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_checks, "EVENTS", (INVENTORY,))
    monkeypatch.setattr(stream_checks, "calendar_of", lambda _event: ALWAYS_OPEN)
    told = {
        judged.key.name: judged.verdict
        for judged in stream_checks.judge_stream(stream, SETTINGS)
        if judged.key.asset_key == table_key(event_table("inventory"))
    }
    assert {name: told[name].figures.get("cause") for name in told} == {
        name: cause if name == failing else None for name in told
    }
    sentence = told[failing].sentence
    assert sentence.count(f"Cause: {cause}.") == 1
    assert sentence.count("Look at what sends them.") <= 1
    assert not any("Cause:" in told[name].sentence for name in told if name != failing)


def test_the_lag_of_a_table_shows_the_whole_path_to_its_views(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_checks, "EVENTS", (INVENTORY,))
    slowest, others = materialized_over("inventory_events")[0].name, record(20, 0.3)
    over_others = {view.name: record(900, 30.0) for view in materialized_over("clickstream_events")}
    over = {view.name: others for view in materialized_over("inventory_events")}
    write_records(tmp_path, over_others | over | {slowest: record(40, None)})
    before = CountedBefore.of(tmp_path)
    judged = stream_checks.judge_stream(look(*steady(400)), SETTINGS, before=before)
    (lag,) = (each.verdict for each in judged if each.key.name == "ingest_lag")
    assert refresh_parts("inventory_events", {}, AT) == {}
    assert lag.figures["refresh_age_seconds"] == 40
    assert lag.figures["warehouse_latency_seconds"] == 0.3
    assert lag.figures.keys() >= {
        "producer_delay_seconds",
        "backlog_records",
        "last_batch_age_seconds",
        "batch_seconds",
    }


def test_a_refresh_is_paused_once_three_of_them_are_missing_since_there_was_something_to_do() -> (
    None
):
    most = 3.0 * SETTINGS.refresh_seconds
    assert serving(record(most), most).guilty is None
    assert serving(record(most + 1), most + 1).guilty is Cause.PAUSED_REFRESH
    # After a quiet night the last refresh is old, and nothing has waited for long.
    assert serving(record(30_000), 5).guilty is None


@pytest.mark.parametrize("latency, cause", [(5.0, None), (5.1, Cause.COLD_WAREHOUSE)])
def test_a_warehouse_is_cold_that_answers_later_than_one_that_is_awake(
    latency: float, cause: Cause | None
) -> None:
    assert serving(record(10, latency), 8).guilty is cause
