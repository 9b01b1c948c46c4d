"""The streaming jobs as a resource: who runs them is the profile's affair.

Here: choosing the runner, and the local one. Not here: Glue's state machine (`glue_jobs.py`), how
a process is spawned (`retail_lakehouse.local`): Dagster only asks, it never starts a job itself.
"""

from retail_lakehouse.contracts.events import EVENTS
from retail_lakehouse.resources.glue_jobs import GlueJobs
from retail_lakehouse.resources.job_runs import JobRun, JobRunner, Verb
from retail_lakehouse.resources.platform import PlatformResource


class StreamingJobsResource(PlatformResource):
    """The runner of the streaming jobs: the local supervisor, or AWS Glue."""

    def runs(self) -> dict[str, JobRun]:
        """The newest run of each job, by event name; never raises for an outage."""
        return self._runner().runs(tuple(event.name for event in EVENTS))

    def request(self, verb: Verb, event: str) -> str:
        """Asks for a start, stop or restart and returns what was answered.

        Raises:
            JobRequestError: nobody could be asked, or the answer was no.
        """
        return self._runner().request(verb, event)

    def _runner(self) -> JobRunner:
        settings = self.platform()
        if not settings.is_local:
            return GlueJobs(settings.aws_region)
        from retail_lakehouse.resources.local_jobs import LocalJobs

        return LocalJobs(settings.root, settings.lock_dir)
