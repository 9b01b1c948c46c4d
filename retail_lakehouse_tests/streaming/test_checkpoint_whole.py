"""Rules of a whole checkpoint: what its two logs stand for together, and when they do not.

Here: the logs as they are listed and read. Not here: the text of one entry (`test_checkpoint.py`).
"""

import json
from collections.abc import Mapping

import pytest

from retail_lakehouse.streaming.checkpoint import (
    CheckpointDamagedError,
    CheckpointFiles,
    CheckpointState,
    read_state,
)


class _Files(CheckpointFiles):
    """A checkpoint in memory; `planned` gives the offset of partition 0 by batch."""

    def __init__(
        self, planned: Mapping[int, int], committed: Mapping[int, str], metadata: str | None
    ) -> None:
        self._logs: dict[str, dict[int, str]] = {
            "offsets": {n: f'v1\n{{}}\n{{"t":{{"0":{at}}}}}' for n, at in planned.items()},
            "commits": dict(committed),
        }
        self._metadata = metadata

    def batches(self, log: str) -> list[int]:
        return sorted(self._logs[log])

    def read(self, log: str, batch_id: int) -> str:
        return self._logs[log][batch_id]

    def metadata(self) -> str | None:
        return self._metadata


_DONE = 'v1\n{"nextBatchWatermarkMs":0}'
_ID = json.dumps({"id": "q"})


@pytest.mark.parametrize(
    "planned, committed, state",
    [
        ({0: 5}, [0], CheckpointState({0: 5}, None)),
        ({0: 5, 1: 9}, [0], CheckpointState({0: 5}, {0: 9})),
        ({0: 5, 1: 9}, [0, 1], CheckpointState({0: 9}, None)),
        ({6: 5, 7: 9, 8: 12}, [6, 7], CheckpointState({0: 9}, {0: 12})),
        ({7: 9, 8: 12}, [5, 6, 7], CheckpointState({0: 9}, {0: 12})),
    ],
)
def test_a_checkpoint_stands_for_its_last_commit_and_what_was_planned_after_it(
    planned: dict[int, int], committed: list[int], state: CheckpointState
) -> None:
    for metadata in (_ID, None):
        files = _Files(planned, dict.fromkeys(committed, _DONE), metadata)
        assert read_state(files, "t") == state


@pytest.mark.parametrize(
    "planned, committed, metadata, sentence",
    [
        ({0: 5}, {}, _ID, "no batch of it was committed"),
        ({0: 5}, {0: _DONE}, "", "its query's id is cut short"),
        ({0: 5}, {0: _DONE}, "{}", "its query's id is cut short"),
        ({0: 5}, {0: "v1"}, _ID, "commit log is cut short"),
        ({0: 5}, {0: ""}, _ID, "commit log is cut short"),
        ({}, {0: _DONE}, _ID, "do not belong together"),
        ({0: 5, 1: 9, 2: 12}, {0: _DONE}, _ID, "do not belong together"),
        ({0: 5}, {0: _DONE, 1: _DONE}, _ID, "do not belong together"),
        ({7: 12}, {6: _DONE}, _ID, "the offsets of its batch 6 are gone"),
        ({5: 9, 7: 12}, {5: _DONE, 7: _DONE}, _ID, "the offsets of its batch 6 are gone"),
    ],
)
def test_a_checkpoint_that_is_not_whole_is_damaged(
    planned: dict[int, int], committed: dict[int, str], metadata: str, sentence: str
) -> None:
    with pytest.raises(CheckpointDamagedError, match=sentence):
        read_state(_Files(planned, committed, metadata), "t")
