"""The control plane's heartbeat to CloudWatch, as a resource.

Here: one call. Not here: what is sent (`watchdog/cloudwatch.py`), when (`sensors/heartbeat.py`).
"""

from functools import cache
from typing import Any

from retail_lakehouse.resources.platform import PlatformResource

_TIMEOUT_SECONDS = 5


class HeartbeatError(RuntimeError):
    """CloudWatch did not take the heartbeat; the sentence says why."""


class HeartbeatResource(PlatformResource):
    """Where the heartbeat goes."""

    def put(self, failing: int, at_ms: int) -> None:
        """Send one heartbeat, and how many sensors and schedules do not work.

        Raises:
            HeartbeatError: CloudWatch refused or could not be reached.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        from retail_lakehouse.watchdog.cloudwatch import NAMESPACE, heartbeat_data

        settings = self.platform()
        try:
            cloudwatch_client(settings.aws_region).put_metric_data(
                **heartbeat_data(settings, failing, at_ms)
            )
        except (BotoCoreError, ClientError) as error:
            raise HeartbeatError(
                f"CloudWatch in {settings.aws_region} did not take the heartbeat: {error}. Allow "
                f"cloudwatch:PutMetricData for the namespace {NAMESPACE}, and check the network of "
                "the host that runs Dagster; until then its alarm says that Dagster stands still."
            ) from error


@cache
def cloudwatch_client(region: str) -> Any:
    """boto3's client, one for the process: it takes longer to make than to use."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        "cloudwatch",
        region_name=region,
        config=Config(
            connect_timeout=_TIMEOUT_SECONDS,
            read_timeout=_TIMEOUT_SECONDS,
            retries={"total_max_attempts": 2},
        ),
    )
