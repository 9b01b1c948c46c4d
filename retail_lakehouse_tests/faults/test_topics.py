"""A topic that grows is read on; one that lost records stops the job until a person accepts it."""

import json
import re
import time
from dataclasses import replace

import pyarrow as pa
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from retail_lakehouse.contracts.events import INVENTORY
from retail_lakehouse.contracts.mark import Counts, Mark
from retail_lakehouse.contracts.tables import event_table, quarantine_table
from retail_lakehouse.kafka.topics import TopicSpec, ensure_topics
from retail_lakehouse.tables.append import append_marked
from retail_lakehouse.tables.catalog import open_catalog
from retail_lakehouse.tables.marks import last_mark
from retail_lakehouse.tables.schema import arrow_schema
from retail_lakehouse_tests.conformance.landed import assert_is, read_tables
from retail_lakehouse_tests.conformance.reference import expected
from retail_lakehouse_tests.faults.stream import Stream, make_topic

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(600)]


def make_again(stream: Stream) -> None:
    client = AdminClient(stream.client)
    client.delete_topics([stream.topic])[stream.topic].result(30)
    deadline = time.monotonic() + 30
    while stream.topic in client.list_topics(timeout=10).topics:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    make_topic(stream)


def accepting(stream: Stream, told: str) -> str:
    """Start the job with the code that it printed last, as its sentence says; returns the code."""
    code = str(re.findall(r"dev --set accept_loss=([0-9a-f]{12})`", told)[-1])
    stream.settings = stream.settings.model_copy(update={"accept_loss": code})
    return code


def test_partitions_added_while_the_job_is_down_are_read_from_their_first_record(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream.produce(60)
    assert stream.run(monkeypatch) == 0
    stream.partitions = 5
    make_topic(stream)
    stream.produce(60)
    assert stream.run(monkeypatch) == 0
    assert set(stream.check().last_mark.until) == {0, 1, 2, 3, 4}


def test_what_retention_took_of_a_partition_added_meanwhile_stops_the_job(
    stream: Stream, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stream.produce(30)
    assert stream.run(monkeypatch) == 0
    stream.partitions += 1
    make_topic(stream)
    added = stream.partitions - 1
    stream.produce(80)
    client = AdminClient(stream.client)
    next(iter(client.delete_records([TopicPartition(stream.topic, added, 2)]).values())).result(30)
    assert stream.run(monkeypatch) == 3
    assert f"Partition {added} of {stream.topic}: offsets 0 to 1 (2 records" in caplog.text


def test_a_topic_made_again_stops_the_job_until_its_loss_is_accepted(
    stream: Stream, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stream.produce(40)
    assert stream.run(monkeypatch) == 0
    old = stream.check()
    make_again(stream)
    first, stream.records = stream.records, []
    # None of these is malformed: the quarantine's last mark stays that of the old topic.
    stream.produce(3, only_good=True)
    assert stream.run(monkeypatch) == 3
    assert f"The topic {stream.topic} was deleted and made again" in caplog.text
    assert read_tables(stream.settings, INVENTORY).content == old.content

    accepting(stream, caplog.text)
    assert stream.run(monkeypatch) == 0
    # Accepted once: from now on the new topic is the known one.
    stream.settings = stream.settings.model_copy(update={"accept_loss": ""})
    stream.produce(20)
    assert stream.run(monkeypatch) == 0
    landed = read_tables(stream.settings, INVENTORY)
    mark = landed.last_mark
    assert mark.topic_id == stream.topic_id != old.last_mark.topic_id
    assert mark.total.read == len(stream.records)
    assert len(landed.rows) == len(old.rows) + mark.total.landed
    assert len(landed.quarantine) == len(old.quarantine) + mark.total.quarantined
    assert len(first) == old.last_mark.total.read


def test_a_topic_made_again_beneath_a_running_job_is_read_once_that_is_accepted(
    stream: Stream, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stream.produce(20)
    assert stream.run(monkeypatch) == 0
    old = stream.check()
    make_again(stream)
    stream.records = []
    # What the job leaves that runs meanwhile: its next batch ends where the empty new topic does.
    log = stream.checkpoint / "offsets"
    last = max(int(file.name) for file in log.iterdir() if file.name.isdigit())
    ends = {stream.topic: dict.fromkeys(map(str, range(stream.partitions)), 0)}
    version, metadata, _ = (log / str(last)).read_text("utf-8").splitlines()
    (log / str(last + 1)).write_text("\n".join([version, metadata, json.dumps(ends)]), "utf-8")
    assert stream.run(monkeypatch) == 3
    accepting(stream, caplog.text)
    stream.produce(10, only_good=True)
    assert stream.run(monkeypatch) == 0
    landed = read_tables(stream.settings, INVENTORY)
    assert landed.last_mark.total.read == 10
    assert len(landed.rows) == len(old.rows) + 10


def test_records_that_retention_took_before_they_landed_stop_the_job_until_accepted(
    stream: Stream, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stream.produce(30)
    assert stream.run(monkeypatch) == 0
    landed_until = stream.end()
    lost = [r for r in stream.produce(60) if r.partition == 1][:7]
    first_left = landed_until[1] + 7
    client = AdminClient(stream.client)
    removal = client.delete_records([TopicPartition(stream.topic, 1, first_left)])
    next(iter(removal.values())).result(30)
    assert stream.run(monkeypatch) == 3
    assert f"Partition 1 of {stream.topic}: offsets {landed_until[1]} to {first_left - 1}" in (
        caplog.text
    )
    assert not stream.caught_up()

    accepting(stream, caplog.text)
    assert stream.run(monkeypatch) == 0
    assert "This was accepted" in caplog.text
    landed = read_tables(stream.settings, INVENTORY)
    found = {(row["kafka_partition"], row["kafka_offset"]) for row in landed.rows}
    assert not found & {(r.partition, r.offset) for r in lost}
    assert landed.last_mark.total.read == len(stream.records) - len(lost)
    # The next start finds nothing to accept, and another loss is not accepted by the first code.
    stream.produce(10)
    assert stream.run(monkeypatch) == 0
    stream.produce(10)
    next(iter(client.delete_records([TopicPartition(stream.topic, 1, -1)]).values())).result(30)
    assert stream.run(monkeypatch) == 3
    first = stream.settings.accept_loss
    assert accepting(stream, caplog.text) != first


def test_an_accepted_loss_of_the_brokers_tail_stays_accepted(
    stream: Stream, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stream.produce(30)
    assert stream.run(monkeypatch) == 0
    before = stream.check()
    lose_tail(stream, records=5)
    assert stream.run(monkeypatch) == 3
    assert "Kafka ends at offset" in caplog.text

    accepting(stream, caplog.text)
    with monkeypatch.context() as patch:
        patch.setattr(stream, "caught_up", lambda: marks_of(stream)[0].until == stream.end())
        assert stream.run(patch) == 0
    assert [mark.until for mark in marks_of(stream)] == [stream.end()] * 2
    # New records take the lost offsets, in part at first, then past them.
    stream.settings = stream.settings.model_copy(update={"accept_loss": ""})
    for _ in range(2):
        stream.produce(10, only_good=True)
        assert stream.run(monkeypatch) == 0
    landed = read_tables(stream.settings, INVENTORY)
    landed.quarantine = [row for row in landed.quarantine if row["detail"] != "lost"]
    wanted = expected(stream.records, INVENTORY, stream.settings.dedupe_horizon_hours)
    assert_is(landed, wanted, stream.records)
    assert len(landed.rows) == len(before.rows) + 20


def lose_tail(stream: Stream, records: int) -> None:
    """Makes the tables speak of `records` more a partition, quarantined, than Kafka has."""
    until = {partition: end + records for partition, end in stream.end().items()}
    catalog = open_catalog(stream.settings)
    for contract in (event_table(INVENTORY), quarantine_table(INVENTORY)):
        table = catalog.load_table(contract.identifier)
        mark = last_mark(table)
        assert mark is not None
        rows = table.scan().to_arrow().slice(0, 1).to_pylist()
        of_tail = [
            rows[0] | {"kafka_partition": partition, "kafka_offset": offset, "detail": "lost"}
            for partition, end in until.items()
            for offset in range(end - records, end)
            if contract.name.endswith("_quarantine")
        ]
        made = pa.Table.from_pylist(of_tail, arrow_schema(contract))
        append_marked(table, made, replace(mark, ranges={}, until=until, batch=Counts()))


def marks_of(stream: Stream) -> list[Mark]:
    catalog = open_catalog(stream.settings)
    contracts = (event_table(INVENTORY), quarantine_table(INVENTORY))
    marks = [last_mark(catalog.load_table(contract.identifier)) for contract in contracts]
    return [mark for mark in marks if mark is not None]


def test_a_quarantine_that_has_rested_past_retention_is_no_loss(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream.produce(30)
    assert stream.run(monkeypatch) == 0
    quarantined = stream.check().quarantine_commits
    # Good records only: the quarantine's mark stays where it is.
    for _ in range(2):
        stream.produce(3, only_good=True)
        assert stream.run(monkeypatch) == 0
    client = AdminClient(stream.client)
    ends = [TopicPartition(stream.topic, p, end) for p, end in stream.end().items()]
    for removal in client.delete_records(ends).values():
        removal.result(30)
    stream.produce(5)
    assert stream.run(monkeypatch) == 0
    assert stream.check().quarantine_commits[0] == quarantined[0]


def test_a_topic_with_the_producers_clock_is_refused(
    stream: Stream, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    spec = TopicSpec(stream.topic, stream.partitions, 1, {"message.timestamp.type": "CreateTime"})
    ensure_topics(stream.client, [spec], timeout_seconds=30)
    assert stream.run(monkeypatch) == 3
    assert "Set it to LogAppendTime" in caplog.text
