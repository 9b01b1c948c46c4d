"""Rules of reading clusters and making topics, against the real broker."""

from __future__ import annotations

import re
import subprocess
import sys
import time
import uuid

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from retail_lakehouse.kafka import admin
from retail_lakehouse.kafka.connection import (
    KafkaRefusedError,
    KafkaUnreachableError,
    TopicMissingError,
)
from retail_lakehouse.kafka.topics import TopicConflictError, TopicSpec, ensure_topics
from retail_lakehouse.local import ports
from retail_lakehouse.local.broker import Broker
from retail_lakehouse_tests.conftest import MakeTopic


def _config(broker: Broker) -> dict[str, str]:
    return {"bootstrap.servers": broker.bootstrap_servers}


def _name() -> str:
    return f"wish.{uuid.uuid4().hex[:8]}"


def test_the_room_is_imported_without_a_kafka_client() -> None:
    code = (
        "import sys, retail_lakehouse.kafka.admin, retail_lakehouse.kafka.topics; "
        "sys.exit('confluent_kafka' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_cluster_that_does_not_answer_is_named_in_time() -> None:
    config = {"bootstrap.servers": f"127.0.0.1:{ports.free_port()}"}
    for ask in (admin.cluster_id, admin.topic_names):
        started = time.monotonic()
        with pytest.raises(KafkaUnreachableError, match=config["bootstrap.servers"]):
            ask(config, 1.0)
        assert time.monotonic() - started < 4
    with pytest.raises(KafkaUnreachableError):
        admin.describe_topics(config, ["x"], 1.0)
    with pytest.raises(KafkaUnreachableError):
        ensure_topics(config, [TopicSpec("x", 1, 1)], 1.0)


@pytest.mark.stack
def test_the_cluster_id_is_the_one_of_the_data_folder(broker: Broker) -> None:
    assert admin.cluster_id(_config(broker)) == broker.cluster_id


@pytest.mark.stack
def test_offsets_tell_what_was_written(broker: Broker, make_topic: MakeTopic) -> None:
    topic = make_topic(partitions=3)
    producer = Producer(_config(broker))
    for _ in range(7):
        producer.produce(topic, b"x", partition=1)
    producer.flush(10)
    (described,) = admin.describe_topics(_config(broker), [topic])
    assert described.earliest_offsets == {0: 0, 1: 0, 2: 0}
    assert described.end_offsets == {0: 0, 1: 7, 2: 0}


@pytest.mark.stack
def test_topics_are_described_in_the_order_asked_for(broker: Broker, make_topic: MakeTopic) -> None:
    names = [make_topic(), make_topic(), make_topic()]
    asked = [names[2], names[0], names[1]]
    assert [each.name for each in admin.describe_topics(_config(broker), asked)] == asked
    everything = {each.name for each in admin.describe_topics(_config(broker))}
    assert everything >= set(names)
    assert not any(name.startswith("__") for name in everything)


@pytest.mark.stack
def test_a_topic_id_is_written_as_kafka_writes_it_and_changes_when_made_anew(
    broker: Broker,
) -> None:
    # Half of all ids have neither of the two characters in which the alphabets differ.
    names = [_name() for _ in range(12)]
    wishes = [TopicSpec(name, 1, 1) for name in names]
    ensure_topics(_config(broker), wishes)
    before = [each.topic_id for each in admin.describe_topics(_config(broker), names)]
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{22}", each) for each in before)
    log = broker.log_path.read_text()
    assert all(each in log for each in before)
    client = AdminClient(_config(broker))  # type: ignore[arg-type]
    for future in client.delete_topics([names[0]]).values():
        future.result(10)
    ensure_topics(_config(broker), wishes[:1])
    assert admin.describe_topics(_config(broker), names[:1])[0].topic_id != before[0]


@pytest.mark.stack
def test_a_missing_topic_is_named(broker: Broker) -> None:
    with pytest.raises(TopicMissingError, match="no topic never\\.made"):
        admin.describe_topics(_config(broker), ["never.made"])


@pytest.mark.stack
def test_wishes_that_are_fulfilled_change_nothing(broker: Broker) -> None:
    wish = TopicSpec(_name(), 2, 1, {"retention.ms": "604800000", "cleanup.policy": "delete"})
    assert [each.action for each in ensure_topics(_config(broker), [wish])] == ["created"]
    assert [each.action for each in ensure_topics(_config(broker), [wish])] == ["unchanged"]


@pytest.mark.stack
def test_partitions_are_added_and_configs_altered(broker: Broker) -> None:
    name = _name()
    ensure_topics(_config(broker), [TopicSpec(name, 2, 1, {"retention.ms": "60000"})])
    (change,) = ensure_topics(_config(broker), [TopicSpec(name, 4, 1, {"retention.ms": "70000"})])
    assert change.action == "changed"
    assert "partitions from 2 to 4" in change.detail
    assert "retention.ms from 60000 to 70000" in change.detail
    (described,) = admin.describe_topics(_config(broker), [name])
    assert len(described.partitions) == 4


@pytest.mark.stack
def test_partitions_are_never_taken_away_and_a_refusal_changes_nothing(broker: Broker) -> None:
    large, new = _name(), _name()
    ensure_topics(_config(broker), [TopicSpec(large, 3, 1)])
    with pytest.raises(TopicConflictError, match=f"{large} has 3 partitions and 2 are wished"):
        ensure_topics(_config(broker), [TopicSpec(new, 1, 1), TopicSpec(large, 2, 1)])
    assert new not in admin.topic_names(_config(broker))


@pytest.mark.stack
def test_what_the_cluster_refuses_is_said_in_its_words(broker: Broker) -> None:
    with pytest.raises(KafkaRefusedError, match="replication factor of 3"):
        ensure_topics(_config(broker), [TopicSpec(_name(), 1, 3)])
