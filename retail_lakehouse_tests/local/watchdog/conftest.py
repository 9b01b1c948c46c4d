"""A disk that can be filled."""

from retail_lakehouse_tests.alerts.conftest import small_disk

__all__ = ["small_disk"]
