"""The simulator's run: at the set rate, until told to stop.

Here: the clock, the rate, the order of the steps. Not here: the steps themselves.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import numpy as np

from retail_lakehouse.contracts.topics import TOPICS
from retail_lakehouse.local.ledger import Ledger
from retail_lakehouse.local.simulator.delivery import Delivery
from retail_lakehouse.local.simulator.disturbance import Batch, Disturbance, joined
from retail_lakehouse.local.simulator.market import Integers, Market
from retail_lakehouse.local.simulator.options import SimulatorOptions
from retail_lakehouse.local.simulator.resolution import bind_to_kafka, resolve_open
from retail_lakehouse.local.simulator.retailer import Retailer
from retail_lakehouse.local.simulator.spelling import EVENT_ID_LENGTH, INDEX_TEXT, Speller

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.25
MOST_IN_A_BATCH = 12_000
_FLUSH_SECONDS = 3.0
_STOCK_EVERY_SECONDS = 60.0
_REPORT_EVERY_SECONDS = 60.0
_MOST_IN_FLIGHT = 300_000
_IN_FLIGHT_SECONDS = 60.0
_STOCK_FILE = "stock.npy"


@dataclass(frozen=True, slots=True)
class SimulatorReport:
    """What a run did. `unresolved` records are looked up at the next start, or by `verify`."""

    records: int
    seconds: float
    unresolved: int


class BatchMaker:
    """Batches of records from the retailer, disturbed. Deterministic in its arguments."""

    def __init__(self, seed: int, ledger_id: str, disturbance: Disturbance) -> None:
        self._ledger_id = ledger_id
        self._disturbance = disturbance
        market = Market.seeded(seed)
        self.retailer = Retailer(market, seed, ledger_id)
        self._speller = Speller(market)

    def batch(self, number: int, count: int, start_ms: int, end_ms: int) -> Batch:
        """About `count` new events between two instants, in the order of `TOPICS`."""
        rng = self.retailer.generator(number)
        span = self.retailer.span(rng, number, count, start_ms, end_ms)
        for times in (span.inventory.time_ms, span.transactions.time_ms, span.clicks.time_ms):
            self._disturbance.make_late(rng, times)
        spelled = (
            self._speller.inventory(self._ids("i", number, span.inventory.time_ms), span.inventory),
            self._speller.transactions(
                self._ids("t", number, span.transactions.time_ms), span.transactions
            ),
            self._speller.clicks(self._ids("c", number, span.clicks.time_ms), span.clicks),
        )
        return joined(
            [
                self._disturbance.disturb(rng, topic, each, number, end_ms)
                for topic, each in enumerate(spelled)
            ]
        )

    def _ids(self, letter: str, number: int, times: Integers) -> list[str]:
        prefix = f"{letter}-{self._ledger_id}-{number:08x}-"
        assert len(prefix) + len(INDEX_TEXT[0]) == EVENT_ID_LENGTH  # noqa: S101
        return [prefix + text for text in INDEX_TEXT[: len(times)]]


def run_simulator(
    options: SimulatorOptions,
    stop: threading.Event | None = None,
    clock: Callable[[], float] = time.time,
) -> SimulatorReport:
    """Produces events at the set rate until `stop` is set or the options' limits are reached.

    What an earlier run left with unknown delivery is looked up in the topics first.

    Raises:
        LedgerBusyError: another simulator runs.
        LedgerError: the ledger belongs to other topics.
        DeliveryError: Kafka refuses the records for good.
        KafkaUnreachableError, KafkaRefusedError: at the start only; later outages are waited out.
    """
    stop = stop or threading.Event()
    with Ledger(options.ledger_folder) as ledger:
        bind_to_kafka(ledger, options.kafka, [topic.name for topic in TOPICS])
        resolve_open(ledger, options.kafka)
        return _Run(options, ledger, stop, clock).to_the_end()


def run_until_signalled(options: SimulatorOptions) -> SimulatorReport:
    """`run_simulator` that ends in order on SIGTERM and SIGINT, as the supervisor asks for."""
    stop = threading.Event()
    with _signals_set(stop):
        return run_simulator(options, stop)


class _Run:
    def __init__(
        self,
        options: SimulatorOptions,
        ledger: Ledger,
        stop: threading.Event,
        clock: Callable[[], float],
    ) -> None:
        self._options = options
        self._ledger = ledger
        self._stop = stop
        self._clock = clock
        self._disturbance = Disturbance(
            options.shares, options.dedupe_horizon_hours, options.look_at_jobs
        )
        self._maker = BatchMaker(options.seed, ledger.ledger_id, self._disturbance)
        self._delivery = Delivery(options.kafka, ledger, self._disturbance.forget)
        self._stock_path = options.ledger_folder / _STOCK_FILE
        self._records = 0
        self._debt = 0.0

    def to_the_end(self) -> SimulatorReport:
        began = time.monotonic()
        _load_stock(self._stock_path, self._maker.retailer)
        saved = reported = ticked = began
        produced_until_ms = int(self._clock() * 1000) - int(TICK_SECONDS * 1000)
        while not self._is_over(began):
            now, now_ms = time.monotonic(), int(self._clock() * 1000)
            count = self._count_due(began, min(now - ticked, 1.0))
            ticked = now
            if self._delivery.in_flight > self._most_in_flight():
                self._debt = 0.0
                self._delivery.poll(TICK_SECONDS)
                continue
            if count:
                # A clock that was set back must not turn the span round.
                start_ms = min(max(produced_until_ms, now_ms - 1_000), now_ms - 1)
                self._produce(count, start_ms, now_ms)
                produced_until_ms = now_ms
            self._delivery.poll(0)
            if now - saved > _STOCK_EVERY_SECONDS:
                _save_stock(self._stock_path, self._maker.retailer)
                saved = now
            if now - reported > _REPORT_EVERY_SECONDS:
                self._report(now - began)
                reported = now
            self._rest(now)
        unresolved = self._delivery.finish(_FLUSH_SECONDS)
        _save_stock(self._stock_path, self._maker.retailer)
        seconds = time.monotonic() - began
        self._report(seconds)
        return SimulatorReport(self._records, seconds, unresolved)

    def _produce(self, count: int, start_ms: int, now_ms: int) -> None:
        number = self._ledger.next_batch()
        copies = self._disturbance.due(now_ms, self._delivery.settled_batch, count)
        fresh = max(4, count - len(copies.rows))
        batch = joined([self._maker.batch(number, fresh, start_ms, now_ms), copies])
        self._delivery.send(number, batch)
        self._records += len(batch.rows)
        self._debt -= len(batch.rows)

    def _count_due(self, began: float, seconds: float) -> int:
        """Records that the rate asks for by now, at most one batch's worth."""
        rate = self._options.events_per_second
        if self._options.burst is not None:
            rate *= self._options.burst.factor_at(time.monotonic() - began)
        self._debt = min(self._debt + rate * seconds, max(rate, MOST_IN_A_BATCH))
        count = min(int(self._debt), MOST_IN_A_BATCH)
        if self._options.max_events is not None:
            count = min(count, self._options.max_events - self._records)
        return count if count >= 4 else 0

    def _rest(self, tick_began: float) -> None:
        while not self._stop.is_set() and self._debt < MOST_IN_A_BATCH:
            left = TICK_SECONDS - (time.monotonic() - tick_began)
            if left <= 0:
                return
            self._delivery.poll(min(left, 0.1))

    def _most_in_flight(self) -> float:
        by_rate = self._options.events_per_second * _IN_FLIGHT_SECONDS
        return min(max(by_rate, 2 * MOST_IN_A_BATCH), _MOST_IN_FLIGHT)

    def _is_over(self, began: float) -> bool:
        limit, most = self._options.duration_seconds, self._options.max_events
        return (
            self._stop.is_set()
            or (limit is not None and time.monotonic() - began >= limit)
            or (most is not None and most - self._records < 4)
        )

    def _report(self, seconds: float) -> None:
        logger.info(
            "%d records in %.0f s (%.0f a second), %d in flight, %d copies to come",
            self._records,
            seconds,
            self._records / max(seconds, 0.001),
            self._delivery.in_flight,
            self._disturbance.waiting,
        )


def _load_stock(path: Path, retailer: Retailer) -> None:
    """Takes up the stock that the last run left; without it stores begin with the seed's."""
    if not path.exists():
        return
    stock = np.load(path)
    if stock.shape == retailer.stock.shape:
        retailer.stock = stock


def _save_stock(path: Path, retailer: Retailer) -> None:
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        np.save(file, retailer.stock)
    os.replace(temporary, path)


@contextmanager
def _signals_set(stop: threading.Event) -> Iterator[None]:
    def end(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
