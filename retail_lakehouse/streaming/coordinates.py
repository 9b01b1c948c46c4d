"""Records by their coordinates, between the driver's numbers and Spark's rows.

Here: collecting a judged batch's numbers, and picking rows by coordinates. Not here: which.

Partition and offset name a record within one batch, as Kafka gives an offset to one record at a
time. Over a table's whole life they don't: `Arrival` does.
"""

from collections.abc import Mapping
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as f

from retail_lakehouse.dedupe.records import Longs, Records, concatenated
from retail_lakehouse.streaming.transform import packed

_LITERALS_AT_MOST = 10_000
"""Past so many offsets a join is cheaper than a list of literals in the plan."""
_KEY = ["kafka_partition", "kafka_offset"]

Arrival = tuple[int, int, int]
"""Partition, offset and broker time (epoch ms): a broker that lost records gives their offsets to
new ones, and only the time tells them apart."""
_ARRIVAL = [*_KEY, "broker_ms"]


def collected(judged: DataFrame) -> Records:
    """The numbers of a judged batch, on the driver."""
    import pyarrow as pa

    parts = [
        Records.from_arrow(pa.ipc.open_stream(row["packed"]).read_all())
        for row in packed(judged).collect()
    ]
    if not parts:
        empty, none = np.empty(0, np.int64), np.empty(0, np.bool_)
        return Records(*(empty,) * 7, good=none, with_extra=none)
    return concatenated(parts)


def listed(records: Records, arrivals: frozenset[Arrival]) -> npt.NDArray[np.bool_]:
    """Which of the records are among `arrivals`."""
    result = np.zeros(len(records), dtype=np.bool_)
    if not arrivals:
        return result
    candidates = np.flatnonzero(np.isin(records.offset, [offset for _, offset, _ in arrivals]))
    columns = (records.partition, records.offset, records.broker_ms)
    found = zip(*(column[candidates].tolist() for column in columns), strict=True)
    result[candidates] = [arrival in arrivals for arrival in found]
    return result


def arrivals(rows: DataFrame) -> frozenset[Arrival]:
    """The arrivals of a table's rows, on the driver."""
    found = _with_broker_ms(rows).select(*_ARRIVAL).collect()
    return frozenset((int(p), int(offset), int(ms)) for p, offset, ms in found)


def with_facts(
    rows: DataFrame, records: Records, facts: Mapping[str, npt.NDArray[Any]]
) -> DataFrame:
    """`rows` that are among the records, each with what `facts` says of its record.

    `facts` maps new columns to one value a record.
    """
    import pandas as pd

    frame = pd.DataFrame(
        {
            _ARRIVAL[0]: records.partition.astype(np.int32),
            _ARRIVAL[1]: records.offset,
            _ARRIVAL[2]: records.broker_ms,
            **{name: values.tolist() for name, values in facts.items()},
        }
    )
    told = f.broadcast(rows.sparkSession.createDataFrame(frame))
    return _with_broker_ms(rows).join(told, _ARRIVAL).drop(_ARRIVAL[2])


def _with_broker_ms(rows: DataFrame) -> DataFrame:
    # The session's time zone is UTC, so the cast changes nothing.
    milliseconds = f.unix_millis(f.col("kafka_timestamp").cast("timestamp"))
    return rows.withColumn(_ARRIVAL[2], milliseconds)


def below(until: Mapping[int, int]) -> Column:
    """The rows that `until` covers."""
    covered = f.lit(False)
    for partition, offset in until.items():
        covered |= (f.col("kafka_partition") == partition) & (f.col("kafka_offset") < offset)
    return covered


def at(partition: Longs, offset: Longs) -> Column:
    """The rows at these coordinates."""
    # As text: each literal of `isin` would be a call into the JVM of its own.
    conditions = [
        f.expr(
            f"kafka_partition = {int(p)} AND kafka_offset IN "
            f"({','.join(map(str, offset[partition == p].tolist()))})"
        )
        for p in np.unique(partition)
    ]
    return reduce(lambda left, right: left | right, conditions, f.lit(False))


def only(rows: DataFrame, partition: Longs, offset: Longs) -> DataFrame:
    """`rows` that are at these coordinates; of a table's rows, several may be at one."""
    if len(offset) <= _LITERALS_AT_MOST:
        return rows.where(at(partition, offset))
    return rows.join(_listed(rows, partition, offset), _KEY, "left_semi")


def without(rows: DataFrame, partition: Longs, offset: Longs) -> DataFrame:
    """`rows` of one batch that are not at these coordinates."""
    if not len(offset):
        return rows
    if len(offset) <= _LITERALS_AT_MOST:
        return rows.where(~at(partition, offset))
    return rows.join(_listed(rows, partition, offset), _KEY, "left_anti")


def _listed(rows: DataFrame, partition: Longs, offset: Longs) -> DataFrame:
    import pandas as pd

    frame = pd.DataFrame({_KEY[0]: partition.astype(np.int32), _KEY[1]: offset})
    return f.broadcast(rows.sparkSession.createDataFrame(frame))
