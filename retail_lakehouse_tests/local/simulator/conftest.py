"""A broker for the simulator's tests: with the platform's own topics, and theirs to kill.

Belongs here: that broker. Doesn't belong here: batches without Kafka (`made.py`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from retail_lakehouse.contracts.topics import TOPICS
from retail_lakehouse.kafka.admin import topic_names
from retail_lakehouse.kafka.topics import TopicSpec, ensure_topics
from retail_lakehouse.local.broker import Broker
from retail_lakehouse.local.java import JavaHome
from retail_lakehouse_tests.conftest import new_broker

PARTITIONS = 3
NAMES = [topic.name for topic in TOPICS]


def client_of(broker: Broker) -> dict[str, Any]:
    """Client settings that reach the broker."""
    return {"bootstrap.servers": broker.bootstrap_servers}


@pytest.fixture(scope="package")
def killable_broker(
    tmp_path_factory: pytest.TempPathFactory, java_home: JavaHome, broker_jars: list[Path]
) -> Iterator[Broker]:
    """A broker that only these tests use, and may kill."""
    running = new_broker(tmp_path_factory.mktemp("simulator-broker"), java_home, broker_jars)
    yield running
    running.stop()


@pytest.fixture
def own_broker(killable_broker: Broker) -> Iterator[Broker]:
    """The broker, with the platform's topics empty."""
    client = client_of(killable_broker)
    ensure_topics(
        client, [TopicSpec(topic.name, PARTITIONS, 1, topic.configs(1)) for topic in TOPICS]
    )
    yield killable_broker
    admin = AdminClient(client)
    for done in admin.delete_topics(NAMES, operation_timeout=20).values():
        done.result(timeout=30)
    while topic_names(client) & set(NAMES):
        time.sleep(0.1)
