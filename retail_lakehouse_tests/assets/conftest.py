"""A lakehouse of the test's own."""

from pathlib import Path

import pytest

from retail_lakehouse.settings import Settings
from retail_lakehouse_tests.resources.fakes import Lakehouse, settings_in


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path)


@pytest.fixture
def lakehouse(settings: Settings) -> Lakehouse:
    return Lakehouse(settings)
