import json
from pathlib import Path

from retail_lakehouse.alerts.incidents import Kind
from retail_lakehouse.alerts.outbox import Entry, open_outbox, outbox_file
from retail_lakehouse_tests.alerts.build import NOW, notice

HALF = 24 * 1024


def test_incidents_and_their_messages_are_kept_together(tmp_path: Path) -> None:
    with open_outbox(tmp_path) as outbox:
        outbox.post([(notice(1),), (notice(2), notice(3))], "memory", NOW)
    with open_outbox(tmp_path) as outbox:
        assert [entry.notices for entry in outbox.entries.values()] == [
            (notice(1),),
            (notice(2), notice(3)),
        ]
        assert outbox.memory_text == "memory"


def test_the_same_message_posted_twice_is_one(tmp_path: Path) -> None:
    with open_outbox(tmp_path) as outbox:
        outbox.post([(notice(1),)], "a", NOW)
        outbox.post([(notice(1),)], "b", NOW + 1)
        assert len(outbox.entries) == 1


def test_what_is_delivered_is_reclaimed_and_the_file_never_grows(tmp_path: Path) -> None:
    size = None
    for number in range(400):
        with open_outbox(tmp_path, HALF) as outbox:
            outbox.post([(notice(number),)], f"memory {number}", NOW + number)
            (entry_id,) = outbox.entries
            outbox.record_delivery(entry_id, "log", 0)
            outbox.reclaim([entry_id])
        size = size or outbox_file(tmp_path).stat().st_size
        assert outbox_file(tmp_path).stat().st_size == size
    with open_outbox(tmp_path, HALF) as outbox:
        assert outbox.entries == {}
        assert outbox.routes["log"].delivered == 400
        assert outbox.routes["log"].dropped_ever == 0


def test_without_room_the_oldest_reminders_go_first_and_it_is_counted(tmp_path: Path) -> None:
    with open_outbox(tmp_path, HALF) as outbox:
        outbox.record_failure("slack", "Slack answered 500.", NOW)
        for number in range(20):
            outbox.post([(notice(number),)], "m", NOW + number)
        for number in range(300):
            reminder = notice(number % 20, Kind.STILL_OPEN, told=1 + number // 20)
            outbox.post([(reminder,)], f"m{number}", NOW + 100 + number)
    with open_outbox(tmp_path, HALF) as outbox:
        kept = list(outbox.entries.values())
        opened = [entry for entry in kept if entry.kind is Kind.OPENED]
        reminders = [entry.created_ms for entry in kept if entry.kind is Kind.STILL_OPEN]
        assert len(opened) == 20
        assert reminders == list(range(NOW + 400 - len(reminders), NOW + 400))
        assert outbox.routes["slack"].dropped == 300 - len(reminders) > 0
        # Two went while the message was on its way, which did not say so.
        outbox.record_delivery(kept[0].id, "slack", outbox.routes["slack"].dropped - 2)
        assert outbox.routes["slack"].dropped == 2
        assert outbox.routes["slack"].dropped_ever == 300 - len(reminders)


def test_what_goes_while_a_route_is_written_down_is_counted_too(tmp_path: Path) -> None:
    with open_outbox(tmp_path, HALF) as outbox:
        for number in range(200):
            outbox.record_failure("slack", "x" * 300, NOW)
            outbox.post([(notice(number, Kind.STILL_OPEN, told=1),)], "m", NOW + number)
        assert outbox.routes["slack"].dropped_ever == 200 - len(outbox.entries) > 0
        assert outbox.routes["slack"].failures == 200


def test_a_digest_is_as_important_as_the_most_important_in_it() -> None:
    assert Entry((notice(1, Kind.STILL_OPEN), notice(2)), NOW).kind is Kind.OPENED


def test_a_record_that_makes_no_sense_is_stepped_over(tmp_path: Path) -> None:
    from retail_lakehouse.alerts.record_file import open_records

    with open_outbox(tmp_path) as outbox:
        outbox.post([(notice(1),)], "memory", NOW)
    with open_records(outbox_file(tmp_path)) as records:
        records.append(json.dumps({"add": [{"notices": "?"}]}).encode())
        records.append(b"no JSON")
    with open_outbox(tmp_path) as outbox:
        assert len(outbox.entries) == 1


def test_a_message_that_is_posted_again_is_not_sent_again_to_a_route_that_has_it(
    tmp_path: Path,
) -> None:
    with open_outbox(tmp_path) as outbox:
        outbox.post([(notice(1),)], "a", NOW)
        outbox.record_delivery(notice(1).id, "log", 0)
        outbox.post([(notice(1),)], "b", NOW + 1)
        assert outbox.entries[notice(1).id].delivered == {"log"}


def test_without_room_what_has_recovered_goes_before_what_nobody_has_heard_of(
    tmp_path: Path,
) -> None:
    with open_outbox(tmp_path, HALF) as outbox:
        for number in range(20):
            outbox.post([(notice(number),)], "m", NOW + number)
        for number in range(300):
            over = notice(100 + number, Kind.RECOVERED, told=1)
            outbox.post([(over,)], "m", NOW + 100 + number)
        kept = [entry.kind for entry in outbox.entries.values()]
    assert kept.count(Kind.OPENED) == 20
    assert 0 < kept.count(Kind.RECOVERED) < 300


def test_what_the_alerts_remember_outlives_every_rewrite(tmp_path: Path) -> None:
    with open_outbox(tmp_path, HALF) as outbox:
        outbox.post([], "memory", NOW)
        for _ in range(200):
            outbox.record_failure("slack", "x" * 300, NOW)
    with open_outbox(tmp_path, HALF) as outbox:
        assert outbox.memory_text == "memory"
        assert outbox.routes["slack"].failures == 200


def test_a_route_that_has_a_message_is_not_told_that_it_was_dropped(tmp_path: Path) -> None:
    with open_outbox(tmp_path, HALF) as outbox:
        outbox.record_failure("down", "Slack answered 500.", NOW)
        for number in range(200):
            reminder = notice(number, Kind.STILL_OPEN, told=1)
            outbox.post([(reminder,)], "m", NOW + number)
            outbox.record_delivery(reminder.id, "up", 0)
        assert outbox.routes["down"].dropped_ever == 200 - len(outbox.entries) > 0
        assert outbox.routes["up"].dropped_ever == 0
