"""Streams for the faults: one a test, or one that the tests of a module go on with."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from retail_lakehouse.local.broker import Broker
from retail_lakehouse.local.java import JavaHome
from retail_lakehouse.settings import Settings
from retail_lakehouse_tests.faults.stream import Stream, new_stream

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

NewStream = Callable[[], Stream]


@pytest.fixture(scope="session")
def start_stream(
    spark: "SparkSession",
    spark_settings: Settings,
    java_home: JavaHome,
    spark_jars: list[Path],
    broker: Broker,
) -> NewStream:
    """Makes a stream; the one before it is of no more use, as tables are shared."""
    return lambda: new_stream(
        spark, spark_settings, java_home, spark_jars, broker.bootstrap_servers
    )


@pytest.fixture
def stream(start_stream: NewStream) -> Stream:
    """A stream of the test's own."""
    return start_stream()


@pytest.fixture(scope="module")
def lasting_stream(start_stream: NewStream) -> Stream:
    """A stream that each test of the module finds caught up and leaves caught up."""
    return start_stream()
