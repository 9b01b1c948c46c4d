"""What the stream's sensor asks of those who run the jobs, and what it makes of their answers."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import dagster as dg
import pytest

from retail_lakehouse.assets import stream
from retail_lakehouse.assets.keys import job_key
from retail_lakehouse.contracts.events import INVENTORY
from retail_lakehouse.contracts.job_states import JobEvent, JobLife, Phase
from retail_lakehouse.resources.job_runs import JobRequestError, JobRun, JobState
from retail_lakehouse.resources.job_wishes import note_asked
from retail_lakehouse.sensors.edges import Memory
from retail_lakehouse.sensors.job_watch import PACE, WatchedJob
from retail_lakehouse.sensors.stream import stream_sensor
from retail_lakehouse.settings import Settings
from retail_lakehouse_tests.resources.fakes import FakeJobs, FakeKafka, Lakehouse, now_ms


@dataclass
class Jobs(FakeJobs):
    """Jobs whose runner refuses, or knows their phase, where a test says so."""

    refuses: bool = False
    phase: Phase | None = None

    def runs(self) -> dict[str, JobRun]:
        """As StreamingJobsResource answers."""
        return {name: replace(run, phase=self.phase) for name, run in super().runs().items()}

    def request(self, verb: str, event: str) -> str:
        """As StreamingJobsResource answers."""
        told = super().request(verb, event)
        if self.refuses:
            raise JobRequestError("It was refused.")
        return told


@dataclass
class Platform:
    """The sensor over fakes, with its cursor and its clock."""

    settings: Settings
    lakehouse: Lakehouse
    instance: dg.DagsterInstance
    monkeypatch: pytest.MonkeyPatch
    jobs: Jobs = field(default_factory=lambda: Jobs(told=JobEvent.RUN_UP))
    kafka: FakeKafka = field(default_factory=FakeKafka)
    at_ms: int = field(default_factory=now_ms)
    cursor: str | None = None
    shown: list[str] = field(default_factory=list)
    """The phases that the last tick reported of the inventory job."""

    def tick(self, after_seconds: float = 30.0) -> JobLife:
        """Ticks so much later; what is known of the inventory job then."""
        self.at_ms += int(after_seconds * 1000)
        self.monkeypatch.setattr(stream, "now_ms", lambda: self.at_ms)
        resources: dict[str, Any] = {
            "kafka": self.kafka,
            "iceberg": self.lakehouse.resource(),
            "streaming_jobs": self.jobs,
        }
        with dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, resources=resources
        ) as context:
            result = stream_sensor(self.settings)(context)
        assert isinstance(result, dg.SensorResult)
        self.cursor = result.cursor
        self.shown = [
            str(event.metadata["phase"].value)
            for event in result.asset_events
            if event.asset_key == job_key(INVENTORY) and "phase" in event.metadata
        ]
        kept = Memory.from_cursor(result.cursor).facts["jobs"]["inventory"]
        return WatchedJob.from_json(kept).life

    def asked_of_inventory(self) -> list[str]:
        """The requests so far."""
        return [verb for verb, event in self.jobs.asked if event == "inventory"]

    def die(self) -> None:
        """From now on the newest run is one that failed."""
        self.jobs.state, self.jobs.told = JobState.FAILED, JobEvent.RUN_DIED

    def stall(self) -> None:
        """Records wait, and nothing is committed, until a restart is asked for."""
        self.kafka.ends["inventory"] = 50
        phases = [self.tick(seconds).phase for seconds in (0, 1_000)]
        assert phases == [Phase.RUNNING, Phase.STALLED]
        self.tick(1_000)
        assert self.asked_of_inventory() == ["restart"]


@pytest.fixture
def platform(
    settings: Settings, lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Platform]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Platform(settings, lakehouse, instance, monkeypatch)


@pytest.fixture
def on_glue(platform: Platform) -> Platform:
    """The same on the other profile, as far as the sensor asks for it."""
    platform.settings = platform.settings.model_copy(update={"profile": "aws"})
    assert not platform.settings.is_local
    return platform


def test_a_run_that_died_on_glue_is_started_again_by_the_sensor(on_glue: Platform) -> None:
    on_glue.tick()
    on_glue.die()
    assert on_glue.tick() == JobLife(Phase.WAITING, 1)
    assert on_glue.asked_of_inventory() == []
    assert on_glue.tick(PACE.pause_seconds(1)) == JobLife(Phase.STARTING, 1)
    assert on_glue.asked_of_inventory() == ["start"]


def test_a_start_that_glue_refuses_is_tried_again_after_a_pause(on_glue: Platform) -> None:
    on_glue.tick()
    on_glue.die()
    on_glue.tick()
    on_glue.jobs.refuses = True
    assert on_glue.tick(PACE.pause_seconds(1)) == JobLife(Phase.WAITING, 1)
    assert on_glue.tick(PACE.pause_seconds(1) - 1) == JobLife(Phase.WAITING, 1)
    assert on_glue.asked_of_inventory() == ["start"]
    on_glue.jobs.refuses = False
    assert on_glue.tick(1) == JobLife(Phase.STARTING, 1)
    assert on_glue.asked_of_inventory() == ["start", "start"]


def test_what_people_asked_dagster_to_stop_between_two_runs_the_sensor_does_not_start(
    on_glue: Platform,
) -> None:
    on_glue.tick()
    on_glue.die()
    on_glue.tick()
    note_asked(on_glue.instance, "inventory", "stop", on_glue.at_ms + 1)
    assert on_glue.tick(PACE.pause_seconds(1)).phase is Phase.STOPPED
    assert on_glue.asked_of_inventory() == []
    # The others were not meant.
    assert ("start", "transactions") in on_glue.jobs.asked


def test_a_stalled_run_that_glue_has_stopped_is_followed_by_a_start(on_glue: Platform) -> None:
    # Glue does half of a restart, and says so.
    on_glue.jobs.refuses = True
    on_glue.stall()
    assert on_glue.tick().phase is Phase.RESTARTING
    on_glue.jobs.refuses = False
    on_glue.jobs.state, on_glue.jobs.told = JobState.STOPPED, JobEvent.RUN_STOPPED
    assert on_glue.tick().phase is Phase.STARTING
    assert on_glue.asked_of_inventory() == ["restart", "start"]


@pytest.mark.parametrize("refuses", [False, True], ids=["done", "late"])
def test_what_a_person_stops_after_the_supervisor_restarted_it_is_not_started(
    platform: Platform, refuses: bool
) -> None:
    # A restart that the supervisor could not end in its time goes on all the same.
    platform.jobs.refuses = refuses
    platform.stall()
    platform.jobs.state, platform.jobs.told = JobState.STOPPED, JobEvent.RUN_STOPPED
    assert platform.tick().phase is Phase.STOPPED
    assert platform.tick(10_000).phase is Phase.STOPPED
    assert platform.asked_of_inventory() == ["restart"]


def test_the_page_of_a_job_that_the_supervisor_starts_again_does_not_say_that_it_runs(
    platform: Platform,
) -> None:
    platform.tick()
    assert platform.shown == ["running"]
    platform.jobs.state, platform.jobs.told = JobState.FAILED, None
    platform.jobs.phase = Phase.WAITING
    platform.tick()
    assert platform.shown == ["waiting"]
    # It dies on: that is news, though its state stays the same.
    platform.jobs.phase = Phase.CRASH_LOOPING
    platform.tick()
    assert platform.shown == ["crash-looping"]
    platform.tick()
    assert platform.shown == []
