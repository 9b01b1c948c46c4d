"""The views of the warehouse: names, columns, order, and where their SQL is.

Here: what each view shows and what it reads, in creation order. Not here: running the SQL
(`retail_lakehouse.warehouse`) or the SQL itself (`sql/*.sql`, Redshift's dialect).

Materialized views read one event table each and hold only what Redshift refreshes incrementally:
SUM, COUNT, MIN, MAX over immutable expressions. Dimensions, the sliding window and `GETDATE()`
live in the plain views on top. Those are late-binding (`WITH NO SCHEMA BINDING`), because Redshift
demands it of a view over external tables
(https://docs.aws.amazon.com/redshift/latest/dg/r_CREATE_VIEW.html).
"""

from retail_lakehouse.contracts.events import EVENTS, EventContract
from retail_lakehouse.contracts.fields import Kind
from retail_lakehouse.contracts.tables import QUARANTINE_TABLES
from retail_lakehouse.contracts.view_contract import (
    EXTERNAL_SCHEMA,
    IDENTIFIER,
    MART_SCHEMA,
    ViewColumn,
    ViewContract,
    ViewContractError,
    ViewKind,
    view_sql,
)

__all__ = [
    "ARRIVALS",
    "EXTERNAL_SCHEMA",
    "IDENTIFIER",
    "MART_SCHEMA",
    "MATERIALIZED_VIEWS",
    "VIEWS",
    "ViewColumn",
    "ViewContract",
    "ViewContractError",
    "ViewKind",
    "arrivals_view",
    "materialized_over",
    "materialized_under",
    "view_named",
    "view_sql",
]


_Column = tuple[str, Kind, str] | ViewColumn


def _columns(*columns: _Column) -> tuple[ViewColumn, ...]:
    return tuple(c if isinstance(c, ViewColumn) else ViewColumn(*c) for c in columns)


def _table(name: str) -> str:
    return f"{EXTERNAL_SCHEMA}.{name}"


def _view(name: str) -> str:
    return f"{MART_SCHEMA}.{name}"


_NEWEST = ("newest_ts", Kind.TIMESTAMP, "Newest least(event time, broker time), UTC.")
_FOLDED = (
    ("max_event_ts", Kind.TIMESTAMP, "Newest event time, UTC."),
    ("max_ingested_at", Kind.TIMESTAMP, "Newest batch that brought a row, UTC."),
    _NEWEST,
)
_STORE = ("store_id", Kind.STRING, "Store.")
_SKU = ("sku", Kind.STRING, "Product.")
_UTC_HOUR = (
    ("event_date", Kind.DATE, "UTC date of the event."),
    ("event_hour", Kind.INT, "UTC hour of the event."),
)
_LAST_UPDATED = ("last_updated", Kind.TIMESTAMP, "Newest event time, UTC.")
_LAG = ("lag_seconds", Kind.LONG, "Now minus the newest least(event time, broker time).")
_REGION = ("region", Kind.STRING, "Sales region; NULL for an unknown store.")
_COUNTRY = ("country", Kind.STRING, "ISO 3166 code; NULL for an unknown store.")
_CATEGORY = ("category", Kind.STRING, "Category; (unknown) for an unknown SKU.")


def arrivals_view(event: EventContract) -> str:
    """Name of the materialized view that counts the event's arrivals."""
    return f"mv_{event.name}_arrivals"


def _materialized(
    name: str, doc: str, source: str, *columns: _Column, sql_file: str | None = None
) -> ViewContract:
    return ViewContract(
        name=name,
        kind=ViewKind.MATERIALIZED,
        doc=doc,
        sql_file=sql_file or f"{name}.sql",
        depends_on=(_table(source),),
        columns=_columns(*columns),
        newest_column="newest_ts",
        expected_incremental=True,
    )


def _plain(
    name: str,
    doc: str,
    depends_on: tuple[str, ...],
    *columns: tuple[str, Kind, str],
    newest_column: str | None = None,
) -> ViewContract:
    return ViewContract(
        name=name,
        kind=ViewKind.PLAIN,
        doc=doc,
        sql_file=f"{name}.sql",
        depends_on=depends_on,
        columns=_columns(*columns),
        newest_column=newest_column,
    )


MV_INVENTORY_HOURLY = _materialized(
    "mv_inventory_hourly",
    "Units moved per UTC hour, store and SKU.",
    "inventory_events",
    *_UTC_HOUR,
    _STORE,
    _SKU,
    ("received_delta", Kind.LONG, "Sum of the deltas of RECEIVE."),
    ("sold_delta", Kind.LONG, "Sum of the deltas of SALE, so never above 0."),
    ("events", Kind.LONG, "Events of any type."),
    *_FOLDED,
)
MV_STOCK_NEWEST = _materialized(
    "mv_stock_newest",
    "The newest event of each store and SKU, however old, as one packed value.",
    "inventory_events",
    _STORE,
    _SKU,
    ("newest_packed", Kind.STRING, "Event time, partition, offset and net of the newest event."),
    ("events", Kind.LONG, "Events of any type."),
    *_FOLDED,
)
MV_SALES_QUARTER_HOUR = _materialized(
    "mv_sales_quarter_hour",
    "Sales per quarter of a UTC hour, store, SKU, channel and currency.",
    "transactions_events",
    *_UTC_HOUR,
    ("quarter_minute", Kind.INT, "First minute of the quarter: 0, 15, 30 or 45."),
    _STORE,
    _SKU,
    ("channel", Kind.STRING, "Where it was sold."),
    ("currency", Kind.STRING, "Currency of the amounts."),
    ("lines", Kind.LONG, "Basket lines."),
    ("sold_quantity", Kind.LONG, "Units of lines above 0."),
    ("returned_quantity", Kind.LONG, "Units of lines below 0, so never above 0."),
    ("gross_amount", Kind.DECIMAL, "Sum of quantity times price."),
    ("discount_amount", Kind.DECIMAL, "Discounts of sales less those given back by returns."),
    *_FOLDED,
)
MV_WEB_SESSIONS = _materialized(
    "mv_web_sessions",
    "One row a visit, with a flag for each step.",
    "clickstream_events",
    ("session_id", Kind.STRING, "The visit."),
    ("min_event_ts", Kind.TIMESTAMP, "First event, UTC."),
    ("max_event_ts", Kind.TIMESTAMP, "Newest event, UTC."),
    ("viewed", Kind.INT, "1 when a page was viewed."),
    ("carted", Kind.INT, "1 when something was put in the cart."),
    ("checked_out", Kind.INT, "1 when the checkout was entered."),
    ("ordered", Kind.INT, "1 when it ended in an order."),
    ("events", Kind.LONG, "Events of any action."),
    ("max_ingested_at", Kind.TIMESTAMP, "Newest batch that brought a row, UTC."),
    _NEWEST,
)
ARRIVALS: tuple[ViewContract, ...] = tuple(
    _materialized(
        arrivals_view(event),
        f"Arrivals of {event.topic} per second of broker time and batch.",
        f"{event.name}_events",
        ("kafka_topic", Kind.STRING, "Topic."),
        ("broker_second", Kind.TIMESTAMP, "Broker time cut to the second, UTC."),
        ("ingested_at", Kind.TIMESTAMP, "When the batch began, UTC."),
        ("events", Kind.LONG, "Rows that landed."),
        # Redshift sums BIGINT as NUMERIC(38, 0).
        ViewColumn(
            "event_timestamp_sum",
            Kind.DECIMAL,
            "Sum of event times in epoch ms, for exact averages.",
            scale=0,
        ),
        ("max_kafka_timestamp", Kind.TIMESTAMP, "Newest broker time, UTC."),
        _NEWEST,
        sql_file="mv_arrivals.sql",
    )
    for event in EVENTS
)

STOCK_NOW = _plain(
    "stock_now",
    "Net available of every store and SKU that ever had an event.",
    (_view("mv_stock_newest"),),
    _STORE,
    _SKU,
    ("net_available", Kind.LONG, "On hand less reserved, of the newest event."),
    _LAST_UPDATED,
    _NEWEST,
    ("events", Kind.LONG, "Events of any type."),
    newest_column="newest_ts",
)
MV_INVENTORY_REALTIME = _plain(
    "mv_inventory_realtime",
    "Per store and SKU, over the running hour and the 168 before it (UTC). Every pair that ever "
    "had an event is listed, with 0 units when it had none in the window.",
    (
        _view("stock_now"),
        _view("mv_inventory_hourly"),
        _table("dim_store"),
        _table("dim_product"),
    ),
    _STORE,
    _SKU,
    ("units_received", Kind.LONG, "Units received in the window."),
    ("units_sold", Kind.LONG, "Units sold in the window, as a positive number."),
    ("net_available", Kind.LONG, "On hand less reserved, of the newest event."),
    _LAST_UPDATED,
    _LAG,
    _REGION,
    _COUNTRY,
    ("category", Kind.STRING, "Category; NULL for an unknown SKU."),
)
STOCK_BY_CATEGORY = _plain(
    "stock_by_category",
    "Net available by product category.",
    (_view("stock_now"), _table("dim_product")),
    _CATEGORY,
    ("net_available", Kind.LONG, "Sum over stores and SKUs."),
    ("store_skus", Kind.LONG, "Pairs of store and SKU."),
    ("store_skus_out", Kind.LONG, "Pairs with nothing available."),
    _LAST_UPDATED,
    _LAG,
)
NET_AVAILABLE_BY_STORE = _plain(
    "net_available_by_store",
    "Net available of each store that has a place on the map; figures are NULL without any event.",
    (_view("stock_now"), _table("dim_store")),
    _STORE,
    ("store_name", Kind.STRING, "Name for people."),
    ("region", Kind.STRING, "Sales region."),
    ("country", Kind.STRING, "ISO 3166 code."),
    ("city", Kind.STRING, "City."),
    ("latitude", Kind.DOUBLE, "Degrees north."),
    ("longitude", Kind.DOUBLE, "Degrees east."),
    ("net_available", Kind.LONG, "Sum over the store's SKUs."),
    ("skus", Kind.LONG, "SKUs with an event."),
    ("skus_out", Kind.LONG, "SKUs with nothing available."),
    _LAST_UPDATED,
    _LAG,
)
SALES_BY_STORE_CATEGORY = _plain(
    "sales_by_store_category",
    "Sales per business date (the store's local date), store, category, channel and currency.",
    (_view("mv_sales_quarter_hour"), _table("dim_store"), _table("dim_product")),
    ("business_date", Kind.DATE, "The store's local date."),
    _STORE,
    _REGION,
    _COUNTRY,
    _CATEGORY,
    ("channel", Kind.STRING, "Where it was sold."),
    ("currency", Kind.STRING, "Currency of the amounts."),
    ("lines", Kind.LONG, "Basket lines."),
    ("units_sold", Kind.LONG, "Units sold, returns not subtracted."),
    ("units_returned", Kind.LONG, "Units brought back, as a positive number."),
    ("gross_amount", Kind.DECIMAL, "Quantity times price, returns subtracted."),
    ("discount_amount", Kind.DECIMAL, "Discounts of sales less those given back by returns."),
    ("net_amount", Kind.DECIMAL, "Gross less discount."),
    _LAST_UPDATED,
)
SALES_REPORTING_CURRENCY = _plain(
    "sales_reporting_currency",
    "Sales per business date, store and category in the reporting currency, by the dated rate.",
    (_view("sales_by_store_category"), _table("dim_currency_rate")),
    ("business_date", Kind.DATE, "The store's local date."),
    _STORE,
    _REGION,
    _COUNTRY,
    _CATEGORY,
    ("lines", Kind.LONG, "Basket lines."),
    ("units_sold", Kind.LONG, "Units sold, returns not subtracted."),
    ("units_returned", Kind.LONG, "Units brought back, as a positive number."),
    ("net_amount", Kind.DECIMAL, "Net amount in the reporting currency; NULL without any rate."),
    ("lines_without_rate", Kind.LONG, "Of the lines: not in net_amount for want of a rate."),
    _LAST_UPDATED,
)
WEB_FUNNEL = _plain(
    "web_funnel",
    "Visits by the UTC hour in which they began, and how many reached each step.",
    (_view("mv_web_sessions"),),
    ("started_hour", Kind.TIMESTAMP, "UTC hour of the first event."),
    ("sessions", Kind.LONG, "Visits."),
    ("sessions_viewed", Kind.LONG, "Visits that viewed a page."),
    ("sessions_carted", Kind.LONG, "Visits that put something in the cart."),
    ("sessions_checked_out", Kind.LONG, "Visits that entered the checkout."),
    ("sessions_ordered", Kind.LONG, "Visits that ended in an order."),
    ("events", Kind.LONG, "Events of those visits."),
    _LAST_UPDATED,
)
PIPELINE_LAG = _plain(
    "pipeline_lag",
    "Events a minute of broker time with their lags, per topic, over the last 24 hours.",
    tuple(_view(arrivals_view(event)) for event in EVENTS),
    ("topic", Kind.STRING, "Topic."),
    ("broker_minute", Kind.TIMESTAMP, "Minute of broker time, UTC."),
    ("events", Kind.LONG, "Rows that landed."),
    ("avg_lag_seconds", Kind.DOUBLE, "Mean of broker time to start of the batch that landed it."),
    ("max_lag_seconds", Kind.DOUBLE, "Longest of the same."),
    ("avg_event_lag_seconds", Kind.DOUBLE, "Mean of event time to start of its batch."),
)
PIPELINE_AGE = _plain(
    "pipeline_age",
    "How old the newest event of each topic is, as the warehouse sees it.",
    tuple(_view(arrivals_view(event)) for event in EVENTS),
    ("topic", Kind.STRING, "Topic."),
    _NEWEST,
    ("last_arrival", Kind.TIMESTAMP, "Newest broker time, UTC."),
    ("last_landed", Kind.TIMESTAMP, "Newest batch, UTC."),
    ("age_seconds", Kind.LONG, "Now minus newest_ts."),
    newest_column="newest_ts",
)
QUARANTINE = _plain(
    "quarantine",
    "Every quarantined record once, with the outcome of its latest judgement.",
    tuple(_table(table.name) for table in QUARANTINE_TABLES),
    ("topic", Kind.STRING, "Topic of the record."),
    ("topic_id", Kind.STRING, "Kafka's id of the topic."),
    ("kafka_partition", Kind.INT, "Partition of the record."),
    ("kafka_offset", Kind.LONG, "Offset of the record."),
    ("kafka_timestamp", Kind.TIMESTAMP, "Broker time of the record, UTC."),
    ("quarantine_date", Kind.DATE, "UTC date of the broker time."),
    ("reason", Kind.STRING, "Why: one of contracts.reasons.Reason."),
    ("detail", Kind.STRING, "The reason in words."),
    ("event_id", Kind.STRING, "Id of the event, where it could be read."),
    ("contract_version", Kind.INT, "Version of the contract that judged it last."),
    ("outcome", Kind.STRING, "quarantined; or of a replay: landed, duplicate, kept."),
    ("judged_at", Kind.TIMESTAMP, "When it was judged last, UTC."),
    ("replay_id", Kind.STRING, "Run that judged it last; NULL for the original."),
    ("times_judged", Kind.LONG, "1 for a record that was never replayed."),
)

VIEWS: tuple[ViewContract, ...] = (
    MV_INVENTORY_HOURLY,
    MV_STOCK_NEWEST,
    MV_SALES_QUARTER_HOUR,
    MV_WEB_SESSIONS,
    *ARRIVALS,
    STOCK_NOW,
    MV_INVENTORY_REALTIME,
    STOCK_BY_CATEGORY,
    NET_AVAILABLE_BY_STORE,
    SALES_BY_STORE_CATEGORY,
    SALES_REPORTING_CURRENCY,
    WEB_FUNNEL,
    PIPELINE_LAG,
    PIPELINE_AGE,
    QUARANTINE,
)
"""In creation order: a view comes after everything it reads."""

MATERIALIZED_VIEWS: tuple[ViewContract, ...] = tuple(v for v in VIEWS if v.is_materialized)


def materialized_under(view: ViewContract) -> set[str]:
    """Names of the materialized views whose rows a view shows.

    A materialized view is its own only one; a plain view shows those that it reads, through other
    plain ones too, and none where it reads tables alone.
    """
    if view.is_materialized:
        return {view.name}
    below = [each for each in VIEWS if each.qualified_name in view.depends_on]
    return {name for each in below for name in materialized_under(each)}


def materialized_over(table: str) -> tuple[ViewContract, ...]:
    """The materialized views that fold a table's rows; by the table's name in its contract."""
    return tuple(view for view in MATERIALIZED_VIEWS if table in view.source_tables)


def view_named(name: str) -> ViewContract:
    """The view called `name`, with or without its schema.

    Raises:
        ViewContractError: there is none; the sentence lists those there are.
    """
    for view in VIEWS:
        if name in (view.name, view.qualified_name):
            return view
    known = ", ".join(view.name for view in VIEWS)
    raise ViewContractError(f"There is no view {name!r}; the contract has {known}.")
