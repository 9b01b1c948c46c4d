import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from retail_lakehouse.alerts.incidents import Book, Kind, Seen, advance
from retail_lakehouse.alerts.memory import AlertMemory, AlertMemoryError, step
from retail_lakehouse.alerts.pacing import Message
from retail_lakehouse.contracts.alerting import ALERT_PACE, NOT_JUDGED
from retail_lakehouse.contracts.service_levels import Severity
from retail_lakehouse_tests.alerts.build import MINUTE, NOW, verdict

HOUR = 60 * MINUTE
TICK = 15_000


def look(
    memory: AlertMemory,
    seen: Sequence[Seen],
    at_ms: int,
    is_silenced: Callable[[str], bool] = lambda name: False,
    known: Sequence[str] | None = None,
) -> tuple[AlertMemory, list[Message]]:
    names = [each.name for each in seen] if known is None else known
    after, messages = step(memory, seen, names, at_ms, ALERT_PACE, is_silenced)
    # As a restart leaves it: everything has been a text.
    return AlertMemory.from_text(after.to_text()), messages


def kinds(messages: Sequence[Message]) -> list[Kind]:
    return [notice.kind for message in messages for notice in message]


def test_over_a_day_an_incident_is_told_at_its_edges_and_at_growing_intervals() -> None:
    memory, told = AlertMemory(), []
    broken = range(NOW + 2 * HOUR, NOW + 14 * HOUR)
    for at in range(NOW, NOW + 24 * HOUR, TICK):
        memory, messages = look(memory, [verdict(passed=at not in broken, at_ms=at)], at)
        told += [(n.kind, (at - NOW) // MINUTE, n.told) for message in messages for n in message]
    assert told == [
        (Kind.OPENED, 120, 0),
        (Kind.STILL_OPEN, 135, 1),
        (Kind.STILL_OPEN, 195, 2),
        (Kind.STILL_OPEN, 435, 3),
        (Kind.STILL_OPEN, 675, 4),
        (Kind.RECOVERED, 840, 5),
    ]
    assert memory.book.open == {}


def test_a_look_that_shows_nothing_new_changes_nothing() -> None:
    first, _ = look(AlertMemory(), [verdict()], NOW)
    quiet, _ = look(first, [verdict()], NOW + 2 * MINUTE)
    again, messages = look(quiet, [verdict()], NOW + 3 * MINUTE)
    assert messages == []
    assert again == quiet


def test_since_when_is_when_the_verdict_was_given_and_never_later_than_now() -> None:
    _, messages = look(AlertMemory(), [verdict(at_ms=NOW - 5 * MINUTE)], NOW)
    assert messages[0][0].since_ms == NOW - 5 * MINUTE
    _, messages = look(AlertMemory(), [verdict(at_ms=NOW + HOUR)], NOW)
    assert messages[0][0].since_ms == NOW


def test_a_check_that_is_not_seen_stays_as_it_is_and_one_that_is_gone_has_recovered() -> None:
    memory, _ = look(AlertMemory(), [verdict()], NOW)
    name = verdict().name
    memory, messages = look(memory, [], NOW + MINUTE, known=[name])
    assert (list(memory.book.open), messages) == ([name], [])
    memory, messages = look(memory, [], NOW + 2 * MINUTE, known=[])
    assert kinds(messages) == [Kind.RECOVERED]
    assert "not part of the platform" in messages[0][0].sentence


def test_what_is_silenced_is_told_when_the_silence_ends_if_it_is_still_open() -> None:
    memory, messages = look(AlertMemory(), [verdict()], NOW, lambda name: True)
    assert messages == []
    # One that came and went within the silence is never told.
    gone, messages = look(memory, [verdict(passed=True)], NOW + MINUTE, lambda name: True)
    assert (gone.book.open, messages) == ({}, [])
    _, messages = look(memory, [verdict()], NOW + HOUR)
    assert kinds(messages) == [Kind.OPENED]
    assert messages[0][0].since_ms == NOW


def test_the_recovery_of_what_was_told_is_told_through_a_silence() -> None:
    memory, _ = look(AlertMemory(), [verdict()], NOW)
    _, messages = look(memory, [verdict(passed=True)], NOW + MINUTE, lambda name: True)
    assert kinds(messages) == [Kind.RECOVERED]


def test_an_incident_that_becomes_worse_is_told_at_once() -> None:
    memory, _ = look(AlertMemory(), [verdict(severity=Severity.WARNING)], NOW)
    memory, messages = look(memory, [verdict(severity=Severity.CRITICAL)], NOW + MINUTE)
    assert kinds(messages) == [Kind.STILL_OPEN]
    assert messages[0][0].severity is Severity.CRITICAL


def test_whoever_was_told_of_the_worst_is_told_of_the_recovery() -> None:
    memory, _ = look(AlertMemory(), [verdict(severity=Severity.CRITICAL)], NOW)
    memory, _ = look(memory, [verdict(severity=Severity.WARNING)], NOW + MINUTE)
    _, messages = look(memory, [verdict(passed=True)], NOW + 2 * MINUTE)
    assert kinds(messages) == [Kind.RECOVERED]
    assert messages[0][0].severity is Severity.CRITICAL


def test_a_check_that_is_mildly_and_badly_failed_by_turns_is_not_told_at_every_turn() -> None:
    memory, told = AlertMemory(), []
    for turn in range(60):
        severity = Severity.CRITICAL if turn % 2 else Severity.WARNING
        memory, messages = look(memory, [verdict(severity=severity)], NOW + turn * MINUTE)
        told += [turn for _ in messages]
    assert told == [0, 1, 16, 31, 46]


def test_a_text_of_a_version_that_knew_less_is_read() -> None:
    memory, _ = look(AlertMemory(), [verdict()], NOW)
    raw = json.loads(memory.to_text())
    for incident in raw["book"]["open"]:
        del incident["worst"], incident["told_ms"]
    _, messages = look(AlertMemory.from_text(json.dumps(raw)), [verdict(passed=True)], NOW + MINUTE)
    assert kinds(messages) == [Kind.RECOVERED]
    assert messages[0][0].severity is Severity.CRITICAL


def test_a_check_that_fails_and_passes_by_turns_goes_quiet_and_is_told_when_it_stays() -> None:
    memory, told = AlertMemory(), []
    for turn in range(20):
        at = NOW + turn * MINUTE
        memory, messages = look(memory, [verdict(passed=bool(turn % 2), at_ms=at)], at)
        told += kinds(messages)
    assert told == [Kind.OPENED, Kind.RECOVERED] * ALERT_PACE.flapping_opened
    at = NOW + 20 * MINUTE
    for later in range(0, 16 * MINUTE, MINUTE):
        memory, messages = look(memory, [verdict(at_ms=at)], at + later)
        told += kinds(messages)
    assert told[-1] is Kind.OPENED
    assert len(told) == 7


def test_a_check_that_fails_and_passes_by_turns_all_day_is_told_once_an_hour() -> None:
    memory, told = AlertMemory(), []
    for turn in range(6 * 60):
        at = NOW + turn * MINUTE
        memory, messages = look(memory, [verdict(passed=bool(turn % 2), at_ms=at)], at)
        told += [(kind, turn) for kind in kinds(messages)]
    opened = [turn for kind, turn in told if kind is Kind.OPENED]
    assert opened == [0, 2, 4, 64, 124, 184, 244, 304]
    assert [turn for kind, turn in told if kind is Kind.RECOVERED] == [turn + 1 for turn in opened]


def test_a_storm_is_one_digest_and_later_ones_of_the_same_minute_wait_for_the_next() -> None:
    storm = [verdict(number) for number in range(8)]
    memory, messages = look(AlertMemory(), storm, NOW)
    assert [len(message) for message in messages] == [8]
    more = [*storm, verdict(8), verdict(9)]
    memory, messages = look(memory, more, NOW + TICK)
    assert messages == []
    memory, messages = look(memory, more, NOW + MINUTE)
    assert {notice.asset for message in messages for notice in message} == {
        "retail/table_8",
        "retail/table_9",
    }


def test_openings_within_one_minute_become_a_digest_although_each_tick_has_few() -> None:
    memory, sizes = AlertMemory(), []
    for number in range(9):
        seen = [verdict(each) for each in range(number + 1)]
        memory, messages = look(memory, seen, NOW + number * 5_000)
        sizes += [len(message) for message in messages]
    memory, messages = look(memory, seen, NOW + 2 * MINUTE)
    sizes += [len(message) for message in messages]
    assert sum(sizes) == 9
    assert sizes[:5] == [1] * 5
    assert max(sizes) == 3


def test_what_opened_and_recovered_while_it_waited_has_recovered() -> None:
    storm = [verdict(number) for number in range(8)]
    memory, _ = look(AlertMemory(), storm, NOW)
    memory, _ = look(memory, [*storm, verdict(8)], NOW + TICK)
    memory, messages = look(memory, [*storm, verdict(8, passed=True)], NOW + 2 * TICK)
    assert messages == []
    _, messages = look(memory, [*storm, verdict(8, passed=True)], NOW + 2 * MINUTE)
    assert kinds(messages) == [Kind.RECOVERED]


def test_what_became_worse_while_it_waited_is_told_as_what_it_is_now() -> None:
    storm = [verdict(number) for number in range(8)]
    memory, _ = look(AlertMemory(), storm, NOW)
    mild = verdict(8, severity=Severity.WARNING)
    memory, _ = look(memory, [*storm, mild], NOW + TICK)
    memory, messages = look(memory, [*storm, verdict(8)], NOW + 2 * TICK)
    assert messages == []
    _, messages = look(memory, [*storm, verdict(8)], NOW + 2 * MINUTE)
    assert [(n.kind, n.severity, n.told) for message in messages for n in message] == [
        (Kind.OPENED, Severity.CRITICAL, 0)
    ]


def test_a_clock_that_is_set_back_holds_no_alert() -> None:
    storm = [verdict(number) for number in range(8)]
    memory, _ = look(AlertMemory(), storm, NOW)
    _, messages = look(memory, [*storm, verdict(8)], NOW - 5 * HOUR)
    assert [n.asset for message in messages for n in message] == ["retail/table_8"]


def test_a_clock_that_is_set_back_makes_no_reminder_wait_for_longer() -> None:
    memory, told = AlertMemory(), []
    for at in (NOW, NOW + 15 * MINUTE, *range(NOW - 24 * HOUR, NOW - 18 * HOUR, MINUTE)):
        memory, messages = look(memory, [verdict()], at)
        told += [(at - NOW) // MINUTE for _ in messages]
    a_day = 24 * 60
    assert told == [0, 15, 60 - a_day, 300 - a_day]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_every_told_incident_is_opened_once_and_recovered_once(seed: int) -> None:
    chance = random.Random(seed)
    memory, failing = AlertMemory(), [False] * 12
    open_now: set[str] = set()
    per_minute: dict[int, int] = {}
    for tick in range(4 * 60 * 6):
        at = NOW + tick * TICK
        failing = [
            chance.random() < (0.9 if was else 0.002) if at < NOW + 5 * HOUR else False
            for was in failing
        ]
        seen = [verdict(n, passed=not fails, at_ms=at) for n, fails in enumerate(failing)]
        memory, messages = look(memory, seen, at)
        per_minute[tick // 4] = per_minute.get(tick // 4, 0) + len(messages)
        for notice in (notice for message in messages for notice in message):
            if notice.kind is Kind.OPENED:
                assert notice.name not in open_now
                open_now.add(notice.name)
            elif notice.kind is Kind.RECOVERED:
                open_now.discard(notice.name)
    assert memory.book.open == {}
    assert open_now == set()
    assert max(per_minute.values()) <= ALERT_PACE.messages_per_window + 2


def test_ids_are_the_same_for_the_same_telling_and_differ_for_others() -> None:
    book, notices = advance(Book(), [verdict()], [verdict().name], NOW, ALERT_PACE)
    again = advance(Book(), [verdict()], [verdict().name], NOW + TICK, ALERT_PACE)[1]
    assert notices[0].id == again[0].id
    reminded, later = advance(book, [verdict()], [verdict().name], NOW + HOUR, ALERT_PACE)
    assert later[0].id != notices[0].id
    third = advance(reminded, [verdict()], [verdict().name], NOW + 3 * HOUR, ALERT_PACE)[1]
    assert third[0].id != later[0].id


@pytest.mark.parametrize("text", ["{", "[]", '{"step": 1}', '{"step":1,"book":{},"minute":{}}'])
def test_a_cursor_that_is_not_ours_is_one_sentence(text: str) -> None:
    with pytest.raises(AlertMemoryError, match="is left out"):
        AlertMemory.from_text(text)


def test_a_check_that_fails_anew_is_told_under_another_id() -> None:
    """Under the same one neither the outbox nor a receiver would take it for news."""
    ids = []
    for began in (NOW, NOW + MINUTE):
        seen = verdict(at_ms=began)
        _, (told,) = advance(Book(), [seen], [seen.name], NOW + HOUR, ALERT_PACE)
        ids.append(told.id)
    assert ids[0] != ids[1]


def test_a_clock_that_is_set_back_keeps_no_check_quiet_that_failed_and_passed_by_turns() -> None:
    memory = AlertMemory()
    for turn in range(2 * ALERT_PACE.flapping_opened):
        memory, _ = look(memory, [verdict(passed=bool(turn % 2))], NOW + turn * MINUTE)
    _, messages = look(memory, [verdict()], NOW - 5 * HOUR)
    assert kinds(messages) == [Kind.OPENED]


def test_the_recovery_of_what_was_never_judged_says_so_and_a_verdict_in_between_ends_that() -> None:
    unseen = replace(verdict(), figures=NOT_JUDGED)
    for last, figures in ((unseen, NOT_JUDGED), (verdict(), {})):
        memory, (opened,) = look(AlertMemory(), [unseen], NOW)
        memory, _ = look(memory, [last], NOW + TICK)
        memory, (recovered,) = look(memory, [verdict(passed=True)], NOW + 2 * TICK)
        assert opened[0].figures == NOT_JUDGED
        assert recovered[0].figures == figures
