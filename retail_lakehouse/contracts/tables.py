"""The Iceberg tables: columns, partitioning, properties.

Here: what each table looks like, derived from the event contracts where it can be. Not here: how
an engine creates or evolves a table (`retail_lakehouse.tables`), or views (`views.py`).
"""

from dataclasses import dataclass

from retail_lakehouse.contracts.events import EVENT_TIME_FIELD, EVENTS, EventContract
from retail_lakehouse.contracts.fields import Column, Kind

DATABASE = "retail_db"
SNAPSHOTS_KEPT_LEAST = 5
"""How many a table's streaming job leaves, however old they are. Maintenance goes by their age."""
CATALOG_BUSY_SECONDS = 60
"""How long a commit waits for others at the local catalog's one file."""

PLATFORM_COLUMNS: tuple[Column, ...] = tuple(
    Column(name, kind, doc, required)
    for name, kind, doc, required in (
        ("event_ts", Kind.TIMESTAMP, "event_timestamp as a UTC timestamp without zone.", True),
        ("event_date", Kind.DATE, "UTC date of event_ts.", True),
        ("event_hour", Kind.INT, "UTC hour of event_ts, 0 to 23.", True),
        ("ingested_at", Kind.TIMESTAMP, "When the batch that landed it began, UTC.", True),
        ("extra", Kind.STRING, "Unknown fields as one JSON object; NULL without any.", False),
        ("kafka_topic", Kind.STRING, "Topic; NULL on a backfilled row.", False),
        ("kafka_topic_id", Kind.STRING, "Kafka's id of the topic; NULL on backfill.", False),
        ("kafka_partition", Kind.INT, "Partition; NULL on a backfilled row.", False),
        ("kafka_offset", Kind.LONG, "Offset; NULL on a backfilled row.", False),
        ("kafka_timestamp", Kind.TIMESTAMP, "Broker time of the record, UTC.", False),
    )
)

QUARANTINE_COLUMNS: tuple[Column, ...] = tuple(
    Column(name, kind, doc, required)
    for name, kind, doc, required in (
        ("kafka_topic", Kind.STRING, "Topic of the record.", True),
        ("kafka_topic_id", Kind.STRING, "Kafka's id of the topic.", True),
        ("kafka_partition", Kind.INT, "Partition of the record.", True),
        ("kafka_offset", Kind.LONG, "Offset of the record.", True),
        ("kafka_timestamp", Kind.TIMESTAMP, "Broker time of the record, UTC.", True),
        ("kafka_key", Kind.BINARY, "Key of the record, as it came.", False),
        ("raw", Kind.BINARY, "Body of the record, as it came; NULL for a tombstone.", False),
        ("reason", Kind.STRING, "Why it is here: one of contracts.reasons.Reason.", True),
        ("detail", Kind.STRING, "The reason in words, with the field that broke it.", True),
        ("event_id", Kind.STRING, "Id of the event, where it could be read.", False),
        ("contract_version", Kind.INT, "Version of the contract that judged it.", True),
        ("quarantine_date", Kind.DATE, "UTC date of kafka_timestamp.", True),
        ("judged_at", Kind.TIMESTAMP, "When it was judged, UTC.", True),
        ("outcome", Kind.STRING, "quarantined; or of a replay: landed, duplicate, kept.", True),
        ("replay_id", Kind.STRING, "Run that judged it again; NULL for the original.", False),
    )
)


@dataclass(frozen=True, slots=True)
class TableContract:
    """One table: name, columns, the columns that partition it, and Iceberg properties."""

    name: str
    doc: str
    columns: tuple[Column, ...]
    partition_by: tuple[str, ...] = ()
    landing_partition_by: tuple[str, ...] = ()
    """Coarser spec that the streaming writer uses: a batch with late rows would otherwise leave
    one small file in every hour it touches; closed hours are compacted into `partition_by`."""
    sort_by: tuple[str, ...] = ()
    """How rows of a partition lie once it is compacted; none: the table is never compacted."""
    event: str | None = None
    kind: str = "dimension"
    """events, quarantine or dimension."""

    @property
    def identifier(self) -> tuple[str, str]:
        """(database, table), as Iceberg catalogs take it."""
        return (DATABASE, self.name)

    @property
    def qualified_name(self) -> str:
        """database.table."""
        return f"{DATABASE}.{self.name}"

    def column(self, name: str) -> Column:
        """The column called `name`; raises KeyError when the table has none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"{self.qualified_name} has no column {name!r}.")


# Source of each: https://iceberg.apache.org/docs/latest/configuration/
TABLE_PROPERTIES: dict[str, str] = {
    "format-version": "2",
    "write.delete.mode": "merge-on-read",
    "write.update.mode": "merge-on-read",
    "write.merge.mode": "merge-on-read",
    "write.target-file-size-bytes": str(128 * 1024 * 1024),
    "write.distribution-mode": "none",
    "write.spark.fanout.enabled": "true",
    "write.parquet.compression-codec": "zstd",
    "write.parquet.compression-level": "1",
    "write.metadata.delete-after-commit.enabled": "true",
    # A reader opens its metadata file once, right after the catalog named it, and never again: the
    # versions cover that moment, and the snapshots' retention the rest of its query. Each version
    # kept is a line that every commit writes anew (200 in place of 20: a fifth more metadata).
    "write.metadata.previous-versions-max": "20",
    "commit.retry.num-retries": "20",
    "commit.retry.min-wait-ms": "50",
    "commit.retry.max-wait-ms": "2000",
}


def _event_columns(event: EventContract) -> tuple[Column, ...]:
    own = tuple(
        Column(f.name, f.kind, f.doc, f.required, f.precision, f.scale) for f in event.fields
    )
    return own + PLATFORM_COLUMNS


def _event_table(event: EventContract) -> TableContract:
    return TableContract(
        name=f"{event.name}_events",
        doc=event.doc,
        columns=_event_columns(event),
        partition_by=("event_date", "event_hour"),
        landing_partition_by=("event_date",),
        # Store and SKU, or the visit: what is asked for together lies together.
        sort_by=(*event.key_fields, EVENT_TIME_FIELD),
        event=event.name,
        kind="events",
    )


def _quarantine_table(event: EventContract) -> TableContract:
    return TableContract(
        name=f"{event.name}_events_quarantine",
        doc=f"Records of {event.topic} that break the {event.name} contract, with the reason.",
        columns=QUARANTINE_COLUMNS,
        partition_by=("quarantine_date",),
        sort_by=("kafka_partition", "kafka_offset"),
        event=event.name,
        kind="quarantine",
    )


def _dimension(name: str, doc: str, *columns: tuple[str, Kind, str]) -> TableContract:
    return TableContract(
        name=name,
        doc=doc,
        columns=tuple(
            Column(n, kind, d, required=True, precision=18, scale=8 if n == "rate" else 4)
            for n, kind, d in columns
        ),
    )


DIM_STORE = _dimension(
    "dim_store",
    "Every store: 340 on the map and the virtual one that online orders belong to.",
    ("store_id", Kind.STRING, "Key."),
    ("store_name", Kind.STRING, "Name for people."),
    ("region", Kind.STRING, "Sales region."),
    ("country", Kind.STRING, "ISO 3166 code."),
    ("city", Kind.STRING, "City."),
    ("time_zone", Kind.STRING, "IANA time zone: the business date is taken in it."),
    ("utc_offset_minutes", Kind.INT, "Offset of the zone; none of the zones has summer time."),
    ("currency", Kind.STRING, "ISO 4217 code of the store's prices."),
    ("latitude", Kind.DOUBLE, "Degrees north; 0 for the virtual store."),
    ("longitude", Kind.DOUBLE, "Degrees east; 0 for the virtual store."),
    ("opens_at_minute", Kind.INT, "Local minute of the day at which it opens."),
    ("closes_at_minute", Kind.INT, "Local minute of the day at which it closes."),
    ("is_virtual", Kind.BOOLEAN, "True for the online channel: it has no place on a map."),
)
DIM_PRODUCT = _dimension(
    "dim_product",
    "Every product with its category and list price.",
    ("sku", Kind.STRING, "Key."),
    ("product_name", Kind.STRING, "Name for people."),
    ("category", Kind.STRING, "Category."),
    ("list_price_usd", Kind.DECIMAL, "List price in the reporting currency."),
    ("unit_cost_usd", Kind.DECIMAL, "Cost in the reporting currency."),
)
CURRENCY_RATE = _dimension(
    "dim_currency_rate",
    "Rates into the reporting currency, dated: a rate holds from its date to the day before next.",
    ("currency", Kind.STRING, "ISO 4217 code."),
    ("valid_from", Kind.DATE, "First business date on which the rate holds."),
    ("valid_to", Kind.DATE, "Last business date on which the rate holds."),
    ("rate", Kind.DECIMAL, "Units of the reporting currency for one unit of the currency."),
)

DIMENSIONS: tuple[TableContract, ...] = (DIM_STORE, DIM_PRODUCT, CURRENCY_RATE)
EVENT_TABLES: tuple[TableContract, ...] = tuple(_event_table(event) for event in EVENTS)
QUARANTINE_TABLES: tuple[TableContract, ...] = tuple(_quarantine_table(e) for e in EVENTS)
TABLES: tuple[TableContract, ...] = EVENT_TABLES + QUARANTINE_TABLES + DIMENSIONS
MAINTAINED_TABLES: tuple[TableContract, ...] = EVENT_TABLES + QUARANTINE_TABLES
"""A dimension is loaded in one file and needs no maintenance."""


def table_named(name: str) -> TableContract:
    """The table called `name`, without its database; raises KeyError with the known names."""
    for table in TABLES:
        if table.name == name:
            return table
    known = ", ".join(table.name for table in TABLES)
    raise KeyError(f"There is no table {name!r}; the contract has {known}.")


def event_table(event: EventContract | str) -> TableContract:
    """The table that the event's rows land in."""
    name = event if isinstance(event, str) else event.name
    return next(table for table in EVENT_TABLES if table.event == name)


def quarantine_table(event: EventContract | str) -> TableContract:
    """The table that the event's bad records land in."""
    name = event if isinstance(event, str) else event.name
    return next(table for table in QUARANTINE_TABLES if table.event == name)
