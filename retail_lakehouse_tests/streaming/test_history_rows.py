"""History and stream: the same body becomes the same row, whichever way it comes."""

import json
from typing import TYPE_CHECKING

import pytest

from retail_lakehouse.contracts.events import EVENTS, EventContract
from retail_lakehouse.contracts.tables import event_table
from retail_lakehouse.local.simulator.backfill import typed_rows
from retail_lakehouse.local.simulator.options import NO_FAULTS
from retail_lakehouse.streaming import transform
from retail_lakehouse_tests.conformance.records import Record
from retail_lakehouse_tests.local.simulator.made import NOW_MS, maker
from retail_lakehouse_tests.streaming.test_transform import kafka_rows

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.stack

OF_THE_ROUTE = {
    "ingested_at",
    *("kafka_topic", "kafka_topic_id", "kafka_partition", "kafka_offset", "kafka_timestamp"),
}


def bodies_of(event: EventContract) -> list[bytes]:
    """Twenty bodies of the simulator; every fourth has a field that the contract does not know."""
    made = maker(NO_FAULTS).batch(0, 600, NOW_MS - 40_000_000, NOW_MS)
    own = zip(made.rows["topic"].tolist(), made.bodies, strict=True)
    bodies = [body for number, body in own if number == EVENTS.index(event) and body][:20]
    assert len(bodies) == 20
    for n in range(0, 20, 4):
        bodies[n] = json.dumps(json.loads(bodies[n]) | {"colour": "räd", "size": n}).encode()
    return bodies


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_a_backfilled_row_is_the_streams_but_for_what_the_route_adds(
    spark: "SparkSession", event: EventContract
) -> None:
    bodies, table = bodies_of(event), event_table(event)
    records = [Record(0, n, NOW_MS, None, body) for n, body in enumerate(bodies)]
    judged = transform.judged(kafka_rows(spark, records), event, {})
    landed = transform.landing_rows(judged, table, event.topic, "id", NOW_MS).collect()
    streamed = {row["event_id"]: row.asDict() for row in landed}
    backfilled = {row["event_id"]: row for row in typed_rows(event, bodies, 1).to_pylist()}

    compared = [column.name for column in table.columns if column.name not in OF_THE_ROUTE]
    assert len(compared) == len(table.columns) - len(OF_THE_ROUTE)
    assert len(streamed) == 20
    assert streamed.keys() == backfilled.keys()
    for event_id, row in streamed.items():
        other = backfilled[event_id]
        assert {name: other[name] for name in compared} == {name: row[name] for name in compared}
    assert sum(row["extra"] is not None for row in streamed.values()) == 5
