"""How Dagster signs in to MSK, with a signer that is a fake: the real one asks AWS."""

import sys
import time
from collections.abc import Callable, Mapping
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from retail_lakehouse.contracts.events import EVENTS
from retail_lakehouse.kafka.connection import (
    KafkaRefusedError,
    KafkaUnreachableError,
    LeaderMovingError,
    TopicMissingError,
    admin_client,
)
from retail_lakehouse.kafka.msk_iam import iam_client_config
from retail_lakehouse.local.ports import free_port
from retail_lakehouse.resources.kafka import KafkaResource
from retail_lakehouse.settings import Settings

TOKEN = "a-signed-url"
TOPICS = {event.topic for event in EVENTS}

Sign = Callable[[str], tuple[str, int]]


class Signer:
    """Gives out numbered tokens that expire in 15 minutes; remembers for which region."""

    def __init__(self) -> None:
        self.regions: list[str] = []

    def __call__(self, region: str) -> tuple[str, int]:
        self.regions.append(region)
        return f"{TOKEN}-{len(self.regions)}", int((time.time() + 900) * 1000)


def install(monkeypatch: pytest.MonkeyPatch, sign: Sign) -> None:
    module: Any = ModuleType("aws_msk_iam_sasl_signer")
    module.MSKAuthTokenProvider = SimpleNamespace(generate_auth_token=sign)
    monkeypatch.setitem(sys.modules, "aws_msk_iam_sasl_signer", module)


@pytest.fixture
def signer(monkeypatch: pytest.MonkeyPatch) -> Signer:
    fake = Signer()
    install(monkeypatch, fake)
    return fake


def on_aws() -> Settings:
    return Settings.load(
        {
            "profile": "aws",
            "bootstrap_servers": f"127.0.0.1:{free_port()}",
            "warehouse_host": "wg.1.ap-south-1.redshift-serverless.amazonaws.com",
            "aws_region": "ap-south-1",
            "warehouse_location": "s3://lake/iceberg",
            "checkpoint_location": "s3://lake/checkpoints",
        }
    )


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Mapping[str, Any]]:
    """The client configurations with which topics were asked for."""
    configs: list[Mapping[str, Any]] = []

    def describe(config: Mapping[str, Any], *_: object) -> tuple[()]:
        configs.append(config)
        raise KafkaUnreachableError("Kafka did not answer.")

    monkeypatch.setattr("retail_lakehouse.kafka.admin.describe_topics", describe)
    return configs


def test_on_aws_the_resource_signs_in_with_the_role_of_its_process(
    signer: Signer, asked: list[Mapping[str, Any]]
) -> None:
    KafkaResource.of(on_aws()).describe()
    (config,) = asked
    assert config["security.protocol"] == "SASL_SSL"
    assert config["sasl.mechanism"] == "OAUTHBEARER"
    token, expires = config["oauth_cb"]("")
    assert token == f"{TOKEN}-1"
    assert 800 < expires - time.time() <= 900
    assert signer.regions == ["ap-south-1"]


def test_a_token_is_signed_anew_when_the_first_one_was_given_out(signer: Signer) -> None:
    callback = iam_client_config("eu-west-1")["oauth_cb"]
    assert callable(callback)
    assert [callback("")[0] for _ in range(3)] == [f"{TOKEN}-{n}" for n in (1, 2, 3)]  # type: ignore[index]


def test_on_one_machine_nobody_signs_in(
    signer: Signer, asked: list[Mapping[str, Any]], tmp_path: Any
) -> None:
    settings = Settings.load({"state_dir": tmp_path})
    KafkaResource.of(settings).describe()
    assert asked == [{"bootstrap.servers": settings.kafka_bootstrap}]
    assert not signer.regions


def test_a_client_takes_its_token_while_it_is_made_without_a_poll(signer: Signer) -> None:
    client = admin_client({"bootstrap.servers": "127.0.0.1:1", **iam_client_config("eu-west-1")})
    assert client is not None
    assert signer.regions == ["eu-west-1"]


def test_no_token_is_in_what_dagster_shows(signer: Signer, asked: list[Mapping[str, Any]]) -> None:
    resource = KafkaResource.of(on_aws())
    resource.describe()
    assert asked
    assert TOKEN not in resource.model_dump_json()
    assert "oauth_cb" not in resource.model_dump_json()


def test_a_cluster_that_does_not_answer_is_one_sentence_for_every_topic(signer: Signer) -> None:
    answers = KafkaResource.of(on_aws(), timeout_seconds=1.0).describe()
    assert set(answers) == TOPICS
    assert all("did not answer" in str(answer) for answer in answers.values())


def no_credentials(_region: str) -> tuple[str, int]:
    raise AttributeError("'NoneType' object has no attribute 'access_key'")


def test_without_credentials_every_topic_says_so_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, no_credentials)
    started = time.monotonic()
    answers = KafkaResource.of(on_aws()).describe()
    assert time.monotonic() - started < 5
    assert set(answers) == TOPICS
    assert all("Give this process AWS credentials" in str(answer) for answer in answers.values())


def test_without_the_signer_every_topic_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "aws_msk_iam_sasl_signer", None)
    answers = KafkaResource.of(on_aws()).describe()
    assert set(answers) == TOPICS
    assert all("retail-lakehouse[aws]" in str(answer) for answer in answers.values())


@pytest.mark.parametrize("fault", [TopicMissingError, KafkaRefusedError, LeaderMovingError])
def test_what_is_wrong_with_one_topic_is_said_of_no_other(
    fault: type[Exception], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    def describe(_config: object, names: list[str], _seconds: float) -> list[SimpleNamespace]:
        if EVENTS[0].topic in names:
            raise fault("It is not yours to read.")
        return [SimpleNamespace(name=name) for name in names]

    monkeypatch.setattr("retail_lakehouse.kafka.admin.describe_topics", describe)
    answers = KafkaResource.of(Settings.load({"state_dir": tmp_path})).describe()
    assert set(answers) == TOPICS
    told = {name for name, answer in answers.items() if answer == "It is not yours to read."}
    assert told == {EVENTS[0].topic}
