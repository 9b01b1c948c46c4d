"""Rules of the benchmark of compaction: its page says how much of the time there was any."""

from benchmarks.maintenance import Result, page


def test_the_page_says_for_how_long_a_compaction_was_at_work() -> None:
    result = Result({"cores": 2}, 10.0, 1000.0, 90, compactions=3, compacting_seconds=412.4)
    assert "3 compactions, at work for 412 s" in page(result)
