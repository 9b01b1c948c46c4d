"""Whatever happens to the checkpoint, the job goes on from the table's marks and says so."""

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from retail_lakehouse_tests.faults.stream import Stream

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(600)]

Damage = Callable[[Path], None]
OLDER = "checkpoint-of-earlier"


def _deleted(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint)


def _moved(checkpoint: Path) -> None:
    checkpoint.rename(checkpoint.with_name("elsewhere"))


def _log(checkpoint: Path, name: str) -> list[Path]:
    files = [path for path in (checkpoint / name).iterdir() if path.name.isdigit()]
    return sorted(files, key=lambda path: int(path.name))


def _offsets_cut_short(checkpoint: Path) -> None:
    last = _log(checkpoint, "offsets")[-1]
    os.truncate(last, last.stat().st_size // 2)


def _offsets_cut_short_without_checksum(checkpoint: Path) -> None:
    last = _log(checkpoint, "offsets")[-1]
    last.with_name(f".{last.name}.crc").unlink()
    os.truncate(last, last.stat().st_size // 2)


def _offsets_before_the_last_emptied(checkpoint: Path) -> None:
    path = _log(checkpoint, "offsets")[-2]
    path.with_name(f".{path.name}.crc").unlink()
    os.truncate(path, 0)


def _offsets_gone(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint / "offsets")


def _commits_gone(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint / "commits")


def _last_commit_gone(checkpoint: Path) -> None:
    """As after a kill between the table's commit and Spark's."""
    last = _log(checkpoint, "commits")[-1]
    last.with_name(f".{last.name}.crc").unlink()
    last.unlink()


def _id_cut_short(checkpoint: Path) -> None:
    (checkpoint / ".metadata.crc").unlink()
    os.truncate(checkpoint / "metadata", 5)


def _older(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint)
    shutil.copytree(checkpoint.with_name(OLDER), checkpoint)


def _offsets_changed(checkpoint: Path, change: Callable[[str], str]) -> None:
    for path in _log(checkpoint, "offsets"):
        path.with_name(f".{path.name}.crc").unlink()
        path.write_text(change(path.read_text()))


def _newer(checkpoint: Path) -> None:
    """Ahead of the table: what it has passed over would never be read."""
    _offsets_changed(checkpoint, lambda text: text.replace('"0":', '"0":1'))


def _another_tables(checkpoint: Path) -> None:
    _offsets_changed(checkpoint, lambda text: text.replace('{"faults.', '{"retail.'))


def _binary(checkpoint: Path) -> None:
    last = _log(checkpoint, "offsets")[-1]
    last.with_name(f".{last.name}.crc").unlink()
    last.write_bytes(b"\xff\xfe\x00")


@pytest.fixture(scope="module")
def caught_up(lasting_stream: Stream) -> Stream:
    """A stream some batches on, with a copy of its checkpoint from before the last of them."""
    with pytest.MonkeyPatch.context() as patch:
        lasting_stream.produce(70)
        assert lasting_stream.run(patch) == 0
        checkpoint = lasting_stream.checkpoint
        shutil.copytree(checkpoint, checkpoint.with_name(OLDER))
        lasting_stream.produce(70)
        assert lasting_stream.run(patch) == 0
    lasting_stream.check()
    return lasting_stream


@pytest.mark.parametrize(
    "damage, told",
    [
        (None, ""),
        (_last_commit_gone, ""),
        (_offsets_before_the_last_emptied, "cut short or not Spark's"),
        (_deleted, ""),
        (_moved, ""),
        (_offsets_cut_short, "cannot be read"),
        (_offsets_cut_short_without_checksum, "cut short or not Spark's"),
        (_binary, "is garbage"),
        (_offsets_gone, "do not belong together"),
        (_commits_gone, "no batch of it was committed"),
        (_id_cut_short, "query's id is cut short"),
        (_older, "it stands at"),
        (_newer, "it stands at"),
        (_another_tables, "belongs to another topic"),
    ],
)
def test_a_checkpoint_that_disagrees_is_moved_aside_and_nothing_is_lost_or_doubled(
    caught_up: Stream,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    damage: Damage | None,
    told: str,
) -> None:
    if damage is not None:
        damage(caught_up.checkpoint)
    caught_up.produce(20)
    with caplog.at_level(logging.INFO, logger="retail_lakehouse"):
        assert caught_up.run(monkeypatch) == 0
    moved = [r.getMessage() for r in caplog.records if "was moved to" in r.getMessage()]
    assert len(moved) == bool(told)
    assert all(told in sentence for sentence in moved)
    caught_up.check()
