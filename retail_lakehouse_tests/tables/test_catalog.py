"""What the catalog is opened with; tables in it are the other tests'."""

from typing import Any

import pytest

from retail_lakehouse.settings import Settings
from retail_lakehouse.tables.catalog import AWS_ATTEMPTS, AWS_TIMEOUT_SECONDS, open_catalog
from retail_lakehouse_tests.streaming.test_arguments import AWS


def test_a_request_to_glue_has_a_deadline_shorter_than_a_sensors_tick(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "none")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "none")
    catalog: Any = open_catalog(Settings.load(AWS))
    config = catalog.glue.meta.config
    assert (config.connect_timeout, config.read_timeout) == (AWS_TIMEOUT_SECONDS,) * 2
    assert config.retries["total_max_attempts"] == AWS_ATTEMPTS
    # Seven tables, each loaded by a request: all of them must fit into the 60 s of a tick.
    assert AWS_TIMEOUT_SECONDS * AWS_ATTEMPTS <= 10
