"""Spark's checkpoint, held against the marks.

Here: reading the offsets of a checkpoint, judging whether it agrees with the table, moving it
aside. Not here: what Spark does with one that agrees.

The table carries the progress; the checkpoint is a convenience. One that says anything else than
the marks (deleted, moved, cut short, older, newer, another table's) is never repaired.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyspark.sql import SparkSession


class CheckpointDamagedError(ValueError):
    """A file of the checkpoint is not as Spark writes it."""


class CheckpointStuckError(RuntimeError):
    """A checkpoint that has to go cannot be moved aside; a person has to."""


@dataclass(frozen=True, slots=True)
class CheckpointState:
    """Offsets by partition of the last batch that was committed, and of one planned after it."""

    committed: dict[int, int]
    planned: dict[int, int] | None


class CheckpointFiles:
    """The checkpoint's folder through Hadoop's file system, local or on S3."""

    def __init__(self, spark: SparkSession, location: str) -> None:
        jvm: Any = spark._jvm
        self._jvm = jvm
        self.location = location
        self._path = jvm.org.apache.hadoop.fs.Path(location)
        self._fs = self._path.getFileSystem(spark._jsc.hadoopConfiguration())

    def exists(self) -> bool:
        """Whether there is a checkpoint at all."""
        return bool(self._fs.exists(self._path))

    def batches(self, log: str) -> list[int]:
        """Batch ids in the checkpoint's `offsets` or `commits` log, ascending."""
        folder = self._jvm.org.apache.hadoop.fs.Path(self._path, log)
        if not self._fs.exists(folder):
            return []
        names = [status.getPath().getName() for status in self._fs.listStatus(folder)]
        return sorted(int(name) for name in names if name.isdigit())

    def read(self, log: str, batch_id: int) -> str:
        """The text of one entry of a log."""
        return self._text(f"{log}/{batch_id}")

    def metadata(self) -> str | None:
        """The text of the file with the query's id; None when it is gone."""
        if not self._fs.exists(self._jvm.org.apache.hadoop.fs.Path(self._path, "metadata")):
            return None
        return self._text("metadata")

    def _text(self, name: str) -> str:
        from py4j.protocol import Py4JJavaError

        path = self._jvm.org.apache.hadoop.fs.Path(self._path, name)
        try:
            stream = self._fs.open(path)
            try:
                data = self._jvm.org.apache.commons.io.IOUtils.toByteArray(stream)
            finally:
                stream.close()
        except Py4JJavaError as error:
            # A file that was touched no longer has the checksum that Hadoop keeps beside it.
            reason = error.java_exception.toString()
            raise CheckpointDamagedError(f"its {name} cannot be read: {reason}") from error
        try:
            return bytes(data).decode("utf-8")
        except UnicodeDecodeError:
            raise CheckpointDamagedError(f"its {name} is garbage") from None

    def move_aside(self, suffix: str) -> str:
        """Renames the checkpoint's folder; returns its new location.

        Raises:
            CheckpointStuckError: the file system does not let it be renamed.
        """
        from py4j.protocol import Py4JJavaError

        aside = f"{self.location}.{suffix}"
        try:
            if self._fs.rename(self._path, self._jvm.org.apache.hadoop.fs.Path(aside)):
                return aside
            reason = "the file system refused without a reason"
        except Py4JJavaError as error:
            reason = str(error.java_exception.toString())
        raise CheckpointStuckError(
            f"The checkpoint {self.location} disagrees with the table and could not be moved to "
            f"{aside}: {reason}. Move it by hand, then start the job again."
        )


def read_state(files: CheckpointFiles, topic: str) -> CheckpointState:
    """The offsets that the checkpoint stands for.

    Raises:
        CheckpointDamagedError: a file is cut short, garbage, or of another topic.
    """
    planned_batches, committed_batches = files.batches("offsets"), files.batches("commits")
    if not committed_batches:
        raise CheckpointDamagedError("no batch of it was committed")
    metadata = files.metadata()
    if metadata is not None and not _has_id(metadata):
        raise CheckpointDamagedError("the file with its query's id is cut short or not Spark's")
    last = committed_batches[-1]
    parse_commit(files.read("commits", last))
    if not planned_batches or planned_batches[-1] not in (last, last + 1):
        raise CheckpointDamagedError("its two logs do not belong together")
    # Spark reads the last entry and the one before it.
    for batch_id in range(max(0, planned_batches[-1] - 1), last + 1):
        if batch_id not in planned_batches:
            raise CheckpointDamagedError(f"the offsets of its batch {batch_id} are gone")
        committed = parse_offsets(files.read("offsets", batch_id), topic)
    planned = None
    if planned_batches[-1] > last:
        planned = parse_offsets(files.read("offsets", planned_batches[-1]), topic)
    return CheckpointState(committed, planned)


def planned_end(files: CheckpointFiles, topic: str, batch_id: int) -> dict[int, int]:
    """The end offsets (exclusive) that Spark has planned for a batch, by partition."""
    return parse_offsets(files.read("offsets", batch_id), topic)


def parse_offsets(text: str, topic: str) -> dict[int, int]:
    """Offsets by partition from one entry of the offsets log (version, metadata, one source)."""
    lines = text.splitlines()
    if len(lines) != 3 or lines[0] != "v1" or not _is_object(lines[1]):
        raise CheckpointDamagedError("a file of its offsets log is cut short or not Spark's")
    try:
        topics = json.loads(lines[2])
        return {int(partition): int(offset) for partition, offset in topics[topic].items()}
    except KeyError:
        raise CheckpointDamagedError("it belongs to another topic") from None
    except (ValueError, TypeError, AttributeError):
        raise CheckpointDamagedError("a file of its offsets log is garbage") from None


def parse_commit(text: str) -> None:
    """Checks one entry of the commit log."""
    version, _, body = text.partition("\n")
    if version != "v1" or not _is_object(body):
        raise CheckpointDamagedError("a file of its commit log is cut short or not Spark's")


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _has_id(metadata: str) -> bool:
    try:
        return isinstance(json.loads(metadata)["id"], str)
    except (ValueError, KeyError, TypeError):
        return False


def agrees(state: CheckpointState, until: Mapping[int, int]) -> bool:
    """Whether going on from the checkpoint reads exactly what lies past the marks.

    The marks may stand at the last committed batch, or at the one planned after it: then the kill
    came between the table's commit and Spark's, and the batch's records are below `until`. A batch
    that was planned to end before the committed one is of a topic that was made again beneath the
    job: Spark would go on from the old topic's offsets, and fail at every start.
    """
    planned = state.planned or state.committed
    goes_back = any(planned.get(p, 0) < offset for p, offset in state.committed.items())
    return not goes_back and (_same(state.committed, until) or _same(planned, until))


def planned_beyond(state: CheckpointState, end: Mapping[int, int]) -> dict[int, int]:
    """The planned end offsets that lie past Kafka's: of records that the broker has lost since.

    Spark would read that batch again, to ends that are not there, and fail at every start.
    """
    planned = state.planned or {}
    return {p: offset for p, offset in planned.items() if offset > end.get(p, 0)}


def planned_records(state: CheckpointState, until: Mapping[int, int]) -> int:
    """Records of a planned batch that have not landed yet; 0 without one.

    Spark reads it again as it was planned, whatever the settings say by then.
    """
    planned = state.planned or {}
    return sum(max(0, offset - until.get(partition, 0)) for partition, offset in planned.items())


def _same(left: Mapping[int, int], right: Mapping[int, int]) -> bool:
    return all(left.get(p, 0) == right.get(p, 0) for p in left.keys() | right.keys())
