"""Signing in to MSK with the IAM role that the process has.

Belongs here: librdkafka's settings for it, and the token. Doesn't belong here: how the streaming
jobs sign in, which is Java's way (`streaming/kafka.py`).

Source: https://docs.aws.amazon.com/msk/latest/developerguide/iam-access-control.html, and the
README of aws-msk-iam-sasl-signer-python.
"""

from __future__ import annotations

from retail_lakehouse.kafka.connection import ClientConfig, KafkaRefusedError


def iam_client_config(region: str) -> ClientConfig:
    """Settings with which a client signs in to the MSK clusters of a region.

    The first token is made here: a client whose callback fails waits for ten seconds and then says
    nothing of the cause. confluent_kafka asks for it while it makes the client, and for the next
    ones in the background: nobody has to poll.

    Raises:
        KafkaRefusedError: the process has no AWS credentials, or the signer is not installed.
    """
    made = [_token(region)]

    def token(_config: str) -> tuple[str, float]:
        return made.pop() if made else _token(region)

    return {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "OAUTHBEARER",
        "oauth_cb": token,
    }


def _token(region: str) -> tuple[str, float]:
    """A token, and when it expires, in epoch seconds."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        from aws_msk_iam_sasl_signer import MSKAuthTokenProvider
    except ImportError as error:
        raise KafkaRefusedError(
            "Signing in to MSK needs aws-msk-iam-sasl-signer-python, which is not installed: "
            "install retail-lakehouse with its extra, `pip install 'retail-lakehouse[aws]'`."
        ) from error
    try:
        token, expires_ms = MSKAuthTokenProvider.generate_auth_token(region)
    # AttributeError is how the signer (1.0.2) says that there are no credentials at all.
    except (BotoCoreError, ClientError, ValueError, AttributeError) as error:
        raise KafkaRefusedError(
            f"No token for MSK in {region} could be signed ({str(error).rstrip('.')}). Give this "
            "process AWS credentials: a role of its machine or task, or AWS_PROFILE."
        ) from error
    return token, expires_ms / 1000
