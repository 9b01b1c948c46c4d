"""The sensor that watches topics, streaming jobs and the lag between them and the tables.

Here: one look a tick, which of it is reported, and what it makes the jobs' state machines ask for.
Not here: the look, the verdicts, the machines (`job_watch.py`).
"""

import logging
from collections.abc import Mapping
from typing import Any

import dagster as dg

from retail_lakehouse.assets.keys import job_key, topic_key
from retail_lakehouse.assets.stream import StreamLook, look_at_stream
from retail_lakehouse.assets.streaming_jobs import job_event
from retail_lakehouse.assets.topic_look import TopicLook
from retail_lakehouse.assets.topics import topic_observation
from retail_lakehouse.checks import measures
from retail_lakehouse.checks.stream import CountedBefore, DrainedAt, drained_at, judge_stream
from retail_lakehouse.contracts.events import EVENTS
from retail_lakehouse.contracts.job_states import Phase
from retail_lakehouse.contracts.service_levels import SERVICE_LEVELS
from retail_lakehouse.resources.iceberg import IcebergCatalogResource
from retail_lakehouse.resources.job_runs import JobRequestError
from retail_lakehouse.resources.job_wishes import stops_asked
from retail_lakehouse.resources.kafka import KafkaResource
from retail_lakehouse.resources.streaming_jobs import StreamingJobsResource
from retail_lakehouse.sensors.edges import Edge, Memory
from retail_lakehouse.sensors.job_watch import WatchedJob, first_seen, refused, restarted, watched
from retail_lakehouse.sensors.paused_refresh import judge_paused
from retail_lakehouse.sensors.remembered import STREAM_SENSOR
from retail_lakehouse.sensors.reports import check_events, report_every_seconds, tick_sentence
from retail_lakehouse.settings import Settings
from retail_lakehouse.tables.hourly_volume import Counting, add_hours, counted

logger = logging.getLogger(__name__)

StreamEvent = dg.AssetMaterialization | dg.AssetObservation | dg.AssetCheckEvaluation


def stream_sensor(settings: Settings) -> dg.SensorDefinition:
    """Watches the stream every `sensor_seconds`."""
    every_seconds = report_every_seconds(settings, settings.sensor_seconds)

    @dg.sensor(
        name=STREAM_SENSOR,
        minimum_interval_seconds=settings.sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        # No run is ever asked for: this makes the topics' pages name the sensor.
        asset_selection=[topic_key(event) for event in EVENTS],
        description="Looks at topics, streaming jobs and tables, judges their checks, and restarts "
        "a job that hangs; on Glue also one that failed.",
    )
    def watch_stream(
        context: dg.SensorEvaluationContext,
        kafka: KafkaResource,
        iceberg: IcebergCatalogResource,
        streaming_jobs: StreamingJobsResource,
    ) -> dg.SensorResult:
        memory = Memory.from_cursor(context.cursor)
        stream = look_at_stream(kafka, iceberg, streaming_jobs)
        drained = drained_at(stream, memory.facts)
        _count_hours(stream, settings, memory)
        judged = [
            *judge_stream(stream, settings, drained, CountedBefore.of(settings.root)),
            *judge_paused(iceberg, settings, memory, context.instance, stream.at_ms),
        ]
        # On one machine the supervisor remembers what it is asked.
        stops = {} if settings.is_local else stops_asked(context.instance, stream.jobs)
        phases = _control(stream, drained, settings, streaming_jobs, memory, stops)
        events: list[StreamEvent] = [
            *_topic_events(stream, memory, every_seconds),
            *_job_events(stream, memory, phases),
            *check_events(judged, memory, stream.at_ms),
        ]
        return dg.SensorResult(
            asset_events=events,
            cursor=memory.to_cursor(),
            skip_reason=tick_sentence(len(events), judged),
        )

    return watch_stream


def _count_hours(stream: StreamLook, settings: Settings, memory: Memory) -> None:
    """Counts the hours' records; the file is written when an hour is over, not with each tick."""
    kept: dict[str, Any] = memory.facts.setdefault("counting", {})
    new = {}
    for event in EVENTS:
        topic, table = stream.topics[event.name], stream.tables[event.name]
        if isinstance(table, str):
            continue
        counting, over = counted(
            Counting.from_json(kept.get(event.name)),
            reversed(measures.marks_of(table)),
            stream.at_ms,
            all_has_landed=isinstance(topic, TopicLook) and not topic.backlog,
        )
        if counting is not None:
            kept[event.name] = counting.to_json()
        if over:
            new[event.name] = over
    if not new:
        return
    try:
        add_hours(settings.root, new)
    except OSError as error:
        # The other checks of the tick matter more than an hour that is not compared later.
        logger.warning("The records of an hour cannot be written down: %s", error)


def _topic_events(
    stream: StreamLook, memory: Memory, every_seconds: float
) -> list[dg.AssetObservation]:
    observed: dict[str, list[int]] = memory.facts.setdefault("observed", {})
    events = []
    for event in EVENTS:
        topic = stream.topics[event.name]
        if isinstance(topic, str):
            continue
        before = observed.get(event.name)
        if before is not None and stream.at_ms - before[0] < every_seconds * 1000:
            continue
        events.append(topic_observation(topic, (before[0], before[1]) if before else None))
        observed[event.name] = [stream.at_ms, topic.end_total]
    return events


def _control(
    stream: StreamLook,
    drained: DrainedAt,
    settings: Settings,
    jobs: StreamingJobsResource,
    memory: Memory,
    stops: Mapping[str, int],
) -> dict[str, Phase]:
    """Steps each job's state machine, asks for what it says, and gives the phases."""
    kept: dict[str, Any] = memory.facts.setdefault("jobs", {})
    phases = {}
    for name, run in stream.jobs.items():
        if name not in kept:
            job, verb = first_seen(run, stream.at_ms), None
        else:
            beyond = measures.quiet_beyond_seconds(
                stream, name, drained.get(name, {}), settings.trigger, SERVICE_LEVELS
            )
            job, verb = watched(
                WatchedJob.from_json(kept[name]),
                run,
                beyond,
                SERVICE_LEVELS.ingest_lag_seconds,
                stream.at_ms,
                stands_aside=measures.stands_aside(run, stream.at_ms),
                stop_asked_ms=stops.get(name),
            )
        phases[name] = job.life.phase
        if verb is not None:
            logger.warning("%s is %s and is asked to %s.", name, job.life.phase.value, verb)
            try:
                jobs.request(verb, name)
                job = restarted(job) if verb == "restart" else job
            except JobRequestError as error:
                logger.warning("%s", error)
                job = refused(job, stream.at_ms, ends_restarts=settings.is_local)
                phases[name] = job.life.phase
        kept[name] = job.to_json()
    return phases


def _job_events(
    stream: StreamLook, memory: Memory, phases: Mapping[str, Phase]
) -> list[dg.AssetMaterialization | dg.AssetObservation]:
    events = []
    for event in EVENTS:
        run = stream.jobs[event.name]
        # A death on one machine is the supervisor's affair: the machine here hears nothing of it.
        phase = run.phase or phases[event.name]
        told = f"{run.state.value} {run.run_id} {phase.value}"
        edge = memory.edge(job_key(event).to_user_string(), told, stream.at_ms)
        if edge is not Edge.PERSISTING:
            events.append(job_event(run, event, phase))
    return events
