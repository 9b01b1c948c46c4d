"""Creating the tables from their contracts and evolving them.

Here: what may change in a live table and how. Not here: the contracts, or data.
A new nullable column appears, a required one may become optional; whatever would lose data or
break a reader is refused.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from retail_lakehouse.contracts.tables import TABLE_PROPERTIES, TABLES, TableContract
from retail_lakehouse.settings import Settings
from retail_lakehouse.tables.schema import iceberg_schema, iceberg_type, partition_spec

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table


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
        "history.expire.min-snapshots-to-keep": "5",
    }


def ensure_tables(
    catalog: "Catalog", settings: Settings, contracts: Iterable[TableContract] = TABLES
) -> list[TableChange]:
    """Creates each table that is not there and brings the others to their contract.

    Raises:
        EvolutionRefused: the contract drops or retypes a column, adds a required one, or makes
            one required.
    """
    changes: list[TableChange] = []
    for contract in contracts:
        if catalog.table_exists(contract.identifier):
            changes += _evolve(catalog.load_table(contract.identifier), contract, settings)
        else:
            _create(catalog, contract, settings)
            changes.append(TableChange(contract.qualified_name, "created"))
    return changes


def landing_spec_id(table: "Table", contract: TableContract) -> int:
    """Id of the spec that the streaming writer uses (Iceberg's write option `output-spec-id`).

    Raises:
        EvolutionRefused: the table has no such spec; `ensure_tables` makes it.
    """
    wanted = contract.landing_partition_by or contract.partition_by
    for spec_id, spec in table.specs().items():
        if tuple(field.name for field in spec.fields) == wanted:
            return spec_id
    raise EvolutionRefused(
        f"{contract.qualified_name} has no partition spec over {', '.join(wanted)}: it was not "
        "made by this platform. Move it aside and start again, or add the spec."
    )


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
    present = {field.name for field in table.spec().fields}
    missing = [name for name in contract.partition_by if name not in present]
    if missing:
        with table.update_spec() as update:
            for name in missing:
                update.add_identity(name)


def _evolve(table: "Table", contract: TableContract, settings: Settings) -> list[TableChange]:
    changes: list[str] = []
    name = contract.qualified_name
    live = {field.name: field for field in table.schema().fields}
    for gone in live.keys() - {column.name for column in contract.columns}:
        raise EvolutionRefused(
            f"{name} has a column {gone} that its contract no longer has: dropping it would lose "
            "its values. Put the column back into the contract."
        )
    added, loosened = [], []
    for column in contract.columns:
        field = live.get(column.name)
        if field is None:
            if column.required:
                raise EvolutionRefused(
                    f"The contract of {name} adds {column.name} as required, but the rows that are "
                    "there have no value for it. Make it optional."
                )
            added.append(column)
            continue
        if field.field_type != iceberg_type(column):
            raise EvolutionRefused(
                f"{name}.{column.name} is {field.field_type} and the contract now says "
                f"{iceberg_type(column)}: values could be lost. Add a column with a new name."
            )
        if column.required and not field.required:
            raise EvolutionRefused(
                f"{name}.{column.name} is optional and the contract now says required, but rows "
                "without a value may be there. Leave it optional."
            )
        if field.required and not column.required:
            loosened.append(column)
    if added or loosened:
        with table.update_schema() as update:
            for column in added:
                update.add_column(column.name, iceberg_type(column), doc=column.doc)
            for column in loosened:
                update.make_column_optional(column.name)
        changes += [f"added column {column.name}" for column in added]
        changes += [f"made column {column.name} optional" for column in loosened]
    wanted = table_properties(settings) | {"comment": contract.doc}
    stale = {
        key: value
        for key, value in wanted.items()
        # pyiceberg keeps the format version as a field of the metadata, not as a property.
        if key != "format-version" and table.properties.get(key) != value
    }
    if stale:
        with table.transaction() as transaction:
            transaction.set_properties(stale)
        changes.append(f"set {', '.join(sorted(stale))}")
    before = table.spec().spec_id
    _extend_spec(table, contract)
    if table.spec().spec_id != before:
        changes.append("extended the partition spec")
    return [TableChange(name, change) for change in changes]
