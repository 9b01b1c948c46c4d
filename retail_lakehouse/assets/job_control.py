"""Starting, stopping and restarting streaming jobs from Dagster.

Here: three jobs that ask whoever runs the streaming jobs: the supervisor answers once it is done,
Glue once it has taken the request. Not here: running them (`resources/`): Dagster spawns no
streaming job, so its own restart ends none.
"""

import dagster as dg
from pydantic import Field

from retail_lakehouse.assets.stream import now_ms
from retail_lakehouse.contracts.events import EVENTS, event_named
from retail_lakehouse.resources.job_runs import JobRequestError, Verb
from retail_lakehouse.resources.job_wishes import STAYS_ASKED, note_asked
from retail_lakehouse.resources.streaming_jobs import StreamingJobsResource


class WhichJobs(dg.Config):
    """The streaming jobs that a request is about."""

    events: list[str] = Field(
        default=[event.name for event in EVENTS],
        description="Names of the events whose jobs are meant.",
    )


def control_jobs() -> list[dg.JobDefinition]:
    """`start_streaming_jobs`, `stop_streaming_jobs` and `restart_streaming_jobs`."""
    verbs: tuple[Verb, ...] = ("start", "stop", "restart")
    return [_control_job(verb) for verb in verbs]


def _control_job(verb: Verb) -> dg.JobDefinition:
    @dg.op(
        name=f"{verb}_jobs", description=f"Asks the runner of the streaming jobs to {verb} them."
    )
    def ask(
        context: dg.OpExecutionContext,
        config: WhichJobs,
        streaming_jobs: StreamingJobsResource,
    ) -> None:
        refused = []
        for name in config.events:
            try:
                event = event_named(name)
                # First: no tick in between may start what is to be stopped.
                note_asked(context.instance, event.name, verb, now_ms())
                context.log.info(streaming_jobs.request(verb, event.name))
            except KeyError as error:
                refused.append(str(error.args[0]))
            except JobRequestError as error:
                refused.append(f"{error} {STAYS_ASKED}" if verb == "stop" else str(error))
        if refused:
            raise dg.Failure(description=" ".join(refused))

    @dg.job(
        name=f"{verb}_streaming_jobs",
        description=f"Asks the runner of the streaming jobs to {verb} the chosen ones.",
    )
    def control() -> None:
        ask()

    return control
