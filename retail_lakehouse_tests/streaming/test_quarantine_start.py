"""Rules of where a quarantine goes on from when its table has stepped over a loss."""

import pytest

from retail_lakehouse.streaming.kafka import TopicFacts
from retail_lakehouse.streaming.startup import Acceptance, check_quarantine_offsets

GRANTED = Acceptance("0123456789ab", frozenset({"0123456789ab"}))
LIVE = TopicFacts(
    cluster_id="c",
    topic_id="new",
    earliest={0: 10, 1: 0},
    end={0: 100, 1: 50},
    timestamp_type="LogAppendTime",
)


@pytest.mark.parametrize("covered", [5, 9, 10, 60])
def test_what_a_quarantine_covers_stays_covered_where_its_table_moves_forward(covered: int) -> None:
    # Retention took offsets 5 to 9; what is in quarantine ahead of them must not go there twice.
    until, moved = {0: 5}, {0: 10}
    gone_on = check_quarantine_offsets("t", LIVE, until, moved, {0: covered}, GRANTED)
    assert gone_on == {0: covered if covered == 5 else max(covered, 10)}


def test_only_the_partition_that_moved_back_takes_its_quarantine_along() -> None:
    until, moved = {0: 120, 1: 20}, {0: 100, 1: 20}
    gone_on = check_quarantine_offsets("t", LIVE, until, moved, {0: 120, 1: 30}, GRANTED)
    assert gone_on == {0: 100, 1: 30}
