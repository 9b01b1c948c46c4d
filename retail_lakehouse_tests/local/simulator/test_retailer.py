"""Rules of what the simulator makes: deterministic, true to the contract, true to the day."""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retail_lakehouse.burst import Burst
from retail_lakehouse.contracts.canonical import content_hash
from retail_lakehouse.contracts.events import EVENTS, INVENTORY, EventContract
from retail_lakehouse.contracts.judge import Bad, Good, judge
from retail_lakehouse.contracts.reasons import PRECEDENCE, Reason
from retail_lakehouse.contracts.reference_data import stores
from retail_lakehouse.local.ledger_totals import DUPLICATE_KINDS, GOOD_KINDS, RecordKind
from retail_lakehouse.local.process_record import write_record
from retail_lakehouse.local.processes import record_path
from retail_lakehouse.local.simulator.disturbance import Batch, Disturbance
from retail_lakehouse.local.simulator.job_processes import jobs_of
from retail_lakehouse.local.simulator.malformed import (
    ADAPTABLE_CASES,
    SPOILERS,
    Victim,
    adapted_case,
    spoilers,
)
from retail_lakehouse.local.simulator.market import Market
from retail_lakehouse.local.simulator.options import NO_FAULTS, Shares
from retail_lakehouse_tests.local.simulator.made import FAULTS, NOW_MS, maker

_HOUR_MS = 3_600_000
_MARGIN_MS = 15 * 60_000


def _verdicts(batch: Batch, broker_ms: int = NOW_MS) -> list[Good | Bad]:
    return [
        judge(body, broker_ms, EVENTS[topic])
        for topic, body in zip(batch.rows["topic"].tolist(), batch.bodies, strict=True)
    ]


def _good_events(batch: Batch) -> dict[str, list[dict[str, Any]]]:
    events: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for topic, verdict in zip(batch.rows["topic"].tolist(), _verdicts(batch), strict=True):
        if isinstance(verdict, Good):
            events[EVENTS[topic].name].append(verdict.values)
    return events


def test_the_same_seed_numbers_and_times_give_the_same_bytes() -> None:
    first, second = maker(), maker()
    for number in range(3):
        arguments = (number, 1_000, NOW_MS + number * 250 - 250, NOW_MS + number * 250)
        one, other = first.batch(*arguments), second.batch(*arguments)
        assert one.bodies == other.bodies
        assert one.keys == other.keys
        assert (one.rows == other.rows).all()
    assert (
        maker(seed=8).batch(0, 1_000, NOW_MS - 250, NOW_MS).bodies
        != first.batch(0, 1_000, NOW_MS - 250, NOW_MS).bodies
    )


def test_the_judge_says_of_each_record_what_the_simulator_meant() -> None:
    batch = maker(FAULTS).batch(0, 6_000, NOW_MS - 250, NOW_MS)
    seen: Counter[RecordKind] = Counter()
    for row, verdict in zip(batch.rows, _verdicts(batch), strict=True):
        kind = RecordKind(row["kind"])
        seen[kind] += 1
        if kind is RecordKind.MALFORMED:
            assert isinstance(verdict, Bad)
            assert verdict.reason is PRECEDENCE[row["reason"]]
        else:
            assert isinstance(verdict, Good)
            assert content_hash(verdict.canonical) == (int(row["high"]) << 64) + int(row["low"])
    for kind in (*GOOD_KINDS, RecordKind.MALFORMED, RecordKind.DUPLICATE_SAME_BATCH):
        assert seen[kind] > 20, f"{kind.name} is missing"


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_every_reason_that_a_body_can_have_occurs_for_every_event(event: EventContract) -> None:
    reasons = {reason for reason in Reason if spoilers(event, reason)}
    assert reasons == set(Reason) - {Reason.CONFLICT}


@pytest.mark.parametrize("spoiler", SPOILERS, ids=lambda spoiler: spoiler.name)
def test_a_spoilt_body_gets_exactly_the_reason_of_its_spoiler(spoiler: Any) -> None:
    batch = maker(NO_FAULTS).batch(0, 100, NOW_MS - 250, NOW_MS)
    for number, event in enumerate(EVENTS):
        if spoiler not in spoilers(event, spoiler.reason):
            continue
        body = batch.bodies[batch.rows["topic"].tolist().index(number) + 1]
        assert body is not None
        members = {name: json.dumps(value) for name, value in json.loads(body).items()}
        # A broker's clock some seconds on must not make a row of it.
        for broker_ms in (NOW_MS, NOW_MS + 30_000):
            verdict = judge(spoiler.spoil(Victim(event, members, NOW_MS)), broker_ms, event)
            assert isinstance(verdict, Bad), (event.name, spoiler.name)
            assert verdict.reason is spoiler.reason


@pytest.mark.parametrize("reason", list(Reason))
def test_a_line_of_the_table_of_cases_keeps_its_reason_with_an_event_put_in(
    reason: Reason,
) -> None:
    batch = maker(NO_FAULTS).batch(0, 100, NOW_MS - 250, NOW_MS)
    body = batch.bodies[1]
    assert body is not None
    members = {name: json.dumps(value) for name, value in json.loads(body).items()}
    for case in ADAPTABLE_CASES.get(reason, []):
        adapted = adapted_case(case, Victim(INVENTORY, members, NOW_MS))
        verdict = judge(adapted, NOW_MS, INVENTORY)
        assert isinstance(verdict, Bad)
        assert verdict.reason is reason


def test_a_basket_line_is_one_transaction_and_one_sale() -> None:
    events = _good_events(maker(NO_FAULTS).batch(0, 4_000, NOW_MS - 250, NOW_MS))
    sold = Counter(
        (line["sku"], -line["quantity"]) for line in events["transactions"] if line["quantity"] > 0
    )
    sales = Counter(
        (event["sku"], event["quantity_delta"])
        for event in events["inventory"]
        if event["event_type"] == "SALE"
    )
    assert sold == sales
    baskets: dict[str, list[int]] = defaultdict(list)
    for line in events["transactions"]:
        baskets[line["transaction_id"]].append(line["line_number"])
    assert all(sorted(lines) == list(range(1, len(lines) + 1)) for lines in baskets.values())


def test_stock_is_what_it_was_plus_what_moved() -> None:
    making = maker(NO_FAULTS)
    on_hand: dict[tuple[str, str], int] = {}
    checked = 0
    for number in range(20):
        start = NOW_MS + number * 250
        events = _good_events(making.batch(number, 2_000, start, start + 250))["inventory"]
        for event in events:
            pair = (event["store_id"], event["sku"])
            if pair in on_hand and event["quantity_delta"] is not None:
                assert event["quantity_on_hand"] == on_hand[pair] + event["quantity_delta"]
                checked += 1
            on_hand[pair] = event["quantity_on_hand"]
    assert checked > 200


def test_an_order_names_a_basket_whose_lines_exist_online() -> None:
    making = maker(NO_FAULTS)
    lines: dict[str, list[dict[str, Any]]] = defaultdict(list)
    orders = []
    for number in range(10):
        start = NOW_MS + number * 250
        events = _good_events(making.batch(number, 2_000, start, start + 250))
        for line in events["transactions"]:
            lines[line["transaction_id"]].append(line)
        orders += [click for click in events["clickstream"] if click["action"] == "ORDER"]
    assert len(orders) > 20
    for order in orders:
        basket = lines.pop(order["transaction_id"])
        assert {(line["store_id"], line["channel"]) for line in basket} == {("S9000", "ONLINE")}
    assert not [basket for basket in lines.values() if basket[0]["channel"] == "ONLINE"]


def test_sessions_go_on_from_batch_to_batch_and_end() -> None:
    making = maker(NO_FAULTS)
    steps: Counter[str] = Counter()
    for number in range(400):
        start = NOW_MS + number * 250
        batch = making.batch(number, 40, start, start + 250)
        steps.update(click["session_id"] for click in _good_events(batch)["clickstream"])
    assert max(steps.values()) > 3
    assert len(steps) > 250


def test_tills_sell_only_while_their_store_is_open() -> None:
    by_id = {store.store_id: store for store in stores()}
    day_ms = NOW_MS // 86_400_000 * 86_400_000
    making = maker(NO_FAULTS)
    for hour in range(0, 24, 3):
        end = day_ms + hour * _HOUR_MS + 30 * 60_000
        batch = making.batch(hour, 2_000, end - 250, end)
        for verdict in _verdicts(batch, end):
            assert isinstance(verdict, Good)
            if verdict.values.get("channel") == "STORE":
                store = by_id[str(verdict.values["store_id"])]
                local = (end // 60_000 + store.utc_offset_minutes) % 1440
                assert store.opens_at_minute <= local < store.closes_at_minute


def test_the_rate_and_the_mix_are_the_same_at_every_hour() -> None:
    making = maker(NO_FAULTS)
    for hour in range(24):
        end = NOW_MS + hour * _HOUR_MS
        counts = np.bincount(making.batch(hour, 4_000, end - 250, end).rows["topic"])
        assert counts.tolist() == pytest.approx([1_800, 1_200, 1_000], abs=60)


def test_late_events_are_minutes_to_days_back_and_plausible() -> None:
    batch = maker(Shares(0.0, 0.3, 0.0)).batch(0, 4_000, NOW_MS - 250, NOW_MS)
    ages = []
    for row, verdict in zip(batch.rows, _verdicts(batch), strict=True):
        assert isinstance(verdict, Good)
        age = NOW_MS - int(str(verdict.values["event_timestamp"]))
        if row["kind"] == RecordKind.LATE:
            ages.append(age)
        else:
            assert 0 <= age <= 250
    assert len(ages) == pytest.approx(0.3 * 4_000, rel=0.15)
    assert min(ages) < 10 * 60_000
    assert 48 * _HOUR_MS < max(ages) < 73 * _HOUR_MS


def test_money_keeps_all_its_digits_in_every_spelling() -> None:
    market = Market.seeded(1)
    for table in (market.price, market.cost):
        for row in market.spellings(table):
            for full, short, string in row:
                assert Decimal(full) == Decimal(short) == Decimal(json.loads(string))
                assert len(full.partition(".")[2]) == 4


def test_copies_come_in_their_time_after_their_original_and_clear_of_the_horizon() -> None:
    jobs = {0: 17, 1: 18, 2: 19}
    disturbing = Disturbance(FAULTS, 24, look_at_jobs=jobs.copy)
    disturbing.due(0, acknowledged_batch=-1, at_most=0)
    making = maker(disturbance=disturbing)
    begin = NOW_MS // _HOUR_MS * _HOUR_MS + 50 * 60_000
    first_seen: dict[tuple[int, str], tuple[int, tuple[str, str | None]]] = {}
    for number in range(20):
        at = begin + number * 250
        batch = making.batch(number, 4_000, at - 250, at)
        for topic, verdict in zip(batch.rows["topic"].tolist(), _verdicts(batch, at), strict=True):
            if isinstance(verdict, Good):
                key = (topic, str(verdict.values["event_id"]))
                first_seen.setdefault(key, (at, (verdict.canonical, verdict.extra)))
    assert not len(disturbing.due(begin + 60_000, acknowledged_batch=-1, at_most=9).rows)
    delays = defaultdict(list)
    for at in range(begin + 5_000, begin + 40 * 60_000, 1_000):
        if at == begin + 180_000:
            jobs[0] = 20
        batch = disturbing.due(at, acknowledged_batch=19, at_most=10_000)
        for row, verdict in zip(batch.rows, _verdicts(batch, at), strict=True):
            assert isinstance(verdict, Good)
            arrived, content = first_seen[int(row["topic"]), str(verdict.values["event_id"])]
            kind = RecordKind(row["kind"])
            same = content == (verdict.canonical, verdict.extra)
            assert same == (kind is not RecordKind.CONFLICT)
            hour = int(str(verdict.values["event_timestamp"])) // _HOUR_MS * _HOUR_MS
            if kind is RecordKind.DUPLICATE_PAST_HORIZON:
                # Its row is counted, so the ledger must know its hash.
                told = (int(row["high"]) << 64) + int(row["low"])
                assert told == content_hash(verdict.canonical)
                assert at - hour > 24 * _HOUR_MS + _MARGIN_MS
            else:
                assert at - hour < 24 * _HOUR_MS - _MARGIN_MS
            delays[kind].append((at - arrived) / 1_000)
            if kind is RecordKind.DUPLICATE_RESTART:
                assert row["topic"] == 0
    assert disturbing.waiting == 0
    later = {*DUPLICATE_KINDS[1:], RecordKind.DUPLICATE_PAST_HORIZON}
    assert set(delays) == {RecordKind.CONFLICT, *later}
    assert max(delays[RecordKind.DUPLICATE_PAST_HORIZON]) <= 66
    # The one job was restarted after three minutes; copies of the other topics waited in vain.
    assert min(delays[RecordKind.DUPLICATE_RESTART]) > 174
    assert max(delays[RecordKind.DUPLICATE_RESTART]) < 212
    in_next_batches = delays[RecordKind.DUPLICATE_NEXT_BATCHES]
    assert [delay for delay in in_next_batches if 61 < delay < 480] == []
    assert 480 <= max(in_next_batches) <= 481
    assert min(delays[RecordKind.DUPLICATE_HALF_HOUR]) >= 1_799
    # The last of the twenty batches was ten minutes less five seconds before the turn.
    assert min(delays[RecordKind.DUPLICATE_HOUR_TURN]) > 595


def test_a_job_is_another_one_when_its_record_names_another_process(tmp_path: Path) -> None:
    look = jobs_of(tmp_path)
    assert look() == {}
    path = record_path(tmp_path, EVENTS[1].name)
    path.parent.mkdir()
    own, parent = os.getpid(), os.getppid()
    seen = [(write_record(path, pid, {}), look()) for pid in (own, own, parent)]
    assert [list(jobs) for _, jobs in seen] == [[1]] * 3
    assert seen[0][1] == seen[1][1] != seen[2][1]


def test_a_failed_batch_takes_the_copies_along_that_wait_for_a_restart() -> None:
    disturbing = Disturbance(Shares(0.0, 0.0, 0.5), dedupe_horizon_hours=24)
    maker(disturbance=disturbing).batch(3, 1_000, NOW_MS - 250, NOW_MS)
    assert disturbing._until_restart
    assert disturbing.waiting > len(disturbing._until_restart)
    disturbing.forget(3)
    assert disturbing.waiting == 0


def test_a_copy_that_the_horizon_overtakes_while_it_waits_is_not_sent() -> None:
    # An outage: everything is due at last, hours after its time.
    disturbing = Disturbance(Shares(0.0, 0.5, 0.5), dedupe_horizon_hours=24)
    making = maker(disturbance=disturbing)
    making.batch(0, 4_000, NOW_MS - 250, NOW_MS)
    assert disturbing.waiting > 500
    at = NOW_MS + 26 * _HOUR_MS
    batch = disturbing.due(at, acknowledged_batch=0, at_most=10_000)
    assert disturbing.waiting == 0
    # Past the horizon by now, which at the time was not what they were made for.
    assert {RecordKind(kind) for kind in batch.rows["kind"].tolist()} == {
        RecordKind.DUPLICATE_PAST_HORIZON
    }
    for verdict in _verdicts(batch, at):
        assert isinstance(verdict, Good)
        assert NOW_MS - int(str(verdict.values["event_timestamp"])) > 24 * _HOUR_MS - _MARGIN_MS


def test_a_burst_multiplies_the_rate_for_its_time() -> None:
    burst = Burst(factor=4.0, every_seconds=60.0, for_seconds=10.0)
    assert [burst.factor_at(second) for second in (0, 49, 50, 59, 60, 115)] == [1, 1, 4, 4, 1, 4]
