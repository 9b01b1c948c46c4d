"""Rules of news: what changes what a reader sees, and nothing else."""

import pytest

from retail_lakehouse.tables.marks import MarkedSnapshot


@pytest.mark.parametrize(
    "operation, is_news",
    [("append", True), ("overwrite", True), ("delete", True), ("replace", False)],
)
def test_every_change_is_news_and_a_compaction_is_none(operation: str, is_news: bool) -> None:
    snapshot = MarkedSnapshot(1, None, 5, operation, 0, 0, None)
    assert snapshot.is_news is is_news
