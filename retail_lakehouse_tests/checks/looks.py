"""Looks at a stream as a test wants them: batches by age, a backlog, a job, clocks."""

from retail_lakehouse.assets.stream import StreamLook, TableLook
from retail_lakehouse.assets.topic_look import TopicLook
from retail_lakehouse.contracts.events import INVENTORY
from retail_lakehouse.contracts.mark import Counts, Mark, MarkKind, TimeRange
from retail_lakehouse.contracts.opening_hours import Hours, OpeningCalendar
from retail_lakehouse.resources.job_runs import JobRun, JobState
from retail_lakehouse.settings import Settings
from retail_lakehouse.tables.landing import read_since_ms
from retail_lakehouse.tables.marks import MarkedSnapshot

AT = 1_800_000_000_000
SETTINGS = Settings.load({"trigger_seconds": 10.0})
ALWAYS_OPEN = OpeningCalendar((Hours("UTC", 0, 1440, 1),), 0)
ALWAYS_CLOSED = OpeningCalendar((Hours("UTC", 0, 0, 1),), 0)
JOB = "The inventory job is so."


def batch(
    ago: float,
    read: int = 100,
    seconds: float = 1.0,
    *,
    ahead: float = 0.0,
    held: float = 1.0,
    behind: float = 0.0,
) -> MarkedSnapshot:
    """A batch committed `ago` seconds before the look.

    Its newest record came `behind` seconds before it began, and the newest event `held` seconds
    before that, or `ahead` seconds after it.
    """
    began = AT - int((ago + seconds) * 1000)
    came = began - int(behind * 1000)
    event = came + int(ahead * 1000) if ahead else came - int(held * 1000)
    mark = Mark(
        kind=MarkKind.STREAM,
        cluster_id="c",
        topic=INVENTORY.topic,
        topic_id="t",
        ranges={0: (0, read)},
        until={0: 100},
        event_time=TimeRange(event - 1000, event),
        broker_time=TimeRange(came - 1000, came),
        batch=Counts(read=read, landed=read),
        total=Counts(),
        batch_started_ms=began,
        previous_commit_ms=700,
        contract_version=1,
        run_id="r",
        engine="spark",
    )
    return MarkedSnapshot(1, None, AT - int(ago * 1000), "append", read, 1, mark)


def look(
    *batches: MarkedSnapshot,
    waiting: int = 0,
    state: JobState = JobState.RUNNING,
    started_ago: float = 100_000,
    topic: TopicLook | str | None = None,
    table: str | None = None,
    yielded_ago: float | None = None,
    awaited_ago: float | None = None,
) -> StreamLook:
    """The stream of one event; `batches` newest first."""
    marks = [each.mark for each in batches if each.mark is not None]
    seen: TableLook | str = table or TableLook(
        batches[-1] if batches else None,
        batches[0] if batches else None,
        read_since_ms(marks),
        batches,
    )
    end = {0: 100 + waiting}
    return StreamLook(
        AT,
        {"inventory": topic or TopicLook(INVENTORY, AT, "t", {0: 0}, end, {0: 100})},
        {
            "inventory": JobRun(
                "inventory",
                state,
                JOB,
                AT - int(started_ago * 1000),
                "7",
                yielded_at_ms=None if yielded_ago is None else AT - int(yielded_ago * 1000),
                awaited_since_ms=None if awaited_ago is None else AT - int(awaited_ago * 1000),
            )
        },
        {"inventory": seen},
    )


def steady(last_ago: float = 5.0, *, every: float = 10.0, read: int = 100) -> list[MarkedSnapshot]:
    """Batches of the last hour, newest first, the newest `last_ago` seconds ago."""
    return [batch(last_ago + i * every, read) for i in range(int((3600 - last_ago) / every))]
