"""When a record came is found by asking which offsets came since when, and no record is read."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pytest
from confluent_kafka import Producer
from hypothesis import given
from hypothesis import strategies as st

from retail_lakehouse.kafka.arrival import OLDEST_MS, Place, arrived_ms, search
from retail_lakehouse.local.broker import Broker
from retail_lakehouse_tests.conftest import MakeTopic

AT = 1_800_000_000_000


class Partitions:
    """Partitions whose records came so many milliseconds before `AT`, in order of their offsets."""

    def __init__(self, ages: Mapping[Place, list[int]]) -> None:
        self.ages = ages
        self.requests = 0

    def first_offsets(self, since_ms: Mapping[Place, int]) -> dict[Place, int]:
        """As Kafka answers: -1 where nothing came since."""
        self.requests += 1
        return {
            place: next((o for o, age in enumerate(self.ages[place]) if AT - age >= since), -1)
            for place, since in since_ms.items()
        }


@given(st.lists(st.integers(0, OLDEST_MS), min_size=1, max_size=20), st.data())
def test_the_time_found_is_never_late_and_hardly_early(
    ages: list[int], data: st.DataObject
) -> None:
    ages = sorted(ages, reverse=True)
    offset = data.draw(st.integers(0, len(ages) - 1))
    found = search({("t", 0): offset}, AT, Partitions({("t", 0): ages}).first_offsets)
    age = AT - found["t", 0]
    assert ages[offset] <= age <= ages[offset] + max(250, age // 100)


def test_all_partitions_are_asked_in_one_request_a_step() -> None:
    seen = Partitions({("t", n): [8_000 + n] for n in range(24)})
    found = search(dict.fromkeys(seen.ages, 0), AT, seen.first_offsets)
    assert all(8_000 <= AT - ms <= 8_300 for ms in found.values())
    assert seen.requests < 12


def test_a_record_of_a_broker_whose_clock_is_ahead_came_just_now() -> None:
    found = search({("t", 0): 0}, AT, Partitions({("t", 0): [-60_000]}).first_offsets)
    assert AT - 250 <= found["t", 0] <= AT


def test_what_is_older_than_any_topic_keeps_is_as_old_as_that() -> None:
    found = search({("t", 0): 0}, AT, Partitions({("t", 0): [2 * OLDEST_MS]}).first_offsets)
    assert found == {("t", 0): AT - OLDEST_MS}


@pytest.mark.stack
def test_the_broker_tells_when_each_of_its_records_came(
    broker: Broker, make_topic: MakeTopic
) -> None:
    config = {"bootstrap.servers": broker.bootstrap_servers}
    topic = make_topic(partitions=2, configs={"message.timestamp.type": "LogAppendTime"})
    producer, sent = Producer(config), []
    for _ in range(3):
        sent.append(time.time_ns() // 1_000_000)
        producer.produce(topic, b"x", partition=1)
        producer.flush(10)
        time.sleep(1.5)
    for offset, at_ms in enumerate(sent):
        now = time.time_ns() // 1_000_000
        found = arrived_ms(config, {(topic, 1): offset}, now)
        assert -300 <= found[topic, 1] - at_ms <= 500
