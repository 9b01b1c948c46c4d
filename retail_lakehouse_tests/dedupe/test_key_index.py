"""Rules of the index: it answers like a dict, and after any damage it knows nothing."""

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retail_lakehouse.dedupe import key_index, run_file
from retail_lakehouse.dedupe.key_index import IndexNotCompleteError, KeyIndex, Stamp
from retail_lakehouse.dedupe.records import Longs

HOURS = (100, 101, 102)
# Few halves, so that keys share their high half and full collisions are common.
_HALVES = st.sampled_from([-(2**63), -1, 0, 1, 2, 2**63 - 1])
_ROW = st.tuples(st.sampled_from(HOURS), _HALVES, _HALVES, st.integers(-5, 5))
Row = tuple[int, int, int, int]
Model = dict[tuple[int, int, int], int]
Damage = Callable[[Path], None]


def stamp(number: int) -> Stamp:
    return Stamp("uuid", number, "topic", {0: number, 1: 7}, "form")


def opened(folder: Path) -> KeyIndex:
    index = KeyIndex(folder)
    index.open()
    return index


def sealed(folder: Path) -> KeyIndex:
    index = opened(folder)
    index.seal(stamp(0), HOURS[0])
    return index


def columns(rows: list[Row]) -> tuple[Longs, Longs]:
    table = np.array(rows, dtype=np.int64).reshape(-1, 4)
    return table[:, 0], table[:, 1:]


def add(index: KeyIndex, rows: list[Row], number: int, oldest: int = 100) -> None:
    hours, keys = columns(rows)
    index.add(hours, keys, stamp(number), oldest)


def remember(model: Model, rows: list[Row]) -> None:
    for hour, high, low, content in rows:
        model.setdefault((hour, high, low), content)


def assert_answers(index: KeyIndex, model: Model, hours: tuple[int, ...] = HOURS) -> None:
    halves = [-(2**63), -1, 0, 1, 2, 3, 2**63 - 1]
    asked = [(high, low) for high in halves for low in halves]
    for hour in hours:
        known, content = index.find(
            hour, np.array([h for h, _ in asked]), np.array([low for _, low in asked])
        )
        wanted = [model.get((hour, *key)) for key in asked]
        assert known.tolist() == [value is not None for value in wanted]
        assert content[known].tolist() == [value for value in wanted if value is not None]


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.lists(_ROW, max_size=8)),
        st.tuples(st.sampled_from(["fold", "reopen"]), st.just([])),
    ),
    max_size=16,
)


@settings(max_examples=60, deadline=None)
@given(bulk=st.lists(st.lists(_ROW, max_size=6), max_size=10), steps=_STEPS)
def test_it_answers_like_a_dict_in_which_the_first_arrival_stands(
    bulk: list[list[Row]],
    steps: list[tuple[str, list[Row]]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("index")
    model: Model = {}
    index = opened(folder)
    for rows in bulk:
        index.add_bulk(*columns(rows), HOURS[0])
        remember(model, rows)
    index.seal(stamp(0), HOURS[0])
    number = 0
    for step, rows in steps:
        if step == "add":
            number += 1
            add(index, rows, number)
            remember(model, rows)
        elif step == "fold":
            index.fold()
        else:
            index.close()
            index = opened(folder)
        assert index.stamp == stamp(number)
        assert_answers(index, model)
    index.close()


def test_many_keys_of_an_hour_become_runs_and_few_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_index, "MEMORY_KEYS", 50)
    index, model = sealed(tmp_path), Model()
    random = np.random.default_rng(7)
    for number in range(1, 60):
        keys = random.integers(-(2**63), 2**63 - 1, (20, 2)).tolist()
        rows = [(100, high, low, number) for high, low in keys]
        add(index, rows, number)
        remember(model, rows)
    assert len(index) == len(model)
    assert len(list(tmp_path.glob("run-*.npy"))) <= 6
    _, highs, lows = np.array(list(model)).T
    known, content = index.find(100, highs, lows)
    assert known.all()
    assert content.tolist() == list(model.values())


def test_hours_past_every_horizon_are_forgotten_on_disk_too(tmp_path: Path) -> None:
    index = sealed(tmp_path)
    add(index, [(100, 1, 1, 1), (101, 1, 1, 2)], 1)
    index.fold()
    add(index, [(100, 2, 2, 3), (102, 1, 1, 4)], 2, oldest=101)
    assert index.oldest_hour == 101
    assert_answers(index, {(101, 1, 1): 2, (102, 1, 1): 4})
    index.fold()
    assert len(list(tmp_path.glob("run-*.npy"))) == 2


def test_after_a_restart_it_claims_no_hour_that_it_has_stopped_keeping(tmp_path: Path) -> None:
    index = sealed(tmp_path)
    # The floor rises by the log alone, and a row below it is left out.
    add(index, [(100, 1, 1, 1), (102, 1, 1, 2)], 1, oldest=102)
    index.close()
    again = opened(tmp_path)
    assert again.oldest_hour == 102
    assert_answers(again, {(102, 1, 1): 2})


def test_rows_are_not_taken_before_it_is_known_what_they_add_to(tmp_path: Path) -> None:
    index = opened(tmp_path)
    assert index.stamp is None
    with pytest.raises(IndexNotCompleteError, match="has not been brought to its table"):
        add(index, [(100, 1, 1, 1)], 1)
    assert opened(tmp_path).stamp is None


def test_what_is_added_in_bulk_counts_only_once_sealed(tmp_path: Path) -> None:
    index = sealed(tmp_path)
    add(index, [(100, 1, 1, 1)], 1)
    index.add_bulk(*columns([(100, 2, 2, 2)]), 100)
    # A kill here: the next run knows what the stamp says and nothing else.
    again = opened(tmp_path)
    assert again.stamp == stamp(1)
    assert_answers(again, {(100, 1, 1): 1})
    again.add_bulk(*columns([(100, 2, 2, 2)]), 100)
    again.seal(stamp(2), 100)
    assert_answers(opened(tmp_path), {(100, 1, 1): 1, (100, 2, 2): 2})


class _Counted:
    """How many rows and runs an index has written."""

    def __init__(self, index: KeyIndex, monkeypatch: pytest.MonkeyPatch) -> None:
        self.runs = self.rows = 0
        write = index._write_run

        def counted(rows: Longs) -> object:
            self.runs += 1
            self.rows += len(rows)
            return write(rows)

        monkeypatch.setattr(index, "_write_run", counted)


def test_a_rebuild_writes_each_hour_once_where_it_fits_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, model = opened(tmp_path), Model()
    written = _Counted(index, monkeypatch)
    for number in range(30):
        rows = [(hour, number, number, number) for hour in HOURS]
        index.add_bulk(*columns(rows), HOURS[0])
        remember(model, rows)
    assert written.runs == 0
    index.seal(stamp(1), HOURS[0])
    assert (written.runs, written.rows) == (len(HOURS), len(model))
    assert_answers(opened(tmp_path), model)


def test_a_rebuild_beyond_memory_writes_n_log_n_and_keeps_no_superseded_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_index, "BULK_KEYS", 50)
    index, spills = opened(tmp_path), 128
    written = _Counted(index, monkeypatch)
    random = np.random.default_rng(7)
    for number in range(spills):
        keys = random.integers(-(2**63), 2**63 - 1, (50, 2)).tolist()
        index.add_bulk(*columns([(100, high, low, number) for high, low in keys]), 100)
        assert len(list(tmp_path.glob("run-*.npy"))) <= 8
        on_disk = sum(path.stat().st_size for path in tmp_path.glob("run-*.npy"))
        assert on_disk <= (number + 1) * 50 * 24 + 8 * 128
    index.seal(stamp(1), 100)
    assert len(index) == spills * 50
    assert written.rows <= spills * 50 * 8  # log2(128) + 1


def test_what_the_index_knew_stands_before_a_bulk_that_was_added_later(tmp_path: Path) -> None:
    index = sealed(tmp_path)
    add(index, [(100, 1, 1, 1)], 1)
    index.add_bulk(*columns([(100, 1, 1, 2)]), 100)
    index.seal(stamp(2), 100)
    assert_answers(index, {(100, 1, 1): 1})
    assert_answers(opened(tmp_path), {(100, 1, 1): 1})


def test_opening_again_reads_nothing_that_is_in_memory_already(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = sealed(tmp_path)
    add(index, [(100, 1, 1, 1)], 1)
    index.fold()
    add(index, [(100, 2, 2, 2)], 2)
    index.close()

    def read(*_: object) -> None:
        raise AssertionError("read again")

    with monkeypatch.context() as patch:
        patch.setattr(index, "_load", read)
        index.open()
    add(index, [(100, 3, 3, 3)], 3)
    index.close()
    assert_answers(opened(tmp_path), {(100, n, n): n for n in (1, 2, 3)})


def test_what_another_has_changed_is_read_and_a_run_is_verified_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = sealed(tmp_path)
    add(index, [(100, 1, 1, 1)], 1)
    index.fold()
    index.close()
    other = opened(tmp_path)
    add(other, [(100, 2, 2, 2)], 2)
    other.close()

    def verified_already(_: Longs) -> int:
        raise AssertionError("verified again")

    with monkeypatch.context() as patch:
        patch.setattr(run_file, "checksum_of", verified_already)
        index.open()
    assert index.stamp == stamp(2)
    assert_answers(index, {(100, 1, 1): 1, (100, 2, 2): 2})


def test_rows_whose_log_could_not_be_written_are_gone_when_it_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = sealed(tmp_path)
    add(index, [(100, 1, 1, 1)], 1)

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(index, "_write_log", full)
        with pytest.raises(OSError, match="No space"):
            add(index, [(100, 2, 2, 2)], 2)
    index.open()
    assert index.stamp == stamp(1)
    assert_answers(index, {(100, 1, 1): 1})


def test_an_index_whose_folder_was_removed_under_it_is_empty_when_it_is_opened_again(
    tmp_path: Path,
) -> None:
    index = sealed(tmp_path)
    shutil.rmtree(tmp_path)
    add(index, [(100, 1, 1, 1)], 1)
    index.open()
    assert (index.stamp, len(index)) == (None, 0)


def test_the_stamp_keeps_what_it_was_told(tmp_path: Path) -> None:
    told = Stamp("u", None, "t", {3: 9}, "form")
    index = opened(tmp_path)
    index.seal(told, 5)
    index.close()
    assert opened(tmp_path).stamp == told
    index = opened(tmp_path)
    index.clear()
    assert (index.stamp, index.oldest_hour, len(index)) == (None, 0, 0)
    assert opened(tmp_path).stamp is None


def _filled(folder: Path) -> Model:
    index, model = sealed(folder), Model()
    first: list[Row] = [(100, n, n, n) for n in range(3)]
    add(index, first, 1)
    index.fold()
    for number in (2, 3):
        rows: list[Row] = [(101, number, n, n) for n in range(3)]
        add(index, rows, number)
        remember(model, rows)
    remember(model, first)
    index.close()
    return model


def test_a_log_torn_anywhere_goes_back_to_a_whole_block(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    _filled(whole)
    (log,) = whole.glob("log-*")
    size = log.stat().st_size
    seen = set()
    for length in range(size + 1):
        folder = tmp_path / f"cut-{length}"
        shutil.copytree(whole, folder)
        os.truncate(folder / log.name, length)
        index = opened(folder)
        assert index.stamp is not None
        seen.add(index.stamp.snapshot_id)
        # It goes on from there, and the torn rest is gone for good.
        add(index, [(102, 9, 9, 9)], 9)
        index.close()
        again = opened(folder)
        assert again.stamp == stamp(9)
        known, _ = again.find(102, np.array([9]), np.array([9]))
        assert known.all()
        again.close()
        shutil.rmtree(folder)
    assert seen == {1, 2, 3}


@pytest.mark.parametrize("tail", [b"\0" * 8, b"\0" * 100, b"\xff" * 64, b"garbage"])
def test_a_log_with_a_tail_that_was_never_written_is_read_up_to_it(
    tmp_path: Path, tail: bytes
) -> None:
    model = _filled(tmp_path)
    (log,) = tmp_path.glob("log-*")
    with log.open("ab") as file:
        file.write(tail)
    index = opened(tmp_path)
    assert index.stamp == stamp(3)
    assert_answers(index, model)


def _damage_run(folder: Path) -> None:
    run = next(folder.glob("run-*.npy"))
    data = bytearray(run.read_bytes())
    data[-1] ^= 1
    run.write_bytes(data)


def _cut_run(folder: Path) -> None:
    run = next(folder.glob("run-*.npy"))
    os.truncate(run, run.stat().st_size - 24)


def _remove_run(folder: Path) -> None:
    next(folder.glob("run-*.npy")).unlink()


def _remove_log(folder: Path) -> None:
    next(folder.glob("log-*")).unlink()


def _rewrite(text: str) -> Damage:
    def damage(folder: Path) -> None:
        (folder / "manifest.json").write_text(text)

    return damage


def _older_format(folder: Path) -> None:
    document = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(document | {"version": 1}))


def _stamp_without_offsets(folder: Path) -> None:
    document = json.loads((folder / "manifest.json").read_text())
    document["stamp"]["until"] = [1]
    (folder / "manifest.json").write_text(json.dumps(document))


@pytest.mark.parametrize(
    "damage",
    [
        _damage_run,
        _cut_run,
        _remove_run,
        _rewrite(""),
        _rewrite("[]"),
        _rewrite("null"),
        _rewrite('{"version": 2}'),
        _rewrite('{"version": 2, "runs": [], "next_run": 1}'),
        _older_format,
        _stamp_without_offsets,
    ],
)
def test_a_damaged_index_is_empty_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Damage
) -> None:
    _filled(tmp_path)
    damage(tmp_path)
    with caplog.at_level(logging.WARNING):
        index = opened(tmp_path)
    assert index.stamp is None
    assert len(index) == 0
    assert "is damaged" in caplog.text
    assert list(tmp_path.iterdir()) == []
    index.seal(stamp(5), 100)
    assert opened(tmp_path).stamp == stamp(5)


def test_a_log_that_is_gone_leaves_no_stamp(tmp_path: Path) -> None:
    _filled(tmp_path)
    _remove_log(tmp_path)
    assert opened(tmp_path).stamp is None


def test_a_kill_between_two_files_leaves_the_state_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _filled(tmp_path)
    index = opened(tmp_path)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    for point in ("_write_manifest", "_add_run"):
        with monkeypatch.context() as patch:
            patch.setattr(index, point, killed)
            with pytest.raises(KeyboardInterrupt):
                index.fold()
        index = opened(tmp_path)
        assert index.stamp == stamp(3)
        assert_answers(index, model)


def test_an_open_run_outlives_the_merge_that_replaces_it(
    tmp_path: Path,
) -> None:
    index, model = sealed(tmp_path), Model()
    for number in range(1, 9):
        rows = [(100, number % 3, number, number)]
        add(index, rows, number)
        remember(model, rows)
        index.fold()
        for key, content in model.items():
            known, found = index.find(100, np.array([key[1]]), np.array([key[2]]))
            assert (known.tolist(), found.tolist()) == ([True], [content])
