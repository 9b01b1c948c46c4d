"""Fixtures of the conformance suite: each engine in turn, over empty tables."""

from pathlib import Path

import pytest

from retail_lakehouse_tests.conformance.engines import StartEngine, spark_engine

ENGINES = ("spark",)


@pytest.fixture(params=ENGINES)
def start_engine(request: pytest.FixtureRequest, tmp_path: Path) -> StartEngine:
    """How the engine under test is started."""
    return spark_engine(request.getfixturevalue("spark"), tmp_path)
