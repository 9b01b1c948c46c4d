"""Whether rows that have landed are what their contract allows.

Here: a pure function from rows to the rules they break, each rule over all rows at once. Not here:
the judge that let them in (`contracts/judge.py`), with which this shares the contract and no code:
it finds what came in past the judge, or through a fault of it. Uniqueness is `keys.py`'s.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from retail_lakehouse.contracts.events import EVENT_TIME_FIELD, EventContract
from retail_lakehouse.contracts.fields import Field, Kind

if TYPE_CHECKING:
    import pyarrow as pa

DERIVED = ("event_ts", "event_date", "event_hour", "kafka_timestamp")
"""Columns of the platform that must agree with the event's own."""


def columns_of(event: EventContract) -> tuple[str, ...]:
    """The columns that `broken_rules` needs."""
    return (*(field.name for field in event.fields), *DERIVED)


def broken_rules(rows: "pa.Table", event: EventContract) -> dict[str, int]:
    """How many rows break each rule, those that none breaks left out; `rows` has `columns_of`."""
    import pyarrow.compute as pc

    found = {}
    for rule, mask in _masks(rows, event):
        # A comparison with NULL is NULL: whether a value may be missing is a rule of its own.
        count = pc.sum(mask.fill_null(False)).as_py() or 0
        if count:
            found[rule] = int(count)
    return found


def _masks(rows: "pa.Table", event: EventContract) -> Iterator[tuple[str, Any]]:
    import pyarrow.compute as pc

    for field in event.fields:
        yield from _field_masks(rows[field.name], field)
    for sign in event.sign_rules:
        applies = pc.equal(rows[sign.when_field], sign.equals)
        value = rows[sign.field]
        if sign.required:
            yield f"{sign.field} is NULL on {sign.equals}", pc.and_(applies, pc.is_null(value))
        wrong = {-1: pc.greater_equal, 0: pc.equal, 1: pc.less_equal}[sign.sign](value, 0)
        yield f"{sign.field} has the wrong sign on {sign.equals}", pc.and_(applies, wrong)
    for name in event.non_zero:
        yield f"{name} is 0", pc.equal(rows[name], 0)
    yield from _time_masks(rows, event)


def _field_masks(column: Any, field: Field) -> Iterator[tuple[str, Any]]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if field.required:
        yield f"{field.name} is NULL", pc.is_null(column)
    if field.allowed:
        is_known = pc.is_in(column, value_set=pa.array(field.allowed, pa.string()))
        unknown = pc.and_(pc.invert(is_known), pc.is_valid(column))
        yield f"{field.name} is none of {', '.join(field.allowed)}", unknown
    elif field.kind is Kind.STRING:
        length = pc.utf8_length(column)
        outside = pc.or_(pc.less(length, 1), pc.greater(length, field.max_length))
        yield f"{field.name} has not 1 to {field.max_length} characters", outside
    for word, limit, compare in (
        ("below", field.minimum, pc.less),
        ("above", field.maximum, pc.greater),
    ):
        if limit is not None:
            bound = pa.scalar(Decimal(limit) if field.kind is Kind.DECIMAL else limit, column.type)
            yield f"{field.name} is {word} {limit}", compare(column, bound)


def _time_masks(rows: "pa.Table", event: EventContract) -> Iterator[tuple[str, Any]]:
    import pyarrow as pa
    import pyarrow.compute as pc

    stamp, at = rows["event_ts"], rows[EVENT_TIME_FIELD]
    exact = pc.multiply(at, 1000)
    yield "event_ts is not event_timestamp", pc.not_equal(stamp.cast(pa.int64()), exact)
    for name, derived in (("event_date", stamp.cast(pa.date32())), ("event_hour", pc.hour(stamp))):
        yield f"{name} is not that of event_ts", pc.not_equal(rows[name], derived)
    # A backfilled row has no broker time, and is judged against none.
    broker = pc.divide(rows["kafka_timestamp"].cast(pa.int64()), 1000)
    ahead = pc.subtract(at, broker)
    implausible = pc.or_(
        pc.greater(ahead, event.max_ahead_minutes * 60_000),
        pc.less(ahead, -event.max_age_hours * 3_600_000),
    )
    yield f"{EVENT_TIME_FIELD} is implausible against the broker time", implausible
