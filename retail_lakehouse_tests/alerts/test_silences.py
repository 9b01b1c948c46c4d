import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from retail_lakehouse.alerts.silences import (
    SilenceError,
    add_silence,
    is_silenced,
    read_silences,
    remove_silence,
    silences_file,
)
from retail_lakehouse_tests.alerts.build import NOW

HOUR = 3_600_000


def test_a_silence_holds_for_its_pattern_until_its_end(tmp_path: Path) -> None:
    add_silence(tmp_path, "retail/*:ingest_lag", 3600, "kim", "the stores move", NOW)
    silences = read_silences(tmp_path, NOW)
    assert is_silenced(silences, "retail/inventory:ingest_lag", NOW)
    assert not is_silenced(silences, "retail/inventory:volume", NOW)
    assert not is_silenced(silences, "retail/inventory:ingest_lag", NOW + HOUR)
    assert read_silences(tmp_path, NOW + HOUR) == []


def test_a_silence_is_ended_by_its_number(tmp_path: Path) -> None:
    for pattern in ("a", "b"):
        add_silence(tmp_path, pattern, 3600, "kim", "why", NOW)
    assert remove_silence(tmp_path, 1, NOW).pattern == "a"
    assert [silence.id for silence in read_silences(tmp_path, NOW)] == [2]
    with pytest.raises(SilenceError, match="no silence 1; those that hold: 2"):
        remove_silence(tmp_path, 1, NOW)
    assert [path.name for path in tmp_path.iterdir()] == ["silences.json"]


def test_of_several_who_silence_at_once_each_has_a_silence_and_a_number(tmp_path: Path) -> None:
    def silence(number: int) -> int:
        return add_silence(tmp_path, f"p{number}", 60, "kim", "why", NOW).id

    with ThreadPoolExecutor(8) as people:
        numbers = list(people.map(silence, range(16)))
    assert sorted(numbers) == list(range(1, 17))
    assert len(read_silences(tmp_path, NOW)) == 16


@pytest.mark.parametrize(
    "pattern, seconds, who, why, part",
    [
        ("*", 0, "kim", "why", "must end"),
        ("*", -5, "kim", "why", "must end"),
        ("*", 31 * 86_400, "kim", "why", "within 30 days"),
        ("*", 60, " ", "why", "say who"),
        ("*", 60, "kim", "", "say why"),
        (" ", 60, "kim", "why", "pattern is empty"),
        ("a\nb", 60, "kim", "why", "pattern is empty"),
    ],
)
def test_a_silence_without_end_name_or_reason_is_refused(
    tmp_path: Path, pattern: str, seconds: float, who: str, why: str, part: str
) -> None:
    with pytest.raises(SilenceError, match=part):
        add_silence(tmp_path, pattern, seconds, who, why, NOW)
    assert not silences_file(tmp_path).exists()


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[1]",
        '[{"id": 1}]',
        json.dumps(
            [{"id": 1, "pattern": "*", "since_ms": 0, "until_ms": 1e18, "who": "", "why": ""}]
        ),
        json.dumps(
            [{"id": 1, "pattern": "*", "since_ms": 0, "until_ms": 10**18, "who": "a", "why": "b"}]
        ),
    ],
)
def test_a_broken_file_silences_nothing_and_says_so(tmp_path: Path, text: str) -> None:
    silences_file(tmp_path).write_text(text)
    with pytest.raises(SilenceError, match="nothing is silenced"):
        read_silences(tmp_path, NOW)


def test_a_silence_may_last_as_long_as_is_said(tmp_path: Path) -> None:
    made = add_silence(tmp_path, "*", 30 * 86_400, "kim", "why", NOW)
    assert read_silences(tmp_path, NOW) == [made]
