"""Rules of what each profile asks for and gives."""

from collections.abc import Mapping

import pytest

from retail_lakehouse.contracts.topics import TOPICS
from retail_lakehouse.settings import ENV_PREFIX, Settings, SettingsError

AWS: Mapping[str, object] = {
    "profile": "aws",
    "bootstrap_servers": "b-1.example:9098",
    "warehouse_host": "w.example",
    "aws_region": "eu-central-1",
    "warehouse_location": "s3://bucket/tables",
    "checkpoint_location": "s3://bucket/checkpoints",
}


@pytest.mark.parametrize("name", sorted(AWS.keys() - {"profile"}))
def test_aws_does_not_start_without_a_place_for_everything(name: str) -> None:
    Settings.load(AWS)
    with pytest.raises(SettingsError, match=f"needs {ENV_PREFIX}{name.upper()}; set them"):
        Settings.load({key: value for key, value in AWS.items() if key != name})


def test_a_topic_has_the_contracts_partitions_and_replicas_on_aws_and_few_locally() -> None:
    aws, local = Settings.load(AWS), Settings.load({"local_partitions": 2})
    for topic in TOPICS:
        assert aws.partitions(topic) == topic.partitions
        assert aws.replication_factor(topic) == topic.replication_factor
        assert (local.partitions(topic), local.replication_factor(topic)) == (2, 1)


def test_snapshots_may_expire_between_two_refreshes_on_one_machine_only() -> None:
    told = {"snapshot_retention_minutes": 11, "refresh_interval_seconds": 400}
    assert Settings.load(told).retention_minutes == 11
    with pytest.raises(SettingsError, match="keep it for more than two refreshes"):
        Settings.load({**AWS, **told})


@pytest.mark.parametrize("duplicates, fits", [(0.25, False), (0.2, True)])
def test_some_simulated_records_are_neither_bad_nor_late_nor_doubled(
    duplicates: float, fits: bool
) -> None:
    told = {"malformed_share": 0.5, "late_share": 0.25, "duplicate_share": duplicates}
    if fits:
        assert Settings.load(told).duplicate_share == duplicates
    else:
        with pytest.raises(SettingsError, match="add up to 1 or more"):
            Settings.load(told)


def test_a_misspelt_variable_is_refused_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{ENV_PREFIX.lower()}brokr_port", "1")
    with pytest.raises(SettingsError, match="which is no setting"):
        Settings.load()
