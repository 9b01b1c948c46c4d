"""What the views should say, worked out row by row in plain Python.

Here: one function a view, from raw rows to the view's rows. It shares no SQL, no packed value and
no grain with the views. Not here: the raw rows (`raw_rows.py`).
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

from retail_lakehouse.contracts.reference_data import currency_rates, products, stores
from retail_lakehouse_tests.warehouse.raw_rows import EPOCH, Row

_STORES = {store.store_id: store for store in stores()}
_PRODUCTS = {product.sku: product for product in products()}
UNKNOWN = "(unknown)"


def mv_inventory_realtime(rows: Iterable[Row], now: datetime) -> list[Row]:
    """Every pair ever seen, units of the running hour and the 168 before it."""
    hour = now.replace(minute=0, second=0, microsecond=0)
    pairs = _newest_of_each_pair(rows := list(rows))
    units: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for row in rows:
        if hour - timedelta(hours=168) <= row["event_ts"] < hour + timedelta(hours=1):
            if row["event_type"] == "RECEIVE":
                units[row["store_id"], row["sku"]][0] += row["quantity_delta"]
            elif row["event_type"] == "SALE":
                units[row["store_id"], row["sku"]][1] -= row["quantity_delta"]
    return [
        {
            "store_id": store_id,
            "sku": sku,
            "units_received": units[store_id, sku][0],
            "units_sold": units[store_id, sku][1],
            "net_available": newest["net"],
            "last_updated": newest["last_updated"],
            "lag_seconds": whole_seconds(newest["newest_ts"], now),
            "region": _STORES[store_id].region if store_id in _STORES else None,
            "country": _STORES[store_id].country if store_id in _STORES else None,
            "category": _PRODUCTS[sku].category if sku in _PRODUCTS else None,
        }
        for (store_id, sku), newest in pairs.items()
    ]


def stock_by_category(rows: Iterable[Row], now: datetime) -> list[Row]:
    """Net available by category."""
    return _stock(rows, now, "category", lambda pair: _category(pair[1]), "store_skus")


def net_available_by_store(rows: Iterable[Row], now: datetime) -> list[Row]:
    """Every store on the map, NULLs where nothing is known."""
    found = {r["store_id"]: r for r in _stock(rows, now, "store_id", lambda pair: pair[0], "skus")}
    empty = dict.fromkeys(("net_available", "skus", "skus_out", "last_updated", "lag_seconds"))
    return [
        {
            "store_id": store.store_id,
            "store_name": store.store_name,
            "region": store.region,
            "country": store.country,
            "city": store.city,
            "latitude": store.latitude,
            "longitude": store.longitude,
        }
        | {k: v for k, v in found.get(store.store_id, empty).items() if k != "store_id"}
        for store in _STORES.values()
        if not store.is_virtual
    ]


def sales_by_store_category(rows: Iterable[Row]) -> list[Row]:
    """Sales by local date, store, category, channel and currency."""
    groups: dict[tuple[object, ...], list[Row]] = defaultdict(list)
    for row in rows:
        store = _STORES.get(row["store_id"])
        offset = store.utc_offset_minutes if store else 0
        local = row["event_ts"] + timedelta(minutes=offset)
        key = (
            local.date(),
            row["store_id"],
            store.region if store else None,
            store.country if store else None,
            _category(row["sku"]),
            row["channel"],
            row["currency"],
        )
        groups[key].append(row)
    names = ("business_date", "store_id", "region", "country", "category", "channel", "currency")
    return [dict(zip(names, key, strict=True)) | _sales(group) for key, group in groups.items()]


def sales_reporting_currency(rows: Iterable[Row]) -> list[Row]:
    """Each day's sum of a store, category, channel and currency converted and rounded once."""
    groups: dict[tuple[object, ...], list[Row]] = defaultdict(list)
    names = ("business_date", "store_id", "region", "country", "category")
    for row in sales_by_store_category(rows):
        groups[tuple(row[name] for name in names)].append(row)
    answer = []
    for key, group in groups.items():
        rates = [_rate(row["currency"], row["business_date"]) for row in group]
        amounts = [
            (row["net_amount"] * rate).quantize(Decimal("0.0001"), ROUND_HALF_UP)
            for row, rate in zip(group, rates, strict=True)
            if rate is not None
        ]
        answer.append(
            dict(zip(names, key, strict=True))
            | {
                "lines": sum(row["lines"] for row in group),
                "units_sold": sum(row["units_sold"] for row in group),
                "units_returned": sum(row["units_returned"] for row in group),
                "net_amount": sum(amounts, Decimal(0)) if amounts else None,
                "lines_without_rate": sum(
                    row["lines"] for row, rate in zip(group, rates, strict=True) if rate is None
                ),
                "last_updated": max(row["last_updated"] for row in group),
            }
        )
    return answer


def web_funnel(rows: Iterable[Row]) -> list[Row]:
    """Visits by the hour they began in."""
    sessions: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        sessions[row["session_id"]].append(row)
    hours: dict[datetime, list[list[Row]]] = defaultdict(list)
    for visit in sessions.values():
        began = min(row["event_ts"] for row in visit)
        hours[began.replace(minute=0, second=0, microsecond=0)].append(visit)
    steps = {"viewed": "VIEW", "carted": "CART", "checked_out": "CHECKOUT", "ordered": "ORDER"}
    return [
        {
            "started_hour": hour,
            "sessions": len(visits),
            "events": sum(map(len, visits)),
            "last_updated": max(row["event_ts"] for visit in visits for row in visit),
        }
        | {
            f"sessions_{step}": sum(any(row["action"] == action for row in v) for v in visits)
            for step, action in steps.items()
        }
        for hour, visits in hours.items()
    ]


def pipeline_lag(rows: Iterable[Row], now: datetime) -> list[Row]:
    """Arrivals of the last 24 hours by topic and minute, with mean and longest lags."""
    groups: dict[tuple[str, datetime], list[Row]] = defaultdict(list)
    for row in rows:
        broker = row["kafka_timestamp"]
        if broker is not None and _second(broker) >= now - timedelta(hours=24):
            groups[row["kafka_topic"], broker.replace(second=0, microsecond=0)].append(row)
    return [
        {
            "topic": topic,
            "broker_minute": minute,
            "events": len(group),
            "avg_lag_seconds": float(
                sum(_ms_between(_second(r["kafka_timestamp"]), r["ingested_at"]) for r in group)
            )
            / float(len(group) * 1000),
            "max_lag_seconds": max(
                _ms_between(_second(row["kafka_timestamp"]), row["ingested_at"]) for row in group
            )
            / 1000,
            "avg_event_lag_seconds": float(
                sum(_ms_between(EPOCH, r["ingested_at"]) - r["event_timestamp"] for r in group)
            )
            / float(len(group) * 1000),
        }
        for (topic, minute), group in groups.items()
    ]


def pipeline_age(rows: Iterable[Row], now: datetime) -> list[Row]:
    """Newest arrival of each topic."""
    topics: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row["kafka_timestamp"] is not None:
            topics[row["kafka_topic"]].append(row)
    return [
        {
            "topic": topic,
            "newest_ts": max(map(newest, group)),
            "last_arrival": max(row["kafka_timestamp"] for row in group),
            "last_landed": max(row["ingested_at"] for row in group),
            "age_seconds": whole_seconds(max(map(newest, group)), now),
        }
        for topic, group in topics.items()
    ]


def quarantine(rows: Iterable[Row]) -> list[Row]:
    """Each record once, by its latest judgement."""
    records: dict[tuple[object, ...], list[Row]] = defaultdict(list)
    for row in rows:
        place = row["kafka_topic_id"], row["kafka_partition"], row["kafka_offset"]
        records[*place, row["kafka_timestamp"]].append(row)
    answer = []
    for judgements in records.values():
        last = max(judgements, key=lambda r: (r["judged_at"], r["replay_id"] or ""))
        kept = {k: v for k, v in last.items() if k not in ("raw", "kafka_key")}
        kept["topic"], kept["topic_id"] = kept.pop("kafka_topic"), kept.pop("kafka_topic_id")
        answer.append(kept | {"times_judged": len(judgements)})
    return answer


def newest(row: Row) -> datetime:
    """The earlier of event time and broker time."""
    broker = row["kafka_timestamp"]
    event: datetime = row["event_ts"]
    return event if broker is None else min(event, broker)


def whole_seconds(earlier: datetime, later: datetime) -> int:
    """Second boundaries between two times, as Redshift's DATEDIFF counts them."""
    return (_second(later) - _second(earlier)) // timedelta(seconds=1)


def _newest_of_each_pair(rows: Sequence[Row]) -> dict[tuple[str, str], Row]:
    pairs: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        pairs[row["store_id"], row["sku"]].append(row)
    answer = {}
    for pair, group in pairs.items():
        last = max(
            group,
            key=lambda r: (
                r["event_timestamp"],
                -1 if r["kafka_partition"] is None else r["kafka_partition"],
                -1 if r["kafka_offset"] is None else r["kafka_offset"],
                r["quantity_on_hand"] - r["quantity_reserved"],
            ),
        )
        answer[pair] = {
            "net": last["quantity_on_hand"] - last["quantity_reserved"],
            "last_updated": last["event_ts"],
            "newest_ts": max(map(newest, group)),
        }
    return answer


def _stock(
    rows: Iterable[Row],
    now: datetime,
    name: str,
    key: Callable[[tuple[str, str]], str],
    count: str,
) -> list[Row]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for pair, stock in _newest_of_each_pair(list(rows)).items():
        groups[key(pair)].append(stock)
    return [
        {
            name: value,
            "net_available": sum(stock["net"] for stock in group),
            count: len(group),
            f"{count}_out": sum(stock["net"] <= 0 for stock in group),
            "last_updated": max(stock["last_updated"] for stock in group),
            "lag_seconds": whole_seconds(max(stock["newest_ts"] for stock in group), now),
        }
        for value, group in groups.items()
    ]


def _sales(group: Sequence[Row]) -> Row:
    gross = sum((row["quantity"] * row["unit_price"] for row in group), Decimal(0))
    discount = sum(
        (row["discount"] if row["quantity"] > 0 else -row["discount"] for row in group), Decimal(0)
    )
    return {
        "lines": len(group),
        "units_sold": sum(max(row["quantity"], 0) for row in group),
        "units_returned": sum(max(-row["quantity"], 0) for row in group),
        "gross_amount": gross,
        "discount_amount": discount,
        "net_amount": gross - discount,
        "last_updated": max(row["event_ts"] for row in group),
    }


def _category(sku: str) -> str:
    return _PRODUCTS[sku].category if sku in _PRODUCTS else UNKNOWN


def _rate(currency: str, day: date) -> Decimal | None:
    for rate in currency_rates():
        if rate.currency == currency and rate.valid_from <= day <= rate.valid_to:
            return rate.rate
    return None


def _second(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)


def _ms_between(earlier: datetime, later: datetime) -> int:
    cut = timedelta(milliseconds=1)
    return (later - EPOCH) // cut - (earlier - EPOCH) // cut
