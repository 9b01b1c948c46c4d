"""Rules of the settings: a fault is one sentence that names the variable to change."""

from pathlib import Path

import pytest

from retail_lakehouse.settings import Settings, SettingsError
from retail_lakehouse.warehouse.client import WarehouseConfig

AWS = {
    "profile": "aws",
    "bootstrap_servers": "b:9098",
    "warehouse_host": "h",
    "aws_region": "ap-south-1",
    "warehouse_location": "s3://b/w",
    "checkpoint_location": "s3://b/c",
}


@pytest.mark.parametrize(
    "overrides, parts",
    [
        ({"broker_port": 80}, ["broker_port", "it was 80", "RETAIL_LAKEHOUSE_BROKER_PORT"]),
        ({"trigger_seconds": 0}, ["trigger_seconds", "greater than 0"]),
        ({"dedupe_horizon_hours": 0}, ["dedupe_horizon_hours"]),
        ({"profile": "moon"}, ["profile", "'moon'", "RETAIL_LAKEHOUSE_PROFILE"]),
        ({"colour": "red"}, ["colour"]),
        ({"broker_port": 5000, "dagster_port": 5000}, ["broker_port", "dagster_port", "the same"]),
        ({"profile": "aws"}, ["the aws profile needs", "RETAIL_LAKEHOUSE_BOOTSTRAP_SERVERS"]),
        (
            {"snapshot_retention_minutes": 10},
            ["snapshot_retention_minutes", "600 s", "statement_timeout_seconds", "keep it for"],
        ),
        (
            AWS | {"snapshot_retention_minutes": 15, "refresh_interval_seconds": 450},
            ["snapshot_retention_minutes", "900 s", "every 450 s", "more than two refreshes"],
        ),
        (
            {"refresh_interval_seconds": 480},
            ["refresh_interval_seconds is too long", "600 s", "give it at most 479 s"],
        ),
        (
            {"sensor_interval_seconds": 240},
            ["sensor_interval_seconds is too long", "120 s", "give it at most 239 s"],
        ),
        (
            {"simulator_burst": "5/60"},
            ["simulator_burst", "is not FACTOR/EVERY/FOR", "5/600/60", "it was '5/60'"],
        ),
        ({"simulator_burst": "5/60/61"}, ["lasts 61 s of 60 s", "not longer"]),
        ({"malformed_share": 0.5, "late_share": 0.5}, ["add up to 1 or more", "lower one"]),
    ],
)
def test_a_wrong_setting_is_one_sentence(overrides: dict[str, object], parts: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load(overrides)
    told = str(caught.value)
    assert "\n" not in told
    assert told.endswith(".")
    for part in parts:
        assert part in told


def test_two_faults_are_two_sentences() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load({"broker_port": 80, "spark_cores": 0})
    assert len(str(caught.value).splitlines()) == 2


def test_the_environment_is_read_when_settings_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETAIL_LAKEHOUSE_TRIGGER_SECONDS", "2.5")
    assert Settings.load().trigger == 2.5
    assert Settings.load({"trigger_seconds": 3}).trigger == 3


def test_a_variable_that_is_no_setting_is_refused_with_the_nearest_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RETAIL_LAKEHOUSE_BROKER_PROT", "19092")
    with pytest.raises(SettingsError) as caught:
        Settings.load()
    assert str(caught.value) == (
        "The environment has RETAIL_LAKEHOUSE_BROKER_PROT, which is no setting; the nearest is "
        "RETAIL_LAKEHOUSE_BROKER_PORT. Correct the name, or unset it."
    )


def test_every_setting_may_be_a_variable_in_either_case(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.setenv(f"RETAIL_LAKEHOUSE_{name.upper()}", "")
    with pytest.raises(SettingsError) as caught:
        Settings.load()
    assert "which is no setting" not in str(caught.value)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"RETAIL_LAKEHOUSE_{name.upper()}")
    monkeypatch.setenv("retail_lakehouse_broker_port", "19095")
    assert Settings.load().broker_port == 19095


def test_an_aws_job_has_room_for_twice_the_peak_of_its_topic() -> None:
    local = Settings.load({"trigger_seconds": 10})
    aws = local.model_copy(update={"profile": "aws"})
    assert (local.offsets_per_trigger, aws.offsets_per_trigger) == (60_000, 1_600_000)


def test_what_is_not_given_follows_the_profile() -> None:
    aws = Settings.load(AWS)
    local = Settings.load({"bootstrap_servers": ""})
    assert (local.trigger, aws.trigger) == (4.0, 60.0)
    assert (local.retention_minutes, aws.retention_minutes) == (15, 1_440)
    assert (local.refresh_seconds, aws.refresh_seconds) == (15, 300)
    assert local.kafka_bootstrap == f"127.0.0.1:{local.broker_port}"
    assert aws.warehouse_uri == "s3://b/w"


def test_files_are_kept_for_longer_than_the_longest_query() -> None:
    # Just longer than the limits, in each profile.
    assert Settings.load({"snapshot_retention_minutes": 11}).retention_minutes == 11
    short = Settings.load({"snapshot_retention_minutes": 1, "statement_timeout_seconds": 59})
    assert WarehouseConfig.from_settings(short).statement_timeout_seconds == 59
    aws = Settings.load(AWS | {"snapshot_retention_minutes": 16, "refresh_interval_seconds": 479})
    assert WarehouseConfig.from_settings(aws).statement_timeout_seconds == 600


def test_a_path_with_spaces_stands_in_the_tables_addresses_as_it_is(tmp_path: Path) -> None:
    root = tmp_path / "a state é"
    assert Settings.load({"state_dir": root}).warehouse_uri == f"file://{root}/warehouse/iceberg"


@pytest.mark.parametrize("name", ["a,b", "a:b", "100%", "a#b", "what?", "[1]", "{x}", "*", "a\\b"])
def test_a_folder_whose_name_means_something_else_to_a_part_is_refused(
    name: str, tmp_path: Path
) -> None:
    for setting in ("state_dir", "cache_dir"):
        with pytest.raises(SettingsError, match=f"{setting} is .*name a folder without it"):
            Settings.load({setting: tmp_path / name})
