"""The disk's two thresholds, and when it is full if it goes on like this."""

from __future__ import annotations

from dataclasses import replace

from retail_lakehouse.contracts.service_levels import Measure, Severity
from retail_lakehouse.watchdog.judge import judge
from retail_lakehouse_tests.watchdog.build import GIB, LIMITS, well


def test_both_thresholds_of_the_disk_alarm_and_each_is_well_only_with_room_to_spare() -> None:
    platform = well(free_bytes=4 * GIB - 1)
    platform.run(10)
    assert platform.failing() == {":disk_space"}
    assert platform.says(Measure.DISK_SPACE).severity is Severity.WARNING
    platform.free_bytes = 1 * GIB - 1
    platform.run(10)
    assert platform.failing() == {":disk_space", ":disk_nearly_full"}
    assert platform.says(Measure.DISK_NEARLY_FULL).severity is Severity.CRITICAL
    platform.free_bytes = round(1.05 * GIB)
    platform.run(10)
    assert ":disk_nearly_full" in platform.failing(), "a compaction takes some and gives it back"
    platform.free_bytes = round(1.2 * GIB)
    platform.run(10)
    assert platform.failing() == {":disk_space"}
    platform.free_bytes = round(4.5 * GIB)
    platform.run(10)
    assert platform.failing() == set()


def test_a_disk_that_fills_says_when_it_is_full() -> None:
    platform = well(free_bytes=6 * GIB)
    for _ in range(60):
        platform.free_bytes -= 50 * 1024 * 1024
        platform.run(10)
    told = platform.says(Measure.DISK_SPACE)
    assert not told.passed
    assert told.sentence.startswith(
        "3.1 GiB of 200.0 GiB are free where the state folder lies; the limit is 4.0 GiB. At the "
        "rate of the last minutes it is full in 1"
    )
    assert told.figures == {"free_mb": 3144}


def test_a_disk_that_cannot_be_asked_leaves_the_verdict_as_it_was() -> None:
    platform = well()
    judged = judge(platform.memory, replace(platform.look(), disk=None), LIMITS)
    assert not any("disk" in each.name for each in judged.seen)
    assert {"control_plane:disk_space", "control_plane:disk_nearly_full"} <= judged.known


def test_a_disk_with_as_much_room_as_is_wanted_is_well() -> None:
    platform = well(free_bytes=4 * GIB)
    platform.run(10)
    assert platform.failing() == set()
