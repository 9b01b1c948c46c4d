"""How many messages become of what opens nothing: recoveries and reminders are a burst too."""

import pytest

from retail_lakehouse.alerts.incidents import Kind, Notice
from retail_lakehouse.alerts.pacing import Minute, pace_notices
from retail_lakehouse.contracts.alerting import ALERT_PACE
from retail_lakehouse_tests.alerts.build import MINUTE, NOW, notice


def some(numbers: range, kind: Kind) -> list[Notice]:
    return [notice(number, kind, told=1) for number in numbers]


@pytest.mark.parametrize("kind", [Kind.RECOVERED, Kind.STILL_OPEN])
@pytest.mark.parametrize("count, sizes", [(10, [1] * 10), (11, [11])])
def test_more_than_ten_messages_within_a_minute_are_one_digest(
    count: int, sizes: list[int], kind: Kind
) -> None:
    _, messages = pace_notices(Minute(), some(range(count), kind), NOW, ALERT_PACE)
    assert [len(message) for message in messages] == sizes


@pytest.mark.parametrize("later_ms, sizes", [(MINUTE - 1, [6]), (MINUTE, [1] * 6)])
def test_messages_of_the_same_minute_count_and_those_before_it_do_not(
    later_ms: int, sizes: list[int]
) -> None:
    first, more = some(range(6), Kind.RECOVERED), some(range(6, 12), Kind.RECOVERED)
    minute, _ = pace_notices(Minute(), first, NOW, ALERT_PACE)
    _, messages = pace_notices(minute, more, NOW + later_ms, ALERT_PACE)
    assert [len(message) for message in messages] == sizes
