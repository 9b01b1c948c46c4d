"""Creating the tables from their contracts and evolving them.

Here: what may change in a live table and how. Not here: the contracts, or data.
A new nullable column appears, a required one may become optional, an int a long and a decimal a
wider one of the same scale (Iceberg's type promotions,
https://iceberg.apache.org/spec/#schema-evolution); whatever would lose data or break a reader is
refused. All contracts are judged before the first change, and a topic's job yields to a change.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from retail_lakehouse.contracts.events import event_named
from retail_lakehouse.contracts.fields import Column
from retail_lakehouse.contracts.tables import (
    SNAPSHOTS_KEPT_LEAST,
    TABLE_PROPERTIES,
    TABLES,
    TableContract,
)
from retail_lakehouse.settings import Settings
from retail_lakehouse.streaming.lock import topic_lease
from retail_lakehouse.tables.schema import iceberg_schema, iceberg_type, partition_spec

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table
    from pyiceberg.table.update.schema import UpdateSchema
    from pyiceberg.types import IcebergType


class EvolutionRefused(RuntimeError):  # noqa: N818 - the domain's word
    """A change of contract that a live table cannot follow without losing something."""


@dataclass(frozen=True, slots=True)
class TableChange:
    """What was done to one table."""

    table: str
    change: str


def table_properties(settings: Settings) -> dict[str, str]:
    """Iceberg properties of every table in the profile."""
    return TABLE_PROPERTIES | {
        "history.expire.max-snapshot-age-ms": str(settings.retention_minutes * 60_000),
        "history.expire.min-snapshots-to-keep": str(SNAPSHOTS_KEPT_LEAST),
    }


def ensure_tables(
    catalog: "Catalog", settings: Settings, contracts: Iterable[TableContract] = TABLES
) -> list[TableChange]:
    """Creates each table that is not there and brings the others to their contract.

    Raises:
        EvolutionRefused: a contract drops a column, retypes one other than by a promotion, adds a
            required one, or makes one required; no table was changed.
        LockHeldError: a job did not yield to the change of its tables; those before are changed.
    """
    wanted = list(contracts)
    judged: list[tuple[TableContract, bool, bool]] = []
    for contract in wanted:
        exists = catalog.table_exists(contract.identifier)
        needed = exists and bool(_plan(catalog.load_table(contract.identifier), contract, settings))
        judged.append((contract, exists, needed))
    changes: list[TableChange] = []
    for contract, exists, needed in judged:
        if not exists:
            _create(catalog, contract, settings)
            changes.append(TableChange(contract.qualified_name, "created"))
        elif needed:
            with _job_yields(contract, settings):
                # Loaded and judged again: the job has committed since, and others may change it.
                table = catalog.load_table(contract.identifier)
                told = _apply(table, contract, _plan(table, contract, settings))
            changes += [TableChange(contract.qualified_name, change) for change in told]
    return changes


def _job_yields(contract: TableContract, settings: Settings) -> AbstractContextManager[None]:
    # On AWS a change is deployed between two runs of the job (MaxConcurrentRuns=1).
    if contract.event is None or not settings.is_local:
        return nullcontext()
    return topic_lease(settings.topic_locks, event_named(contract.event).topic)


def _create(catalog: "Catalog", contract: TableContract, settings: Settings) -> None:
    landing = contract.landing_partition_by or contract.partition_by
    table = catalog.create_table(
        contract.identifier,
        schema=iceberg_schema(contract),
        partition_spec=partition_spec(contract, landing),
        properties=table_properties(settings) | {"comment": contract.doc},
    )
    _extend_spec(table, contract)


def _extend_spec(table: "Table", contract: TableContract) -> None:
    missing = _missing_partitions(table, contract)
    if missing:
        with table.update_spec() as update:
            for name in missing:
                update.add_identity(name)


def _missing_partitions(table: "Table", contract: TableContract) -> list[str]:
    present = {field.name for field in table.spec().fields}
    return [name for name in contract.partition_by if name not in present]


@dataclass(slots=True)
class _Plan:
    """What brings a live table to its contract."""

    added: list[Column] = field(default_factory=list)
    loosened: list[Column] = field(default_factory=list)
    widened: list[Column] = field(default_factory=list)
    properties: dict[str, str] = field(default_factory=dict)
    partitions: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(
            self.added or self.loosened or self.widened or self.properties or self.partitions
        )


def _plan(table: "Table", contract: TableContract, settings: Settings) -> _Plan:
    name = contract.qualified_name
    live = {field.name: field for field in table.schema().fields}
    for gone in live.keys() - {column.name for column in contract.columns}:
        raise EvolutionRefused(
            f"{name} has a column {gone} that its contract no longer has: dropping it would lose "
            "its values. Put the column back into the contract."
        )
    plan = _Plan(partitions=_missing_partitions(table, contract))
    for column in contract.columns:
        found = live.get(column.name)
        if found is None:
            if column.required:
                raise EvolutionRefused(
                    f"The contract of {name} adds {column.name} as required, but the rows that are "
                    "there have no value for it. Make it optional."
                )
            plan.added.append(column)
            continue
        if found.field_type != iceberg_type(column):
            if not _widens(found.field_type, iceberg_type(column)):
                raise EvolutionRefused(
                    f"{name}.{column.name} is {found.field_type} and the contract now says "
                    f"{iceberg_type(column)}: values could be lost. Add a column with a new name."
                )
            plan.widened.append(column)
        if column.required and not found.required:
            raise EvolutionRefused(
                f"{name}.{column.name} is optional and the contract now says required, but rows "
                "without a value may be there. Leave it optional."
            )
        if found.required and not column.required:
            plan.loosened.append(column)
    wanted = table_properties(settings) | {"comment": contract.doc}
    plan.properties = {
        key: value
        for key, value in wanted.items()
        # pyiceberg keeps the format version as a field of the metadata, not as a property.
        if key != "format-version" and table.properties.get(key) != value
    }
    return plan


def _widens(live: "IcebergType", wanted: "IcebergType") -> bool:
    from pyiceberg.types import DecimalType, IntegerType, LongType

    if isinstance(live, DecimalType) and isinstance(wanted, DecimalType):
        return live.scale == wanted.scale and live.precision < wanted.precision
    return isinstance(live, IntegerType) and isinstance(wanted, LongType)


def _move_to_its_place(update: "UpdateSchema", contract: TableContract, column: Column) -> None:
    """Where a fresh table has it: what counts columns by position means the same in both."""
    place = contract.columns.index(column)
    if place:
        update.move_after(column.name, contract.columns[place - 1].name)
    else:
        update.move_first(column.name)


def _apply(table: "Table", contract: TableContract, plan: _Plan) -> list[str]:
    changes: list[str] = []
    if plan.added or plan.loosened or plan.widened:
        with table.update_schema() as update:
            for column in plan.added:
                update.add_column(column.name, iceberg_type(column), doc=column.doc)
                _move_to_its_place(update, contract, column)
            for column in plan.widened:
                update.update_column(column.name, iceberg_type(column))
            for column in plan.loosened:
                update.make_column_optional(column.name)
        changes += [f"added column {column.name}" for column in plan.added]
        changes += [f"widened column {c.name} to {iceberg_type(c)}" for c in plan.widened]
        changes += [f"made column {column.name} optional" for column in plan.loosened]
    if plan.properties:
        with table.transaction() as transaction:
            transaction.set_properties(plan.properties)
        changes.append(f"set {', '.join(sorted(plan.properties))}")
    if plan.partitions:
        _extend_spec(table, contract)
        changes.append("extended the partition spec")
    return changes
