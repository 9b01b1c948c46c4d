"""What goes wrong on purpose: late, malformed, conflicting and duplicate events.

Here: which events of a batch are disturbed and how, and the copies that wait for their time. Not
here: bodies that break the contract (`malformed.py`).

A copy is only sent once its original has been acknowledged, or right behind it, so that the first
arrival is never in doubt. Within the dedupe horizon it is a duplicate, past it a row as any other;
near the horizon's end, where it depends on the broker's clock, none is sent. Copies across a
restart wait until the topic's job runs as another process than when the original was sent; where
that takes too long they come without, and count as copies in a later batch.
"""

import heapq
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

import numpy as np

from retail_lakehouse.contracts.reasons import Reason
from retail_lakehouse.local.ledger_totals import LANDING_KINDS, REASON_CODES, ROW, RecordKind, Rows
from retail_lakehouse.local.simulator.job_processes import JobProcesses, no_jobs
from retail_lakehouse.local.simulator.malformed import spoil
from retail_lakehouse.local.simulator.market import Integers
from retail_lakehouse.local.simulator.options import Shares
from retail_lakehouse.local.simulator.spelling import Spelled, other_spelling

_MINUTE_MS = 60_000
_HOUR_MS = 60 * _MINUTE_MS
_LATE_FROM_MS, _LATE_TO_MS = 2 * _MINUTE_MS, 72 * _HOUR_MS
_HORIZON_MARGIN_MS = 15 * _MINUTE_MS
_HOUR_TURN_WITHIN_MS = 20 * _MINUTE_MS
_RESTART_WITHIN_MS = 8 * _MINUTE_MS
_SPREAD_MS = 30_000
_OTHER_SPELLING_SHARE = 0.3

_DUPLICATE_WEIGHTS: dict[RecordKind, float] = {
    RecordKind.DUPLICATE_SAME_BATCH: 0.3,
    RecordKind.DUPLICATE_NEXT_BATCHES: 0.3,
    RecordKind.DUPLICATE_RESTART: 0.2,
    RecordKind.DUPLICATE_HALF_HOUR: 0.1,
    RecordKind.DUPLICATE_HOUR_TURN: 0.1,
}
_DUPLICATE_KINDS = list(_DUPLICATE_WEIGHTS)
_TIME_FIELD = -1  # the last field of every event


@dataclass(slots=True)
class Batch:
    """Records to produce, in order; `rows` is what the ledger keeps of each (dtype `ROW`)."""

    keys: list[bytes]
    bodies: list[bytes | None]
    rows: Rows


@dataclass(order=True, slots=True)
class _Copy:
    due_ms: int
    number: int
    topic: int = field(compare=False)
    kind: RecordKind = field(compare=False)
    key: bytes = field(compare=False)
    body: bytes = field(compare=False)
    digest: tuple[int, int] = field(compare=False)
    """What the ledger adds up if the copy is a row: the halves of its content hash."""
    event_time_ms: int = field(compare=False)
    original_batch: int = field(compare=False)
    job: Hashable = field(compare=False)
    """The process of the topic's job when the original was sent."""


class Disturbance:
    """Disturbs batches by their shares and keeps the copies that are to come."""

    def __init__(
        self, shares: Shares, dedupe_horizon_hours: int, look_at_jobs: JobProcesses = no_jobs
    ) -> None:
        self._shares = shares
        self._horizon_ms = dedupe_horizon_hours * _HOUR_MS
        self._look_at_jobs = look_at_jobs
        self._jobs: Mapping[int, Hashable] = {}
        self._copies: list[_Copy] = []
        self._until_restart: list[_Copy] = []
        self._number = 0

    @property
    def waiting(self) -> int:
        """Copies that wait for their time."""
        return len(self._copies) + len(self._until_restart)

    @property
    def fresh_share(self) -> float:
        """The share of all records that are new events."""
        conflicts = self._shares.malformed * self._shares.conflict_of_malformed
        return 1.0 - self._shares.duplicate - conflicts

    def make_late(self, rng: np.random.Generator, times: Integers) -> None:
        """Moves some of the times back, in place, by minutes to days (log-uniform)."""
        late = np.flatnonzero(rng.random(len(times)) < self._shares.late)
        span = rng.uniform(np.log(_LATE_FROM_MS), np.log(_LATE_TO_MS), len(late))
        times[late] -= np.exp(span).astype(np.int64)

    def disturb(
        self, rng: np.random.Generator, topic: int, spelled: Spelled, batch: int, now_ms: int
    ) -> Batch:
        """The events as records: some spoilt, some doubled at once, some to come again later."""
        count = len(spelled.rows)
        rows = np.zeros(count, dtype=ROW)
        rows["topic"] = topic
        rows["high"], rows["low"] = spelled.digests[:, 0], spelled.digests[:, 1]
        times = np.array([row[_TIME_FIELD] for row in spelled.rows], dtype=np.int64)
        rows["kind"][times < now_ms - _LATE_FROM_MS] = RecordKind.LATE
        bodies: list[bytes | None] = list(spelled.bodies)
        conflicts = self._shares.malformed * self._shares.conflict_of_malformed
        draw = rng.random(count)
        spoilt = draw < self._shares.malformed - conflicts
        for i in np.flatnonzero(spoilt).tolist():
            bodies[i], reason = spoil(rng, spelled.contract, spelled.rows[i], now_ms)
            rows[i]["kind"], rows[i]["reason"] = RecordKind.MALFORMED, REASON_CODES[reason]
            rows[i]["high"] = rows[i]["low"] = 0
        fresh = self.fresh_share
        if conflicts and fresh:
            chosen = ~spoilt & (rng.random(count) < conflicts / fresh)
            for i in np.flatnonzero(chosen).tolist():
                body = _conflicting(spelled.contract.name, spelled, i)
                due = now_ms + int(rng.integers(5_000, 60_000))
                self._later(topic, RecordKind.CONFLICT, spelled, i, body, int(times[i]), batch, due)
        doubled = ~spoilt & (rng.random(count) < self._shares.duplicate / fresh)
        at_once = self._duplicates(rng, topic, spelled, doubled, times, batch, now_ms)
        return _with_doubles(Batch(list(spelled.keys), bodies, rows), at_once)

    def due(self, now_ms: int, acknowledged_batch: int, at_most: int) -> Batch:
        """The copies whose time has come and whose originals are acknowledged."""
        self._jobs = self._look_at_jobs()
        self._release(now_ms)
        batch = Batch([], [], np.zeros(0, dtype=ROW))
        rows: list[tuple[int, int, int, int, int]] = []
        held_back: list[_Copy] = []
        while self._copies and self._copies[0].due_ms <= now_ms and len(rows) < at_most:
            copy = heapq.heappop(self._copies)
            if copy.original_batch > acknowledged_batch:
                held_back.append(copy)
            elif self._is_certain(copy.kind, copy.event_time_ms, now_ms):
                batch.keys.append(copy.key)
                batch.bodies.append(copy.body)
                is_conflict = copy.kind is RecordKind.CONFLICT
                reason = REASON_CODES[Reason.CONFLICT] if is_conflict else 0
                rows.append((copy.topic, copy.kind, reason, *copy.digest))
        for copy in held_back:
            heapq.heappush(self._copies, copy)
        batch.rows = np.array(rows, dtype=ROW)
        return batch

    def forget(self, batch: int) -> None:
        """Drops the copies of a batch of which a record may not have arrived."""
        self._copies = [copy for copy in self._copies if copy.original_batch != batch]
        heapq.heapify(self._copies)
        waiting = self._until_restart
        self._until_restart = [copy for copy in waiting if copy.original_batch != batch]

    def _release(self, now_ms: int) -> None:
        """Lets go of the copies that waited for a restart, and of those that did so in vain."""
        waiting = []
        for copy in self._until_restart:
            job = self._jobs.get(copy.topic)
            if None not in (job, copy.job) and job != copy.job:
                # Not all in one instant: they would push the new events out of the batch.
                copy.due_ms = now_ms + copy.number % _SPREAD_MS
                heapq.heappush(self._copies, copy)
            elif copy.due_ms <= now_ms:
                copy.kind = RecordKind.DUPLICATE_NEXT_BATCHES
                heapq.heappush(self._copies, copy)
            else:
                waiting.append(copy)
        self._until_restart = waiting

    def _duplicates(
        self,
        rng: np.random.Generator,
        topic: int,
        spelled: Spelled,
        doubled: np.ndarray[tuple[int], np.dtype[np.bool_]],
        times: Integers,
        batch: int,
        now_ms: int,
    ) -> dict[int, bytes]:
        """Puts the later ones by; returns the bodies to send right after their originals."""
        at_once: dict[int, bytes] = {}
        weights = list(_DUPLICATE_WEIGHTS.values())
        for i in np.flatnonzero(doubled).tolist():
            kind = _DUPLICATE_KINDS[int(rng.choice(len(weights), p=weights))]
            if self._is_certain(RecordKind.DUPLICATE_PAST_HORIZON, int(times[i]), now_ms):
                kind = RecordKind.DUPLICATE_PAST_HORIZON
            otherwise = rng.random() < _OTHER_SPELLING_SHARE
            body = spelled.again(i) if otherwise else spelled.bodies[i]
            hour_turn = now_ms // _HOUR_MS * _HOUR_MS + _HOUR_MS
            if kind is RecordKind.DUPLICATE_HOUR_TURN and hour_turn - now_ms > _HOUR_TURN_WITHIN_MS:
                kind = RecordKind.DUPLICATE_NEXT_BATCHES
            if kind is RecordKind.DUPLICATE_SAME_BATCH:
                if self._is_certain(kind, int(times[i]), now_ms):
                    at_once[i] = body
                continue
            if kind is RecordKind.DUPLICATE_HOUR_TURN:
                due = hour_turn + int(rng.integers(1_000, 2 * _MINUTE_MS))
            elif kind is RecordKind.DUPLICATE_HALF_HOUR:
                due = now_ms + 30 * _MINUTE_MS
            elif kind is RecordKind.DUPLICATE_RESTART:
                due = now_ms + _RESTART_WITHIN_MS
            elif kind is RecordKind.DUPLICATE_PAST_HORIZON:
                due = now_ms + int(rng.integers(60_000))
            else:
                due = now_ms + int(rng.integers(5_000, 60_000))
            self._later(topic, kind, spelled, i, body, int(times[i]), batch, due)
        return at_once

    def _later(
        self,
        topic: int,
        kind: RecordKind,
        spelled: Spelled,
        i: int,
        body: bytes,
        event_time_ms: int,
        batch: int,
        due_ms: int,
    ) -> None:
        if not self._is_certain(kind, event_time_ms, due_ms):
            return
        is_row = kind in LANDING_KINDS
        digest = (int(spelled.digests[i, 0]), int(spelled.digests[i, 1])) if is_row else (0, 0)
        copy = _Copy(
            due_ms,
            self._number,
            topic,
            kind,
            spelled.keys[i],
            body,
            digest,
            event_time_ms,
            batch,
            self._jobs.get(topic),
        )
        self._number += 1
        if kind is RecordKind.DUPLICATE_RESTART:
            self._until_restart.append(copy)
        else:
            heapq.heappush(self._copies, copy)

    def _is_certain(self, kind: RecordKind, event_time_ms: int, at_ms: int) -> bool:
        """Whether a copy that is sent then is what its kind says, clocks a little apart or not."""
        age_ms = at_ms - event_time_ms // _HOUR_MS * _HOUR_MS
        if kind is RecordKind.DUPLICATE_PAST_HORIZON:
            return age_ms > self._horizon_ms + _HORIZON_MARGIN_MS
        return age_ms < self._horizon_ms - _HORIZON_MARGIN_MS


def _conflicting(name: str, spelled: Spelled, i: int) -> bytes:
    """The event with other content under the same id, key and time."""
    row = list(spelled.rows[i])
    names = [field.name for field in spelled.contract.fields]
    if name == "inventory":
        place = names.index("quantity_on_hand")
        row[place] += 1
    elif name == "transactions":
        place = names.index("payment_type")
        row[place] = '"CARD"' if row[place] != '"CARD"' else '"WALLET"'
    else:
        place = names.index("page_type")
        row[place] = '"HOME"' if row[place] != '"HOME"' else '"SEARCH"'
    return other_spelling(spelled.contract, tuple(row))


def _with_doubles(batch: Batch, at_once: dict[int, bytes]) -> Batch:
    """The batch with each double right behind its original, as the ledger asks for."""
    if not at_once:
        return batch
    places = sorted(at_once)
    rows = np.insert(batch.rows, np.array(places) + 1, batch.rows[places])
    for shift, place in enumerate(places, start=1):
        batch.keys.insert(place + shift, batch.keys[place + shift - 1])
        batch.bodies.insert(place + shift, at_once[place])
        rows[place + shift]["kind"] = RecordKind.DUPLICATE_SAME_BATCH
    batch.rows = rows
    return batch


def joined(batches: list[Batch]) -> Batch:
    """One batch of several, in order."""
    return Batch(
        keys=[key for batch in batches for key in batch.keys],
        bodies=[body for batch in batches for body in batch.bodies],
        rows=np.concatenate([batch.rows for batch in batches]),
    )
