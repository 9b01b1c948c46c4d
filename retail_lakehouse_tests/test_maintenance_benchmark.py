"""Rules of the benchmark of compaction: its page says what its figures leave out."""

from benchmarks.maintenance import Result, page


def test_the_page_says_for_how_long_a_compaction_was_at_work() -> None:
    result = Result({"cores": 2}, 10.0, 1000.0, 90, compactions=3, compacting_seconds=412.4)
    assert "3 compactions, at work for 412 s" in page(result)


def test_the_page_says_how_many_looks_could_not_tell_the_age() -> None:
    result = Result({"cores": 2}, 10.0, 1000.0, 90, looks=120, looks_without_age=4)
    assert "4 of 120 looks could not tell it" in page(result)
